-- ARGV: 2 the completed record, whole; 3 retention in ms; 4 the nonce, so that the record need not
-- be taken apart. Answers now if done, now or earlier, else what it found.
if head == '' then
  if redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3], 'NX') then return now end
elseif nonce == ARGV[4] then
  if phase == 1 then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
  if phase == 1 or phase == 2 then return now end
end
return found()
