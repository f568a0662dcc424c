-- At the end of every script: nothing was written. The moment and what the slot holds, or 0 where that
-- is so large that a GET of its own is cheaper: see the module's documentation.
if redis.call('STRLEN', KEYS[1]) > 4096 then return {now, 0} end
return {now, redis.call('GET', KEYS[1])}
