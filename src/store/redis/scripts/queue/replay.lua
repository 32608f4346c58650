-- Puts the delivery [3], if it was delivered or given up, at the end of its line again; one that is on its
-- way becomes due at once. Answers whether there is one, and it is somebody's.

local id = ARGV[3]
local row = read(id)
if row.call == CALL then
    return 1
end
if not row.user then
    return 0
end
go_on()
redis.call('HSET', delivery(id), 'call', CALL)
if row.status == 'pending' then
    catch_up(row.user, claim_of(row.user), move)
    redis.call('HSET', delivery(id), 'at', digits(now()))
    line_up(row.user)
else
    append(id, row, row.user)
end
return 1
