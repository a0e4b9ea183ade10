"""Real servers for tests: on 127.0.0.1 and a free port, in a folder of the test's, stopped by their
own process id.
"""

import contextlib
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import pytest

from tests import services
from tests.waiting import until

try:
    import redis
except ImportError:
    redis = None

BINARIES = {
    name: path for name in ("redis-server", "valkey-server") if (path := shutil.which(name))
}


def free_port():
    """A port that nothing listens on, nor on the one 10000 above, which is that of a cluster's
    bus.
    """
    while True:
        port = random.randrange(12_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 10_000))
            return port


class Server:
    """One server, which can be killed, stopped for a while, and started again with or without what
    it held.
    """

    def __init__(self, folder, *options, binary="redis-server", port=None):
        if binary not in BINARIES:
            pytest.skip(f"needs {binary}")
        if redis is None:
            pytest.skip("needs the extra redis")
        self.folder, self.binary, self.options = folder, BINARIES[binary], options
        self.port = port or free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.start()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def node_port(self):
        """The port that other nodes of its cluster know it by."""
        return self.port

    @property
    def client(self):
        return redis.Redis(host="127.0.0.1", port=self.port, protocol=2)

    def start(self, *more):
        command = [
            self.binary,
            "--bind",
            "127.0.0.1",
            "--port",
            str(self.port),
            "--dir",
            str(self.folder),
            "--save",
            "",
            "--repl-diskless-sync-delay",
            "0",
            *self.options,
            *more,
        ]
        self._start(command)

    def _start(self, command):
        services.starts("Redis")
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

        def answers():
            try:
                with self.client as client:
                    return client.ping()
            except redis.AuthenticationError:
                return True
            except redis.RedisError:
                return False

        until(answers, "Redis", self.process, said=(self.folder / "log").read_text)

    def replica(self, folder, port=None):
        """A server that copies this one (by way of a port that leads here), and has all by now."""
        copy = Server(folder, "--replicaof", "127.0.0.1", str(port or self.port))
        copy.follows()
        return copy

    def follows(self):
        """Wait until this replica has all that its primary has."""
        with self.client as client:
            until(lambda: client.info("replication").get("master_link_status") == "up")

    @property
    def role(self):
        with self.client as client:
            return client.info("replication")["role"]

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def close(self):
        if self.process.poll() is None:
            self.resume()
            self.kill()


class TlsServer(Server):
    """A server that uses TLS at `tls_port`, to its replicas and within its cluster; `files` are its
    options for certificates.
    """

    files = ()

    def __init__(self, folder, *options, **more):
        self.tls_port = free_port()
        port = ("--tls-port", str(self.tls_port), "--tls-replication", "yes")
        cluster = ("--tls-cluster", "yes") if "--cluster-enabled" in options else ()
        super().__init__(folder, *port, *cluster, *self.files, *options, **more)

    @property
    def node_port(self):
        return self.tls_port


class SentinelServer(Server):
    """A Sentinel that promotes a replica half a second after the primary of this name fell
    silent.
    """

    def __init__(self, folder, name, primary, *lines):
        """primary: a server. lines: of its file."""
        own = [
            f"monitor {name} 127.0.0.1 {primary.node_port} 1",
            f"down-after-milliseconds {name} 500",
            f"failover-timeout {name} 2000",
        ]
        folder.mkdir(parents=True)
        (folder / "sentinel.conf").write_text(
            "\n".join([*(f"sentinel {line}" for line in own), *lines, ""])
        )
        super().__init__(folder)

    def start(self):
        self._start(
            [
                self.binary,
                str(self.folder / "sentinel.conf"),
                "--sentinel",
                "--bind",
                "127.0.0.1",
                "--port",
                str(self.port),
            ]
        )


class PostgresServer:
    """A PostgreSQL server of the test's own, with one database; it can be killed, stopped for a
    while, and started again.
    """

    def __init__(self, *options, of=None):
        """of: the port of a primary, and this is its standby."""
        pytest.importorskip("psycopg", reason="needs the extra postgres")
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres")) or [
            p for p in [shutil.which("postgres")] if p
        ]
        if not found:
            pytest.skip("needs PostgreSQL's own binaries: apt-get install postgresql")
        self._binaries, self._options, self.port = Path(found[-1]).parent, options, free_port()
        self.data = Path(tempfile.mkdtemp(prefix="headwater-postgres-"))
        owner = _server_owner()
        if owner:
            os.chown(self.data, owner.pw_uid, owner.pw_gid)
        as_owner = (
            {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []} if owner else {}
        )
        self._quiet = {
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.STDOUT,
            "cwd": self.data,
            **as_owner,
        }
        made = [
            self._binaries / "initdb",
            "-D",
            self.data / "db",
            "-U",
            "headwater",
            "--auth=trust",
            "--no-sync",
            "-E",
            "UTF8",
            "--locale=C",
        ]
        if of is not None:
            primary = f"host=127.0.0.1 port={of} user=headwater application_name=standby"
            made = [
                self._binaries / "pg_basebackup",
                "-D",
                self.data / "db",
                "-d",
                primary,
                "-R",
                "-X",
                "stream",
                "-c",
                "fast",
                "--no-sync",
            ]
        subprocess.run(made, check=True, **self._quiet)
        self.start()

    @property
    def address(self):
        """Without a database; it has one, `postgres`."""
        return f"postgresql://headwater@127.0.0.1:{self.port}"

    def start(self):
        services.starts("PostgreSQL")
        import psycopg

        options = [
            "-p",
            str(self.port),
            "-h",
            "127.0.0.1",
            "-c",
            "unix_socket_directories=",
            *self._options,
        ]
        self.process = subprocess.Popen(
            [self._binaries / "postgres", "-D", self.data / "db", *options], **self._quiet
        )

        def answers():
            with suppress(psycopg.OperationalError):
                psycopg.connect(f"{self.address}/postgres").close()
                return True

        until(answers, "PostgreSQL", self.process)

    def standby(self, port):
        """A standby of this server, reached by another port of it; it has all by now, and
        follows.
        """
        return PostgresServer(of=port)

    def promote(self):
        """Make a standby a primary."""
        subprocess.run(
            [self._binaries / "pg_ctl", "promote", "-w", "-D", self.data / "db"],
            check=True,
            **self._quiet,
        )

    def restart(self, *options):
        """Start again with further options, nothing lost."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=30)
        self._options = (*self._options, *options)
        self.start()

    def kill(self):
        """End all of its processes without a word; they share memory, and the children end when the
        first of them has.
        """
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        until(lambda: not self._backends(), "its children end")

    def pause(self):
        for pid in [self.process.pid, *self._backends()]:
            os.kill(pid, signal.SIGSTOP)

    def resume(self):
        for pid in [self.process.pid, *self._backends()]:
            os.kill(pid, signal.SIGCONT)

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)  # a fast shutdown
            self.process.wait(timeout=30)
        shutil.rmtree(self.data, ignore_errors=True)

    def _backends(self):
        """The processes that work in its folder, but for the first."""
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if (
                    entry.name.isdecimal()
                    and Path(entry / "cwd").readlink() == self.data / "db"
                    and int(entry.name) != self.process.pid
                ):
                    found.append(int(entry.name))
        return found


def _server_owner():
    """Whom the server runs as: root it refuses."""
    if os.geteuid():
        return None
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]


@contextmanager
def serving_postgres(*options):
    server = PostgresServer(*options)
    try:
        yield server
    finally:
        server.close()


@contextmanager
def serving(folder, *options, binary="redis-server"):
    server = Server(folder, *options, binary=binary)
    try:
        yield server
    finally:
        server.close()


@contextmanager
def clustered(folder, *options, masters=3, replicas=0, binary="redis-server", kind=Server):
    """The servers of a cluster: its masters, then its replicas, the first of the first master and
    so on.
    """
    servers, every = [], masters + replicas
    try:
        servers += (
            kind(
                folder / str(number),
                "--cluster-enabled",
                "yes",
                "--cluster-node-timeout",
                "1000",
                *options,
                binary=binary,
            )
            for number in range(every)
        )
        bounds = [16384 * number // masters for number in range(masters + 1)]
        for number, server in enumerate(servers):
            with server.client as client:
                if number < masters:
                    client.execute_command(
                        "CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1
                    )
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        turns = count()

        def together():
            # a handshake that a busy machine answers too late is given up, and never repeated
            if next(turns) % 100 == 0:
                for server in servers[1:]:
                    with server.client as client:
                        client.execute_command("CLUSTER", "MEET", "127.0.0.1", servers[0].node_port)
            return all(whole(server, every) for server in servers)

        until(together, "a whole cluster")
        for master, replica in zip(servers, servers[masters:], strict=False):
            with master.client as here, replica.client as there:
                there.execute_command(
                    "CLUSTER", "REPLICATE", here.execute_command("CLUSTER", "MYID")
                )
        for replica in servers[masters:]:
            replica.follows()
        yield servers
    finally:
        for server in servers:
            server.close()


def whole(server, masters):
    """Whether a server sees all of its cluster."""
    with server.client as client:
        info = client.execute_command("CLUSTER", "INFO")
        info = (
            info
            if isinstance(info, dict)
            else dict(line.split(":") for line in info.decode().split("\r\n") if ":" in line)
        )
        return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == masters


class Proxy:
    """A port that leads to a server, and can be led to another one. So many answers can be cut off,
    or the next to a call with `cut_at`.
    """

    def __init__(self, port):
        self.target, self.cut_answers, self.cut_at = port, 0, None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open, self._threads = [], []
        self._run(self._accept)

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def switch(self, port):
        self.target = port
        for each in self._open:
            _shut(each)

    def close(self):
        _shut(self._listener)
        self.switch(0)
        for thread in self._threads:
            thread.join(10)
        for each in (self._listener, *self._open):
            each.close()

    def _run(self, function, *args):
        self._threads.append(threading.Thread(target=function, args=args, daemon=True))
        self._threads[-1].start()

    def _accept(self):
        while True:
            try:
                here, _ = self._listener.accept()
            except OSError:
                return
            try:
                there = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                here.close()
                continue
            self._open += [here, there]
            self._run(self._pump, here, there, False)
            self._run(self._pump, there, here, True)

    def _pump(self, source, sink, answers):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if answers and self.cut_answers:
                    self.cut_answers -= 1
                    break
                if not answers and self.cut_at and self.cut_at in data:
                    self.cut_at, self.cut_answers = None, 1
                sink.sendall(data)
        _shut(source)
        _shut(sink)


def _shut(each):
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)


def is_root():
    return os.geteuid() == 0
