-- What the scripts share that are about a section of what is kept beside connections. It is put before
-- each of them.
--
-- KEYS: two keys of the section that never exist. All other keys begin as they do, up to the end of
-- their hash tag, and are found here. While a cluster moves the slot, two declared keys that are missing
-- make it refuse the whole call: otherwise it would stop a script at the first key that has left.
-- ARGV: [1] now, in milliseconds, or '' for the server's own time; [2] what this call is known by, the
-- same when it is sent again.
--
-- Times and numbers are below 2^53, and are written with digits().

local here = string.match(KEYS[1], '^%b{}') .. ':'
local CALL = ARGV[2]

-- As for connections (prelude.lua), in a key of its own.
local asked = redis.call('GET', here .. 'schema')
if asked and tonumber(asked) > SCHEMA then
    return redis.error_reply('FUTURE ' .. asked)
end

local function now()
    if ARGV[1] ~= '' then
        return tonumber(ARGV[1])
    end
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function digits(number)
    return string.format('%.0f', number)
end

-- A server that is out of memory refuses commands that may need more, but not within a script that has
-- changed something by then. What only changes what is there begins with this; what is new does not.
local function go_on()
    redis.call('HDEL', KEYS[2], 'never')
end

-- What this very call answered when it was carried out before, its answer having been lost.
local function answered()
    return redis.call('GET', here .. 'call:' .. CALL) or nil
end

-- Notes what the call answers, for as long as it may be sent again.
local function sign(answer)
    redis.call('SET', here .. 'call:' .. CALL, answer, 'PX', 30000)
    return answer
end

-- ---------------------------------------------------------------------------------------------
