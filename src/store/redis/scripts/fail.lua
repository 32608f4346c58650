-- Cools the connection [6] at generation [7] down until [8] after [9] failures; if [10] is 'unspent',
-- takes its last attempt back. An earlier one, whose end is not known, stays recorded.

local answer = answered(1, ARGV[4])
if answer then
    return { answer, {}, '' }
end
if not is_behind(1, ARGV[6], ARGV[7]) then
    return { 'refused', {}, '' }
end
go_on(1)
redis.call('HSET', KEYS[1], 'cooldown_until', ARGV[8], 'cooldown_failures', ARGV[9])
if ARGV[10] == 'unspent' then
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
