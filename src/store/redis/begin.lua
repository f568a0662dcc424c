-- ARGV: 2 the record to claim with, without numbers; 3 lease in us; 4 retention in ms;
--       5 below which number of attempts an abandoned claim may be taken over; 6 the fence of one that
--       may be in any case. Both only where there are such.
-- Claims the slot and answers {now, way, fence, attempt}, or now alone if there was nothing in it: then
-- that is the fence, too, and the attempt is the first. Or answers what it found. Whether a slot can be
-- claimed is all that is decided here; what it is otherwise is decided by the caller.
local record, fence, attempt, way = ARGV[2], now, 1, 1
if head ~= '' then
  local mine = nonce == string.sub(record, 25, 40)
  if phase == 0 or mine and phase ~= 1 then return found() end
  local previous, attempts, lease = struct.unpack('>I8I4I8', head, 5)
  if mine then
    -- An earlier copy of this call has claimed it. A byte is written again so that the claim is in
    -- what this connection has written, and waiting for replicas on it proves that they have it.
    redis.call('SETRANGE', KEYS[1], 0, string.sub(head, 1, 1))
    return {now, 3, previous, attempts}
  end
  if phase == 1 then
    local same = string.sub(head, 41, 72) == string.sub(record, 41, 72)
    local allowed = attempts < tonumber(ARGV[5] or 0) or previous == tonumber(ARGV[6])
    if not same or lease > now or not allowed then
      return found()
    end
    way = 2
  elseif phase ~= 3 then
    return found()
  end
  fence = math.max(previous + 1, now)
  attempt = math.min(attempts + 1, 4294967295)
end

local numbers = struct.pack('>I8I4I8', fence, attempt, now + ARGV[3])
record = string.sub(record, 1, 4) .. numbers .. string.sub(record, 25)
if head == '' then
  if redis.call('SET', KEYS[1], record, 'PX', ARGV[4], 'NX') then return now end
  return found() -- An empty value: not a record, and not free either.
end
redis.call('SET', KEYS[1], record, 'PX', ARGV[4])
return {now, way, fence, attempt}
