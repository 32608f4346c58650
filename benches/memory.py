#!/usr/bin/env python3
"""Memory of a sidecar by how many connections it knows. One command: benches/memory.py

Imports connections into SQLite, starts `daypass run`, asks once for each user through the outbound
listener, and reads the resident memory after each step. Every token is as long as providers' opaque
tokens are; longer ones (JWT) take their own length more.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile
import time

import bed


class Many(bed.Daypass):
    """As bed.Daypass, with `count` connections."""

    def __init__(self, binary, directory, upstream_port, count):
        super().__init__(binary, directory, upstream_port)
        rows = self.directory / "many.jsonl"
        with rows.open("w") as file:
            for n in range(count):
                file.write(json.dumps({"provider": "calcom", "user": f"user-{n:08}",
                                       "access_token": bed.TOKEN, "expires_in": 31536000}) + "\n")
        begun = time.monotonic()
        subprocess.run([binary, "--config", self.config, "connections", "import", rows],
                       check=True, stdout=subprocess.DEVNULL)
        self.import_seconds = time.monotonic() - begun


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", default=bed.ROOT / "target/release/daypass")
    parser.add_argument("--connections", type=int, default=100_000)
    parser.add_argument("--settle", type=float, default=3, help="seconds before memory is read")
    parser.add_argument("--name", help="save as benches/results/NAME.json")
    options = parser.parse_args()
    bed.need("nginx")
    results = []
    with tempfile.TemporaryDirectory(prefix="daypass-memory-") as directory:
        with bed.upstream(directory) as upstream:
            daypass = Many(options.binary, directory, upstream.port, options.connections)
            with daypass.run("daypass", "warn") as process:
                process.await_answer()
                # So that what requests need in any case is there before the first figure.
                bed.ask_many(process.port, 6400)
                known = 0
                for part in (0, 10, 50, 100):
                    wanted = options.connections * part // 100
                    bed.ask_for(process.port, range(known, wanted), connections=32)
                    known = wanted
                    time.sleep(options.settle)
                    results.append((known, round(process.rss(), 1)))
                    print(f"{known:>8} connections in memory: {results[-1][1]:6.1f} MB")
    (none, before), (most, after) = results[0], results[-1]
    print(f"each: {(after - before) * 1048576 / (most - none):.0f} bytes; "
          f"import of {options.connections}: {daypass.import_seconds:.1f} s")
    if options.name:
        out = bed.HERE / "results" / f"{options.name}.json"
        out.write_text(json.dumps({"rss_mb": results, "import_seconds": daypass.import_seconds}) + "\n")


if __name__ == "__main__":
    main()
