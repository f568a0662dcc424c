-- $3 outcome, $4 retention, $5 nonce, $6 fingerprint, $7 form, $8 fence, $9 attempt
kept AS (
    UPDATE {records} AS r SET
        phase = 2,
        fence = $8,
        attempt = $9,
        moment = clock.now,
        expires = clock.now + $4,
        nonce = $5,
        fingerprint = $6,
        form = $7,
        outcome = $3,
        points = NULL
    FROM clock, found
    WHERE {unchanged} AND (NOT found.live OR r.phase = 1 AND r.nonce = $5)
    RETURNING r.fence, r.attempt, r.waited
), made AS (
    INSERT INTO {records}
        (slot, expires, moment, fence, attempt, phase, waited, nonce, fingerprint, form, outcome)
    SELECT $2, clock.now + $4, clock.now, $8, $9, 2, false, $5, $6, $7, $3
    FROM clock
    WHERE {absent}
    ON CONFLICT (slot) DO NOTHING
    RETURNING fence, attempt, waited
), done AS (
    SELECT fence, attempt, false AS reclaimed, waited FROM (TABLE kept UNION ALL TABLE made) AS either
)
