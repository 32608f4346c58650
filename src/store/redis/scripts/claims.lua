-- Claims: who works on what until when. The claim of a thing is a part of the hash that is given: its
-- owner, how long it lasts, and until when. The sets 'due' and 'busy' of the section have all things that
-- will be due, and those that are claimed, by their time: a claim that has run out is due.

local DUE, BUSY = here .. 'due', here .. 'busy'

-- Whether `owner` may still write: nobody has taken over.
local function is_owned(hash, owner)
    return redis.call('HGET', hash, 'owner') == owner
end

-- Whether somebody has the thing, and the time is not over.
local function is_claimed(hash)
    local claim = redis.call('HMGET', hash, 'owner', 'till')
    return claim[1] and tonumber(claim[2] or 0) > now()
end

local function claim(hash, thing, owner, ttl)
    local till = digits(now() + ttl)
    redis.call('HSET', hash, 'owner', owner, 'ttl', ttl, 'till', till)
    redis.call('ZADD', DUE, till, thing)
    redis.call('ZADD', BUSY, till, thing)
    return till
end

-- Ends a claim. When the thing is due again is for the caller to say.
local function leave(hash, thing)
    redis.call('HDEL', hash, 'owner', 'ttl', 'till')
    redis.call('ZREM', BUSY, thing)
end

-- Up to `limit` things that are due, those due longest first. If the time was set back, no more than its
-- own length is left of a claim; `hash_of` says where a thing's claim is.
local function due(limit, hash_of)
    local time = now()
    local last = redis.call('ZREVRANGE', BUSY, 0, 0, 'WITHSCORES')
    while last[1] do
        local ttl = tonumber(redis.call('HGET', hash_of(last[1]), 'ttl') or 0)
        if tonumber(last[2]) <= time + ttl then
            break
        end
        local till = digits(time + ttl)
        redis.call('HSET', hash_of(last[1]), 'till', till)
        redis.call('ZADD', DUE, till, last[1])
        redis.call('ZADD', BUSY, till, last[1])
        last = redis.call('ZREVRANGE', BUSY, 0, 0, 'WITHSCORES')
    end
    return redis.call('ZRANGEBYSCORE', DUE, '-inf', digits(time), 'LIMIT', 0, limit)
end

-- ---------------------------------------------------------------------------------------------
