-- Forgets up to [5] meetings of the user [4] at the provider [3]. Answers how many.

local before = answered()
if before then
    return tonumber(before)
end
local forgotten, offset, portion = 0, 0, tonumber(ARGV[5])
local prefix = ARGV[3] .. ' '
while forgotten < portion do
    local some = redis.call('ZRANGE', index_of(ARGV[4]), offset, offset + 99)
    if #some == 0 then
        break
    end
    for _, id in ipairs(some) do
        if string.sub(id, 1, #prefix) == prefix and forgotten < portion then
            forget(ARGV[3] .. '/' .. ARGV[4] .. ' ' .. string.sub(id, #prefix + 1))
            forgotten = forgotten + 1
        else
            offset = offset + 1
        end
    end
end
if forgotten > 0 then
    sign(digits(forgotten))
end
return forgotten
