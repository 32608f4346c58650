-- Gives the lease of [6] back, if it still holds it.

local answer = answered(1, ARGV[4])
if not answer then
    if holder(1) ~= ARGV[6] then
        return { 'no', {}, '' }
    end
    answer = 'yes'
    redis.call('HDEL', KEYS[1], 'lease_owner', 'lease_until', 'lease_ttl')
    redis.call('HSET', KEYS[1], 'call', ARGV[4] .. ' ' .. answer)
end
return { answer, {}, '' }
