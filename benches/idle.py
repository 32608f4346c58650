#!/usr/bin/env python3
"""What idle sidecars ask of their store. One command: benches/idle.py

Starts each store and some sidecars on it that serve nobody, waits until they have settled, and counts
for a while. From that, what 2,000 would ask. Half of what is counted is done by one sidecar for all
(the sweep, the census), so it is told apart by two runs: with one sidecar and with several.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import time

import bed
import servers

KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


def configure(folder, url, api_base="http://127.0.0.1:9"):
    config = pathlib.Path(folder) / "daypass.toml"
    config.write_text(f"""
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
    config = configure(store.folder, getattr(store, "front", store).url)
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--binary", default=bed.ROOT / "target/release/daypass")
    parser.add_argument("--stores", default="postgres,pgbouncer,redis,redis-cluster")
    parser.add_argument("--sidecars", type=int, default=10)
    parser.add_argument("--settle", type=float, default=150, help="seconds before counting")
    parser.add_argument("--seconds", type=float, default=180, help="seconds of counting")
    parser.add_argument("--name", help="save as benches/results/NAME.json")
    options = parser.parse_args()
    results = {}
    for kind in options.stores.split(","):
        with servers.STORES["postgres" if kind == "pgbouncer" else kind]() as store:
            if kind == "pgbouncer":
                store.front = servers.Bouncer(store)
            try:
                connections, found = count(store, options.binary, options.sidecars, options.settle,
                                           options.seconds)
            finally:
                if kind == "pgbouncer":
                    store.front.__exit__()
        results[kind] = {"sidecars": options.sidecars, "connections": connections, "per_second": found}
        each = sum(calls for calls, _ in found.values()) / options.sidecars
        busy = sum(ms for _, ms in found.values()) / options.sidecars
        print(f"\n{kind}: {connections / options.sidecars:.1f} connections, {each:.3f} operations/s and "
              f"{busy * 1000:.0f} us/s of the store, each; of 2,000: {each * 2000:.0f}/s")
        for what, (calls, ms) in sorted(found.items(), key=lambda item: -item[1][0])[:14]:
            print(f"  {calls / options.sidecars:9.4f}/s {ms / options.sidecars * 1000:9.1f} us/s  {what[:110]}")
        sys.stdout.flush()
    if options.name:
        out = bed.HERE / "results" / f"{options.name}.json"
        out.write_text(json.dumps(results, indent=1) + "\n")
        print(f"saved in {out}")


if __name__ == "__main__":
    main()
