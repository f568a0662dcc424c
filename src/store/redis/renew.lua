-- ARGV: 2 the record to put back if it was lost, without the lease; 3 lease in us; 4 retention in
-- ms. Answers now if done, else what it found.
local record = ARGV[2]
local lease = struct.pack('>I8', now + ARGV[3])
if head == '' then
  record = string.sub(record, 1, 16) .. lease .. string.sub(record, 25)
  if redis.call('SET', KEYS[1], record, 'PX', ARGV[4], 'NX') then return now end
elseif phase == 1 and string.sub(head, 25, 40) == string.sub(record, 25, 40) then
  redis.call('SETRANGE', KEYS[1], 16, lease)
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
  return now
end
