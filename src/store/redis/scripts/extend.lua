-- Prolongs the lease of [6] to [7] milliseconds from now, if it still holds it.

if holder(1) ~= ARGV[6] then
    return { 'no', {}, '' }
end
go_on(1)
redis.call('HSET', KEYS[1], 'lease_until', digits(now() + ARGV[7]), 'lease_ttl', ARGV[7])
return { 'yes', {}, '' }
