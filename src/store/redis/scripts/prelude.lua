-- What every script that touches one connection shares. It is put before each of them.
--
-- KEYS, eight for each connection: its row; the names of those that are well, of those that need their
-- user, and how many there are of each; those to renew, by age and by end; the users of each account;
-- the names of those whose account is not known. The last of KEYS is where changes are told.
-- ARGV: [1] now, in milliseconds, or '' for the server's own time; [2] how many changes are kept;
-- [3] the channel that changes are published on, or '' if they are left in an outbox; [4] what this
-- call is known by, the same when it is sent again; [5] the connection's name, "provider user".
--
-- Numbers are compared here, never passed through: Lua's have 53 bits.

-- SCHEMA is what this version knows. One that older versions must not work beside says so in each bucket,
-- beside the counts, before it changes anything.

for k = 1, #KEYS - 1, 8 do
    local asked = redis.call('HGET', KEYS[k + 3], 'schema')
    if asked and tonumber(asked) > SCHEMA then
        return redis.error_reply('FUTURE ' .. asked)
    end
end

local function now()
    if ARGV[1] ~= '' then
        return tonumber(ARGV[1])
    end
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function digits(number)
    return string.format('%.0f', number)
end

local function read(k)
    return redis.call('HGETALL', KEYS[k])
end

-- A server that is out of memory refuses commands that may need more, but not within a script that has
-- changed something by then. What only changes a connection that is there begins with this, so that
-- renewals go on; the little that they add is bounded. New connections are refused.
local function go_on(k)
    redis.call('HDEL', KEYS[k], 'never')
end

-- What this very call answered when it was carried out before, its answer having been lost.
local function answered(k, call)
    local last = redis.call('HGET', KEYS[k], 'call')
    if last and string.sub(last, 1, #call + 1) == call .. ' ' then
        return string.sub(last, #call + 2)
    end
    return nil
end

-- Notes what the call answers.
local function sign(k, call, answer)
    redis.call('HSET', KEYS[k], 'call', call .. ' ' .. answer, 'updated', digits(now()))
end

-- Sets the `count` pairs of ARGV from `from` on.
local function set(k, from, count)
    if count > 0 then
        redis.call('HSET', KEYS[k], unpack(ARGV, from, from + 2 * count - 1))
    end
end

-- Whether the row is that of the connection `id` at `generation`, written as `grant`. Where a version that
-- knows of no grants has written the row or noted the fence ('', then), the generation counts alone.
local function is_behind(k, id, generation, grant)
    local row = redis.call('HMGET', KEYS[k], 'id', 'generation', 'grant')
    local is_named = row[3] and row[3] ~= '0' and grant ~= ''
    return row[1] == id and row[2] == generation and (not is_named or row[3] == grant)
end

-- Who holds the lease, and until when. If the clock was set back, no more than the lease's own
-- length is left of it.
local function holder(k)
    local lease = redis.call('HMGET', KEYS[k], 'lease_owner', 'lease_until', 'lease_ttl')
    local till, ttl = tonumber(lease[2] or nil), tonumber(lease[3] or nil)
    if not lease[1] or not till or not ttl then
        return nil
    end
    local time = now()
    if till > time + ttl then
        till = time + ttl
        redis.call('HSET', KEYS[k], 'lease_until', digits(till))
    end
    if till <= time then
        return nil
    end
    return lease[1], till - time
end

-- Whose the row is: the provider's own id, and the managed user's in decimal, of which either may be
-- missing.
local function accounts(row)
    local is = redis.call('HMGET', row, 'external_id', 'managed_user_id')
    return { is[1] or nil, is[2] or nil }
end

-- Notes in the hash `of` that `account` is or is not that of `user`. An account may have several users,
-- separated by spaces.
local function note(of, account, user, is)
    local others = {}
    for other in string.gmatch(redis.call('HGET', of, account) or '', '[^ ]+') do
        if other == user and is then
            return
        elseif other ~= user then
            others[#others + 1] = other
        end
    end
    if is then
        others[#others + 1] = user
    end
    if #others == 0 then
        redis.call('HDEL', of, account)
    else
        redis.call('HSET', of, account, table.concat(others, ' '))
    end
end

-- Makes the indices of accounts, `of` and `anon`, say what the row says. `was` is whose the row was
-- before. An account may have a user too many, which whoever looks it up finds out from the row, but
-- never one too few.
local function index_accounts(row, of, anon, name, was)
    local user = string.match(name, ' (.+)$')
    local known = redis.call('HMGET', row, 'id', 'reason')
    local is = accounts(row)
    for which = 1, 2 do
        if was[which] and was[which] ~= is[1] and was[which] ~= is[2] then
            note(of, was[which], user, false)
        end
        if is[which] then
            note(of, is[which], user, true)
        end
    end
    if known[1] and not known[2] and not is[1] and not is[2] then
        redis.call('ZADD', anon, 0, name)
    else
        redis.call('ZREM', anon, name)
    end
end

-- Makes the indices say what the row says, whatever they said before. `was` is whose the row was.
local function index(k, name, was)
    index_accounts(KEYS[k], KEYS[k + 6], KEYS[k + 7], name, was)
    local provider = string.match(name, '^[^ ]+')
    local row = redis.call('HMGET', KEYS[k], 'id', 'reason', 'refresh', 'renewed', 'refresh_ends')
    local health = 0
    if row[1] then
        health = row[2] and 2 or 1
    end
    for which = 1, 2 do
        local change = 0
        if which == health then
            change = redis.call('ZADD', KEYS[k + which], 0, name)
        else
            change = -redis.call('ZREM', KEYS[k + which], name)
        end
        if change ~= 0 then
            redis.call('HINCRBY', KEYS[k + 3], provider .. ' ' .. which, change)
        end
    end
    local renewable = health == 1 and row[3] and row[4]
    for which = 4, 5 do
        if renewable and row[which] then
            redis.call('ZADD', KEYS[k + which], row[which], name)
        else
            redis.call('ZREM', KEYS[k + which], name)
        end
    end
end

-- Tells that a connection changed. Where the log lies on another server, that is left in an outbox,
-- and what is returned is its place there. 'of', or an 'a' before the place, says that the indices of
-- accounts are as the row is: versions that know nothing of them write neither.
local function tell(name)
    local told = KEYS[#KEYS]
    if ARGV[3] ~= '' then
        redis.call('XADD', told, 'MAXLEN', ARGV[2], '*', 'name', name, 'of', '1')
        -- Without the permission to publish, the others find it when they look.
        redis.pcall('PUBLISH', ARGV[3], name)
        return ''
    end
    local place = 'a' .. digits(redis.call('HINCRBY', told, 'last', 1))
    local time = redis.call('TIME')
    redis.call('HSET', told, place, time[1] .. ' ' .. name)
    return place
end

-- ---------------------------------------------------------------------------------------------
