-- What each of the hashes KEYS says of the account ARGV[1].

local found = {}
for k = 1, #KEYS do
    found[#found + 1] = redis.call('HGET', KEYS[k], ARGV[1]) or nil
end
return found
