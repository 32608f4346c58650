-- Forgets up to [4] meetings of the section that ended before [3]. Answers how many.

local before = answered()
if before then
    return tonumber(before)
end
local names = redis.call('ZRANGEBYSCORE', ENDS, '-inf', '(' .. ARGV[3], 'LIMIT', 0, ARGV[4])
for _, name in ipairs(names) do
    forget(name)
end
if #names > 0 then
    sign(digits(#names))
end
return #names
