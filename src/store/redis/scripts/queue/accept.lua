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
    if not seen[user] and not (known[1] and redis.call('HEXISTS', hash, 'u:' .. user) == 1) then
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

local answer = known[1] and digits(#users) or 'new'
local waits, id, name = known[3], ARGV[4], ARGV[6]
-- First of all, for a server that is out of memory refuses it, and then all of it.
if known[1] then
    redis.call('HSET', hash, 'call', CALL .. ' ' .. answer)
    id, name, provider, accepted = unpack(redis.call('HMGET', hash, 'id', 'name', 'provider', 'at'))
else
    redis.call('HSET', hash, 'call', CALL .. ' ' .. answer, 'id', id, 'provider', provider, 'name', name,
        'at', accepted)
    redis.call('SET', payload(digest), ARGV[7])
    redis.call('SADD', here .. 'providers', provider)
end
local hour, time, made = digits(math.floor(accepted / HOUR)), digits(now()), 0

-- Makes a delivery of this event, for `user` or for nobody; its number.
local function make(user)
    local number = digits(redis.call('INCR', here .. 'last'))
    local row = { 'event', id, 'digest', digest, 'name', name, 'provider', provider, 'accepted', accepted,
        'at', time, 'attempts', '0' }
    if user then
        row[#row + 1], row[#row + 2] = 'user', user
    end
    redis.call('HSET', delivery(number), unpack(row))
    redis.call('HSETNX', here .. 'hours', 'a' .. hour, number)
    redis.call('HSET', here .. 'hours', 'z' .. hour, number)
    list(number, { provider = provider }, user and 'pending' or 'unrouted', accepted)
    made = made + 1
    return number
end

for _, user in ipairs(users) do
    local number = waits
    if waits then
        local row = read(waits)
        unwait(digest, provider, waits)
        append(waits, row, user)
        waits = nil
    else
        number = make(user)
        join(number, user, time)
    end
    redis.call('HSET', hash, 'u:' .. user, number)
    redis.call('ZADD', here .. 'to:' .. user, number, number)
end
if not known[1] and count == 0 then
    waits = make(nil)
    redis.call('HSET', hash, 'waits', waits)
end
if made > 0 then
    redis.call('HINCRBY', hash, 'left', made)
end
for _, account in ipairs(accounts) do
    redis.call('HSET', hash, 'a:' .. account, '1')
    redis.call('ZADD', here .. 'of:' .. provider .. '/' .. account, waits, waits)
end
return { id, answer }
