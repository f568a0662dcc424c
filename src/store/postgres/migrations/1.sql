-- Schema 1. One narrow row for each key: what is decided by is in columns of its own, the rest in
-- `form` and `outcome`. Moments are microseconds since the Unix epoch, on the database's clock.
--
-- There is no other index, and no indexed column ever changes, so every update of a record can stay
-- on its page; the fill factor leaves room for that.
CREATE TABLE IF NOT EXISTS idempotency_records (
    slot bytea PRIMARY KEY,        -- the address: 32 bytes, a hash
    expires bigint NOT NULL,       -- when the record ceases to exist; deleted some time after
    moment bigint NOT NULL,        -- in progress: when the lease lapses; completed: when that was
    fence bigint NOT NULL,         -- when the claim was made, made larger than the one before
    attempt integer NOT NULL,      -- the number of the attempt
    phase smallint NOT NULL,       -- 1 in progress, 2 completed, 3 released
    waited boolean NOT NULL,       -- somebody listens for the end of this claim
    transactional boolean NOT NULL DEFAULT false, -- in progress: nothing of it counts that is not committed
    nonce bytea NOT NULL,          -- whose claim it is: 16 bytes, random
    fingerprint bytea NOT NULL,    -- what the request was: 32 bytes, a hash
    form bytea NOT NULL,           -- the version of the record, and how the fingerprint was made
    outcome bytea,                 -- the answer, where it is completed
    points bytea                   -- the results of its phases so far, where it is not
) WITH (fillfactor = 80);
COMMENT ON TABLE idempotency_records IS 'tower-idempotency schema 1';
