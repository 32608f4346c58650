-- The connections of one bucket that are due. KEYS: those to renew by age, by end. ARGV: [1] what the
-- keys of rows begin with; [2] renewed before this or [3] ending before this; [4] now; [5] at most so
-- many; [6] no cooldown ends after this. Answers with by how much each is due, in milliseconds, and its name.
--
-- Rows lie in the slot of their bucket. Those that are cooling down are passed over, up to a limit
-- that keeps the script short.

local PORTION, MOST = 100, 2000
local limit = tonumber(ARGV[5])
local time, longest = tonumber(ARGV[4]), tonumber(ARGV[6])
local late, found = {}, {}
for which = 1, 2 do
    local taken, offset = 0, 0
    while taken < limit and offset < MOST do
        local names = redis.call('ZRANGEBYSCORE', KEYS[which], '-inf', '(' .. ARGV[which + 1],
            'WITHSCORES', 'LIMIT', offset, PORTION)
        if #names == 0 then
            break
        end
        offset = offset + #names / 2
        for at = 1, #names, 2 do
            local name, by = names[at], ARGV[which + 1] - names[at + 1]
            if taken < limit then
                local key = ARGV[1] .. string.gsub(name, ' ', '/', 1)
                local row = redis.call('HMGET', key, 'renewed', 'cooldown_until')
                local cools_until = tonumber(row[2] or nil) or time
                if row[1] and (cools_until <= time or cools_until > longest) then
                    taken = taken + 1
                    late[name] = math.max(late[name] or 0, by)
                end
            end
        end
    end
end
for name, by in pairs(late) do
    found[#found + 1] = string.format('%.0f', by)
    found[#found + 1] = name
end
return found
