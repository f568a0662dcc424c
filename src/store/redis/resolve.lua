-- ARGV: 2 the fence of the claim that is meant; 3 the outcome with its checksum; 4 retention in ms.
-- Answers now if done, else what it found.
if phase == 1 then
  local fence, _, lapses = struct.unpack('>I8I4I8', head, 5)
  if fence == tonumber(ARGV[2]) and lapses <= now then
    local record = redis.call('GET', KEYS[1])
    record = string.sub(record, 1, 1) .. '\2' .. string.sub(record, 3, 16) .. struct.pack('>I8', now)
      .. string.rep('\0', 16) .. string.sub(record, 41) -- Nobody's from now on.
    redis.call('SET', KEYS[1], record, 'PX', ARGV[4])
    redis.call('APPEND', KEYS[1], ARGV[3])
    return now
  end
end
