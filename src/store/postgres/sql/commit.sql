-- Stores the outcome in the transaction of its handler. Where the claim is lost, nothing of that may be
-- committed, and where the handler has ended it, nothing of it may be told: the statement fails. $1 slot, $2 nonce, $3 fence, $4 outcome, $5 retention
WITH kept AS (
    UPDATE {records} SET
        phase = 2,
        moment = {now},
        expires = {now} + $5,
        outcome = $4,
        points = NULL
    WHERE slot = $1 AND nonce = $2 AND fence = $3 AND phase = 1 AND expires > {now}
        AND current_setting('tower_idempotency.claim', true) = $3::text
    RETURNING waited
)
SELECT CASE
    -- There is no such setting.
    WHEN NOT EXISTS (SELECT FROM kept) THEN current_setting('tower_idempotency.claim_lost') IS NULL
    WHEN (SELECT waited FROM kept) THEN pg_notify('{channel}', encode($1, 'hex')) IS NULL
END
