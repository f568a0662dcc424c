-- ARGV[1] is the deadline. Moments are of Redis's clock, in microseconds; they stay below 2^53, so they
-- are exact. One that is answered alone is when the verb was done.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
if now > tonumber(ARGV[1]) then return {now} end -- The deadline had passed.
