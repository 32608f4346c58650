-- Up to [9] meetings of the user [3], in order, those after [7] and [8] only: a begin, and a "provider id"
-- that began then (or '' and ''). Of the provider [4], if not ''; that end after [5] and begin before [6],
-- if not ''. Looks at [10] at most. Answers with the begin and "provider id" to go on after, or '' if there
-- are no more, and the meetings, each with its provider and id.

local user, provider, from, till = ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local first = '-inf'
if from then
    first = digits(from - tonumber(redis.call('GET', long(user)) or 0))
end
if ARGV[7] ~= '' and not (from and tonumber(first) > tonumber(ARGV[7])) then
    first = ARGV[7]
end
local last = till and '(' .. ARGV[6] or '+inf'
local begins, id, rows, seen, offset = '', '', {}, 0, 0
while seen < tonumber(ARGV[10]) do
    local some = redis.call('ZRANGEBYSCORE', index_of(user), first, last, 'WITHSCORES', 'LIMIT', offset, 100)
    if #some == 0 then
        return { '', '', rows }
    end
    offset = offset + #some / 2
    for at = 1, #some, 2 do
        id, begins = some[at], digits(tonumber(some[at + 1]))
        seen = seen + 1
        if ARGV[7] == '' or tonumber(begins) > tonumber(ARGV[7]) or is_after(id, ARGV[8]) then
            local of, its = string.match(id, '^([^ ]+) (.*)$')
            local hash = here .. 'm:' .. of .. '/' .. user .. ' ' .. its
            local ends = tonumber(redis.call('HGET', hash, 'ends') or nil)
            if ends and (provider == '' or of == provider) and (not from or ends > from) then
                rows[#rows + 1] = { of, its, redis.call('HGETALL', hash) }
                if #rows == tonumber(ARGV[9]) then
                    return { begins, id, rows }
                end
            end
        end
    end
end
return { begins, id, rows }
