#!/usr/bin/env python3
"""Builds daypass for release, optimized by a profile of what it does. One command: benches/pgo.py

  1. builds it so that it counts what it does (`instrument`: this step alone, for caching layers),
  2. trains it with a mixed load: small and large answers, uploads, plain HTTP, TLS and HTTP/2 upstream,
     with and without the access log, refused requests, metrics,
  3. builds it with what was counted, linked as one program.

The result is target/pgo/daypass. Needs Rust, and from Debian's packages nginx (the upstream), openssl and
llvm (the merge), which it installs; the same sources, compiler and load give the same decisions but for
what chance there is in counting threads. The plain build, `cargo build --release`, needs none of this.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import bed

FOLDER = bed.ROOT / "target" / "pgo"
COUNTS = FOLDER / "counts"
MERGED = FOLDER / "merged.profdata"
RESULT = FOLDER / "daypass"


def compiler():
    """The platform that is built for, and the version of LLVM in the compiler."""
    said = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    facts = dict(line.split(": ", 1) for line in said.splitlines() if ": " in line)
    return facts["host"], int(facts["LLVM version"].split(".")[0])


def build(flags, name):
    """Build scripts and macros are not of the platform that is named, and so stay as they are."""
    host, _ = compiler()
    environment = dict(os.environ, RUSTFLAGS=flags, CARGO_PROFILE_RELEASE_LTO="fat")
    subprocess.run(["cargo", "build", "--locked", "--release", "--bin", "daypass", "--target", host,
                    "--target-dir", FOLDER / name], check=True, cwd=bed.ROOT, env=environment)
    return FOLDER / name / host / "release" / "daypass"


def linked():
    """How the result is linked. What training never used lies apart from what it did: the kernel maps sixteen
    pages around each that is used, and these would be resident. Addresses that the start has to correct are
    packed, which a C library before 2.36 cannot read."""
    ways = ["keep-text-section-prefix"]
    name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    if name == "glibc" and tuple(int(part) for part in version.split(".")[:2]) >= (2, 36):
        ways.append("pack-relative-relocs")
    return " ".join(f"-Clink-arg=-Wl,-z,{way}" for way in ways)


def merger():
    """A `llvm-profdata` that reads what this compiler's programs write."""
    _, version = compiler()
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], capture_output=True, text=True,
                             check=True).stdout.strip()
    def found():
        candidates = [*pathlib.Path(sysroot).glob("lib/rustlib/*/bin/llvm-profdata"),
                      f"llvm-profdata-{version}", f"/usr/lib/llvm-{version}/bin/llvm-profdata"]
        return next((found for c in candidates if (found := shutil.which(c))), None)
    if found() is None:
        bed.apt_get([f"llvm-{version}"])
    return found() or sys.exit(
        f"llvm-profdata of LLVM {version} is missing: `rustup component add llvm-tools`, or Debian's "
        f"llvm-{version}")


class Train:
    """Requests to one running daypass; every answer is the one that was expected."""

    def __init__(self, port):
        self.port = port

    def get(self, times, path=bed.PATH, status=200, connections=16, **headers):
        callers = [self._caller(path, headers) for _ in range(connections)]
        self._all(callers, times, status)

    def post(self, times, body, status=200, chunked=False):
        callers = [self._caller(bed.PATH, {}) for _ in range(8)]
        for caller in callers:
            head = caller.request.removesuffix(b"\r\n\r\n").replace(b"GET ", b"POST ", 1)
            if chunked:
                size = b"%x" % len(body)
                caller.request = (head + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + size + b"\r\n" + body
                                  + b"\r\n0\r\n\r\n")
            else:
                caller.request = head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        self._all(callers, times, status)

    def _caller(self, path, headers):
        caller = bed.Caller(self.port, path)
        for name, value in headers.items():
            caller.request = re.sub(rb"(?i)\r\n" + name.replace("_", "-").encode() + rb": [^\r]*",
                                    b"" if value is None else b"\r\n%s: %s" % (
                                        name.replace("_", "-").encode(), value.encode()),
                                    caller.request)
        return caller

    def _all(self, callers, times, status):
        try:
            for _ in range(max(times // len(callers), 1)):
                for caller in callers:
                    caller.send()
                for caller in callers:
                    answer = caller.receive()
                    if not answer.startswith(b"HTTP/1.1 %d" % status):
                        sys.exit(f"not {status}: {answer[:300]!r}")
        finally:
            for caller in callers:
                caller.socket.close()


def mixed(train, origin):
    """What a sidecar sees in a busy hour, the rare things more often than there."""
    small = 20_000 if origin == "http" else 8_000
    train.get(small, connections=64)
    train.get(2_000, connections=1)
    train.get(1_000, path="/calcom/v2/bodies/64KiB")
    train.get(8, path="/calcom/v2/bodies/10MiB", connections=2)
    train.post(2_000, json.dumps({"start": "2026-01-01T10:00:00Z", "attendee": "x" * 300}).encode())
    train.post(500, b"x" * 20_000, chunked=True)
    if origin == "http":
        train.get(300, status=400, X_User_Id=None)
        train.get(300, status=424, X_User_Id="nobody")
        train.get(100, path="/elsewhere/me", status=404)


def bodies(directory):
    folder = pathlib.Path(directory) / "bodies"
    folder.mkdir(exist_ok=True)
    for name, size in (("64KiB", 64 << 10), ("10MiB", 10 << 20)):
        (folder / name).write_bytes(b"x" * size)


def train_all(binary):
    with tempfile.TemporaryDirectory(prefix="daypass-pgo-") as directory:
        os.chmod(directory, 0o755)
        bodies(directory)
        with bed.upstream(directory, secure=True) as upstream:
            origins = {
                "http": f"http://127.0.0.1:{upstream.port}",
                "tls": f"https://localhost:{upstream.tls_port}",
                "h2": f"https://localhost:{upstream.h2_port}",
            }
            for name, origin in origins.items():
                more = f'[tls]\nca_file = "{upstream.ca}"\n'
                daypass = bed.Daypass(binary, directory, upstream.port, name=name, origin=origin, more=more)
                for log in ("info", "warn"):
                    print(f"training: {name} upstream, log = {log}", file=sys.stderr)
                    with daypass.run("daypass", log) as process:
                        process.await_answer()
                        mixed(Train(process.port), name)


def merge():
    counted = sorted(COUNTS.glob("*.profraw"))
    if not counted:
        sys.exit(f"nothing was counted in {COUNTS}")
    subprocess.run([merger(), "merge", "-o", MERGED, *counted], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("step", nargs="?", choices=["instrument"], help="only the first step")
    options = parser.parse_args()
    binary = build(f"-Cprofile-generate={COUNTS}", "counting")
    if options.step:
        return
    bed.need("nginx", "openssl")
    merger()
    # Also what build scripts or an earlier training left.
    shutil.rmtree(COUNTS, ignore_errors=True)
    train_all(binary)
    merge()
    shutil.copy2(build(f"-Cprofile-use={MERGED} {linked()}", "optimized"), RESULT)
    print(f"{RESULT.relative_to(bed.ROOT)}: {RESULT.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
