#!/usr/bin/env python3
"""User instructions per proxied request, by callgrind. One command: benches/instructions.py

By difference: one run with few requests and one with many, so that starting and stopping cancel out.
Repeats within 2 % on any machine, loaded or not; the kernel's share is not in it. The profile of the
longer run stays in target/callgrind/ for `callgrind_annotate`.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import bed


def build():
    print("building with line tables", file=sys.stderr)
    environment = dict(os.environ, CARGO_PROFILE_RELEASE_DEBUG="line-tables-only",
                       CARGO_PROFILE_RELEASE_STRIP="none")
    subprocess.run(["cargo", "build", "--release", "--bin", "daypass"], check=True, cwd=bed.ROOT,
                   env=environment)
    return bed.ROOT / "target/release/daypass"


def instructions(daypass, log, requests, connections, out):
    under = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
    log_file = out.with_suffix(".log")
    log_file.unlink(missing_ok=True)
    with daypass.run("daypass", log, core=0, under=under,
                     log_file="/dev/null" if log == "info" else log_file) as process:
        process.await_answer()
        bed.ask_many(process.port, requests, connections)
    for line in out.read_text(errors="replace").splitlines():
        if match := re.match(r"(?:summary|totals): (\d+)", line):
            return int(match[1])
    sys.exit(f"{out} has no total")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--few", type=int, default=640)
    parser.add_argument("--many", type=int, default=6400)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--binary", help="with symbols, instead of building")
    parser.add_argument("--log", action="append", help="levels to measure; default: warn and info")
    options = parser.parse_args()

    bed.need("nginx", "valgrind", "taskset")
    binary = pathlib.Path(options.binary).resolve() if options.binary else build()
    results = bed.ROOT / "target/callgrind"
    results.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="daypass-bench-") as directory:
        os.chmod(directory, 0o755)
        with bed.upstream(directory, 1 if (os.cpu_count() or 1) > 1 else 0) as upstream:
            daypass = bed.Daypass(binary, directory, upstream.port)
            for log in options.log or ["warn", "info"]:
                few = instructions(daypass, log, options.few, options.connections,
                                   results / f"{log}-few.out")
                many = instructions(daypass, log, options.many, options.connections,
                                    results / f"{log}-many.out")
                each = (many - few) / (options.many - options.few)
                what = "access log to /dev/null" if log == "info" else "no access log"
                print(f"{each:,.0f} instructions per request, {what} (log = {log})", flush=True)


if __name__ == "__main__":
    main()
