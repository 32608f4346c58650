-- Forgets the job [3], whoever works on it. Answers whether there was one.

local before = answered()
if before then
    return tonumber(before)
end
local gone = redis.call('DEL', job(ARGV[3]))
for _, index in ipairs({ here .. 'names', DUE, SET }) do
    redis.call('ZREM', index, ARGV[3])
end
if gone == 1 then
    sign('1')
end
return gone
