#!/usr/bin/env python3
"""What webhooks cost, from a provider's request to the app. One command: benches/webhooks.py

Starts each store, a `daypass run` on it with a thousand connected users, and a program (`webhooks.rs`) that
sends genuine webhooks to it over HTTP at a constant rate and is the app that they are delivered to. Every
latency is counted from when the event was to be sent. Prints the tables of docs/scaling.md and saves what
was measured in results/.

 1. Intake alone: the highest rate at which 99 of 100 are answered 2xx within a bound; and what it takes at
    fixed rates.
 2. With the app: from the provider's sending to the app's receipt, at fixed rates; how fast a backlog is
    delivered, of many users and of one; and whether an address of the app that answers late holds up others.
"""

import argparse
import json
import os
import subprocess
import sys
import time

import bed
import idle
import servers

USERS = 1000
SHARDS = 4
LATE_MS = 3000
KEY = "signing-key-of-the-bench"


def built():
    """The programs: the sender and daypass itself."""
    print("building", file=sys.stderr)
    told = subprocess.run(["cargo", "build", "--locked", "--release", "--bench", "webhooks",
                           "--message-format=json"], check=True, cwd=bed.ROOT, stdout=subprocess.PIPE)
    messages = map(json.loads, told.stdout.splitlines())
    sender = next(message["executable"] for message in messages
                  if message.get("target", {}).get("name") == "webhooks" and message.get("executable"))
    # By itself: the bench asks for parts of the libraries that daypass has no need of.
    subprocess.run(["cargo", "build", "--locked", "--release", "--bin", "daypass"], check=True, cwd=bed.ROOT)
    return sender, bed.ROOT / "target/release/daypass"


class RedisAlways(servers.Redis):
    """Redis that answers when its disk has it."""

    def __init__(self):
        servers.Server.__init__(self, "redis-always")
        self.ports = [self.one("--appendfsync", "always")]
        self.url = f"redis://127.0.0.1:{self.ports[0]}"


STORES = {**servers.STORES, "redis-always": RedisAlways}


class Sender:
    """The provider and the app."""

    def __init__(self, program):
        self.port = bed.free_port()
        self.child = subprocess.Popen([program, str(self.port)], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, text=True)

    def send(self, ingress, rate, seconds, users=USERS, connections=64, patience=0.0, late=None):
        plan = {"ingress": f"127.0.0.1:{ingress}", "path": "/webhooks/calendly", "key": KEY, "rate": rate,
                "seconds": seconds, "connections": connections, "users": users, "patience": patience,
                "late": late or {}}
        self.child.stdin.write(json.dumps(plan) + "\n")
        self.child.stdin.flush()
        line = self.child.stdout.readline()
        if not line:
            sys.exit("the sender has ended")
        found = json.loads(line)
        found["load_average"] = os.getloadavg()[0]
        return found

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.stdin.close()
        self.child.terminate()
        self.child.wait()


class Sidecar:
    """`daypass run` on a fresh store, with users."""

    def __init__(self, binary, store, app_url=None, shards=1):
        config = idle.configure(store.folder, store.url)
        text = config.read_text().replace('kind = "calendly"\n',
                                          f'kind = "calendly"\nwebhook_signing_key = "{KEY}"\n')
        # What a meeting needs further is asked of the provider, which is not there.
        text += "\n[meetings]\nstore = false\n"
        if app_url:
            text += f'\n[app]\nwebhook_url = "{app_url}"\nshards = {shards}\n'
        config.write_text(text)
        rows = store.folder / "rows.jsonl"
        with rows.open("w") as file:
            for n in range(USERS):
                file.write(json.dumps({
                    "provider": "calendly", "user": f"user-{n:05}", "access_token": bed.TOKEN,
                    "refresh_token": bed.TOKEN, "expires_in": 31536000,
                    "external_id": f"https://api.calendly.com/users/U{n}"}) + "\n")
        subprocess.run([binary, "--config", config, "connections", "import", rows], check=True,
                       stdout=subprocess.DEVNULL)
        self.ingress, admin = bed.free_port(), bed.free_port()
        command = [binary, "--config", config, "--set", "outbound.listen=127.0.0.1:0",
                   "--set", f"ingress.listen=127.0.0.1:{self.ingress}",
                   "--set", f"admin.listen=127.0.0.1:{admin}", "--set", "telemetry.log=warn", "run"]
        self.process = bed.Process("daypass", command, admin, log=store.folder / "sidecar.log")
        self.process.await_answer("/livez")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stop()


def is_sustained(found, bound):
    """All 2xx, 99 of 100 in time, and no later at the end than the rate asks for."""
    fine = sum(count for status, count in found["statuses"].items() if status.startswith("2"))
    return fine == found["sent"] and found["intake_ms"]["p99"] <= bound


def highest(sender, sidecar, options):
    """The highest rate that is sustained, to a fifth of it; all that was tried."""
    tried, good, bad = [], 0.0, None
    rate = float(options.begin)
    while bad is None or bad / max(good, 1.0) > 1.2:
        # Twice at most: others may have had the machine for a moment.
        for _ in range(2):
            found = sender.send(sidecar.ingress, rate, options.seconds)
            tried.append(found)
            if is_sustained(found, options.bound):
                good = rate
                break
        else:
            bad = rate
        if bad is not None and bad < 5:
            break
        rate = good * 1.6 if bad is None else (good + bad) / 2 if good else bad / 2
    return good, tried


def intake(sender, binary, kind, options):
    with STORES[kind]() as store, Sidecar(binary, store) as sidecar:
        sender.send(sidecar.ingress, 50, 2)  # connections open, statements prepared
        before = sidecar.process.cpu()
        fixed = []
        for rate in options.rates:
            fixed.append(sender.send(sidecar.ingress, rate, options.seconds))
        cpu = sidecar.process.cpu() - before
        events = sum(found["sent"] for found in fixed)
        top, tried = highest(sender, sidecar, options)
        return {"fixed": fixed, "highest": top, "tried": tried, "cpu_ms_each": cpu / events * 1000,
                "rss_mb": sidecar.process.rss()}


def delivery(sender, binary, kind, options):
    url = f"http://127.0.0.1:{sender.port}/webhooks"
    with STORES[kind]() as store, Sidecar(binary, store, url) as sidecar:
        sender.send(sidecar.ingress, 50, 2, patience=10)
        fixed = [sender.send(sidecar.ingress, rate, options.seconds, patience=30) for rate in options.rates]
        # As fast as it is taken: what is measured is how fast it comes out.
        many = sender.send(sidecar.ingress, options.flood, options.seconds, patience=90)
        one = sender.send(sidecar.ingress, options.flood_of_one, options.seconds, users=1, patience=90)
        calm = sender.send(sidecar.ingress, 20, options.seconds, users=1, patience=30)
    url = f"http://127.0.1.{{shard}}:{sender.port}/webhooks"
    with STORES[kind]() as store, Sidecar(binary, store, url, SHARDS) as sidecar:
        sender.send(sidecar.ingress, 50, 2, patience=10)
        quick = sender.send(sidecar.ingress, options.rates[0], 2 * options.seconds, patience=30)
        late = sender.send(sidecar.ingress, options.rates[0], 2 * options.seconds, patience=120,
                           late={"127.0.1.0": LATE_MS})
    return {"fixed": fixed, "many": many, "one": one, "one_calm": calm, "quick": quick, "late": late}


def spread(found):
    return "–" if found["p50"] is None else f"{found['p50']:.1f} / {found['p99']:.1f}"


def others(found):
    """Of the addresses that answer at once: the worst."""
    places = [place for name, place in found["places"].items() if name != "127.0.1.0"]
    return max(places, key=lambda place: place["p99"])


def speed(found):
    return f"{found['delivery_ms']['count'] / found['delivering_s']:,.0f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--stores", default="sqlite,postgres,redis,redis-always")
    parser.add_argument("--rates", type=float, nargs="+", default=[50, 200])
    parser.add_argument("--begin", type=float, default=200, help="where to look for the highest rate")
    parser.add_argument("--bound", type=float, default=100, help="milliseconds in which 99 of 100 are answered")
    parser.add_argument("--seconds", type=float, default=8, help="how long each rate is held")
    parser.add_argument("--flood", type=float, default=600)
    parser.add_argument("--flood-of-one", type=float, default=200)
    parser.add_argument("--only", choices=["intake", "delivery"])
    parser.add_argument("--built", help="the sender and daypass, instead of building: PATH,PATH")
    parser.add_argument("--name", help="save as benches/results/NAME.json")
    options = parser.parse_args()
    program, binary = options.built.split(",") if options.built else built()
    results = {"options": {name: str(value) for name, value in vars(options).items() if name != "built"}}
    stores = options.stores.split(",")
    if options.only != "delivery":
        rates = " | ".join(f"{rate:.0f}/s: p50 / p99, ms" for rate in options.rates)
        print(f"\n| store | highest events/s, p99 below {options.bound:.0f} ms | {rates} | CPU each, ms |"
              f" memory, MB |\n|{'---|' * (len(options.rates) + 4)}")
        for kind in stores:
            with Sender(program) as sender:
                found = results.setdefault(kind, {})["intake"] = intake(sender, binary, kind, options)
            cells = [kind, f"{found['highest']:,.0f}", *(spread(one["intake_ms"]) for one in found["fixed"]),
                     f"{found['cpu_ms_each']:.2f}", f"{found['rss_mb']:.0f}"]
            print("| " + " | ".join(cells) + " |", flush=True)
    if options.only != "intake":
        rates = " | ".join(f"{rate:.0f}/s: p50 / p99, ms" for rate in options.rates)
        print(f"\n| store | {rates} | of many, delivered a second | of one, a second | of one, 20/s:"
              f" p50 / p99, ms | others beside a late address | others without one |"
              f"\n|{'---|' * (len(options.rates) + 6)}")
        for kind in stores:
            with Sender(program) as sender:
                found = results.setdefault(kind, {})["delivery"] = delivery(sender, binary, kind, options)
            cells = [kind, *(spread(one["delivery_ms"]) for one in found["fixed"]), speed(found["many"]),
                     speed(found["one"]), spread(found["one_calm"]["delivery_ms"]),
                     spread(others(found["late"])), spread(others(found["quick"]))]
            print("| " + " | ".join(cells) + " |", flush=True)
    if options.name:
        bed.save(options.name, results)


if __name__ == "__main__":
    main()
