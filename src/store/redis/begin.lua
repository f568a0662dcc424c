-- ARGV: 1 the record to claim with; the deadline is where its fence will be, and the length of the lease
--       where its end will be, since unpacking costs less than two more arguments; 2 retention in ms;
--       3 below which number of attempts an abandoned claim may be taken over; 4 the fence of one that
--       may be in any case. Both only where there are such.
-- Claims the slot and answers {now, way, fence, attempt}, or now alone if there was nothing in it: then
-- that is the fence, too, and the attempt is the first. Or answers what it found. Whether a slot can be
-- claimed is all that is decided here; what it is otherwise is decided by the caller.
local size = redis.call('STRLEN', KEYS[1])
local phase, head = 0, nil
if size >= 72 then
  if size > 4096 then
    head = redis.call('GETRANGE', KEYS[1], '0', '71')
  else
    head = redis.call('GET', KEYS[1])
  end
  local mark
  mark, phase = string.byte(head, 1, 2)
  if mark ~= 225 then phase = 0 end
  -- Nothing is to be written, and an outcome is one at any time, so no clock is asked: the record alone,
  -- or 0 for a large one.
  if phase == 2 then return size > 4096 and 0 or head end
end

local first, deadline, _, lease = struct.unpack('>I4I8I4I8', ARGV[1])
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
if now > deadline then return {now} end -- The deadline had passed.

local way, fence, attempt = 1, now, 1
if size > 0 then
  way = 0
  if phase == 1 or phase == 3 then
    local previous, attempts, lapses = struct.unpack('>I8I4I8', head, 5)
    local mine = string.sub(head, 25, 40) == string.sub(ARGV[1], 25, 40)
    if phase == 3 then
      if not mine then way = 1 end
    elseif mine then
      -- An earlier copy of this call has claimed it. A byte is written again so that the claim is in
      -- what this connection has written, and waiting for replicas on it proves that they have it.
      redis.call('SETRANGE', KEYS[1], 0, string.sub(head, 1, 1))
      return {now, 3, previous, attempts}
    elseif lapses <= now and string.sub(head, 41, 72) == string.sub(ARGV[1], 41, 72) then
      local allowed = attempts < tonumber(ARGV[3] or 0) or previous == tonumber(ARGV[4])
      if allowed then way = 2 end
    end
    fence = math.max(previous + 1, now)
    attempt = math.min(attempts + 1, 4294967295)
  end
end
if way > 0 then
  local numbers = struct.pack('>I4I8I4I8', first, fence, attempt, now + lease)
  local record = numbers .. string.sub(ARGV[1], 25)
  if size > 0 then
    redis.call('SET', KEYS[1], record, 'PX', ARGV[2])
    return {now, way, fence, attempt}
  end
  -- Should anything else be there that has no length, it is not free.
  if redis.call('SET', KEYS[1], record, 'PX', ARGV[2], 'NX') then return now end
end
