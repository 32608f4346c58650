-- Writes how far the job [3] is, which [4] works on, and keeps the claim until [5] milliseconds from now.
-- [6] is '1' if it has a state, [7]. Answers whether it was still its to write.

if not is_owned(job(ARGV[3]), ARGV[4]) then
    return 0
end
go_on()
catch_up(ARGV[3], job(ARGV[3]), move)
write(ARGV[3], 6)
claim(job(ARGV[3]), ARGV[3], ARGV[4], ARGV[5])
return 1
