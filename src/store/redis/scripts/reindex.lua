-- Makes all indices say what the row of one connection says. [6] is an account that may have it without
-- reason, or ''. Answers whether it does have it.

go_on(1)
index(1, ARGV[5], { ARGV[6] })
local is = accounts(KEYS[1])
return (is[1] == ARGV[6] or is[2] == ARGV[6]) and 1 or 0
