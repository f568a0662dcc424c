-- $3 nonce, $4 attempts that did not count, $5 how long the tombstone stays if none is left, $6 and if
-- there is one, or a result of a phase
done AS (
    UPDATE {records} AS r SET
        phase = 3,
        moment = 0,
        attempt = r.attempt - $4,
        expires = clock.now + CASE WHEN r.attempt > $4 OR r.points IS NOT NULL THEN $6 ELSE $5 END
    FROM clock, found
    WHERE {unchanged} AND found.live AND r.phase = 1 AND r.nonce = $3
    RETURNING r.fence, r.attempt, false AS reclaimed, r.waited
)
