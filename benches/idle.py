#!/usr/bin/env python3
"""What idle sidecars ask of their store. One command: benches/idle.py

Starts each store and some sidecars on it that serve nobody, waits until they have settled, and counts
for a while. Some of it is done by one sidecar for all (the sweep, the census): it is told apart by
two runs, with few sidecars and with more. From that, what 2,000 would ask.
"""

import argparse
import pathlib
import sys
import time

import bed
import servers

KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


# So that each sidecar looks for all the work there is: deliveries, syncs, subscriptions.
INWARD = """
[ingress]
public_url = "https://daypass.example.com"
[app]
webhook_url = "http://127.0.0.1:9/events"
signing_secret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
"""


def configure(folder, url, api_base="http://127.0.0.1:9", more=""):
    config = pathlib.Path(folder) / "daypass.toml"
    config.write_text(f"""{more}
[store]
url = "{url}"
spool_dir = "{folder}/spool"

[encryption]
active = "k1"
[[encryption.keys]]
id = "k1"
value = "{KEY}"

[providers.calcom]
kind = "calcom"
api_base = "{api_base}"
authorize_url = "http://127.0.0.1:9/authorize"
token_url = "http://127.0.0.1:9/token"
client_id = "bench"
client_secret = "bench"

[providers.calendly]
kind = "calendly"
api_base = "http://127.0.0.1:9"
auth_base = "http://127.0.0.1:9"
client_id = "bench"
client_secret = "bench"
""")
    return config


def sidecar(binary, config, number):
    admin = bed.free_port()
    command = [binary, "--config", config, "--set", "outbound.listen=127.0.0.1:0",
               "--set", "ingress.listen=127.0.0.1:0",
               "--set", f"admin.listen=127.0.0.1:{admin}", "--set", "telemetry.log=warn",
               "--set", f"store.spool_dir={config.parent}/spool-{number}", "run"]
    return bed.Process(f"sidecar {number}", command, admin, log=f"{config.parent}/sidecar.log")


def count(store, binary, sidecars, settle, seconds):
    config = configure(store.folder, getattr(store, "front", store).url, more=INWARD)
    running = []
    try:
        for number in range(sidecars):
            running.append(sidecar(binary, config, number))
            running[-1].await_answer("/livez")
        time.sleep(settle)
        connections = store.connections()
        store.forget()
        time.sleep(seconds)
        found = store.statements()
        return connections, {what: (calls / seconds, ms / seconds) for what, (calls, ms) in found.items()}
    finally:
        for process in running:
            process.stop()


def both(kind, options):
    """What is asked in all by few sidecars, and by many; each with the connections."""
    found = []
    for sidecars in options.sidecars:
        with servers.STORES["postgres" if kind == "pgbouncer" else kind]() as store:
            if kind == "pgbouncer":
                store.front = servers.Bouncer(store)
            try:
                found.append(count(store, options.binary, sidecars, options.settle, options.seconds))
            finally:
                if kind == "pgbouncer":
                    store.front.__exit__()
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", default=bed.ROOT / "target/release/daypass")
    parser.add_argument("--stores", default="postgres,pgbouncer,redis,redis-cluster")
    parser.add_argument("--sidecars", type=int, nargs=2, default=[2, 10], help="few, and many")
    parser.add_argument("--settle", type=float, default=110, help="seconds before counting")
    parser.add_argument("--seconds", type=float, default=180, help="seconds of counting")
    parser.add_argument("--name", help="save as benches/results/NAME.json")
    options = parser.parse_args()
    few, many = options.sidecars
    results = {}
    for kind in options.stores.split(","):
        (_, less), (connections, more) = both(kind, options)
        # A straight line: what grows with the sidecars, and what one does for all.
        lines = {}
        for what in {*less, *more}:
            (small, _), (large, ms) = less.get(what, (0, 0)), more.get(what, (0, 0))
            each = max(0.0, (large - small) / (many - few))
            lines[what] = {"each": each, "once": max(0.0, large - each * many),
                           "us": ms * 1000 / large if large else 0.0}
        results[kind] = {"sidecars": options.sidecars, "connections": connections / many, "per_second": lines}
        each = sum(line["each"] for line in lines.values())
        once = sum(line["once"] for line in lines.values())
        busy = sum(line["each"] * line["us"] for line in lines.values())
        print(f"\n{kind}: {connections / many:.1f} connections each; {each:.3f} operations/s and {busy:.0f} us/s "
              f"of the store each, and {once:.2f}/s by one for all; 2,000: {each * 2000 + once:,.0f}/s, "
              f"{busy * 2000 / 1e6:.3f} of a core")
        for what, line in sorted(lines.items(), key=lambda item: -item[1]["each"])[:14]:
            print(f"  {line['each']:8.4f}/s each {line['once']:8.3f}/s once {line['us']:8.1f} us  {what[:100]}")
        sys.stdout.flush()
    if options.name:
        bed.save(options.name, results)


if __name__ == "__main__":
    main()
