-- Keeps the claim on the line of the user [3] for [4], until [5] milliseconds from now; whether nobody had
-- taken it over.

if not is_owned(claim_of(ARGV[3]), ARGV[4]) then
    return 0
end
go_on()
claim(claim_of(ARGV[3]), ARGV[3], ARGV[4], ARGV[5])
return 1
