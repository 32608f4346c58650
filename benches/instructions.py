#!/usr/bin/env python3
"""User instructions per proxied request, by callgrind. One command: benches/instructions.py

  benches/instructions.py           measures, and says where they went
  benches/instructions.py --gate    fails if they are over 3 % more than what is kept, and names the functions
  benches/instructions.py --keep    keeps what it measures, in benches/instructions.json

The gate has a build profile of its own: it takes half the time, and costs some percent more per request.

By difference: one run with few requests and one with many, so that starting and stopping cancel out.
Repeats within 1 % on one machine, loaded or not; the kernel's share is not in it. The profile of the
longer run stays in target/callgrind/ for `callgrind_annotate`.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import bed
import callgrind

KEPT = bed.HERE / "instructions.json"
LIMIT = 0.03
# The level of the log, and what that means for one request.
LOGS = {"warn": "no access log", "info": "access log to /dev/null"}
# Functions that spend less on a request are kept as one.
LEAST = 25
OTHERS = "(functions below %d instructions each)" % LEAST
SHOWN = 12


def build(profile):
    """With names of functions, which a release has none of."""
    print(f"building (profile {profile})", file=sys.stderr)
    environment = dict(os.environ)
    if profile == "release":
        environment |= {"CARGO_PROFILE_RELEASE_DEBUG": "line-tables-only",
                        "CARGO_PROFILE_RELEASE_STRIP": "none"}
    subprocess.run(["cargo", "build", "--locked", "--profile", profile, "--bin", "daypass"], check=True,
                   cwd=bed.ROOT, env=environment)
    return bed.ROOT / "target" / profile / "daypass"


def run(daypass, log, requests, connections, out):
    under = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
    log_file = out.with_suffix(".log")
    log_file.unlink(missing_ok=True)
    with daypass.run("daypass", log, core=0, under=under,
                     log_file="/dev/null" if log == "info" else log_file) as process:
        process.await_answer()
        bed.ask_many(process.port, requests, connections)
    spent = callgrind.by_function(out.read_text(errors="replace").splitlines())
    if not spent:
        sys.exit(f"{out} has no figures")
    return spent


def measure(binary, logs, options):
    """Instructions per request by function, for each level of the log."""
    results = bed.ROOT / "target/callgrind"
    results.mkdir(parents=True, exist_ok=True)
    measured = {}
    with tempfile.TemporaryDirectory(prefix="daypass-bench-") as directory:
        os.chmod(directory, 0o755)
        with bed.upstream(directory, 1 if (os.cpu_count() or 1) > 1 else 0) as upstream:
            daypass = bed.Daypass(binary, directory, upstream.port)
            for log in logs:
                few, many = (
                    run(daypass, log, requests, options.connections, results / f"{log}-{name}.out")
                    for name, requests in (("few", options.few), ("many", options.many))
                )
                measured[log] = callgrind.each(few, many, options.many - options.few)
    return measured


def round_up(functions):
    """The table as it is kept."""
    kept = {name: round(count) for name, count in functions.items() if count >= LEAST}
    kept[OTHERS] = round(sum(functions.values())) - sum(kept.values())
    return dict(sorted(kept.items(), key=lambda pair: -pair[1]))


def rustc():
    said = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True)
    return said.stdout.strip()


def verdict(kept, measured):
    """What the gate says, as lines, and whether it lets pass."""
    lines, passes = [], True
    for log, functions in measured.items():
        before, after = kept["logs"].get(log), round_up(functions)
        if before is None:
            lines.append(f"nothing is kept for log = {log}: run benches/instructions.py --keep")
            passes = False
            continue
        was, now = sum(before.values()), sum(after.values())
        change = now / was - 1
        lines.append(f"{LOGS.get(log, log)}: {now:,} instructions per request, {change:+.1%} of the "
                     f"{was:,} kept")
        if change > LIMIT:
            passes = False
            lines.append(f"  more than {LIMIT:.0%}. What grew:")
            lines += [f"  {grown:+8,}  {name}" for name, grown in callgrind.growth(before, after)[:SHOWN]
                      if grown > 0]
        elif change < -LIMIT:
            lines.append("  keep the new figure, so that it is not lost again: "
                         "benches/instructions.py --keep")
    if not passes and kept["rustc"] != rustc():
        lines.append(f"kept with {kept['rustc']}, measured with {rustc()}: if the compiler is why, keep "
                     "the new figures in a commit of their own")
    return lines, passes


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--few", type=int, default=640)
    parser.add_argument("--many", type=int, default=6400)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--binary", help="with symbols, instead of building")
    parser.add_argument("--log", action="append", help="levels to measure; default: warn and info")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--gate", action="store_true", help="fail if it costs over 3 %% more than kept")
    what.add_argument("--keep", action="store_true", help="keep what is measured")
    options = parser.parse_args()

    bed.need("nginx", "valgrind", "taskset")
    binary = pathlib.Path(options.binary).resolve() if options.binary else build(
        "gate" if options.gate or options.keep else "release")
    measured = measure(binary, options.log or LOGS, options)
    if options.gate:
        lines, passes = verdict(json.loads(KEPT.read_text()), measured)
        print("\n".join(lines))
        sys.exit(0 if passes else 1)
    for log, functions in measured.items():
        print(f"{sum(functions.values()):,.0f} instructions per request, {LOGS.get(log, log)} "
              f"(log = {log}); by function, without what it calls:")
        for name, count in list(round_up(functions).items())[:SHOWN]:
            print(f"  {count:8,}  {name}")
    if options.keep:
        logs = {log: round_up(functions) for log, functions in measured.items()}
        KEPT.write_text(json.dumps({"rustc": rustc(), "logs": logs}, indent=1) + "\n")
        print(f"kept in {KEPT.relative_to(bed.ROOT)}")


if __name__ == "__main__":
    main()
