-- Creates connections or replaces their grants. From ARGV[5] on, for each: its name, its fingerprint
-- or '', the generation it gets if it is created, how many pairs follow, and these, the id and the
-- time of creation first, which only a new connection gets.

local NEW = { 'reason', 'since', 'access', 'refresh', 'renewed', 'access_ends', 'refresh_ends',
    'external_id', 'organization', 'managed_user_id', 'scope', 'intent_owner', 'intent_redemption',
    'intent_attempts', 'intent_at', 'before_owner', 'before_redemption', 'before_at',
    'cooldown_until', 'cooldown_failures', 'forced', 'fingerprint' }

local answers = {}
local at = 5
for item = 1, (#KEYS - 1) / 8 do
    local k = 8 * item - 7
    local name, fingerprint, first, count = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
    local pairs_at = at + 4
    at = pairs_at + 2 * count
    local call = ARGV[4] .. '.' .. item
    local row = redis.call('HMGET', KEYS[k], 'id', 'generation', 'created', 'fingerprint')
    local generation = tonumber(row[2] or nil)
    local exists = row[1] and #row[1] == 32 and generation and tonumber(row[3] or nil)
    local answer = answered(k, call)
    local place = ''
    if answer then
        -- Done before.
    elseif exists and fingerprint ~= '' and row[4] == fingerprint then
        answer = 'unchanged'
    else
        answer = exists and 'replaced' or 'created'
        local was = accounts(KEYS[k])
        -- First of all, for a server that is out of memory refuses it, and then all of it.
        sign(k, call, answer)
        redis.call('HDEL', KEYS[k], unpack(NEW))
        if exists then
            set(k, pairs_at + 4, count - 2)
            redis.call('HSET', KEYS[k], 'generation', digits(generation + 1))
        else
            set(k, pairs_at, count)
            redis.call('HSET', KEYS[k], 'generation', first)
        end
        if fingerprint ~= '' then
            redis.call('HSET', KEYS[k], 'fingerprint', fingerprint)
        end
        index(k, name, was)
        place = tell(name)
    end
    answers[item] = { answer, read(k), place }
end
return answers
