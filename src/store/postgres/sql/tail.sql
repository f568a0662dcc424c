SELECT clock.now, clock.seen, done.fence, done.attempt, done.reclaimed,
    -- What a handler did in a transaction that was never committed did not happen: its claim is free.
    -- What is saved of one operation is in the way of every other one.
    CASE WHEN {foreign} THEN 1::smallint
        WHEN {freed} THEN 3::smallint ELSE found.phase END,
    found.expires, CASE WHEN {freed} THEN 0 ELSE found.moment END, found.fence, found.attempt,
    found.nonce, found.fingerprint, found.form, found.outcome, found.waited,
    CASE WHEN done.waited THEN pg_notify('{channel}', encode($2, 'hex')) IS NULL END
FROM clock LEFT JOIN done ON true LEFT JOIN found ON done.fence IS NULL
