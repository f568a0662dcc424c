-- Marks a claim whose handler commits what it does, and reads what is saved of that so far.
-- $1 slot, $2 nonce, $3 fence
UPDATE {records} SET transactional = true
WHERE slot = $1 AND nonce = $2 AND fence = $3 AND phase = 1
RETURNING points
