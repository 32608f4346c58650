-- Forgets a connection, its lease with it.

local row = read(1)
if #row == 0 then
    return { 'gone', row, '' }
end
local was = accounts(KEYS[1])
redis.call('DEL', KEYS[1])
index(1, ARGV[5], was)
return { 'removed', row, tell(ARGV[5]) }
