-- $3 fence, $4 outcome, $5 retention
done AS (
    UPDATE {records} AS r SET
        phase = 2,
        moment = clock.now,
        expires = clock.now + $5,
        nonce = decode(repeat('00', 16), 'hex'), -- Nobody's from now on.
        outcome = $4
    FROM clock, found
    WHERE {unchanged} AND found.live AND r.phase = 1 AND r.fence = $3 AND r.moment <= clock.now
        AND NOT r.transactional
    RETURNING r.fence, r.attempt, false AS reclaimed, r.waited
)
