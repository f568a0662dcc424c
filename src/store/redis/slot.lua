-- The fixed part of a record; see protocol/codec.rs for the layout. Lua hashes every byte of every string
-- that it gets, so it gets no more. What is not a record of version 0xE1 has no phase, so no script writes
-- over it. Positions are text: numbers would be made into it.
local head = redis.call('GETRANGE', KEYS[1], '0', '71')
local mark, phase = string.byte(head, 1, 2)
if mark ~= 225 or #head < 72 then phase = 0 end
