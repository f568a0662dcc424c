-- ARGV: 2 the nonce; 3 how many attempts to take back; 4 how long the tombstone stays, in ms.
-- Answers {now, 1} if done, else what it found.
if phase ~= 1 or nonce ~= ARGV[2] then return found() end
local attempts = struct.unpack('>I4', head, 13)
local numbers = struct.pack('>I4I8', math.max(attempts - ARGV[3], 0), 0)
local record = redis.call('GET', KEYS[1])
record = string.sub(record, 1, 1) .. '\3' .. string.sub(record, 3, 12) .. numbers
  .. string.sub(record, 25)
redis.call('SET', KEYS[1], record, 'PX', ARGV[4])
return {now, 1}
