-- Puts other seals into KEYS[1], if the old ones are still there. ARGV: [1] 'text' if they are all of it,
-- or 'hash'; then for each seal its field ('' of a text), the old and the new one. Answers 1 if the new
-- ones are there then, also if an earlier call put them there whose answer was lost.

local function read(field)
    if ARGV[1] == 'text' then
        return redis.call('GET', KEYS[1])
    end
    return redis.call('HGET', KEYS[1], field)
end

local is_old, is_new = true, true
for at = 2, #ARGV, 3 do
    local seal = read(ARGV[at])
    is_old = is_old and seal == ARGV[at + 1]
    is_new = is_new and seal == ARGV[at + 2]
end
if not is_old then
    return is_new and 1 or 0
end
for at = 2, #ARGV, 3 do
    if ARGV[1] == 'text' then
        redis.call('SET', KEYS[1], ARGV[at + 2], 'KEEPTTL')
    else
        redis.call('HSET', KEYS[1], ARGV[at], ARGV[at + 2])
    end
end
return 1
