"""Whether a proxy does the work. Asked of each process before it is measured; what fails is not measured.

The upstream's `/v2/witness` answers how a request came. Through the proxy must come: the bearer token of the
request's user and nobody else's; the path without what stood before it; what an app may say. Must not
come: the user header, other credentials, hop-by-hop fields. A user whom nobody knows is refused by the
proxy. Answers carry no cookie. The connection to the upstream is of the kind that was asked for, and is
used again.
"""

import json
import re
import socket
import subprocess

import bed

PATH = "/calcom/v2/witness"
# What an app may say, and a provider must hear.
PASSES = {"accept": "application/json", "cal-api-version": "2024-08-13"}
# What must not pass. `te` may be the proxy's own.
ENDS = {
    "authorization": "Bearer of-the-caller",
    "cookie": "session=abc",
    "origin": "https://app.example",
    "referer": "https://app.example/page",
    "x-cal-client-id": "client",
    "x-cal-secret-key": "secret",
    "proxy-authorization": "Basic YTpi",
}
# Not to be said in HTTP/2.
HOP_BY_HOP = {"proxy-connection": "keep-alive", "keep-alive": "timeout=5", "te": "deflate",
              "connection": "keep-alive"}


class Idle(Exception):
    """A proxy that does not do what it would be measured for, and what it does instead."""


def ask(port, client, user):
    """Status, header lines in small letters, and body."""
    fields = {"x-user-id": user, **PASSES, **ENDS}
    if client == "h2":
        command = ["nghttp", "--verbose", "--no-dep"]
        for name, value in fields.items():
            command += ["-H", f"{name}: {value}"]
        told = subprocess.run([*command, f"http://127.0.0.1:{port}{PATH}"], capture_output=True, text=True,
                              timeout=30, check=False).stdout
        # "[  0.001] recv (stream_id=13) :status: 200", and the body as it is.
        received = re.findall(r"recv \(stream_id=\d+\) (.+)", told)
        status = next((int(line.split()[1]) for line in received if line.startswith(":status:")), 0)
        body = re.search(r"^\{.*?\}(?=\[|$)", told, re.MULTILINE)
        return status, [line.lower() for line in received], body[0] if body else ""
    lines = [f"GET {PATH} HTTP/1.1", f"Host: 127.0.0.1:{port}"]
    lines += [f"{name}: {value}" for name, value in {**fields, **HOP_BY_HOP}.items()]
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        reader = connection.makefile("rb")
        status = int(reader.readline().split()[1])
        head = []
        while (line := reader.readline().strip()):
            head.append(line.decode().lower())
        length = next((int(line.split(":")[1]) for line in head if line.startswith("content-length:")), 0)
        return status, head, reader.read(length).decode()


def faults(told, head, kind):
    """What is wrong with a request that came as `told`, whose answer had `head`."""
    found = []
    if told["authorization"] != f"Bearer {bed.TOKEN}":
        found.append(f"the bearer token is {told['authorization']!r}")
    if told["path"] != "/v2/witness":
        found.append(f"the path is {told['path']}")
    found += [f"{name} came as {told[name]!r}" for name, value in PASSES.items() if told[name] != value]
    for name in ["x-user-id", *ENDS, *HOP_BY_HOP]:
        allowed = ("", "trailers") if name == "te" else ("",)
        if name not in ("authorization", "connection") and told[name] not in allowed:
            found.append(f"{name} passed: {told[name]!r}")
    if any(line.startswith("set-cookie:") for line in head):
        found.append("the provider's cookie passed")
    protocol = "HTTP/2.0" if kind == "h2" else "HTTP/1.1"
    if told["protocol"] != protocol:
        found.append(f"the upstream is spoken to in {told['protocol']}")
    if bool(told["tls"]) != (kind != "http"):
        found.append(f"TLS to the upstream: {told['tls'] or 'none'}")
    return found


def examine(port, kind="http", client="h1"):
    """Raises `Idle` with everything that is wrong with the proxy at `port`."""
    connections = set()
    for _ in range(8):
        status, head, body = ask(port, client, bed.USER)
        if status != 200:
            raise Idle(f"a user with a token is answered {status}: {body[:200]}")
        told = json.loads(body)
        if found := faults(told, head, kind):
            raise Idle("; ".join(found))
        connections.add(told["connection"])
    if len(connections) > 4:
        raise Idle(f"eight requests, one after the other, took {len(connections)} connections to the upstream")
    status, head, body = ask(port, client, "nobody-knows")
    if status < 400:
        raise Idle(f"a user without a token is answered {status}")
    if any(line.startswith("x-provider:") for line in head):
        raise Idle("a user without a token was forwarded")


def examine_log(lines, requests):
    """That an access log was written: a line for each of `requests`, with the path."""
    written = sum("witness" in line for line in lines)
    if written < requests:
        raise Idle(f"of {requests} requests, the access log has {written}")
