-- In front of every script, after its first line. KEYS[1] is the slot, ARGV[1] the deadline.
-- Every reply begins with the moment on Redis's clock, in microseconds; numbers stay below 2^53,
-- so they are exact. A reply of the moment alone says that the deadline had passed.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
if now > tonumber(ARGV[1]) then return {now} end

-- The fixed part of a record; see protocol/codec.rs for the layout. What is not a record of
-- version 0xE1 has no phase, so no script writes over it.
local head = redis.call('GETRANGE', KEYS[1], 0, 71)
local phase, nonce = 0, string.sub(head, 25, 40)
if #head == 72 and string.byte(head, 1) == 225 then phase = string.byte(head, 2) end

-- What the slot holds, unless it is large: Lua copies values more than once, so a large one is
-- left to a GET. The limit was measured: see the module's documentation.
local function found()
  if redis.call('STRLEN', KEYS[1]) > 4096 then return {now, 0} end
  return {now, redis.call('GET', KEYS[1])}
end
