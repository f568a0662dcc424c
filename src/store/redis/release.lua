-- ARGV: 2 the nonce; 3 how many attempts to take back; 4 how long the tombstone stays in ms if none
-- is left, 5 and if there is one.
-- Answers now if done, else what it found.
if phase == 1 and string.sub(head, 25, 40) == ARGV[2] then
  local attempts = math.max(struct.unpack('>I4', head, 13) - ARGV[3], 0)
  local numbers = struct.pack('>I4I8', attempts, 0)
  local record = redis.call('GET', KEYS[1])
  record = string.sub(record, 1, 1) .. '\3' .. string.sub(record, 3, 12) .. numbers
    .. string.sub(record, 25)
  redis.call('SET', KEYS[1], record, 'PX', attempts > 0 and ARGV[5] or ARGV[4])
  return now
end
