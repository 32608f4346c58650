-- What the scripts about jobs share. The jobs of one kind lie in one section, so that looking for what
-- is due is one question, however many connections there are.
--
--   j:<name>     hash  a job, with its claim (claims.lua): state; due, if it waits for a time; asked, if
--                      it was asked for while somebody worked on it, for when; updated
--   names        zset  all names, in order
--   due  set     zset  see claims.lua

local function job(name)
    return here .. 'j:' .. name
end

-- When the job is due.
local function wait_for(name, at)
    redis.call('HSET', job(name), 'due', at)
    wait(name, at)
end

-- Brings forward what the job waits for. See catch_up in claims.lua.
local function move(name, by)
    for _, field in ipairs({ 'due', 'asked' }) do
        local at = redis.call('HGET', job(name), field)
        if at then
            redis.call('HSET', job(name), field, digits(at - by))
        end
    end
end

-- Writes the state that is in ARGV from `from` on: '1' and the state, or '0'.
local function write(name, from)
    if ARGV[from] == '1' then
        redis.call('HSET', job(name), 'state', ARGV[from + 1])
    else
        redis.call('HDEL', job(name), 'state')
    end
    redis.call('HSET', job(name), 'updated', digits(now()))
end

-- ---------------------------------------------------------------------------------------------
