-- Marks the connection [6] at generation [7], written as [8], as needing its user, for the reason [9], since
-- [10]; once.

local answer = answered(1, ARGV[4])
if answer then
    return { answer, {}, '' }
end
if not is_behind(1, ARGV[6], ARGV[7], ARGV[8]) then
    return { 'refused', {}, '' }
end
if redis.call('HEXISTS', KEYS[1], 'reason') == 1 then
    return { 'unchanged', {}, '' }
end
go_on(1)
redis.call('HSET', KEYS[1], 'reason', ARGV[9], 'since', ARGV[10])
sign(1, ARGV[4], 'written')
index(1, ARGV[5], {})
return { 'written', {}, tell(ARGV[5]) }
