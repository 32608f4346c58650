-- Claims up to [5] jobs that are due, for [3], until [4] milliseconds from now. Answers with their names
-- and rows.

local found = {}
local before = answered()
if before then
    for name in string.gmatch(before, '[^\n]+') do
        if is_owned(job(name), ARGV[3]) then
            found[#found + 1] = { name, redis.call('HGETALL', job(name)) }
        end
    end
    return found
end
local names = due(ARGV[5], job, move)
if #names == 0 then
    return found
end
go_on()
for _, name in ipairs(names) do
    if redis.call('EXISTS', job(name)) == 1 then
        claim(job(name), name, ARGV[3], ARGV[4])
        found[#found + 1] = { name, redis.call('HGETALL', job(name)) }
    else
        rest(name)
    end
end
sign(table.concat(names, '\n'))
return found
