-- Takes the record in KEYS[1]: who asks next finds none. What was taken is kept in KEYS[2] for as long as
-- the call may be sent again. ARGV: [1] now, or '' for the server's own time. Answers with the record, in a
-- list that is empty if there is none.

local taken = redis.call('GET', KEYS[2])
if taken then
    return { taken }
end
local row = redis.call('HMGET', KEYS[1], 'record', 'ends')
redis.call('DEL', KEYS[1])
if not row[1] or (row[2] and ARGV[1] ~= '' and tonumber(row[2]) <= tonumber(ARGV[1])) then
    return {}
end
redis.call('SET', KEYS[2], row[1], 'PX', 30000)
return { row[1] }
