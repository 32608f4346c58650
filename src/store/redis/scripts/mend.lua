-- Finds in the log who was written to by a version that indexes no accounts. KEYS: [1] the log, [2]
-- where in it the last look ended. ARGV: [1] how many entries to look at. Answers with where this look
-- ends, or '' if entries were lost before it came to them; the names; and whether that was all.

local from = redis.call('GET', KEYS[2])
local entries = redis.call('XRANGE', KEYS[1], from or '-', '+', 'COUNT', ARGV[1])
if not from or #entries == 0 or entries[1][1] ~= from then
    return { '', {}, 1 }
end
local names, seen = {}, {}
for n = 2, #entries do
    local name, indexed = nil, false
    local fields = entries[n][2]
    for at = 1, #fields, 2 do
        if fields[at] == 'name' then
            name = fields[at + 1]
        elseif fields[at] == 'of' then
            indexed = true
        end
    end
    if name and not indexed and not seen[name] then
        seen[name] = true
        names[#names + 1] = name
    end
end
return { entries[#entries][1], names, #entries < tonumber(ARGV[1]) and 1 or 0 }
