-- Writes to [1], and answers with the schema of the store, which is [2].

redis.call('INCR', KEYS[1])
return redis.call('GET', KEYS[2])
