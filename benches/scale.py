#!/usr/bin/env python3
"""What a million connections cost each store. One command: benches/scale.py

Starts SQLite, PostgreSQL, Redis and a cluster of Redis by themselves, fills each through the contract of
a store (`scale.rs`), reads, sweeps and counts; then imports more by `daypass connections import`, and asks
for users that no sidecar has in memory through a sidecar. Prints the table of docs/scaling.md and saves
what was measured in results/.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time

import bed
import idle
import memory
import servers


def built():
    """The programs: the bench and daypass itself."""
    print("building", file=sys.stderr)
    told = subprocess.run(["cargo", "bench", "--locked", "--bench", "scale", "--no-run",
                           "--message-format=json"], check=True, cwd=bed.ROOT, stdout=subprocess.PIPE)
    messages = map(json.loads, told.stdout.splitlines())
    bench = next(message["executable"] for message in messages
                 if message.get("target", {}).get("name") == "scale" and message.get("executable"))
    subprocess.run(["cargo", "build", "--locked", "--release", "--bin", "daypass"], check=True, cwd=bed.ROOT)
    return bench, bed.ROOT / "target/release/daypass"


def bench(program, store, *arguments):
    told = subprocess.run([program, store.url, *map(str, arguments)], check=True, capture_output=True,
                          text=True)
    return json.loads(told.stdout.splitlines()[-1])


def examined(program, store, rows):
    """Rows that one sweep has looked at, by the store's own counters; and PostgreSQL's plan."""
    if store.kind.startswith("redis"):
        store.forget()
        bench(program, store, rows, 0)
        return store.statements()["hmget"][0], None
    if store.kind != "postgres":
        return None, None
    counted = ("SELECT pg_stat_clear_snapshot(), seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables "
               "WHERE relname = 'connections'")
    store.sql("VACUUM ANALYZE daypass.connections")
    store.sql("ALTER SYSTEM SET auto_explain.log_min_duration = 0; ")
    store.sql("ALTER SYSTEM SET auto_explain.log_analyze = on")
    store.sql("SELECT pg_reload_conf()")
    time.sleep(1.5)
    before = int(store.sql(counted)[0][1])
    bench(program, store, rows, 0)
    time.sleep(1.5)  # sessions report what they have read when they end
    read = int(store.sql(counted)[0][1]) - before
    store.sql("ALTER SYSTEM RESET ALL")
    store.sql("SELECT pg_reload_conf()")
    plan = store.log().split("Query Text: SELECT provider, user_id FROM (")[-1].split("\n", 1)[1]
    lines = []
    for line in plan.splitlines():
        if not line.startswith("\t"):
            break
        lines.append(line.strip("\t"))
    return read, lines


def imported(daypass, store, config, count):
    """Rows a second, and the memory that it took at most."""
    rows = store.folder / "rows.jsonl"
    with rows.open("w") as file:
        for n in range(count):
            file.write(json.dumps({"provider": "calcom", "user": f"user-{n:08}", "access_token": bed.TOKEN,
                                   "refresh_token": bed.TOKEN, "expires_in": 31536000}) + "\n")
    os.chmod(rows, 0o644)
    begun = time.monotonic()
    subprocess.run([daypass, "--config", config, "connections", "import", rows], check=True,
                   stdout=subprocess.DEVNULL)
    took = time.monotonic() - begun
    rows.unlink()
    return count / took, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def asked(daypass, config, count, users):
    """Milliseconds of requests for users that are not in memory, one after the other."""
    port = bed.free_port()
    command = [daypass, "--config", config, "--set", f"outbound.listen=127.0.0.1:{port}",
               "--set", "ingress.listen=127.0.0.1:0",
               "--set", f"admin.listen=127.0.0.1:{bed.free_port()}", "--set", "telemetry.log=warn", "run"]
    times = []
    with bed.Process("daypass", command, port, log=f"{config.parent}/daypass.log") as process:
        while True:
            try:
                bed.Caller(port).socket.close()
                break
            except OSError:
                time.sleep(0.05)
                if process.child.poll() is not None:
                    sys.exit(f"daypass ended; see {config.parent}/daypass.log")
        memory.touch(port, range(0, 64))
        chosen = random.Random(1).sample(range(64, count), users)
        with bed.Caller(port) as caller:
            plain = caller.request
            for n in chosen:
                caller.request = plain.replace(b"user-1\r\n", b"user-%08d\r\n" % n)
                begun = time.perf_counter()
                answer = caller.ask()
                times.append((time.perf_counter() - begun) * 1000)
                if not answer.startswith(b"HTTP/1.1 200"):
                    sys.exit(f"not 200: {answer[:300]!r}")
    times.sort()
    return times[len(times) // 2], times[len(times) * 99 // 100]


def measure(kind, bench_program, daypass, options, upstream):
    with servers.STORES[kind]() as store:
        empty = store.size() if kind != "sqlite" else 0
        found = bench(bench_program, store, options.rows, options.reads)
        found["size"] = store.size() - empty
        found["examined"], found["plan"] = examined(bench_program, store, options.rows)
        config = idle.configure(store.folder, store.url, f"http://127.0.0.1:{upstream.port}")
        found["imported_per_second"], found["import_mb"] = imported(daypass, store, config, options.imported)
        found["cold_ms"] = asked(daypass, config, options.imported, options.asked)
        found["load_average"] = os.getloadavg()
        return found


def row(kind, found):
    rate = found["rows"] / found["saving_ms"] * 1000
    us = lambda what: f"{found[what]['p50_us'] / 1000:.2f} / {found[what]['p99_us'] / 1000:.2f}"
    cells = [kind, f"{rate:,.0f}", f"{found['imported_per_second']:,.0f}", us("load"),
             "{:.2f} / {:.2f}".format(*found["cold_ms"]), us("sweep"), str(found["examined"] or "–"),
             us("census"), us("page"), f"{found['size'] / 2**20:,.0f}",
             f"{found['size'] / found['rows']:,.0f}", "{:.1f}".format(found["load_average"][0])]
    return "| " + " | ".join(cells) + " |"


HEAD = """| store | saved a second | imported a second | one read, ms | request of a cold user, ms | sweep, ms | rows looked at | census, ms | page of 100, ms | size, MiB | bytes each | load |
|---|---|---|---|---|---|---|---|---|---|---|---|"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--stores", default=",".join(servers.STORES))
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--reads", type=int, default=20_000)
    parser.add_argument("--imported", type=int, default=100_000)
    parser.add_argument("--asked", type=int, default=5_000)
    parser.add_argument("--built", help="the bench and daypass, instead of building: PATH,PATH")
    parser.add_argument("--name", help="save as benches/results/NAME.json")
    options = parser.parse_args()
    bed.need("nginx")
    bench_program, daypass = options.built.split(",") if options.built else built()
    results = {}
    print(HEAD)
    with tempfile.TemporaryDirectory(prefix="daypass-scale-") as directory:
        os.chmod(directory, 0o755)
        with bed.upstream(directory) as upstream:
            for kind in options.stores.split(","):
                results[kind] = measure(kind, bench_program, daypass, options, upstream)
                print(row(kind, results[kind]), flush=True)
    if options.name:
        out = bed.HERE / "results" / f"{options.name}.json"
        out.write_text(json.dumps(results, indent=1) + "\n")
        print(f"saved in {out}")


if __name__ == "__main__":
    main()
