-- Writes what the try of the delivery [3] by [4] came to, [5]: 'delivered'; 'dead', for the reason [6];
-- 'failed', for the reason [6], to be tried again in [7] milliseconds; 'postponed' without a try for [7]
-- milliseconds. Answers whether it was still its to write.

local id, owner, word = ARGV[3], ARGV[4], ARGV[5]
local row = read(id)
if row.call == CALL then
    return 1
end
local user = row.user
if not user or row.status ~= 'pending' or not is_owned(claim_of(user), owner)
    or redis.call('LINDEX', line(user), 0) ~= id then
    return 0
end
go_on()
leave(claim_of(user))
local time = digits(now())
redis.call('HSET', delivery(id), 'call', CALL)
if word ~= 'postponed' then
    redis.call('HINCRBY', delivery(id), 'attempts', 1)
    redis.call('HSETNX', delivery(id), 'first', time)
    redis.call('HDEL', delivery(id), 'error')
    if word ~= 'delivered' then
        redis.call('HSET', delivery(id), 'error', ARGV[6])
    end
end
if word == 'delivered' or word == 'dead' then
    redis.call('HSET', delivery(id), 'at', time)
    list(id, row, word, word == 'dead' and row.accepted or time)
    move_up(user)
else
    redis.call('HSET', delivery(id), 'at', digits(time + ARGV[7]))
    line_up(user)
end
return 1
