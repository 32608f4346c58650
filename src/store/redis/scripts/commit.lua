-- Stores new tokens as the generation after [7], written as [8], of the connection [6]: the [9] pairs that
-- follow.

local answer = answered(1, ARGV[4])
if answer then
    return { answer, read(1), '' }
end
if redis.call('EXISTS', KEYS[1]) == 0 then
    return { 'gone', {}, '' }
end
if not is_behind(1, ARGV[6], ARGV[7], ARGV[8]) then
    return { 'superseded', read(1), '' }
end
local was = accounts(KEYS[1])
go_on(1)
sign(1, ARGV[4], 'stored')
redis.call('HDEL', KEYS[1], 'reason', 'since', 'access', 'refresh', 'renewed', 'access_ends', 'refresh_ends',
    'intent_owner', 'intent_redemption', 'intent_attempts', 'intent_at', 'before_owner', 'before_redemption',
    'before_at', 'cooldown_until', 'cooldown_failures')
set(1, 10, tonumber(ARGV[9]))
redis.call('HSET', KEYS[1], 'generation', digits(ARGV[7] + 1))
index(1, ARGV[5], was)
local place = tell(ARGV[5])
return { 'stored', read(1), place }
