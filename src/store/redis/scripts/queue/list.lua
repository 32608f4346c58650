-- Up to [9] deliveries, the newest first, those before [8] only (or ''). Of the user [3], if not ''; of
-- the statuses [4], separated by spaces; of the provider [5], if not ''; accepted at or after [6] and
-- before [7], if not ''. Looks at [10] at most. Answers with where to go on, or '' if there are no more,
-- and the deliveries.

local user, provider = ARGV[3], ARGV[5]
local since, till = tonumber(ARGV[6]), tonumber(ARGV[7])
local from, to = '-inf', ARGV[8] ~= '' and '(' .. ARGV[8] or '+inf'

-- Numbers are in the order of acceptance, but times are of many clocks. So the hours say which numbers
-- may be meant, and the rows which are.
if since or till then
    local lowest, highest
    local hours = redis.call('HGETALL', here .. 'hours')
    for at = 1, #hours, 2 do
        local hour, id = tonumber(string.sub(hours[at], 2)), tonumber(hours[at + 1])
        if (not since or (hour + 1) * HOUR > since) and (not till or hour * HOUR < till) then
            lowest = math.min(lowest or id, id)
            highest = math.max(highest or id, id)
        end
    end
    if not lowest then
        return { '', {} }
    end
    from = digits(lowest)
    if ARGV[8] == '' or tonumber(ARGV[8]) > highest then
        to = digits(highest)
    end
end

local statuses, sources = {}, {}
for status in string.gmatch(ARGV[4], '[^ ]+') do
    statuses[status] = true
    local providers = provider ~= '' and { provider } or redis.call('SMEMBERS', here .. 'providers')
    for _, name in ipairs(providers) do
        sources[#sources + 1] = here .. 'by:' .. status .. ':' .. name
    end
end
if user ~= '' then
    sources = { here .. 'to:' .. user }
end

local ids = {}
for _, source in ipairs(sources) do
    for _, id in ipairs(redis.call('ZREVRANGEBYSCORE', source, to, from, 'LIMIT', 0, ARGV[10])) do
        ids[#ids + 1] = id
    end
end
table.sort(ids, function(a, b) return tonumber(a) > tonumber(b) end)

local rows = {}
for n, id in ipairs(ids) do
    if n > tonumber(ARGV[10]) or #rows == tonumber(ARGV[9]) then
        return { ids[n - 1], rows }
    end
    local row = redis.call('HMGET', delivery(id), 'status', 'provider', 'accepted')
    local accepted = tonumber(row[3] or nil)
    if accepted and statuses[row[1]] and (provider == '' or row[2] == provider)
        and (not since or accepted >= since) and (not till or accepted < till) then
        rows[#rows + 1] = { id, redis.call('HGETALL', delivery(id)), '' }
    end
end
return { #ids < tonumber(ARGV[10]) and '' or ids[#ids], rows }
