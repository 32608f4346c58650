"""What is measured of a proxy, and under what.

1. CPU is the proxy's own: utime + stime of all its processes, before and after, by the requests that were
   answered meanwhile. Whoever else is busy on the machine is noted beside it.
2. A proxy with one worker has the first core; the tools that ask, and the upstream, share the next one.
   With two workers it has both, and shares the second with them.
3. Closed loop for CPU and requests a second: 64 callers, each asking again when answered (wrk; h2load for
   callers in HTTP/2). Open loop for latency: a constant rate, each latency from when its request was due
   (`load.rs`).
4. A run in which anything failed is no run: it ends everything.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import time

import bed
import contenders
import witness

HERE = pathlib.Path(__file__).resolve().parent
# Who asks, and who answers.
LOAD_CORE = min(1, (os.cpu_count() or 1) - 1)
# Requests at once; whole megabytes by fewer, or the kernel's buffers are all that is measured.
AT_ONCE = {"700": 64, "64k": 64, "10m": 8}
BODIES = {"700": len(bed.BODY), "64k": 64 << 10, "10m": 10 << 20}
PATHS = {"700": bed.PATH, "64k": "/calcom/v2/bodies/64k", "10m": "/calcom/v2/bodies/10m"}


class Failed(Exception):
    """A run that means nothing, and why."""


class Cell:
    """A square of the matrix, by its words: `http` (the default), `tls` or `h2` to the upstream; `h2c` for
    callers in HTTP/2; `64k` or `10m` bodies instead of 700 bytes; `2w` for two workers; `quiet` without
    access logs."""

    WORDS = {"http": ("kind", "http"), "tls": ("kind", "tls"), "h2": ("kind", "h2"),
             "h2c": ("client", "h2"), "700": ("body", "700"), "64k": ("body", "64k"),
             "10m": ("body", "10m"), "1w": ("workers", 1), "2w": ("workers", 2), "quiet": ("log", False)}

    def __init__(self, name):
        self.name = name
        self.kind, self.client, self.body, self.workers, self.log = "http", "h1", "700", 1, True
        for word in name.split("+"):
            if word not in self.WORDS:
                raise ValueError(f"{word!r} is no word of a cell; there are: {' '.join(self.WORDS)}")
            setattr(self, *self.WORDS[word])

    def __str__(self):
        upstream = {"http": "plain HTTP", "tls": "TLS", "h2": "HTTP/2 over TLS"}[self.kind]
        body = {"700": "700 B", "64k": "64 KiB", "10m": "10 MiB"}[self.body]
        callers = "callers in HTTP/2, " if self.client == "h2" else ""
        log = "" if self.log else ", no access log"
        return f"{callers}upstream {upstream}, {body}, {self.workers} worker{'s'[: self.workers - 1]}{log}"

    def setting(self, upstream):
        return contenders.Setting(upstream, self.kind, self.client, self.workers, self.log)


def pinned(*command):
    return ["taskset", "-c", str(LOAD_CORE), *map(str, command)]


def fields():
    return [part for name, value in bed.HEADERS.items() for part in ("-H", f"{name}: {value}")]


def wrk(port, cell, seconds):
    command = pinned("wrk", "-t1", f"-c{AT_ONCE[cell.body]}", f"-d{seconds}s", "-s", HERE / "wrk.lua",
                     *fields(), f"http://127.0.0.1:{port}{PATHS[cell.body]}")
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    told = re.search(r"^JSON (.*)$", ran.stdout, re.MULTILINE)
    if not told:
        raise Failed(f"wrk: {ran.stdout}{ran.stderr}")
    told = json.loads(told[1])
    # Bodies that were under way when time was up are part of the work.
    answered = told["bytes"] / BODIES["10m"] if cell.body == "10m" else told["requests"]
    return {"requests": answered, "failed": told["failed"], "bytes": told["bytes"],
            "seconds": told["us"] / 1e6, "p50_ms": told["p50"] / 1e3, "p99_ms": told["p99"] / 1e3}


def h2load(port, cell, seconds):
    connections = 8
    streams = AT_ONCE[cell.body] // connections
    command = pinned("h2load", "-t1", f"-c{connections}", f"-m{streams}", f"-D{seconds}",
                     *fields(), f"http://127.0.0.1:{port}{PATHS[cell.body]}")
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    counts = re.search(r"requests: .*?(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout",
                       told)
    length = re.search(r"traffic: .*?\((\d+)\) total", told)
    if not counts or not length:
        raise Failed(f"h2load: {told}")
    done, succeeded, failed, errored, timeout = map(int, counts.groups())
    good = int(re.search(r"status codes: (\d+) 2xx", told)[1])
    return {"requests": good, "failed": max(failed, errored, timeout, done - succeeded),
            "bytes": int(length[1]), "seconds": float(seconds)}


def everybody():
    """Seconds of CPU that the whole machine has spent."""
    ticks = [int(field) for field in pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq, steal, *_ = ticks
    return (user + nice + system + irq + softirq + steal) / bed.TICKS


def tools():
    """Seconds of CPU of the tools that were started and have ended."""
    times = os.times()
    return times.children_user + times.children_system + times.user + times.system


def throughput(process, upstream, cell, seconds):
    """One run of `seconds` against `process`: requests a second, and what one cost."""
    ask = h2load if cell.client == "h2" else wrk
    began = time.monotonic()
    before = process.cpu(), upstream.cpu() + tools(), everybody()
    run = ask(process.port, cell, seconds)
    wall = time.monotonic() - began
    cpu, ours = process.cpu() - before[0], upstream.cpu() + tools() - before[1]
    others = everybody() - before[2] - cpu - ours
    if run["failed"] or run["requests"] < 1:
        raise Failed(f"{process.name}: {run['failed']} of {run['requests']:.0f} requests failed")
    if run["bytes"] < (run["requests"] - 1) * BODIES[cell.body]:
        raise Failed(f"{process.name}: answers are shorter than {BODIES[cell.body]} bytes")
    run.update(rps=run["requests"] / run["seconds"], cpu_us=cpu / run["requests"] * 1e6,
               busy=cpu / wall, others=max(0.0, others / wall), rss_mb=process.rss())
    return run


def head(port, path, **more):
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}"]
    lines += [f"{name}: {value}" for name, value in more.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def latency(port, request, rate, seconds, connections=64):
    """Percentiles in microseconds, at a constant `rate`."""
    warm_up = rate // 4
    ran = subprocess.run(
        pinned(contenders.TARGET / "load", f"127.0.0.1:{port}", rate, connections, warm_up,
               int(rate * seconds)),
        input=request, capture_output=True, check=False)
    if ran.returncode != 0:
        raise Failed(f"load: {ran.stderr.decode()}")
    return json.loads(ran.stdout)


def latency_through(process, rate, seconds):
    before = process.cpu()
    told = latency(process.port, head(process.port, bed.PATH, **bed.HEADERS), rate, seconds)
    told["cpu_us"] = (process.cpu() - before) / (told["requests"] + rate // 4) * 1e6
    return told


def latency_direct(upstream, rate, seconds):
    """Of the upstream itself, asked as a proxy would ask."""
    fields = {"Authorization": f"Bearer {bed.TOKEN}", "Accept": bed.HEADERS["Accept"],
              "User-Agent": bed.HEADERS["User-Agent"], "cal-api-version": bed.HEADERS["cal-api-version"]}
    return latency(upstream.port, head(upstream.port, "/v2/me", **fields), rate, seconds)


def built_load():
    binary, source = contenders.TARGET / "load", HERE / "load.rs"
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["rustc", "--edition", "2024", "-O", "-o", binary, source], check=True)


def bodies(directory):
    """What the upstream answers with."""
    folder = pathlib.Path(directory) / "bodies"
    folder.mkdir()
    for name in ("64k", "10m"):
        (folder / name).write_bytes(b"x" * BODIES[name])
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)


def await_examined(process, cell, limit=30.0):
    """Waits until `process` answers, and sees that it does the work."""
    until = time.monotonic() + limit
    while True:
        try:
            if process.child.poll() is not None:
                sys.exit(f"{process.name} ended with {process.child.returncode}; see {process.log.name}")
            if witness.ask(process.port, cell.client, bed.USER)[0] == 200:
                break
        except (OSError, IndexError, ValueError):
            pass
        if time.monotonic() > until:
            break
        time.sleep(0.02)
    try:
        witness.examine(process.port, cell.kind, cell.client)
    except witness.Idle as why:
        sys.exit(f"{process.name} is not measured, because it does not do the work: {why}")
