-- Uses every command that the other scripts use, on a key of its own, and leaves nothing. A user who
-- lacks one is refused here, and not in the midst of a write.

local key = KEYS[1]
redis.call('DEL', key)
redis.call('HSET', key, 'a', '1')
redis.call('HINCRBY', key, 'n', 1)
redis.call('HMGET', key, 'a')
redis.call('HGET', key, 'a')
redis.call('HGETALL', key)
redis.call('HEXISTS', key, 'a')
redis.call('HDEL', key, 'a')
redis.call('DEL', key)
redis.call('ZADD', key, 0, 'a')
redis.call('ZRANGEBYSCORE', key, '-inf', '+inf')
redis.call('ZRANGEBYLEX', key, '-', '+')
redis.call('ZREM', key, 'a')
redis.call('DEL', key)
redis.call('XADD', key, '*', 'a', '1')
redis.call('XRANGE', key, '-', '+')
redis.call('XREVRANGE', key, '+', '-', 'COUNT', '1')
redis.call('DEL', key)
redis.call('SET', key, '1')
redis.call('INCR', key)
redis.call('GET', key)
redis.call('EXISTS', key)
redis.call('TIME')
redis.call('DEL', key)
return 1
