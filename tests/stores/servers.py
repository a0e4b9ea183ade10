"""Real servers for tests: on 127.0.0.1 and a free port, in a folder of the test's, stopped by their own process id."""

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager

import pytest
import redis

BINARIES = {name: path for name in ("redis-server", "valkey-server") if (path := shutil.which(name))}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return port if port < 50_000 else port - 20_000  # a cluster's bus listens 10000 above


class Server:
    """One server, which can be killed, stopped for a while, and started again with or without what it held."""

    def __init__(self, folder, *options, binary="redis-server", port=None):
        if binary not in BINARIES:
            pytest.skip(f"needs {binary}")
        self.folder, self.binary, self.options = folder, BINARIES[binary], options
        self.port = port or free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self.start()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def client(self):
        return redis.Redis(host="127.0.0.1", port=self.port, protocol=2)

    def start(self, *more):
        command = [self.binary, "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder), "--save", "", *self.options, *more]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until = time.monotonic() + 20
        while True:
            try:
                with self.client as client:
                    client.ping()
                return
            except redis.RedisError:
                if time.monotonic() > until or self.process.poll() is not None:
                    raise AssertionError((self.folder / "log").read_text()) from None
                time.sleep(0.02)

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


@contextmanager
def serving(folder, *options, binary="redis-server"):
    server = Server(folder, *options, binary=binary)
    try:
        yield server
    finally:
        server.close()


@contextmanager
def clustered(folder, *options, masters=3):
    """The servers of a cluster without replicas."""
    servers = []
    try:
        for number in range(masters):
            servers.append(Server(folder / str(number), "--cluster-enabled", "yes", "--cluster-node-timeout", "1000", *options))
        bounds = [16384 * number // masters for number in range(masters + 1)]
        for number, server in enumerate(servers):
            with server.client as client:
                client.execute_command("CLUSTER", "ADDSLOTSRANGE", bounds[number], bounds[number + 1] - 1)
                client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                client.execute_command("CLUSTER", "MEET", "127.0.0.1", servers[0].port)
        until = time.monotonic() + 30
        for server in servers:
            while not whole(server, masters):
                assert time.monotonic() < until, "the cluster does not come together"
                time.sleep(0.05)
        yield servers
    finally:
        for server in servers:
            server.close()


def whole(server, masters):
    """Whether a server sees all of its cluster."""
    with server.client as client:
        info = client.execute_command("CLUSTER", "INFO")
        info = info if isinstance(info, dict) else dict(line.split(":") for line in info.decode().split("\r\n") if ":" in line)
        return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == masters


class Proxy:
    """A port that leads to a server, and can be led to another one; it can be cut, also after a request went through."""

    def __init__(self, port):
        self.target, self.cut_answers = port, False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def switch(self, port):
        self.target = port
        for each in self._open:
            _close(each)
        self._open = []

    def close(self):
        self._listener.close()
        self.switch(0)

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
            threading.Thread(target=self._pump, args=(here, there, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(there, here, True), daemon=True).start()

    def _pump(self, source, sink, answers):
        try:
            while data := source.recv(1 << 16):
                if answers and self.cut_answers:
                    break
                sink.sendall(data)
        except OSError:
            pass
        _close(source)
        _close(sink)


def _close(each):
    try:
        each.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    each.close()


def is_root():
    return os.geteuid() == 0
