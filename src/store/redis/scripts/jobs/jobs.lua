-- What the scripts about jobs share. The jobs of one kind lie in one section, so that looking for what
-- is due is one question, however many connections there are.
--
--   j:<name>     hash  a job, with its claim (claims.lua): state; due, if it waits for a time; asked, if
--                      it was asked for while somebody worked on it, for when; updated
--   names        zset  all names, in order
--   due  busy    zset  see claims.lua

local function job(name)
    return here .. 'j:' .. name
end

-- When the job is due.
local function wait_for(name, at)
    redis.call('HSET', job(name), 'due', at)
    redis.call('ZADD', DUE, at, name)
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
