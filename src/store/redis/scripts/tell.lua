-- Tells in the log [1] that the connection ARGV[3] changed. ARGV: [1] the channel, [2] how many
-- changes are kept, [4] '1' if its account is indexed as it is.

if ARGV[4] == '1' then
    redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[2], '*', 'name', ARGV[3], 'of', '1')
else
    redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[2], '*', 'name', ARGV[3])
end
redis.pcall('PUBLISH', ARGV[1], ARGV[3])
return 1
