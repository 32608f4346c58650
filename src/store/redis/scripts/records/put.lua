-- Keeps the record [2] in KEYS[1] until [3] milliseconds from now, or '' for good; replaces what is there.
-- ARGV: [1] now, or '' for the server's own time.
--
-- Under the server's own time the record goes by itself. Under another clock, which only tests have, 'ends'
-- is compared.

redis.call('HSET', KEYS[1], 'record', ARGV[2])
redis.call('HDEL', KEYS[1], 'ends')
redis.call('PERSIST', KEYS[1])
if ARGV[3] == '' then
    return 1
end
if ARGV[1] == '' then
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
else
    redis.call('HSET', KEYS[1], 'ends', string.format('%.0f', ARGV[1] + ARGV[3]))
end
return 1
