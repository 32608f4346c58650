-- Tells in the log [1] that the connection ARGV[3] changed. ARGV: [1] the channel, [2] how many
-- changes are kept.

redis.call('XADD', KEYS[1], 'MAXLEN', ARGV[2], '*', 'name', ARGV[3])
redis.pcall('PUBLISH', ARGV[1], ARGV[3])
return 1
