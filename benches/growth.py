#!/usr/bin/env python3
"""What grows, and what must not. One command: benches/growth.py

 1. `store`: CPU of a request from ten to a million connections in SQLite: for 64 users who are in memory,
    and for users drawn from all of them, of whom memory knows a part.
 2. `clients`: CPU of a request, and memory, from one to 5,000 connections of the app.
 3. `webhooks`: intake and delivery on each store, by webhooks.py.
 4. `soak`: an hour (DAYPASS_SOAK_SECS, or --soak) of requests, renewals, webhooks and callers that come and
    go; memory, open files and threads every few seconds, and a verdict.

Writes docs/reports/growth.md with the chart of the soak and saves what was measured in results/. Sections can
be run by themselves (--sections); the report has what was measured last of each.
"""

import argparse
import asyncio
import base64
import collections
import hashlib
import hmac
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time
import urllib.request

import bed
import memory
import plot
import servers

RESULTS = bed.HERE / "results"
REPORT = bed.ROOT / "docs/reports/growth.md"
SECTIONS = ["store", "clients", "webhooks", "soak"]
SIGNING_KEY = "signing-key-of-the-bench"


def noted(section, found):
    found["load_average"] = os.getloadavg()[0]
    found["cores"] = os.cpu_count()
    (RESULTS / f"growth-{section}.json").write_text(json.dumps(found, indent=1) + "\n")


def known(section):
    path = RESULTS / f"growth-{section}.json"
    if section == "webhooks" and not path.exists():
        # As webhooks.py has measured them by itself.
        path = RESULTS / "webhooks.json"
    return json.loads(path.read_text()) if path.exists() else None


# --- 1. how many connections there are


def cpu_of(process, port, users):
    """Microseconds of CPU of `process` for each request."""
    before = process.cpu()
    bed.ask_for(port, users)
    return (process.cpu() - before) / len(users) * 1e6


def store(options):
    rounds = []
    for count in options.connections:
        with tempfile.TemporaryDirectory(prefix="daypass-growth-") as directory:
            with bed.upstream(directory) as upstream:
                daypass = memory.Many(options.binary, directory, upstream.port, count)
                with daypass.run("daypass", "warn") as process:
                    process.await_answer()
                    drawn = random.Random(1)
                    hot = [n % min(count, 64) for n in range(options.requests)]
                    bed.ask_for(process.port, hot)
                    few = cpu_of(process, process.port, hot)
                    # So that memory is as full as it gets.
                    fill = range(min(count, options.remember))
                    bed.ask_for(process.port, list(fill))
                    again = cpu_of(process, process.port, hot)
                    anybody = [drawn.randrange(count) for _ in range(options.requests)]
                    uniform = cpu_of(process, process.port, anybody)
                    rounds.append({"connections": count, "hot_us": few, "hot_when_full_us": again,
                                   "uniform_us": uniform, "rss_mb": process.rss(),
                                   "import_seconds": daypass.import_seconds})
        print(json.dumps(rounds[-1]), flush=True)
    noted("store", {"requests": options.requests, "rounds": rounds})


# --- 2. how many clients there are


def over(port, connections, requests, at_once=64):
    """`requests` requests, in turn on each of `connections`, `at_once` at a time."""
    number, left = 0, requests
    while left > 0:
        now = [connections[(number + k) % len(connections)]
               for k in range(min(at_once, left, len(connections)))]
        for caller in now:
            caller.send()
        for caller in now:
            bed.must_be_ok(caller.receive())
        number += len(now)
        left -= len(now)


def clients(options):
    rounds = []
    with tempfile.TemporaryDirectory(prefix="daypass-growth-") as directory:
        with bed.upstream(directory) as upstream:
            daypass = bed.Daypass(options.binary, directory, upstream.port)
            for count in options.clients:
                with daypass.run("daypass", "warn") as process:
                    process.await_answer()
                    callers = [bed.Caller(process.port) for _ in range(count)]
                    try:
                        over(process.port, callers, max(count, 2_000))
                        before, begun = process.cpu(), time.monotonic()
                        over(process.port, callers, options.requests)
                        cpu = (process.cpu() - before) / options.requests * 1e6
                        rounds.append({"clients": count, "cpu_us": cpu, "rss_mb": process.rss(),
                                       "per_second": options.requests / (time.monotonic() - begun)})
                    finally:
                        for caller in callers:
                            caller.socket.close()
                print(json.dumps(rounds[-1]), flush=True)
    noted("clients", {"requests": options.requests, "rounds": rounds})


# --- 3. webhooks


def webhooks(options):
    command = [sys.executable, bed.HERE / "webhooks.py", "--name", "growth-webhooks",
               "--stores", options.stores, "--seconds", str(options.seconds)]
    subprocess.run([str(part) for part in command], check=True)
    found = known("webhooks")
    noted("webhooks", found)


# --- 4. an hour


class Soak:
    """A sidecar on `options.soak_store`, the sandbox's providers, and all that befalls the two."""

    def __init__(self, options, directory, server):
        self.options, self.directory = options, pathlib.Path(directory)
        self.counts = collections.Counter()
        self.samples = []
        self.calcom, self.calendly = bed.free_port(), bed.free_port()
        self.sandbox = bed.Process("sandbox", [
            options.binary, "sandbox", "--calcom-port", self.calcom, "--calendly-port", self.calendly,
        ], self.calcom, log=self.directory / "sandbox.log")
        self.sandbox.await_answer("/_sandbox")
        for port in (self.calcom, self.calendly):
            # Tokens of a minute: every user is renewed some fifty times an hour.
            self.control(port, "switches", {"access_lifetime_secs": 60, "api_per_minute": 0,
                                            "token_per_minute": 0}, "PATCH")
        self.app_port = bed.free_port()
        url = server.url if server else f"sqlite:{self.directory}/daypass.db"
        config = self.directory / "daypass.toml"
        config.write_text(f"""
[store]
url = "{url}"
spool_dir = "{self.directory}/spool"

[encryption]
active = "k1"
[[encryption.keys]]
id = "k1"
value = "{base64.b64encode(bytes(range(32))).decode()}"

{bed.calcom_of_sandbox(self.calcom)}
[providers.calendly]
kind = "calendly"
api_base = "http://127.0.0.1:{self.calendly}"
auth_base = "http://127.0.0.1:{self.calendly}"
client_id = "sandbox-calendly-client"
client_secret = "sandbox-client-secret"
webhook_signing_key = "{SIGNING_KEY}"

[meetings]
store = false

[app]
webhook_url = "http://127.0.0.1:{self.app_port}/webhooks"
""")
        rows = self.directory / "rows.jsonl"
        self.hosts = []
        with rows.open("w") as file:
            for port, provider in ((self.calcom, "calcom"), (self.calendly, "calendly")):
                for n in range(options.soak_users):
                    made = self.control(port, "users", {"name": f"user-{n}"})
                    file.write(json.dumps({
                        "provider": provider, "user": f"user-{n}", "access_token": made["access_token"],
                        "refresh_token": made["refresh_token"], "expires_in": 60,
                        "external_id": made["external_id"]}) + "\n")
                    if provider == "calendly":
                        self.hosts.append(made["external_id"])
        subprocess.run([options.binary, "--config", config, "connections", "import", rows], check=True,
                       stdout=subprocess.DEVNULL)
        self.port, self.ingress, self.admin = (bed.free_port() for _ in range(3))
        self.daypass = bed.Process("daypass", [
            options.binary, "--config", config, "--set", f"outbound.listen=127.0.0.1:{self.port}",
            "--set", f"ingress.listen=127.0.0.1:{self.ingress}",
            "--set", f"admin.listen=127.0.0.1:{self.admin}", "--set", "telemetry.log=info", "run"],
            self.admin, log=os.devnull)
        self.daypass.await_answer("/livez")
        self.server = server

    def control(self, port, path, body, method=None):
        asked = urllib.request.Request(f"http://127.0.0.1:{port}/_sandbox/{path}",
                                       data=json.dumps(body).encode(), method=method)
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return json.loads(answer.read() or "null")

    def stop(self):
        self.daypass.stop()
        self.sandbox.stop()

    async def run(self):
        self.begun = time.monotonic()
        self.end = self.begun + self.options.soak
        app = await asyncio.start_server(self.app, "127.0.0.1", self.app_port)
        tasks = [asyncio.create_task(self.caller(n)) for n in range(self.options.soak_callers)]
        tasks += [asyncio.create_task(self.provider()), asyncio.create_task(self.watch())]
        tasks += [asyncio.create_task(self.idle_clients())]
        await asyncio.gather(*tasks)
        # What is under way is delivered.
        await asyncio.sleep(5)
        app.close()

    def goes_on(self):
        return time.monotonic() < self.end

    async def caller(self, number):
        """Comes, asks a while for one user after the other, and goes."""
        dice = random.Random(number)
        while self.goes_on():
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                for _ in range(dice.randint(1, 50)):
                    user = dice.randrange(self.options.soak_users)
                    path = dice.choice(["/calcom/v2/me", "/calendly/users/me"])
                    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
                                 f"X-User-Id: user-{user}\r\n\r\n".encode())
                    if dice.random() < 0.01:
                        # Leaves in the midst of it.
                        self.counts["left"] += 1
                        break
                    self.counts[await read_answer(reader)] += 1
                    await asyncio.sleep(self.options.soak_callers / self.options.soak_rate)
                writer.close()
            except (OSError, asyncio.IncompleteReadError):
                self.counts["broken"] += 1
                await asyncio.sleep(0.1)

    async def idle_clients(self):
        """Some hundred connections that come and say nothing, every minute."""
        while self.goes_on():
            held = []
            for _ in range(200):
                try:
                    held.append(await asyncio.open_connection("127.0.0.1", self.port))
                except OSError:
                    self.counts["broken"] += 1
            await asyncio.sleep(min(20.0, max(self.end - time.monotonic(), 0.0)))
            for _, writer in held:
                writer.close()
            await asyncio.sleep(min(20.0, max(self.end - time.monotonic(), 0.0)))

    async def provider(self):
        """Sends webhooks, on one connection after the other."""
        number = 0
        while self.goes_on():
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.ingress)
                for _ in range(100):
                    if not self.goes_on():
                        break
                    number += 1
                    host = self.hosts[number % len(self.hosts)]
                    body = json.dumps({
                        "event": "invitee.created", "created_at": "2026-11-26T00:00:00.000000Z",
                        "created_by": host, "payload": {
                            "uri": f"https://api.calendly.com/scheduled_events/E{number}/invitees/I{number}",
                            "scheduled_event": {
                                "uri": f"https://api.calendly.com/scheduled_events/E{number}",
                                "event_memberships": [{"user": host}]}}}).encode()
                    at = str(int(time.time()))
                    signature = hmac.new(SIGNING_KEY.encode(), at.encode() + b"." + body, hashlib.sha256)
                    writer.write(
                        (f"POST /webhooks/calendly HTTP/1.1\r\nHost: daypass\r\nContent-Type: application/json"
                         f"\r\nCalendly-Webhook-Signature: t={at},v1={signature.hexdigest()}\r\n"
                         f"Content-Length: {len(body)}\r\n\r\n").encode() + body)
                    self.counts[f"webhook {await read_answer(reader)}"] += 1
                    await asyncio.sleep(1 / self.options.soak_webhooks)
                writer.close()
            except (OSError, asyncio.IncompleteReadError):
                self.counts["webhook broken"] += 1
                await asyncio.sleep(0.1)

    async def app(self, reader, writer):
        """Takes deliveries; one in fifty it refuses at first."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n")
                              if line.lower().startswith(b"content-length:"))
                await reader.readexactly(length)
                self.counts["delivered"] += 1
                status = "503 Later" if self.counts["delivered"] % 50 == 0 else "200 OK"
                writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def watch(self):
        pid = self.daypass.child.pid
        while self.goes_on():
            if self.daypass.child.poll() is not None:
                sys.exit("daypass has ended")
            files = len(os.listdir(f"/proc/{pid}/fd"))
            self.samples.append((round(time.monotonic() - self.begun, 1), round(self.daypass.rss(), 2), files,
                                 self.daypass.threads()))
            await asyncio.sleep(min(self.options.every, max(self.end - time.monotonic(), 0.0)))

    def renewals(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return {line.split(" ")[0]: int(float(line.split(" ")[1])) for line in lines
                if line.startswith("daypass_renewals_total") and not line.endswith(" 0")}


async def read_answer(reader):
    """Its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = [line.lower() for line in head.split(b"\r\n")]
    if b"transfer-encoding: chunked" in lines:
        while True:
            size = int(await reader.readline(), 16)
            await reader.readexactly(size + 2)
            if size == 0:
                break
    else:
        length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), 0)
        await reader.readexactly(length)
    return head[9:12].decode()


def settled(samples):
    """The last two thirds: what a process needs at first is no growth."""
    return [sample for sample in samples if sample[0] >= samples[-1][0] / 3]


def verdict(samples):
    late = settled(samples)
    hour = plot.slope([(at / 3600, rss) for at, rss, _, _ in late])
    third = len(late) // 3 or 1
    median = lambda part: sorted(rss for _, rss, _, _ in part)[len(part) // 2]
    before, after = median(late[:third]), median(late[-third:])
    lasted = samples[-1][0] / 3600
    files = [sample[2] for sample in late]
    threads = [sample[3] for sample in late]
    return {"mb_per_hour": hour, "median_before_mb": before, "median_after_mb": after,
            "grown_percent": (after / before - 1) * 100, "hours": lasted, "most_mb": max(s[1] for s in samples),
            "files": [min(files), max(files)], "threads": [min(threads), max(threads)],
            "bounded": after / before < 1.03 and sorted(files)[len(files) // 2] <= max(files[:third]) + 16}


def soak(options):
    kind = options.soak_store
    with tempfile.TemporaryDirectory(prefix="daypass-soak-") as directory:
        server = None if kind == "sqlite" else servers.STORES[kind]()
        running = None
        try:
            running = Soak(options, directory, server)
            asyncio.run(running.run())
            renewals = running.renewals()
        finally:
            if running:
                running.stop()
            if server:
                server.__exit__(None, None, None)
    samples = running.samples
    found = {"store": kind, "seconds": options.soak, "counts": dict(running.counts), "renewals": renewals,
             "verdict": verdict(samples), "samples": samples}
    noted("soak", found)
    print(json.dumps({key: value for key, value in found.items() if key != "samples"}))


# --- the report


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def of_store(found):
    rows = [[f"{one['connections']:,}", f"{one['hot_us']:.0f}", f"{one['hot_when_full_us']:.0f}",
             f"{one['uniform_us']:.0f}", f"{one['rss_mb']:.0f}"] for one in found["rounds"]]
    return table(["connections in SQLite", "CPU of a request, µs: one of 64 users", "the same, memory full",
                  "users drawn from all", "resident, MB"], rows)


def of_clients(found):
    rows = [[f"{one['clients']:,}", f"{one['cpu_us']:.0f}", f"{one['per_second']:,.0f}", f"{one['rss_mb']:.0f}"]
            for one in found["rounds"]]
    return table(["connections of the app", "CPU of a request, µs", "requests a second, 64 at once",
                  "resident, MB"], rows)


def spread(found):
    return "–" if found["p50"] is None else f"{found['p50']:.1f} / {found['p99']:.1f}"


def of_webhooks(found):
    rows = []
    for kind, one in found.items():
        if isinstance(one, dict) and "intake" in one and "delivery" in one:
            many = one["delivery"]["many"]
            rows.append([kind, f"{one['intake']['highest']:,.0f}", spread(one["intake"]["fixed"][0]["intake_ms"]),
                         f"{one['intake']['cpu_ms_each']:.2f}",
                         f"{many['delivery_ms']['count'] / many['delivering_s']:,.0f}",
                         spread(one["delivery"]["fixed"][0]["delivery_ms"]), f"{one['intake']['rss_mb']:.0f}"])
    return table(["store", "most taken a second, p99 below 100 ms", "at 50/s: p50 / p99, ms", "CPU each, ms",
                  "of a backlog delivered a second", "sending to receipt at 50/s: p50 / p99, ms",
                  "resident, MB"], rows)


def of_soak(found):
    judged, counts = found["verdict"], found["counts"]
    answers = ", ".join(f"{count:,} × {what}" for what, count in sorted(counts.items()))
    renewals = sum(found["renewals"].values())
    word = "bounded" if judged["bounded"] else "**growing**"
    return f"""{found['seconds'] / 60:.0f} minutes on {found['store']}: {answers}; {renewals:,} token calls.

Memory is {word}: {judged['median_before_mb']:.1f} MB in the first third after settling, {judged['median_after_mb']:.1f} MB in the
last ({judged['grown_percent']:+.1f} %; the line that fits best grows {judged['mb_per_hour']:+.2f} MB an hour), {judged['most_mb']:.1f} MB at most. Open
files {judged['files'][0]} to {judged['files'][1]}, threads {judged['threads'][0]} to {judged['threads'][1]}.

![Resident memory](growth-soak.svg)"""


def report():
    parts = {"store": ("Connections", of_store), "clients": ("Clients", of_clients),
             "webhooks": ("Webhooks", of_webhooks), "soak": ("A long time", of_soak)}
    text = """# Growth

What a request costs must not depend on how many connections or clients there are, and memory must be bounded. Written by
`benches/growth.py`; raw data in `benches/results/growth-*.json`. CPU is that of the sidecar alone, user and system. On a
machine that does other work at the same time it varies by a tenth and more: only multiples mean something there.
"""
    for section, (title, told) in parts.items():
        found = known(section)
        if found:
            load = found.get("load_average")
            text += f"\n## {title}\n\n{told(found)}\n"
            if load is not None and "cores" in found:
                text += f"\nLoad average {load:.1f} on {found['cores']} cores.\n"
            if section == "soak":
                samples = found["samples"]
                (REPORT.parent / "growth-soak.svg").write_text(plot.lines(
                    "Resident memory of the sidecar", "minutes", "MB",
                    {"resident, MB": [(at / 60, rss) for at, rss, _, _ in samples]}))
    REPORT.write_text(text)
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", default=bed.ROOT / "target/release/daypass")
    parser.add_argument("--sections", default=",".join(SECTIONS))
    parser.add_argument("--connections", type=int, nargs="+", default=[10, 1_000, 100_000, 1_000_000])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 10, 100, 1_000, 5_000])
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--remember", type=int, default=100_000, help="as many as memory knows")
    parser.add_argument("--stores", default="sqlite,postgres,redis", help="of the webhooks")
    parser.add_argument("--seconds", type=float, default=8, help="how long each rate of webhooks is held")
    parser.add_argument("--soak", type=float, default=float(os.environ.get("DAYPASS_SOAK_SECS", 3600)))
    parser.add_argument("--soak-store", default="sqlite", choices=["sqlite", "postgres", "redis"])
    parser.add_argument("--soak-users", type=int, default=100, help="at each provider")
    parser.add_argument("--soak-callers", type=int, default=40)
    parser.add_argument("--soak-rate", type=float, default=200, help="requests a second")
    parser.add_argument("--soak-webhooks", type=float, default=20, help="a second")
    parser.add_argument("--every", type=float, default=5, help="seconds between two looks at memory")
    options = parser.parse_args()
    bed.need("nginx")
    for section in options.sections.split(","):
        {"store": store, "clients": clients, "webhooks": webhooks, "soak": soak}[section](options)
        report()
    print(report())
    judged = known("soak")
    if "soak" in options.sections and judged and not judged["verdict"]["bounded"]:
        sys.exit("memory is not bounded")


if __name__ == "__main__":
    main()
