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
import subprocess
import sys
import tempfile
import time

import bed
import idle
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
    child = subprocess.Popen([daypass, "--config", config, "connections", "import", rows],
                             stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    took = time.monotonic() - begun
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit("the import failed")
    rows.unlink()
    return count / took, usage.ru_maxrss / 1024


def asked(daypass, config, count, users):
    """Milliseconds of requests for users that are not in memory, one after the other."""
    port = bed.free_port()
    command = [daypass, "--config", config, "--set", f"outbound.listen=127.0.0.1:{port}",
               "--set", "ingress.listen=127.0.0.1:0",
               "--set", f"admin.listen=127.0.0.1:{bed.free_port()}", "--set", "telemetry.log=warn", "run"]
    with bed.Process("daypass", command, port, log=f"{config.parent}/daypass.log") as process:
        while True:
            try:
                bed.Caller(port).socket.close()
                break
            except OSError:
                time.sleep(0.05)
                if process.child.poll() is not None:
                    sys.exit(f"daypass ended; see {config.parent}/daypass.log")
        bed.ask_for(port, range(64), connections=32)
        chosen = random.Random(1).sample(range(64, count), users)
        with bed.Caller(port) as caller:
            plain = caller.request
            cold = timed(caller, plain, chosen)
            # The same users again, who are in memory now.
            warm = timed(caller, plain, chosen)
    return cold, warm


def timed(caller, plain, users):
    """Milliseconds, p50 and p99, of a request for each of `users`."""
    times = []
    for n in users:
        caller.request = plain.replace(b"user-1\r\n", b"user-%08d\r\n" % n)
        begun = time.perf_counter()
        answer = caller.ask()
        times.append((time.perf_counter() - begun) * 1000)
        bed.must_be_ok(answer)
    times.sort()
    return times[len(times) // 2], times[len(times) * 99 // 100]


def swept(daypass, config, seconds):
    """Sweeps that each of two sidecars made of the same store, and the grants that they took up."""
    running, logs = [], []
    try:
        for number in range(2):
            log = config.parent / f"sweeper-{number}.log"
            logs.append(log)
            command = [daypass, "--config", config, "--set", "outbound.listen=127.0.0.1:0",
                       "--set", "ingress.listen=127.0.0.1:0", "--set", f"admin.listen=127.0.0.1:{bed.free_port()}",
                       "--set", "telemetry.log=info", "--set", "telemetry.log_format=json",
                       "--set", f"store.spool_dir={config.parent}/sweeper-{number}", "run"]
            running.append(bed.Process(f"sweeper {number}", command, 0, log=log))
        time.sleep(seconds)
    finally:
        for process in running:
            process.stop()
    return [log.read_text().count("keeping idle grants alive") for log in logs]


def measure(kind, bench_program, daypass, options, upstream):
    # The same with a hundredth of the rows just before, so that what grows with them shows whatever else
    # the machine does.
    with servers.STORES[kind]() as store:
        few = bench(bench_program, store, max(options.rows // 100, 1000), options.reads)
    with servers.STORES[kind]() as store:
        empty = store.size() if kind != "sqlite" else 0
        found = bench(bench_program, store, options.rows, options.reads)
        found["few"] = few
        found["load_average_saved"] = os.getloadavg()
        found["size"] = store.size() - empty
        found["examined"], found["plan"] = examined(bench_program, store, options.rows)
        config = idle.configure(store.folder, store.url, f"http://127.0.0.1:{upstream.port}")
        found["imported_per_second"], found["import_mb"] = imported(daypass, store, config, options.imported)
        found["cold_ms"], found["warm_ms"] = asked(daypass, config, options.imported, options.asked)
        if options.sweeping:
            found["sweeps_of_two"] = swept(daypass, config, options.sweeping)
        found["load_average"] = os.getloadavg()
        return found


def row(kind, found):
    def us(what):
        """With all rows, and how many times that with a hundredth of them."""
        few, all = found["few"][what], found[what]
        return (f"{all['p50_us'] / 1000:.2f} / {all['p99_us'] / 1000:.2f} "
                f"({all['p50_us'] / max(few['p50_us'], 1):.1f} ×)")

    rate = found["rows"] / found["saving_ms"] * 1000
    request = "{:.2f} / {:.2f}".format(*found["cold_ms"])
    request += f" ({found['cold_ms'][0] / found['warm_ms'][0]:.1f} ×)"
    cells = [kind, f"{rate:,.0f}", f"{found['imported_per_second']:,.0f}", us("load"),
             request, us("sweep"), str(found["examined"] or "–"), us("census"), us("page"),
             f"{found['size'] / 2**20:,.0f}", f"{found['size'] / found['rows']:,.0f}",
             "{:.1f}".format(found["load_average"][0])]
    return "| " + " | ".join(cells) + " |"


HEAD = """Times are p50 / p99, in brackets how many times as long as with a hundredth of the rows (p50); for
requests, as for a user in memory.

| store | saved a second | imported a second | one read, ms | request of a cold user, ms | sweep, ms | rows looked at | census, ms | page of 100, ms | size, MiB | bytes each | load |
|---|---|---|---|---|---|---|---|---|---|---|---|"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--stores", default=",".join(servers.STORES))
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--reads", type=int, default=20_000)
    parser.add_argument("--imported", type=int, default=100_000)
    parser.add_argument("--asked", type=int, default=5_000)
    parser.add_argument("--sweeping", type=float, default=200, help="seconds that two sidecars sweep; 0: do not")
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
                    # After each, beside what is there: stores may be measured one by one.
                    out = bed.HERE / "results" / f"{options.name}.json"
                    before = json.loads(out.read_text()) if out.exists() else {}
                    out.write_text(json.dumps({**before, **results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
