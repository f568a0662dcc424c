-- $1 slot, $2 nonce, $3 fence
UPDATE {records} SET transactional = true
WHERE slot = $1 AND nonce = $2 AND fence = $3 AND phase = 1
