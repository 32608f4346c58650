-- How many deliveries there are of each of the statuses from [3] on, and when the oldest was accepted, or
-- ''. Of those that were delivered, the one with the lowest number is taken for the oldest, which it is but
-- for the clocks of those who accepted them.

local lines = {}
for n = 3, #ARGV do
    local since = here .. 'since:' .. ARGV[n]
    local oldest = redis.call('ZRANGE', since, 0, 0)[1]
    if ARGV[n] == 'delivered' then
        oldest = nil
        for _, provider in ipairs(redis.call('SMEMBERS', here .. 'providers')) do
            local first = redis.call('ZRANGE', here .. 'by:delivered:' .. provider, 0, 0)[1]
            if first and (not oldest or tonumber(first) < tonumber(oldest)) then
                oldest = first
            end
        end
    end
    local accepted = oldest and redis.call('HGET', delivery(oldest), 'accepted') or ''
    lines[#lines + 1] = { ARGV[n], digits(redis.call('ZCARD', since)), accepted }
end
return lines
