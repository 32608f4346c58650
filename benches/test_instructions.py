"""The gate on instructions: what it reads, and when it says no."""

import unittest

import callgrind
import instructions

PROFILE = """\
# callgrind format
events: Ir
fl=(1) src/a.rs
fn=(1) daypass::strip::h0123456789abcdef
10 100
+2 20
cfi=(2) src/b.rs
cfn=(2) daypass::forward[fedcba9876543210]
calls=3 40
* 5000
+1 7
fn=(2)
fi=(3) src/inlined.rs
40 900
- 100
fe=(2)
* 4
totals: 1131
"""


class Reading(unittest.TestCase):
    def test_a_function_has_what_it_spent_itself_and_no_hash(self):
        spent = callgrind.by_function(PROFILE.splitlines())
        self.assertEqual(spent, {"daypass::strip": 127, "daypass::forward": 1004})

    def test_starting_and_stopping_cancel_out(self):
        few, many = {"start": 1000, "strip": 50}, {"start": 1000, "strip": 250}
        self.assertEqual(callgrind.each(few, many, 100), {"strip": 2.0})


class Verdict(unittest.TestCase):
    KEPT = {"rustc": "another", "logs": {"warn": {"strip": 10_000, "forward": 40_000}}}

    def gate(self, **functions):
        lines, passes = instructions.verdict(self.KEPT, {"warn": functions})
        return "\n".join(lines), passes

    def test_up_to_three_percent_more_pass(self):
        said, passes = self.gate(strip=11_400, forward=40_000)
        self.assertTrue(passes, said)
        self.assertIn("+2.8%", said)

    def test_more_does_not_and_what_grew_is_named_first(self):
        said, passes = self.gate(strip=11_700, forward=39_900, hash=100)
        self.assertFalse(passes, said)
        grown = [line.split()[-1] for line in said.splitlines() if line.startswith("    ")]
        self.assertEqual(grown, ["strip", "hash"], said)
        self.assertIn("if the compiler is why", said)

    def test_a_gain_is_to_be_kept(self):
        said, passes = self.gate(strip=8_000, forward=40_000)
        self.assertTrue(passes)
        self.assertIn("--keep", said)

    def test_a_level_without_a_figure_does_not_pass(self):
        _, passes = instructions.verdict(self.KEPT, {"info": {"strip": 1}})
        self.assertFalse(passes)


if __name__ == "__main__":
    unittest.main()
