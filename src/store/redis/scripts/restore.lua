-- Writes copies of connections as they are. From ARGV[5] on, for each: its name, its id, its
-- generation, when it was changed last, how many pairs follow, and these: all that is kept of it.
--
-- What is newer stands, and so does another connection that has the key.

local ALL = { 'reason', 'since', 'access', 'refresh', 'renewed', 'access_ends', 'refresh_ends',
    'external_id', 'organization', 'managed_user_id', 'scope', 'intent_owner', 'intent_redemption',
    'intent_attempts', 'intent_at', 'before_owner', 'before_redemption', 'before_at',
    'cooldown_until', 'cooldown_failures', 'forced', 'fingerprint', 'call' }

local answers = {}
local at = 5
for item = 1, (#KEYS - 1) / 8 do
    local k = 8 * item - 7
    local name, id, generation, updated = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
    local count = tonumber(ARGV[at + 4])
    local pairs_at = at + 5
    at = pairs_at + 2 * count
    local row = redis.call('HMGET', KEYS[k], 'id', 'generation', 'updated')
    local of, changed = tonumber(row[2] or nil), tonumber(row[3] or nil)
    local answer, place = 'written', ''
    if redis.call('EXISTS', KEYS[k]) == 1 and (row[1] ~= id or not of or not changed) then
        answer = 'other'
    elseif of and (of > generation or (of == generation and changed > updated)) then
        answer = 'newer'
    else
        local was = accounts(KEYS[k])
        -- First of all, for a server that is out of memory refuses it, and then all of it.
        redis.call('HSET', KEYS[k], 'id', id)
        redis.call('HDEL', KEYS[k], unpack(ALL))
        set(k, pairs_at, count)
        index(k, name, was)
        place = tell(name)
    end
    answers[item] = { answer, {}, place }
end
return answers
