-- Cools the connection [6] at generation [7], written as [8], down until [9] after [10] failures; if [11] is
-- 'unspent', takes its last attempt back. An earlier one, whose end is not known, stays recorded.

local answer = answered(1, ARGV[4])
if answer then
    return { answer, {}, '' }
end
if not is_behind(1, ARGV[6], ARGV[7], ARGV[8]) then
    return { 'refused', {}, '' }
end
go_on(1)
redis.call('HSET', KEYS[1], 'cooldown_until', ARGV[9], 'cooldown_failures', ARGV[10])
if ARGV[11] == 'unspent' then
    local attempts = tonumber(redis.call('HGET', KEYS[1], 'intent_attempts') or nil)
    if attempts and attempts > 1 then
        redis.call('HSET', KEYS[1], 'intent_attempts', digits(attempts - 1))
        local was = redis.call('HMGET', KEYS[1], 'before_owner', 'before_redemption', 'before_at')
        if was[1] and was[2] and was[3] then
            redis.call('HSET', KEYS[1], 'intent_owner', was[1], 'intent_redemption', was[2], 'intent_at', was[3])
        end
    else
        redis.call('HDEL', KEYS[1], 'intent_owner', 'intent_redemption', 'intent_attempts', 'intent_at')
    end
    redis.call('HDEL', KEYS[1], 'before_owner', 'before_redemption', 'before_at')
end
sign(1, ARGV[4], 'written')
return { 'written', {}, tell(ARGV[5]) }
