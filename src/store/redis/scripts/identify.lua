-- Tells the connection [6] its account [7], and its organization [8] unless that is ''; once.

local answer = answered(1, ARGV[4])
if answer then
    return { answer, {}, '' }
end
local row = redis.call('HMGET', KEYS[1], 'id', 'external_id', 'managed_user_id')
if row[1] ~= ARGV[6] then
    return { 'refused', {}, '' }
end
if row[2] or row[3] then
    return { 'unchanged', {}, '' }
end
go_on(1)
redis.call('HSET', KEYS[1], 'external_id', ARGV[7])
if ARGV[8] ~= '' then
    redis.call('HSET', KEYS[1], 'organization', ARGV[8])
end
sign(1, ARGV[4], 'written')
index(1, ARGV[5], {})
return { 'written', {}, tell(ARGV[5]) }
