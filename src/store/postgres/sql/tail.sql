SELECT clock.now, clock.seen, done.fence, done.attempt, done.reclaimed,
    -- What a handler did in a transaction that was never committed did not happen: its claim is free.
    CASE WHEN found.phase = 1 AND found.transactional AND found.moment <= clock.seen
        THEN 3::smallint ELSE found.phase END,
    found.expires, found.moment, found.fence, found.attempt,
    found.nonce, found.fingerprint, found.form, found.outcome, found.waited,
    CASE WHEN done.waited THEN pg_notify('{channel}', encode($2, 'hex')) IS NULL END
FROM clock LEFT JOIN done ON true LEFT JOIN found ON done.fence IS NULL
