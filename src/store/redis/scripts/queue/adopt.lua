-- Gives up to [6] of what waits for the account [4] at the provider [3] to the user [5], in the order in
-- which it was accepted. Answers how many.

local before = answered()
if before then
    return tonumber(before)
end
local waiting = here .. 'of:' .. ARGV[3] .. '/' .. ARGV[4]
local ids = redis.call('ZRANGE', waiting, 0, ARGV[6] - 1)
if #ids == 0 then
    return 0
end
go_on()
for _, id in ipairs(ids) do
    local row = read(id)
    redis.call('ZREM', waiting, id)
    if row.status == 'unrouted' then
        unwait(row.digest, row.provider, id)
        redis.call('HSET', event(row.digest), 'u:' .. ARGV[5], id)
        redis.call('ZADD', here .. 'to:' .. ARGV[5], id, id)
        append(id, row, ARGV[5])
    end
end
return tonumber(sign(digits(#ids)))
