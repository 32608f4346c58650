-- Indexes the accounts of up to [6] connections that follow [5] in an index of names, KEYS[1]: '-' for
-- the first ones, or '(' and the last name of those before. Answers with the last name, or '' at the
-- end.
--
-- What this finds for each name lies in the slot of its bucket. Doing it twice changes nothing.

local tag = string.match(KEYS[1], '^%b{}')
-- As go_on does, on an index.
redis.call('ZREM', KEYS[1], '')
local names = redis.call('ZRANGEBYLEX', KEYS[1], ARGV[5], '+', 'LIMIT', 0, ARGV[6])
for _, name in ipairs(names) do
    local provider = string.match(name, '^[^ ]+')
    local row = tag .. ':c:' .. string.gsub(name, ' ', '/', 1)
    index_accounts(row, tag .. ':of:' .. provider, tag .. ':anon:' .. provider, name, {})
end
return #names == tonumber(ARGV[6]) and names[#names] or ''
