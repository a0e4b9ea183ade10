"""Servers of the stores that are measured: redis-server and PostgreSQL on 127.0.0.1, each with the
processor time that it has taken.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.measure import Skipped

_TICK = os.sysconf("SC_CLK_TCK")
_SETTINGS = [
    "-c",
    "shared_buffers=512MB",
    "-c",
    "max_wal_size=8GB",
    "-c",
    "checkpoint_timeout=30min",
]
"""Of PostgreSQL, as a server that is used has them: as it is installed, it caches 128 MB, and a
checkpoint begins within some runs only.
"""


@dataclass(frozen=True)
class StoreServer:
    """url: for `open_store`. pid: of its first process. port: where it answers; 0 for a store in
    files.
    """

    url: str
    pid: int = 0
    port: int = 0

    def busy(self) -> float:
        """Seconds of a processor that its processes have taken so far."""
        if self.port and self.url.startswith("redis"):
            found = self.info()
            return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])
        return busy_of(self.pid) if self.pid else 0.0

    def info(self) -> dict[str, str]:
        """What Redis says of itself."""
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall(b"INFO everything\r\nQUIT\r\n")
            text = b"".join(iter(lambda: connection.recv(1 << 16), b"")).decode()
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def busy_of(pid: int) -> float:
    """Seconds of a processor of a process and its children, those that have ended too."""
    total = 0.0
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(entry.name) == pid:
                    total += sum(map(int, fields[11:15])) / _TICK
                elif int(fields[1]) == pid:
                    total += sum(map(int, fields[11:13])) / _TICK
    return total


def busy_of_tree(pid: int) -> float:
    """Seconds of a processor of a process and all below it, those that have ended too."""
    taken, parents = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                taken[int(entry.name)], parents[int(entry.name)] = (
                    sum(map(int, fields[11:15])) / _TICK,
                    int(fields[1]),
                )
    total, below = 0.0, [pid]
    while below:
        one = below.pop()
        total += taken.get(one, 0.0)
        below += [child for child, parent in parents.items() if parent == one]
    return total


@contextmanager
def server(kind: str) -> Iterator[StoreServer]:
    """A server of a kind: `lmdb`, which is a folder, `redis` or `postgres`.

    Raises:
        Skipped: its program is not installed.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        {"redis": _redis, "postgres": _postgres, "lmdb": _lmdb}[kind](Path(folder)) as found,
    ):
        yield found


@contextmanager
def _lmdb(folder: Path) -> Iterator[StoreServer]:
    yield StoreServer(f"lmdb:{folder}/online")


@contextmanager
def _redis(folder: Path) -> Iterator[StoreServer]:
    program, port = _program("redis-server", ()), _free_port()
    command = [
        program,
        "--bind",
        "127.0.0.1",
        "--port",
        str(port),
        "--dir",
        str(folder),
        "--save",
        "",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _wait(process, port)
        yield StoreServer(f"redis://127.0.0.1:{port}/0", process.pid, port)
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def _postgres(folder: Path) -> Iterator[StoreServer]:
    program, port = (
        Path(_program("postgres", sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres")))),
        _free_port(),
    )
    options: dict = {"stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT, "cwd": folder}
    if os.geteuid() == 0:  # it refuses to run as root
        owner = next(
            entry
            for name in ("postgres", "nobody")
            for entry in pwd.getpwall()
            if entry.pw_name == name
        )
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        options |= {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
    made = [
        program.parent / "initdb",
        "-D",
        folder / "db",
        "-U",
        "bench",
        "--auth=trust",
        "--no-sync",
        "-E",
        "UTF8",
        "--locale=C",
    ]
    subprocess.run(made, check=True, **options)
    at = ["-p", str(port), "-h", "127.0.0.1", "-c", "unix_socket_directories=", *_SETTINGS]
    process = subprocess.Popen([program, "-D", folder / "db", *at], **options)
    try:
        _wait(process, port)
        time.sleep(1)  # it listens before it lets anyone in
        yield StoreServer(f"postgresql://bench@127.0.0.1:{port}/postgres", process.pid, port)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def _program(name: str, more: object) -> str:
    found = [str(path) for path in more] or [path for path in [shutil.which(name)] if path]  # type: ignore[attr-defined]
    if not found:
        raise Skipped(f"needs {name}")
    return found[-1]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _wait(process: subprocess.Popen, port: int) -> None:
    until = time.monotonic() + 30
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"{process.args} does not answer")
        time.sleep(0.05)
