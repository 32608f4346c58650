-- Keeps an event and makes the deliveries that it lacks. ARGV: [3] digest of what was signed; [4] the id
-- that it gets if it is new; [5] provider; [6] name; [7] payload; [8] when it was accepted; [9] for how
-- many users it is; these; the accounts that it waits for if it is for none. Answers with its id, and
-- 'new' or how many users are new.

local digest, provider, accepted = ARGV[3], ARGV[5], ARGV[8]
local hash = event(digest)
local known = redis.call('HMGET', hash, 'id', 'call', 'waits')
if known[2] and string.sub(known[2], 1, #CALL + 1) == CALL .. ' ' then
    return { known[1], string.sub(known[2], #CALL + 2) }
end

local count = tonumber(ARGV[9])
local users, accounts, seen = {}, {}, {}
for n = 10, 9 + count do
    local user = ARGV[n]
    if not seen[user] and redis.call('HEXISTS', hash, 'u:' .. user) == 0 then
        seen[user] = true
        users[#users + 1] = user
    end
end
if count == 0 and (known[3] or not known[1]) then
    for n = 10, #ARGV do
        if redis.call('HEXISTS', hash, 'a:' .. ARGV[n]) == 0 then
            accounts[#accounts + 1] = ARGV[n]
        end
    end
end
if known[1] and #users == 0 and #accounts == 0 then
    return { known[1], '0' }
end

-- First of all, for a server that is out of memory refuses it, and then all of it.
local answer = known[1] and digits(#users) or 'new'
redis.call('HSET', hash, 'call', CALL .. ' ' .. answer)
if not known[1] then
    redis.call('HSET', hash, 'id', ARGV[4], 'provider', provider, 'name', ARGV[6], 'payload', ARGV[7],
        'at', accepted, 'left', '0')
    redis.call('SADD', here .. 'providers', provider)
end
local row = redis.call('HMGET', hash, 'id', 'name', 'at')

-- A delivery of this event, which is nobody's yet.
local function make()
    local id = digits(redis.call('INCR', here .. 'last'))
    redis.call('HSET', delivery(id), 'event', row[1], 'digest', digest, 'name', row[2], 'provider', provider,
        'accepted', row[3], 'at', digits(now()), 'attempts', '0')
    redis.call('HINCRBY', hash, 'left', 1)
    local hour = digits(math.floor(row[3] / HOUR))
    redis.call('HSETNX', here .. 'hours', 'a' .. hour, id)
    redis.call('HSET', here .. 'hours', 'z' .. hour, id)
    return id
end

local waits = known[3]
for _, user in ipairs(users) do
    local id = waits or make()
    local made = waits and read(id) or { provider = provider, accepted = row[3] }
    if waits then
        unwait(digest, provider, waits)
        waits = nil
    end
    redis.call('HSET', hash, 'u:' .. user, id)
    redis.call('ZADD', here .. 'to:' .. user, id, id)
    append(id, made, user)
end
if not known[1] and count == 0 then
    waits = make()
    redis.call('HSET', hash, 'waits', waits)
    list(waits, { provider = provider }, 'unrouted', row[3])
end
for _, account in ipairs(accounts) do
    redis.call('HSET', hash, 'a:' .. account, '1')
    redis.call('ZADD', here .. 'of:' .. provider .. '/' .. account, waits, waits)
end
return { row[1], answer }
