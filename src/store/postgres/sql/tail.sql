SELECT clock.now, clock.seen, done.fence, done.attempt, done.reclaimed,
    -- What is saved of one operation is in the way of every other one.
    CASE WHEN {foreign} THEN 1::smallint WHEN freed.it THEN 3::smallint ELSE found.phase END,
    found.expires, CASE WHEN freed.it THEN 0 ELSE found.moment END, found.fence, found.attempt,
    found.nonce, found.fingerprint, found.form, found.outcome, found.waited,
    CASE WHEN done.waited THEN pg_notify('{channel}', encode($2, 'hex')) IS NULL END
FROM clock LEFT JOIN done ON true LEFT JOIN found ON done.fence IS NULL CROSS JOIN LATERAL (
    -- What a handler did in a transaction that was never committed did not happen: its claim is free for
    -- everybody else. Who has it may be committing at this very moment.
    SELECT found.phase = 1 AND found.transactional AND found.moment <= clock.seen
        AND found.nonce IS DISTINCT FROM {own_nonce} AS it
) AS freed
