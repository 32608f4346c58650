-- What the scripts about meetings share. The meetings of one user lie in the bucket of that user.
--
--   m:<provider>/<user> <id>    hash  a meeting
--   ms:<user>                   zset  "provider id" of the user's meetings, by when they begin
--   long:<user>                 text  the longest of them, in milliseconds: how long before a time may
--                                     begin what has not ended then
--   mends                       zset  "provider/user id" of all in the section, by when they end

local ENDS = here .. 'mends'

local function index_of(user)
    return here .. 'ms:' .. user
end

local function long(user)
    return here .. 'long:' .. user
end

-- Whether `one` comes after `other`, by their bytes as in the index: Lua compares by the server's locale.
local function is_after(one, other)
    for at = 1, math.min(#one, #other) do
        local a, b = string.byte(one, at), string.byte(other, at)
        if a ~= b then
            return a > b
        end
    end
    return #one > #other
end

-- Forgets the meeting with the name "provider/user id".
local function forget(name)
    local provider, user, id = string.match(name, '^([^/]+)/([^ ]+) (.*)$')
    redis.call('DEL', here .. 'm:' .. name)
    redis.call('ZREM', ENDS, name)
    redis.call('ZREM', index_of(user), provider .. ' ' .. id)
    if redis.call('EXISTS', index_of(user)) == 0 then
        redis.call('DEL', long(user))
    end
end

-- ---------------------------------------------------------------------------------------------
