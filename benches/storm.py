#!/usr/bin/env python3
"""A storm of renewals through the real binary. One command: benches/storm.py

Starts the sandbox's Cal.com with a strict limit on token calls, and `daypass run` before it. The tokens of
many users have just ended, and each sends many requests at once; whoever is told to come again later does
so when it is told to. Others have valid tokens meanwhile, some of them due to be renewed. Writes
docs/reports/storm.md with its chart, saves what was measured in results/, and fails if anybody with a valid
token was kept from it, if the provider was called more than once for a user, or had to refuse a call.

The default is a scaled storm: a tenth of the users at ten times the limit. For the whole one:
benches/storm.py --users 10000 --per-minute 120, which takes an hour and a half.
"""

import argparse
import asyncio
import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

import bed
import plot

REPORT = bed.ROOT / "docs/reports/storm.md"


def call(url, body=None, method=None):
    data = json.dumps(body).encode() if body is not None else None
    asked = urllib.request.Request(url, data=data, method=method)
    with urllib.request.urlopen(asked, timeout=30) as answer:
        return json.loads(answer.read() or "null")


class Storm:
    def __init__(self, options, directory):
        self.options, self.directory = options, pathlib.Path(directory)
        self.calcom = bed.free_port()
        self.sandbox = bed.Process("sandbox", [
            options.binary, "sandbox", "--calcom-port", self.calcom, "--calendly-port", bed.free_port(),
        ], self.calcom, log=self.directory / "sandbox.log")
        self.control = f"http://127.0.0.1:{self.calcom}/_sandbox"
        self.sandbox.await_answer("/_sandbox")
        call(f"{self.control}/switches", {"token_per_minute": options.per_minute, "api_per_minute": 0,
                                          "token_latency_ms": 100}, "PATCH")
        config = self.directory / "daypass.toml"
        config.write_text(f"""
[store]
url = "sqlite:{self.directory}/daypass.db"

{bed.calcom_of_sandbox(self.calcom)}token_calls_per_minute = {options.per_minute}
""")
        rows = self.directory / "rows.jsonl"
        with rows.open("w") as file:
            for name, left in self.users():
                made = call(f"{self.control}/users", {"name": name})
                file.write(json.dumps({
                    "provider": "calcom", "user": name, "access_token": made["access_token"],
                    "refresh_token": made["refresh_token"], "expires_in": left,
                    "external_id": made["external_id"]}) + "\n")
        subprocess.run([options.binary, "--config", config, "connections", "import", rows], check=True,
                       stdout=subprocess.DEVNULL)
        self.port, self.admin = bed.free_port(), bed.free_port()
        self.daypass = bed.Process("daypass", [
            options.binary, "--config", config, "--set", f"outbound.listen=127.0.0.1:{self.port}",
            "--set", "ingress.listen=127.0.0.1:0", "--set", f"admin.listen=127.0.0.1:{self.admin}",
            "--set", "telemetry.log=warn", "run"], self.admin, log=self.directory / "daypass.log")
        self.daypass.await_answer("/livez")

    def users(self):
        options = self.options
        yield from ((f"ended-{n}", 1) for n in range(options.users))
        # A little longer than min_validity and the storm together, and shorter than the buffer.
        yield from ((f"due-{n}", 290) for n in range(options.others))
        yield from ((f"fresh-{n}", 86400) for n in range(options.others))

    def stop(self):
        self.daypass.stop()
        self.sandbox.stop()

    async def run(self):
        self.begun = time.monotonic()
        self.answers = collections.Counter()
        self.served, self.tries, self.longest = [], [], 0.0
        self.places = asyncio.Queue()
        self.idle = []
        for _ in range(self.options.connections):
            self.places.put_nowait(None)
        storm = [asyncio.create_task(self.user(f"ended-{n}")) for n in range(self.options.users)]
        valid = asyncio.create_task(self.valid())
        watching = asyncio.create_task(self.watch())
        await asyncio.gather(*storm)
        self.lasted = time.monotonic() - self.begun
        await asyncio.sleep(2)
        for task in (valid, watching):
            task.cancel()
        await asyncio.gather(valid, watching, return_exceptions=True)

    async def user(self, name):
        tries = await asyncio.gather(*(self.request(name) for _ in range(self.options.requests)))
        self.tries.extend(tries)
        self.served.append(time.monotonic() - self.begun)

    async def request(self, name):
        """Until it is answered by the provider; how often it was sent."""
        tries = 0
        while True:
            tries += 1
            await self.places.get()
            begun = time.monotonic()
            try:
                status, head = await self.ask(name)
            finally:
                self.places.put_nowait(None)
            self.longest = max(self.longest, time.monotonic() - begun)
            self.answers[status] += 1
            if status == 200:
                return tries
            if status != 503 or b"refresh-failed" not in head:
                sys.exit(f"neither 200 nor told to come again: {head[:400]!r}")
            lines = head.split(b"\r\n")
            wait = next(line for line in lines if line.lower().startswith(b"retry-after:"))
            await asyncio.sleep(int(wait.split(b":")[1]))

    async def ask(self, name):
        stream = self.idle.pop() if self.idle else await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = stream
        writer.write(f"GET /calcom/v2/me HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nX-User-Id: {name}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n")
                       if line.lower().startswith(b"content-length:")), None)
        if length is None:
            body = b""
            while True:
                size = int((await reader.readline()).strip() or b"0", 16)
                body += await reader.readexactly(size + 2)
                if size == 0:
                    break
        else:
            body = await reader.readexactly(length)
        self.idle.append(stream)
        return int(head[9:12]), head + body

    async def valid(self):
        """Requests of those who have a valid token, at a steady pace."""
        self.passed, self.kept = [], []
        names = [name for name, left in self.users() if left > 1]
        number = 0
        while True:
            name = names[number % len(names)]
            number += 1
            begun = time.monotonic()
            status, head = await self.ask(name)
            self.passed.append((begun - self.begun, time.monotonic() - begun))
            if status != 200:
                self.kept.append((name, begun - self.begun, head[:300].decode("latin-1")))
            await asyncio.sleep(0.02)

    async def watch(self):
        self.samples, self.ready = [], collections.Counter()
        while True:
            try:
                text, ready = await asyncio.to_thread(self.look)
                self.samples.append((time.monotonic() - self.begun, text, self.daypass.rss()))
                self.ready[ready] += 1
            except OSError:
                pass
            await asyncio.sleep(1)

    def look(self):
        def read(path):
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=10) as answer:
                return answer.read().decode()
        found = {}
        for line in read("/metrics").splitlines():
            if line.startswith("daypass_renewals_waiting{"):
                found["waiting"] = float(line.rsplit(" ", 1)[1])
            if line.startswith("daypass_renewals_oldest_wait_seconds{"):
                found["oldest"] = float(line.rsplit(" ", 1)[1])
        ready = json.loads(read("/readyz"))["components"]["providers"]
        if ready["status"] == "degraded":
            self.reason = ready["reason"]
        return found, ready["status"]


def percentile(values, part):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * part))] if values else 0.0


def judged(storm):
    """What must hold, and whether it did."""
    stats = call(f"{storm.control}/stats")
    calls = stats["token_calls"]
    renewed = calls.get("refresh:ok", 0)
    refused = sum(count for outcome, count in calls.items() if outcome != "refresh:ok")
    options = storm.options
    expected = options.users + options.others
    twice = sum(1 for count in stats["redemptions"].values()
                if (count if isinstance(count, int) else 0) > 1)
    return {
        "every request of who had a valid token was served": not storm.kept,
        "every request of who had none was served in the end":
            len(storm.tries) == options.users * options.requests,
        "one token call a user, and no more": options.users <= renewed <= expected and not twice,
        "the provider refused no call": refused == 0,
        "the queue was told of by the metric and by /readyz":
            any(sample[1].get("waiting", 0) > 0 for sample in storm.samples)
            and storm.ready["degraded"] > 0,
    }, {"token_calls": calls, "refresh_tokens_sent_twice": twice}


def write(storm, checks, counted):
    options = storm.options
    valid = [took * 1000 for _, took in storm.passed]
    waits = storm.served
    oldest = max((sample[1].get("oldest", 0) for sample in storm.samples), default=0)
    most = max((sample[1].get("waiting", 0) for sample in storm.samples), default=0)
    tries = collections.Counter(storm.tries)
    memory = [sample[2] for sample in storm.samples]
    verdict = "\n".join(f"| {what} | {'yes' if held else '**no**'} |" for what, held in checks.items())
    load = os.getloadavg()[0]
    REPORT.write_text(f"""# A storm of renewals

The access tokens of {options.users:,} users have ended, and each of them sends {options.requests} requests at once, to a
provider that takes {options.per_minute:,} token calls a minute from one address and refuses everybody for a minute after one
too many. Real binary, SQLite, the sandbox's Cal.com, token calls of 100 ms. Written by

    benches/storm.py --users {options.users} --requests {options.requests} --per-minute {options.per_minute}

with a load average of {load:.1f} on {os.cpu_count()} cores, sidecar, provider and callers together.

| must hold | held |
|---|---|
{verdict}

![How many renewals wait](storm.svg)

| what | how much |
|---|---|
| requests of users without a valid token | {len(storm.tries):,}, sent {sum(storm.tries):,} times: {', '.join(f'{count:,} of them {times} ×' for times, count in sorted(tries.items()))} |
| answers to them | {', '.join(f'{count:,} × {status}' for status, count in sorted(storm.answers.items()))} |
| token calls | {json.dumps(counted['token_calls'])} |
| the last user was served after | {max(waits):.0f} s; at the limit it takes {options.users / options.per_minute * 60:.0f} s |
| added latency, from the first request of a user to its token: p50 / p99 / worst | {percentile(waits, .5):.0f} / {percentile(waits, .99):.0f} / {max(waits):.0f} s |
| longest time to a single answer | {storm.longest:.1f} s |
| requests of users with a valid token meanwhile, half of them due to be renewed | {len(storm.passed):,}, not served: {len(storm.kept)} |
| their latency, p50 / p99 / worst | {percentile(valid, .5):.1f} / {percentile(valid, .99):.1f} / {max(valid, default=0):.0f} ms |
| renewals that waited at once, at most | {most:,.0f}; the oldest for {oldest:.0f} s |
| resident memory, at most | {max(memory, default=0):.0f} MB |

`/readyz` said meanwhile: {getattr(storm, 'reason', 'nothing')}.

All callers are one program, which takes a while to send {len(storm.tries):,} requests: latencies hold its own queue too. The
storm of 10,000 users at 120 calls a minute is held to the same under a paused clock (`tests/renewing/storms.rs`): every
user is renewed once, in the order of asking, the last after about 100 minutes.
""")
    waiting = [(at, found.get("waiting", 0)) for at, found, _ in storm.samples]
    served = sorted(waits)
    step = max(1, len(served) // 200)
    left = [(at, len(served) - number) for number, at in enumerate(served)][::step]
    (REPORT.parent / "storm.svg").write_text(plot.lines(
        "Renewals that wait, and users who have not been served", "seconds", "users",
        {"renewals waiting": waiting, "users not served yet": [(0, len(served)), *left]}))
    (bed.HERE / "results/storm.json").write_text(json.dumps({
        "options": {key: str(value) for key, value in vars(options).items()
                    if key != "binary"}, "checks": checks, **counted,
        "lasted": storm.lasted, "answers": {str(k): v for k, v in storm.answers.items()},
        "tries": {str(k): v for k, v in tries.items()}, "load_average": load,
        "valid_ms": {"p50": percentile(valid, .5), "p99": percentile(valid, .99), "max": max(valid, default=0)},
        "served_after": [round(at, 2) for at in served][::step], "waiting": waiting,
    }, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", default=bed.ROOT / "target/release/daypass")
    parser.add_argument("--users", type=int, default=1_000)
    parser.add_argument("--requests", type=int, default=50)
    parser.add_argument("--per-minute", type=int, default=1_200)
    parser.add_argument("--others", type=int, default=50, help="users with tokens that are due, and as many with fresh ones")
    parser.add_argument("--connections", type=int, default=512)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="daypass-storm-") as directory:
        storm = Storm(options, directory)
        try:
            # Until the tokens have ended.
            time.sleep(2)
            asyncio.run(storm.run())
            checks, counted = judged(storm)
        finally:
            storm.stop()
    write(storm, checks, counted)
    print(REPORT.read_text())
    for name, at, head in storm.kept[:5]:
        print(f"{name} was kept after {at:.1f} s: {head}", file=sys.stderr)
    if not all(checks.values()):
        sys.exit("something did not hold")


if __name__ == "__main__":
    main()
