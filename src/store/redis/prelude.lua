-- In front of every script, after its first line. KEYS[1] is the slot, ARGV[1] the deadline.
-- A number alone is the moment on Redis's clock, in microseconds, at which the verb was done; numbers
-- stay below 2^53, so they are exact. What is answered for every request is a number or a string, since
-- a table costs more to make, to send and to read.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
if now > tonumber(ARGV[1]) then return {now} end -- The deadline had passed.

-- As much of the slot as most records have. Positions are text: numbers would be made into it.
local value = redis.call('GETRANGE', KEYS[1], '0', '511')
-- The fixed part of a record; see protocol/codec.rs for the layout. What is not a record of
-- version 0xE1 has no phase, so no script writes over it.
local head = string.sub(value, 1, 72)
local phase, nonce = 0, string.sub(head, 25, 40)
if #head == 72 and string.byte(head, 1) == 225 then phase = string.byte(head, 2) end

-- The moment, as eight bytes, and what the slot holds, unless it is large: Lua copies values more than
-- once, so a large one is left to a GET. The limit was measured: see the module's documentation.
local function found()
  if #value == 512 then
    if redis.call('GETRANGE', KEYS[1], '4096', '4096') ~= '' then return {now, 0} end
    value = redis.call('GET', KEYS[1])
  end
  if value == '' then return {now, redis.call('GET', KEYS[1])} end
  return struct.pack('>I8', now) .. value
end
