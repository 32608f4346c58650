-- Claims: who works on what until when. The claim of a thing is a part of the hash that is given: its
-- owner, and until when. The sets 'due' and 'set' of the section have all things that will be due, by when
-- that is, and by when it was set: a claim that has run out is due. What was set in the future shows that
-- the time was set back.

local DUE, SET = here .. 'due', here .. 'set'

-- The thing is due at that time, as from now.
local function wait(thing, at)
    redis.call('ZADD', DUE, at, thing)
    redis.call('ZADD', SET, digits(now()), thing)
end

-- The thing is never due.
local function rest(thing)
    redis.call('ZREM', DUE, thing)
    redis.call('ZREM', SET, thing)
end

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
    redis.call('HSET', hash, 'owner', owner, 'till', till)
    wait(thing, till)
    return till
end

-- Ends a claim. When the thing is due again is for the caller to say.
local function leave(hash)
    redis.call('HDEL', hash, 'owner', 'till')
end

-- If the time was set back since the due time of `thing` was set, counts that from now: it is not due later
-- than in the time that it was put off for, and no claim lasts longer than it was made for.
-- `move(thing, by)` does the same to what else has that time.
local function catch_up(thing, hash, move)
    local since, time = tonumber(redis.call('ZSCORE', SET, thing) or 0), now()
    if since <= time then
        return
    end
    go_on()
    local by = since - time
    local at = tonumber(redis.call('ZSCORE', DUE, thing) or since) - by
    wait(thing, digits(at))
    if redis.call('HEXISTS', hash, 'till') == 1 then
        redis.call('HSET', hash, 'till', digits(at))
    end
    move(thing, by)
end

-- Up to `limit` things that are due, those due longest first. `hash_of` says where a thing's claim is; see
-- catch_up for `move`. What is over the bound that keeps the script short is caught up with next time.
local function due(limit, hash_of, move)
    local time = digits(now())
    for _, thing in ipairs(redis.call('ZRANGEBYSCORE', SET, '(' .. time, '+inf', 'LIMIT', 0, 1000)) do
        catch_up(thing, hash_of(thing), move)
    end
    return redis.call('ZRANGEBYSCORE', DUE, '-inf', time, 'LIMIT', 0, limit)
end

-- ---------------------------------------------------------------------------------------------
