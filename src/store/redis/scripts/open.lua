-- Opens the store: KEYS [1] its schema, [2] its log, [3] how far its accounts are indexed, [4] where the
-- look for accounts to index again is; ARGV [1] the schema that is known. Answers with the schema that
-- is there. A newer one is left alone.

local found = tonumber(redis.call('GET', KEYS[1]) or nil)
if found and found > tonumber(ARGV[1]) then
    return found
end
if not found then
    redis.call('SET', KEYS[1], ARGV[1])
    redis.call('SET', KEYS[3], 'done')
end
-- The log is never empty, so that every cursor is the place of an entry that is there or was lost.
if redis.call('EXISTS', KEYS[2]) == 0 then
    redis.call('XADD', KEYS[2], '*', 'opened', '1')
end
if redis.call('EXISTS', KEYS[4]) == 0 then
    redis.call('SET', KEYS[4], redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1][1])
end
return tonumber(ARGV[1])
