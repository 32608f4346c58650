-- Forgets up to [5] deliveries that were delivered before [3], or that were given up or are nobody's and
-- were accepted before [4]; events with their last one. Answers how many.

local before = answered()
if before then
    return tonumber(before)
end
local function forget(id)
    local row = read(id)
    list(id, row, nil)
    if row.user then
        redis.call('ZREM', here .. 'to:' .. row.user, id)
    else
        unwait(row.digest, row.provider, id)
    end
    redis.call('DEL', delivery(id))
    if redis.call('HINCRBY', event(row.digest), 'left', -1) <= 0 then
        redis.call('UNLINK', event(row.digest), payload(row.digest))
    end
end

local left, forgotten = tonumber(ARGV[5]), 0
for _, status in ipairs({ 'delivered', 'dead', 'unrouted' }) do
    local since = here .. 'since:' .. status
    local bound = status == 'delivered' and ARGV[3] or ARGV[4]
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', since, '-inf', '(' .. bound, 'LIMIT', 0, left)) do
        forget(id)
        left, forgotten = left - 1, forgotten + 1
    end
end
if forgotten == 0 then
    return 0
end

-- Hours of which nothing is left.
local lowest
for _, provider in ipairs(redis.call('SMEMBERS', here .. 'providers')) do
    for _, status in ipairs({ 'pending', 'delivered', 'dead', 'unrouted' }) do
        local first = redis.call('ZRANGE', here .. 'by:' .. status .. ':' .. provider, 0, 0)[1]
        lowest = first and math.min(lowest or first, first) or lowest
    end
end
local hours = redis.call('HGETALL', here .. 'hours')
for at = 1, #hours, 2 do
    if string.sub(hours[at], 1, 1) == 'z' and (not lowest or tonumber(hours[at + 1]) < tonumber(lowest)) then
        local hour = string.sub(hours[at], 2)
        redis.call('HDEL', here .. 'hours', 'a' .. hour, 'z' .. hour)
    end
end
return tonumber(sign(digits(forgotten)))
