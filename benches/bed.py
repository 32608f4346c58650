"""The test bed of the comparisons: an upstream, the proxies before it, and what is read of them.

No dependencies beyond Python 3 and nginx; `need` installs what a bench asks for from Debian's packages,
or says that it could not.
"""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent

USER = "user-1"
# As long as the opaque tokens that providers hand out.
TOKEN = "cal_at_" + "0123456789abcdef" * 8
# About 700 bytes, as an answer to "who am I".
BODY = json.dumps({"status": "success", "data": {"id": 42, "filler": "x" * 640}})
# What a client library sends, some of which must not pass.
HEADERS = {
    "X-User-Id": USER,
    "Accept": "application/json",
    "User-Agent": "app/1.0",
    "Cookie": "session=abc",
    "cal-api-version": "2024-08-13",
}
PATH = "/calcom/v2/me"
TICKS = os.sysconf("SC_CLK_TCK")


# Programs that are in a Debian package of another name.
PACKAGES = {"h2load": "nghttp2-client", "nghttp": "nghttp2-client", "rustc": "rustc",
            "strip": "binutils", "taskset": "util-linux"}


def need(*programs):
    """Makes sure that `programs` are there."""
    missing = [p for p in programs if not shutil.which(p)]
    if not missing:
        return
    apt_get([PACKAGES.get(p, p) for p in missing])
    still = [p for p in missing if not shutil.which(p)]
    if still:
        sys.exit(f"cannot measure: {', '.join(still)} is missing and could not be installed from Debian's "
                 "packages; install it by hand and try again")


def apt_get(packages):
    """Tries to install Debian packages."""
    if not shutil.which("apt-get"):
        return
    print(f"installing {', '.join(sorted(set(packages)))} with apt-get", file=sys.stderr)
    command = ["apt-get"] if os.geteuid() == 0 else ["sudo", "apt-get"]
    # A fresh machine has no lists yet.
    subprocess.run([*command, "update", "-qq"], stdout=subprocess.DEVNULL, check=False)
    subprocess.run([*command, "install", "-y", "-qq", "--no-install-recommends", *sorted(set(packages))],
                   stdout=subprocess.DEVNULL, check=False,
                   env=dict(os.environ, DEBIAN_FRONTEND="noninteractive"))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Process:
    """A process that was started here and is ended here, by its id."""

    def __init__(self, name, command, port, core=None, log=None, env=None):
        self.name, self.port = name, port
        pin = ["taskset", "-c", str(core)] if core is not None and shutil.which("taskset") else []
        self.log = open(log or os.devnull, "ab")
        self.started = time.monotonic()
        self.child = subprocess.Popen(
            pin + [str(part) for part in command],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=env,
        )

    def await_answer(self, path=PATH, limit=60.0):
        """Seconds from the start of the process to its first 200."""
        while time.monotonic() < self.started + limit:
            if self.child.poll() is not None:
                sys.exit(f"{self.name} ended with {self.child.returncode}; see {self.log.name}")
            try:
                with Caller(self.port, path) as caller:
                    if caller.ask().startswith(b"HTTP/1.1 200"):
                        return time.monotonic() - self.started
            except OSError:
                pass
            time.sleep(0.0005)
        sys.exit(f"{self.name} did not answer 200 within {limit:.0f} s; see {self.log.name}")

    def pids(self):
        """The process and its children (nginx has a worker)."""
        pid = self.child.pid
        try:
            children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            children = []
        return [pid, *map(int, children)]

    def cpu(self):
        """utime + stime of all of it so far, in seconds."""
        total = 0
        for pid in self.pids():
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def rss(self):
        """Resident memory of all of it, in MB. Pages that nginx's two processes share count twice,
        as they do in `ps`."""
        kib = 0
        for pid in self.pids():
            for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    kib += int(line.split()[1])
        return kib / 1024

    def pss(self):
        """As `rss`, but a page that processes share counts as a part of each."""
        kib = 0
        for pid in self.pids():
            for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    kib += int(line.split()[1])
        return kib / 1024

    def threads(self):
        return sum(len(os.listdir(f"/proc/{pid}/task")) for pid in self.pids())

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(30)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Caller:
    """One kept-alive connection that asks for the same thing again and again."""

    def __init__(self, port, path=PATH):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=120)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}"]
        lines += [f"{name}: {value}" for name, value in HEADERS.items()]
        self.request = ("\r\n".join(lines) + "\r\n\r\n").encode()

    def send(self):
        self.socket.sendall(self.request)

    def receive(self):
        """The whole answer."""
        read = b""
        while b"\r\n\r\n" not in read:
            read += self._more()
        head, body = read.split(b"\r\n\r\n", 1)
        length = next(
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        while len(body) < length:
            body += self._more()
        return head + b"\r\n\r\n" + body

    def ask(self):
        self.send()
        return self.receive()

    def _more(self):
        more = self.socket.recv(65536)
        if not more:
            raise ConnectionError("closed midway")
        return more

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


def save(name, results):
    out = HERE / "results" / f"{name}.json"
    out.write_text(json.dumps(results, indent=1) + "\n")
    print(f"saved in {out}")


def calcom_of_sandbox(port):
    """The section of a configuration for the emulated Cal.com at `port`."""
    return f"""[providers.calcom]
kind = "calcom"
api_base = "http://127.0.0.1:{port}"
authorize_url = "http://127.0.0.1:{port}/auth/oauth2/authorize"
client_id = "sandbox-oauth2-client"
client_secret = "sandbox-client-secret"
"""


def must_be_ok(answer):
    if not answer.startswith(b"HTTP/1.1 200"):
        sys.exit(f"not 200: {answer[:300]!r}")


def ask_many(port, requests, connections=64):
    """Exactly `requests` requests over `connections` kept-alive connections; every answer is 200."""
    callers = [Caller(port) for _ in range(connections)]
    try:
        left = requests
        while left > 0:
            now = callers[: min(left, connections)]
            for caller in now:
                caller.send()
            for caller in now:
                must_be_ok(caller.receive())
            left -= len(now)
    finally:
        for caller in callers:
            caller.socket.close()


def ask_for(port, users, connections=64):
    """A request for each of `users`, by number; every answer is 200."""
    callers = [Caller(port) for _ in range(connections)]
    try:
        for begin in range(0, len(users), connections):
            now = list(zip(callers, users[begin:begin + connections]))
            for caller, n in now:
                caller.socket.sendall(caller.request.replace(b"user-1\r\n", b"user-%08d\r\n" % n))
            for caller, _ in now:
                must_be_ok(caller.receive())
    finally:
        for caller in callers:
            caller.socket.close()


def nginx(directory, conf, name, port, core, **values):
    """nginx with `conf` of this folder."""
    values = dict(values, dir=directory, name=name, port=port, user=USER, token=TOKEN, body=BODY)
    text = (HERE / conf).read_text()
    for key, value in values.items():
        text = text.replace("{{" + key + "}}", str(value))
    rendered = pathlib.Path(directory) / f"{name}.conf"
    rendered.write_text(text)
    command = ["nginx", "-p", directory, "-c", rendered, "-e", f"{directory}/{name}.error.log"]
    return Process(name, command, port, core=core, log=f"{directory}/{name}.log")


def certificate(directory):
    """Of an authority, then a certificate for localhost that it signed, and the key of that."""
    directory = pathlib.Path(directory)
    ca, ca_key, leaf, key = (directory / name for name in
                             ("ca.pem", "ca.key", "localhost.pem", "localhost.key"))

    def openssl(name, out, out_key, *more):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
             "-nodes", "-days", "30", "-subj", f"/CN={name}", "-out", out, "-keyout", out_key, *more],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    openssl("bench", ca, ca_key)
    openssl("localhost", leaf, key, "-CA", ca, "-CAkey", ca_key,
            "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-addext", "basicConstraints=critical,CA:FALSE")
    return ca, leaf, key


def upstream(directory, core=None, secure=False):
    """The provider. If `secure`, it also speaks TLS at `tls_port`, and HTTP/2 over TLS at `h2_port`, with
    a certificate that `ca` trusts."""
    listen, ca, tls_port, h2_port = "", None, None, None
    if secure:
        ca, leaf, key = certificate(directory)
        tls_port, h2_port = free_port(), free_port()
        # One cipher, so that no two libraries choose differently.
        listen = f"""listen 127.0.0.1:{tls_port} ssl backlog=1024;
        listen 127.0.0.1:{h2_port} ssl http2 backlog=1024;
        ssl_certificate {leaf};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.3;
        ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;"""
    process = nginx(directory, "upstream.conf", "upstream", free_port(), core, secure=listen)
    process.ca, process.tls_port, process.h2_port = ca, tls_port, h2_port
    # Refuses whoever brings no token, so 200 cannot be waited for.
    until = time.monotonic() + 10
    while process.child.poll() is None and time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", process.port), timeout=1).close()
            return process
        except OSError:
            time.sleep(0.01)
    why = (pathlib.Path(directory) / "upstream.error.log").read_text()
    sys.exit(f"the upstream does not start: {why}")


class Daypass:
    """A binary with a configuration and a store of its own in `directory`/`name`, into which one
    long-lived token is imported, and those of `others`. The provider is at `origin`, by default plain
    HTTP at `upstream_port`; `more` is put before all sections."""

    def __init__(self, binary, directory, upstream_port, name="daypass", origin=None, more="",
                 others=()):
        self.binary = binary
        self.directory = pathlib.Path(directory) / name
        self.directory.mkdir()
        origin = origin or f"http://127.0.0.1:{upstream_port}"
        self.config = self.directory / "daypass.toml"
        self.config.write_text(f"""{more}
[store]
url = "sqlite:{self.directory}/daypass.db"

[providers.calcom]
kind = "calcom"
api_base = "{origin}"
authorize_url = "{origin}/authorize"
client_id = "bench"
""")
        rows = self.directory / "import.jsonl"
        rows.write_text("".join(json.dumps({
            "provider": "calcom", "user": user, "access_token": token, "expires_in": 31536000,
        }) + "\n" for user, token in [(USER, TOKEN), *others]))
        imported = subprocess.run(
            [binary, "--config", self.config, "connections", "import", rows],
            check=False, capture_output=True, text=True,
        )
        if imported.returncode != 0:
            sys.exit(f"the tokens of the bench cannot be imported: {imported.stderr}")

    def run(self, name, log, core=None, under=(), log_file=None, port=None):
        """`daypass run` with `log` as its level. Its log goes to /dev/null unless `log_file` is
        given: every line is made and written, and nothing is measured of a disk."""
        port = port or free_port()
        command = [
            *under, self.binary, "--config", self.config,
            "--set", f"outbound.listen=127.0.0.1:{port}",
            "--set", "ingress.listen=127.0.0.1:0",
            "--set", f"admin.listen=127.0.0.1:{free_port()}",
            "--set", f"telemetry.log={log}",
            "run",
        ]
        return Process(name, command, port, core=core, log=log_file)
