-- What the scripts about events and deliveries share. All of it lies in one section, so that an event
-- and the deliveries to all its users are one step.
--
--   last                      how many deliveries were ever made: the number of the latest
--   e:<digest>                hash  an event, by what was signed. u:<user> is the number of that user's
--                             delivery, a:<account> an account that it waits for, waits the number of
--                             the delivery that is nobody's, left how many deliveries there are
--   p:<digest>                text  its payload, which apart from the rest leaves that compact
--   d:<number>                hash  a delivery
--   line:<user>               list  numbers of what is on its way to a user, the first one first
--   claim:<user>  due  set          who works on which line (claims.lua)
--   by:<status>:<provider>    zset  numbers of deliveries, for lists and for counting
--   to:<user>                 zset  the same
--   of:<provider>/<account>   zset  numbers of what waits for an account
--   since:<status>            zset  numbers of deliveries, by when they were accepted; of those that were
--                             delivered, by when that was
--   providers                 set   whose events there ever were
--   hours                     hash  the lowest and the highest number that was accepted in each hour
--                             since the epoch: a492013 and z492013

local HOUR = 3600000

local function event(digest)
    return here .. 'e:' .. digest
end

local function payload(digest)
    return here .. 'p:' .. digest
end

local function delivery(id)
    return here .. 'd:' .. id
end

local function line(user)
    return here .. 'line:' .. user
end

local function claim_of(user)
    return here .. 'claim:' .. user
end

-- The fields of a delivery, by name. Those that are missing are nil, and so are all if there is none.
local function read(id)
    local fields, row = redis.call('HGETALL', delivery(id)), {}
    for at = 1, #fields, 2 do
        row[fields[at]] = fields[at + 1]
    end
    return row
end

-- A delivery and its payload, as they are answered.
local function whole(id, row)
    return { id, redis.call('HGETALL', delivery(id)), redis.call('GET', payload(row.digest)) or '' }
end

-- Lists a delivery under `status`, with the time that counts for that, or no longer (nil).
local function list(id, row, status, since)
    if row.status then
        redis.call('ZREM', here .. 'by:' .. row.status .. ':' .. row.provider, id)
        redis.call('ZREM', here .. 'since:' .. row.status, id)
    end
    if status then
        redis.call('ZADD', here .. 'by:' .. status .. ':' .. row.provider, id, id)
        redis.call('ZADD', here .. 'since:' .. status, since, id)
        redis.call('HSET', delivery(id), 'status', status)
    end
    row.status = status
end

-- A line is due when its first delivery is, but not before its claim has run out.
local function line_up(user)
    local first = redis.call('LINDEX', line(user), 0)
    if not first then
        rest(user)
    elseif not is_claimed(claim_of(user)) then
        wait(user, redis.call('HGET', delivery(first), 'at') or '0')
    end
end

-- The first delivery has left the line. What follows was never tried: it is due at once, even if the time
-- was set back since it came.
local function move_up(user)
    redis.call('LPOP', line(user))
    local first, time = redis.call('LINDEX', line(user), 0), now()
    if first and tonumber(redis.call('HGET', delivery(first), 'at') or 0) > time then
        redis.call('HSET', delivery(first), 'at', digits(time))
    end
    line_up(user)
end

-- Brings forward what a line waits for. See catch_up in claims.lua.
local function move(user, by)
    local first = redis.call('LINDEX', line(user), 0)
    local at = first and redis.call('HGET', delivery(first), 'at')
    if at then
        redis.call('HSET', delivery(first), 'at', digits(at - by))
    end
end

-- Puts a delivery that is pending at the end of the line of its user. A line that was empty is nobody's.
local function join(id, user, at)
    if redis.call('RPUSH', line(user), id) == 1 then
        wait(user, at)
    end
end

-- Makes a delivery that is there pending again, or for the first time, due at once.
local function append(id, row, user)
    local at = digits(now())
    redis.call('HSET', delivery(id), 'user', user, 'at', at, 'attempts', '0')
    redis.call('HDEL', delivery(id), 'first', 'error')
    list(id, row, 'pending', row.accepted)
    join(id, user, at)
end

-- The accounts that an event waits for wait no longer.
local function unwait(digest, provider, id)
    for _, field in ipairs(redis.call('HKEYS', event(digest))) do
        if string.sub(field, 1, 2) == 'a:' then
            redis.call('ZREM', here .. 'of:' .. provider .. '/' .. string.sub(field, 3), id)
            redis.call('HDEL', event(digest), field)
        end
    end
    redis.call('HDEL', event(digest), 'waits')
end

-- ---------------------------------------------------------------------------------------------
