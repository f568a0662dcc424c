-- $3 lease, $4 retention, $5 nonce, $6 fingerprint, $7 form, $8 fence, $9 attempt, $10 whether nothing of
-- it counts that is not committed
kept AS (
    UPDATE {records} AS r SET
        phase = 1,
        fence = CASE WHEN found.live THEN r.fence ELSE $8 END,
        attempt = CASE WHEN found.live THEN r.attempt ELSE $9 END,
        moment = clock.now + $3,
        expires = clock.now + $4,
        waited = r.waited AND found.live,
        transactional = $10 OR r.transactional AND r.nonce = $5,
        points = CASE WHEN r.nonce = $5 THEN r.points END,
        nonce = $5,
        fingerprint = $6,
        form = $7,
        outcome = NULL
    FROM clock, found
    WHERE {unchanged} AND (NOT found.live OR r.phase = 1 AND r.nonce = $5)
    RETURNING r.fence, r.attempt
), made AS (
    INSERT INTO {records}
        (slot, expires, moment, fence, attempt, phase, waited, transactional, nonce, fingerprint, form)
    SELECT $2, clock.now + $4, clock.now + $3, $8, $9, 1, false, $10, $5, $6, $7
    FROM clock
    WHERE {absent}
    ON CONFLICT (slot) DO NOTHING
    RETURNING fence, attempt
), done AS (
    SELECT *, false AS reclaimed, false AS waited FROM (TABLE kept UNION ALL TABLE made) AS either
)
