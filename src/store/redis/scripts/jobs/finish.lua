-- Writes how far the job [3] is, which [4] worked on, and ends the claim. It is due again in [5]
-- milliseconds, if not '', or when it was asked for meanwhile, whichever comes first. [6] is '1' if it has
-- a state, [7]. Answers whether it was still its to write.

local name = ARGV[3]
local hash = job(name)
if redis.call('HGET', hash, 'call') == CALL then
    return 1
end
if not is_owned(hash, ARGV[4]) then
    return 0
end
go_on()
catch_up(name, hash, move)
redis.call('HSET', hash, 'call', CALL)
leave(hash)
write(name, 6)
local at = tonumber(redis.call('HGET', hash, 'asked') or nil)
if ARGV[5] ~= '' then
    at = math.min(at or math.huge, now() + ARGV[5])
end
redis.call('HDEL', hash, 'asked', 'due')
if at then
    wait_for(name, digits(at))
else
    rest(name)
end
return 1
