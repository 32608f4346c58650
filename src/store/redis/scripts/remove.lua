-- Forgets a connection, its lease with it.

local row = read(1)
if #row == 0 then
    return { 'gone', row, '' }
end
redis.call('DEL', KEYS[1])
index(1, ARGV[5])
return { 'removed', row, tell(ARGV[5]) }
