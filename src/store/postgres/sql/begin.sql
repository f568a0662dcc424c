-- $3 lease, $4 retention, $5 nonce, $6 fingerprint, $7 form; an abandoned claim may be taken over below
-- $8 attempts, and in any case if its fence is $9; $10 whether nothing of it counts that is not committed
taken AS (
    UPDATE {records} AS r SET
        phase = 1,
        fence = greatest(r.fence + 1, clock.now),
        attempt = CASE WHEN found.live THEN r.attempt + 1 ELSE 1 END,
        moment = clock.now + $3,
        expires = clock.now + $4,
        waited = false,
        -- What was saved of an operation stays, and so does that it may be resumed.
        transactional = $10 OR found.live AND r.points IS NOT NULL,
        points = CASE WHEN found.live THEN r.points END,
        nonce = $5,
        fingerprint = $6,
        form = $7,
        outcome = NULL
    FROM clock, found
    WHERE {unchanged} AND (
        NOT found.live
        OR r.nonce <> $5 AND (r.points IS NULL OR r.fingerprint = $6) AND (
            r.phase = 3
            OR r.phase = 1 AND r.moment <= clock.now AND r.transactional
            OR r.phase = 1 AND r.moment <= clock.now AND r.fingerprint = $6
                AND (r.attempt < $8 OR r.fence = $9)
        )
    )
    RETURNING r.fence, r.attempt, found.live AND found.phase = 1 AS reclaimed
), made AS (
    INSERT INTO {records}
        (slot, expires, moment, fence, attempt, phase, waited, transactional, nonce, fingerprint, form)
    SELECT $2, clock.now + $4, clock.now + $3, clock.now, 1, 1, false, $10, $5, $6, $7
    FROM clock
    WHERE {absent}
    ON CONFLICT (slot) DO NOTHING
    RETURNING fence, attempt, false AS reclaimed
), done AS (
    SELECT *, false AS waited FROM taken UNION ALL SELECT *, false FROM made
)
