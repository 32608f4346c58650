"""Real stores for the measurements: started on free ports in folders of their own, ended by their id.

PostgreSQL counts statements by pg_stat_statements, Redis by INFO commandstats. Settings are those of
production where durability is concerned.
"""

import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import bed

# Told to end, a bench ends its servers first.
signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))


def _postgres_program(name):
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else (shutil.which(name) or sys.exit(f"{name} is missing"))


class Server:
    """A process with a folder, both gone at the end."""

    def __init__(self, kind):
        self.kind = kind
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"daypass-{kind}-"))
        self.children = []

    def start(self, command, **kwargs):
        log = open(self.folder / "server.log", "ab")
        child = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL,
                                 stdout=log, stderr=log, **kwargs)
        self.children.append(child)
        return child

    def await_ready(self, is_ready):
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if is_ready():
                return
            time.sleep(0.05)
        sys.exit(f"{self.kind} does not start:\n{(self.folder / 'server.log').read_text()[-2000:]}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for child in reversed(self.children):
            child.terminate()
            try:
                child.wait(60)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Sqlite(Server):
    def __init__(self):
        super().__init__("sqlite")
        self.url = f"sqlite:{self.folder}/daypass.db"

    def size(self):
        return sum(file.stat().st_size for file in self.folder.glob("daypass.db*"))


class Postgres(Server):
    def __init__(self, *settings, connections=400):
        super().__init__("postgres")
        root = os.geteuid() == 0
        # PostgreSQL refuses to be root.
        self.user = pwd.getpwnam("nobody") if root else None
        self.as_user = dict(user="nobody", group=self.user.pw_gid) if root else {}
        if root:
            os.chown(self.folder, self.user.pw_uid, self.user.pw_gid)
        self.port = bed.free_port()
        data = self.folder / "data"
        subprocess.run([_postgres_program("initdb"), "-D", data, "-U", "daypass", "--encoding", "UTF8",
                        "--no-locale", "--auth", "trust"], check=True, stdout=subprocess.DEVNULL,
                       **self.as_user)
        fixed = [f"max_connections={connections}", f"unix_socket_directories={self.folder}",
                 "listen_addresses=127.0.0.1", "shared_buffers=512MB",
                 "shared_preload_libraries=pg_stat_statements,auto_explain", "track_io_timing=on",
                 *settings]
        command = [_postgres_program("postgres"), "-D", data, "-p", self.port]
        for setting in fixed:
            command += ["-c", setting]
        self.start(command, **self.as_user)
        self.await_ready(lambda: self._is_up())
        self.sql("CREATE EXTENSION pg_stat_statements")
        self.url = f"postgres://daypass@127.0.0.1:{self.port}/postgres"

    def _is_up(self):
        file = self.folder / "data/postmaster.pid"
        lines = file.read_text().splitlines() if file.exists() else []
        return len(lines) > 7 and lines[7].strip() == "ready"

    def sql(self, sql):
        ran = subprocess.run(["psql", "-XqAt", "-F", "\t", "-U", "daypass", "-h", self.folder, "-p",
                              str(self.port), "-d", "postgres", "-c", sql],
                             check=True, capture_output=True, text=True)
        return [line.split("\t") for line in ran.stdout.splitlines()]

    def size(self):
        return int(self.sql("SELECT pg_database_size('postgres')")[0][0])

    def log(self):
        return (self.folder / "server.log").read_text()

    def forget(self):
        self.sql("SELECT pg_stat_statements_reset()")

    def statements(self):
        """Calls and milliseconds by statement since `forget`, apart from those of the bench."""
        rows = self.sql("SELECT regexp_replace(query, '\\s+', ' ', 'g'), calls, total_exec_time "
                        "FROM pg_stat_statements WHERE query NOT ILIKE '%pg_stat_%' ORDER BY calls DESC")
        return {row[0]: (int(row[1]), float(row[2])) for row in rows}

    def connections(self):
        return int(self.sql("SELECT count(*) FROM pg_stat_activity WHERE client_addr IS NOT NULL")[0][0])


class Bouncer(Server):
    """PgBouncer in transaction mode before a server."""

    def __init__(self, postgres):
        super().__init__("pgbouncer")
        self.port = bed.free_port()
        (self.folder / "users").write_text('"daypass" ""\n')
        (self.folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={postgres.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {self.port}\nunix_socket_dir =\nauth_type = trust\n"
            f"auth_file = {self.folder}/users\npool_mode = transaction\nmax_client_conn = 4000\n"
            "default_pool_size = 20\n")
        root = os.geteuid() == 0
        for path in [self.folder, *self.folder.iterdir()]:
            if root:
                os.chown(path, pwd.getpwnam("nobody").pw_uid, -1)
        user = dict(user="nobody", group=pwd.getpwnam("nobody").pw_gid) if root else {}
        self.start(["pgbouncer", self.folder / "pgbouncer.ini"], **user)
        time.sleep(1)
        self.url = f"postgres://daypass@127.0.0.1:{self.port}/postgres"


class Redis(Server):
    def __init__(self):
        super().__init__("redis")
        self.ports = [self.one()]
        self.url = f"redis://127.0.0.1:{self.ports[0]}"

    def one(self, *more):
        port = bed.free_port()
        while port > 55535:  # nodes of a cluster need the port 10,000 above, too
            port = bed.free_port()
        folder = self.folder / str(port)
        folder.mkdir()
        self.start(["redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", folder,
                    "--appendonly", "yes", "--save", "", *more])
        self.await_ready(lambda: self.ask("PING", port=port).strip() == "PONG")
        return port

    def ask(self, *words, port=None):
        ran = subprocess.run(["redis-cli", "-p", str(port or self.ports[0]), *words],
                             capture_output=True, text=True)
        return ran.stdout

    def info(self, section, port):
        lines = [line.strip().split(":", 1) for line in self.ask("INFO", section, port=port).splitlines()]
        return dict(line for line in lines if len(line) == 2)

    def size(self):
        return sum(int(self.info("memory", port)["used_memory"]) for port in self.ports)

    def forget(self):
        for port in self.ports:
            self.ask("CONFIG", "RESETSTAT", port=port)

    def statements(self):
        """Calls and milliseconds by command since `forget`, apart from those of the bench. Scripts
        count once, and so does each command within."""
        found = {}
        for port in self.ports:
            for name, text in self.info("commandstats", port).items():
                name = name.removeprefix("cmdstat_")
                if name.split("|")[0] in ("info", "config"):
                    continue
                facts = dict(part.split("=") for part in text.split(","))
                calls, time = found.get(name, (0, 0.0))
                found[name] = (calls + int(facts["calls"]), time + float(facts["usec"]) / 1000)
        return found

    def connections(self):
        return sum(int(self.info("clients", port)["connected_clients"]) - 1 for port in self.ports)


class RedisCluster(Redis):
    def __init__(self):
        Server.__init__(self, "redis-cluster")
        self.ports = [self.one("--cluster-enabled", "yes") for _ in range(3)]
        nodes = [f"127.0.0.1:{port}" for port in self.ports]
        subprocess.run(["redis-cli", "--cluster", "create", *nodes, "--cluster-yes"],
                       check=True, stdout=subprocess.DEVNULL)
        self.await_ready(lambda: all("cluster_state:ok" in self.ask("CLUSTER", "INFO", port=port)
                                     for port in self.ports))
        self.url = f"redis-cluster://{','.join(nodes)}"


STORES = {"sqlite": Sqlite, "postgres": Postgres, "redis": Redis, "redis-cluster": RedisCluster}
