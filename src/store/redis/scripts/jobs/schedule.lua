-- Asks for the job [3] in [4] milliseconds. If there is one: with [5] 'hasten', its time is brought
-- forward; with 'replace', it is made anew. [6] is '1' if it has a state, [7].

local name = ARGV[3]
local hash = job(name)
if redis.call('HGET', hash, 'call') == CALL then
    return 1
end
local at = digits(now() + ARGV[4])
if redis.call('EXISTS', hash) == 0 then
    -- First of all, for a server that is out of memory refuses it, and then all of it.
    redis.call('HSET', hash, 'call', CALL)
    redis.call('ZADD', here .. 'names', 0, name)
    write(name, 6)
    wait_for(name, at)
    return 1
end
go_on()
catch_up(name, hash, move)
redis.call('HSET', hash, 'call', CALL)
local row = redis.call('HMGET', hash, 'owner', 'due', 'asked')
if ARGV[5] == 'replace' then
    leave(hash)
    redis.call('HDEL', hash, 'asked')
    write(name, 6)
    wait_for(name, at)
elseif row[1] then
    if not row[3] or tonumber(at) < tonumber(row[3]) then
        redis.call('HSET', hash, 'asked', at)
    end
elseif not row[2] or tonumber(at) < tonumber(row[2]) then
    wait_for(name, at)
end
return 1
