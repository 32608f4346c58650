-- Claims up to [5] lines whose first delivery is due, for [3], until [4] milliseconds from now. Answers
-- with these deliveries.

local found = {}
local before = answered()
if before then
    for user in string.gmatch(before, '[^ ]+') do
        local first = redis.call('LINDEX', line(user), 0)
        if first and is_owned(claim_of(user), ARGV[3]) then
            found[#found + 1] = whole(first, read(first))
        end
    end
    return found
end
local users = due(ARGV[5], claim_of, move)
if #users == 0 then
    return found
end
go_on()
for _, user in ipairs(users) do
    local first = redis.call('LINDEX', line(user), 0)
    local row = first and read(first) or {}
    if row.digest and redis.call('EXISTS', payload(row.digest)) == 1 then
        claim(claim_of(user), user, ARGV[3], ARGV[4])
        found[#found + 1] = whole(first, row)
    else
        -- The server threw it away, against its instructions. What comes after it must not wait for it.
        if row.status then
            redis.call('HSET', delivery(first), 'at', digits(now()), 'error', 'the store has lost what it says')
            list(first, row, 'dead', row.accepted)
        end
        leave(claim_of(user))
        move_up(user)
    end
end
sign(table.concat(users, ' '))
return found
