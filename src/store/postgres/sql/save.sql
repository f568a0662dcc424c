-- Saves the result of a phase, in the transaction of that phase where it has one. Where the claim is lost,
-- or something was saved since, or the phase has ended its transaction itself, nothing may be committed,
-- so the statement fails. $1 slot, $2 nonce, $3 fence, $4 what to add, $5 how long what is there is, $6 a
-- mark of the transaction
WITH kept AS (
    UPDATE {records} SET points = coalesce(points, '') || $4
    WHERE slot = $1 AND nonce = $2 AND fence = $3 AND phase = 1 AND transactional
        AND octet_length(coalesce(points, '')) = $5
        AND ($6 IS NULL OR current_setting('tower_idempotency.phase', true) = $6)
    RETURNING slot
)
-- There is no such setting.
SELECT CASE WHEN NOT EXISTS (SELECT FROM kept)
    THEN current_setting('tower_idempotency.claim_lost') IS NULL END
