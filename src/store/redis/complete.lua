-- Answers now if done, now or earlier, else what it found.
if mine and phase == 2 then return now end
if head == '' and redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3], 'NX') then return now end
