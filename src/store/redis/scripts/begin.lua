-- Records an attempt at the connection [6] at generation [7], written as [8], by [9], in the way [10], at
-- [11]. Needs the lease.

if answered(1, ARGV[4]) then
    return { 'recorded', read(1), '' }
end
if not is_behind(1, ARGV[6], ARGV[7], ARGV[8]) or holder(1) ~= ARGV[9] then
    return { 'refused', {}, '' }
end
local was = redis.call('HMGET', KEYS[1], 'intent_owner', 'intent_redemption', 'intent_at', 'intent_attempts')
local attempts = 1
go_on(1)
redis.call('HDEL', KEYS[1], 'before_owner', 'before_redemption', 'before_at')
if was[1] and was[2] and was[3] and was[4] then
    attempts = was[4] + 1
    redis.call('HSET', KEYS[1], 'before_owner', was[1], 'before_redemption', was[2], 'before_at', was[3])
end
redis.call('HSET', KEYS[1], 'intent_owner', ARGV[9], 'intent_redemption', ARGV[10], 'intent_at', ARGV[11],
    'intent_attempts', digits(attempts))
sign(1, ARGV[4], 'recorded')
return { 'recorded', read(1), '' }
