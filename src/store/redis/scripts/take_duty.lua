-- Takes the duty for [6] until [7] milliseconds from now, if nobody else has it.

local owner, left = holder(1)
if owner and owner ~= ARGV[6] then
    return { 'held', {}, digits(left) }
end
go_on(1)
redis.call('HSET', KEYS[1], 'lease_owner', ARGV[6], 'lease_until', digits(now() + ARGV[7]), 'lease_ttl', ARGV[7])
return { 'taken', {}, '' }
