-- Writes meetings, from ARGV[3] on, nine each: provider, user, id, status, '1' if it is over, begin, end,
-- version, details. Answers what became of each. A server that is out of memory refuses all of it: the
-- first write is one that may need more.

local answers = {}
for at = 3, #ARGV, 9 do
    local provider, user, id = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    local over, begins, ends, version = ARGV[at + 4], ARGV[at + 5], ARGV[at + 6], ARGV[at + 7]
    local name = provider .. '/' .. user .. ' ' .. id
    local hash, call = here .. 'm:' .. name, CALL .. '.' .. at .. ' '
    local was = redis.call('HMGET', hash, 'over', 'version', 'call')
    local answer = 'stands'
    if was[3] and string.sub(was[3], 1, #call) == call then
        -- Done before.
        answers[#answers + 1] = string.sub(was[3], #call + 1)
    else
        if not was[2] then
            answer = 'created'
        elseif over ~= was[1] then
            answer = over == '1' and 'changed' or 'stands'
        elseif tonumber(version) > tonumber(was[2]) then
            answer = 'changed'
        end
        if answer ~= 'stands' then
            redis.call('HSET', hash, 'call', call .. answer, 'status', ARGV[at + 3], 'over', over,
                'begins', begins, 'ends', ends, 'version', version, 'details', ARGV[at + 8])
            redis.call('ZADD', index_of(user), begins, provider .. ' ' .. id)
            redis.call('ZADD', ENDS, ends, name)
            local lasts, longest = ends - begins, redis.call('GET', long(user))
            if not longest or lasts > tonumber(longest) then
                redis.call('SET', long(user), digits(lasts))
            end
        end
        answers[#answers + 1] = answer
    end
end
return answers
