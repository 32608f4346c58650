#!/usr/bin/env python3
"""daypass and nginx, doing the same work in the same rounds. One command: benches/compare.py

What is compared: the user header becomes a bearer token, credentials are stripped, the request is
forwarded over kept-alive connections to a plain-HTTP upstream that answers about 700 bytes; 64
kept-alive callers (wrk). Each proxy runs one worker on a core of its own, wrk and the upstream share
the next core. daypass does all that it always does: timeouts, metrics, replay bookkeeping; the access
log is on or off on both sides alike.

CPU is the proxy's own: utime + stime of its processes from /proc before and after, divided by the
requests that wrk counted. Ratios are within one round; wherever other things run on the machine, only
they mean something, and not below 8 %.
"""

import argparse
import datetime
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

import bed

CONNECTIONS = 64
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


def wrk(port, seconds, core):
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency"]
    for name, value in bed.HEADERS.items():
        command += ["-H", f"{name}: {value}"]
    command.append(f"http://127.0.0.1:{port}{bed.PATH}")
    pin = ["taskset", "-c", str(core)]
    out = subprocess.run(pin + command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        sys.exit(f"a run with failed requests means nothing:\n{out}")

    def latency(part):
        number, unit = re.search(rf"{part}%\s+([\d.]+)(us|ms|s|m)", out).groups()
        return float(number) * UNITS[unit]

    return {
        "requests": int(re.search(r"(\d+) requests in", out)[1]),
        "rps": float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]),
        "p50": latency(50),
        "p99": latency(99),
    }


def measured(process, seconds, core):
    before = process.cpu()
    result = wrk(process.port, seconds, core)
    result["cpu_us"] = (process.cpu() - before) / result["requests"] * 1e6
    result["rss_load"] = process.rss()
    return result


def starts(start, times):
    """Median milliseconds from the start of the process to its first 200."""
    taken = []
    for _ in range(times):
        with start() as process:
            taken.append(process.await_answer() * 1e3)
    return statistics.median(taken)


def memory(start):
    """RSS idle, after 10,000 requests, and with 1,000 clients that asked once and stay."""
    with start() as process:
        process.await_answer()
        idle = process.rss()
        bed.ask_many(process.port, 10_000, CONNECTIONS)
        after = process.rss()
        callers = [bed.Caller(process.port) for _ in range(1000)]
        for caller in callers:
            caller.ask()
        clients = process.rss()
        for caller in callers:
            caller.socket.close()
        return {"idle": idle, "after_10k": after, "clients_1000": clients,
                "threads": process.threads()}


def build():
    print("building the release binary", file=sys.stderr)
    subprocess.run(["cargo", "build", "--release", "--bin", "daypass"], check=True, cwd=bed.ROOT)
    return bed.ROOT / "target/release/daypass"


def middle(values, digits=2):
    return f"{statistics.median(values):.{digits}f}"


def spread(values, digits=2):
    return f"{middle(values, digits)} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def table(names, rounds, ratios, extra):
    lines = [
        "| proxy | CPU µs/request | CPU vs nginx, same round | requests/s | p50 ms | p99 ms "
        "| RSS MB idle / after 10k / under load / 1,000 idle clients | threads "
        "| start → first 200, ms |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in names:
        runs = [r[name] for r in rounds]
        of = lambda key: [run[key] for run in runs]
        rss = extra[name]["memory"]
        ratio = spread(ratios[name]) if name in ratios else "1.00"
        lines.append(
            f"| {name} | {spread(of('cpu_us'), 1)} | {ratio} | {middle(of('rps'), 0)} "
            f"| {middle(of('p50'))} | {middle(of('p99'))} "
            f"| {rss['idle']:.1f} / {rss['after_10k']:.1f} / {middle(of('rss_load'), 1)} / "
            f"{rss['clients_1000']:.1f} | {rss['threads']} | {extra[name]['start_ms']:.1f} |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of load, per proxy and round")
    parser.add_argument("--starts", type=int, default=7)
    parser.add_argument("--binary", help="measure this one, stripped, instead of building")
    parser.add_argument("--name", help="of the files in benches/results; default: the time")
    options = parser.parse_args()

    bed.need("nginx", "wrk", "taskset")
    binary = pathlib.Path(options.binary).resolve() if options.binary else build()
    proxy_core, load_core = 0, 1 if (os.cpu_count() or 1) > 1 else 0

    with tempfile.TemporaryDirectory(prefix="daypass-bench-") as directory:
        # nginx's worker may have given up root.
        os.chmod(directory, 0o755)
        with bed.upstream(directory, load_core) as upstream:
            daypass = bed.Daypass(binary, directory, upstream.port)

            def nginx(name, access_log):
                return lambda: bed.nginx(directory, "nginx.conf", name, bed.free_port(), proxy_core,
                                         upstream=upstream.port, access_log=access_log)

            contenders = {
                "nginx, no access log": nginx("nginx-quiet", "off"),
                "daypass, no access log": lambda: daypass.run("daypass-quiet", "warn", proxy_core),
                "nginx, access log to /dev/null": nginx("nginx-log", "/dev/null"),
                "daypass, access log to /dev/null": lambda: daypass.run("daypass-log", "info",
                                                                        proxy_core),
            }
            against = {
                "daypass, no access log": "nginx, no access log",
                "daypass, access log to /dev/null": "nginx, access log to /dev/null",
            }
            extra = {}
            for name, start in contenders.items():
                print(f"starts and memory: {name}", file=sys.stderr)
                extra[name] = {"start_ms": starts(start, options.starts), "memory": memory(start)}

            load_before = os.getloadavg()
            running = {name: start() for name, start in contenders.items()}
            rounds = []
            try:
                for process in running.values():
                    process.await_answer()
                    wrk(process.port, 1, load_core)
                for number in range(options.rounds):
                    rounds.append({name: measured(process, options.seconds, load_core)
                                   for name, process in running.items()})
                    print(f"round {number + 1}: " + ", ".join(
                        f"{name} {run['cpu_us']:.1f} µs" for name, run in rounds[-1].items()),
                        file=sys.stderr)
            finally:
                for process in running.values():
                    process.stop()

    ratios = {name: [r[name]["cpu_us"] / r[other]["cpu_us"] for r in rounds]
              for name, other in against.items()}
    size = binary.stat().st_size / 1e6
    now = datetime.datetime.now(datetime.timezone.utc)
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=bed.ROOT,
                            capture_output=True, text=True, check=False).stdout.strip()
    version = subprocess.run(["nginx", "-v"], capture_output=True, text=True,
                             check=False).stderr.strip()
    text = "\n\n".join([
        f"# daypass {commit} and {version.removeprefix('nginx version: ')}, "
        f"{now:%Y-%m-%d %H:%M} UTC",
        f"{options.rounds} rounds of {options.seconds} s each, {CONNECTIONS} kept-alive callers, "
        f"upstream plain HTTP with {len(bed.BODY)} bytes; proxies on core {proxy_core}, wrk and "
        f"upstream on core {load_core} of {os.cpu_count()}. Medians, with the range over rounds in "
        f"brackets. Load average before the rounds: {load_before[0]:.2f}.",
        table(contenders, rounds, ratios, extra),
        f"Binary: {size:.1f} MB.",
    ]) + "\n"
    print(text)
    name = options.name or f"{now:%Y-%m-%d-%H%M}"
    results = bed.HERE / "results"
    results.mkdir(exist_ok=True)
    (results / f"{name}.md").write_text(text)
    (results / f"{name}.json").write_text(json.dumps(
        {"commit": commit, "nginx": version, "at": now.isoformat(), "load": load_before,
         "binary_mb": size, "rounds": rounds, "ratios": ratios, "extra": extra}, indent=1) + "\n")


if __name__ == "__main__":
    main()
