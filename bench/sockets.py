"""Two workers on one shared socket, or on one each (SO_REUSEPORT): how evenly connections are dealt
out, and what a request costs.

`python -m bench.sockets SECONDS REPEATS` prints, for 16 and 64 connections that are kept, the share
of requests of the busier worker and the microseconds of a processor a request, medians of the
turns.
"""

from __future__ import annotations

import os
import re
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.measure import ROOT, clean
from bench.serving import _nothing, free_port
from headwater.serving.process.uvicorn_server import ServerOptions, serving

TOKEN = "token"


def work(fd: str) -> None:
    """One worker, until the input ends: for each line, its requests and seconds of a processor so
    far.
    """
    count = [0]
    app = _nothing(TOKEN, 1300)

    async def counted(scope, read, send) -> None:
        count[0] += 1
        await app(scope, read, send)

    with serving(counted, "127.0.0.1", 0, options=ServerOptions(fd=int(fd))):
        print("ready", flush=True)
        for _ in sys.stdin:
            used = resource.getrusage(resource.RUSAGE_SELF)
            print(count[0], used.ru_utime + used.ru_stime, flush=True)
    os._exit(0)


def listeners(kind: str, port: int) -> list[socket.socket]:
    """What two workers listen at."""
    if kind == "shared":
        return [socket.create_server(("127.0.0.1", port), backlog=2048)] * 2
    return [
        socket.create_server(("127.0.0.1", port), backlog=2048, reuse_port=True) for _ in range(2)
    ]


def turn(kind: str, connections: int, seconds: float) -> tuple[float, float]:
    """The busier worker's share of requests, and microseconds of a processor a request; by new
    workers and connections.
    """
    port = free_port()
    sockets = listeners(kind, port)
    pipes = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "text": True,
        "cwd": ROOT,
        "env": clean(),
    }
    workers = []
    for worker in sockets:
        command = [sys.executable, "-m", "bench.sockets", "work", str(worker.fileno())]
        workers.append(subprocess.Popen(command, pass_fds=[worker.fileno()], **pipes))  # type: ignore[call-overload]
    for worker in workers:
        assert worker.stdout.readline().strip() == "ready"
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "post.lua")
        script.write_text(
            'wrk.method = "POST"; wrk.body = string.rep("x", 90); wrk.headers["Authorization"] = '
            f'"Bearer {TOKEN}"'
        )
        before = [_ask(worker) for worker in workers]
        command = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{seconds:.0f}s",
            "-s",
            str(script),
            f"http://127.0.0.1:{port}/",
        ]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        after = [_ask(worker) for worker in workers]
    assert not re.search("Non-2xx|Socket errors", output), output
    for worker in workers:
        worker.stdin.close()
        worker.wait(30)
    for worker in set(sockets):
        worker.close()
    counts = [b[0] - a[0] for a, b in zip(before, after, strict=True)]
    busy = sum(b[1] - a[1] for a, b in zip(before, after, strict=True))
    return max(counts) / sum(counts), busy / sum(counts) * 1e6


def _ask(worker: subprocess.Popen) -> tuple[float, float]:
    worker.stdin.write("\n")
    worker.stdin.flush()
    count, used = worker.stdout.readline().split()
    return float(count), float(used)


def main(seconds: str, repeats: str) -> None:
    for connections in (16, 64):
        by_kind: dict[str, list[tuple[float, float]]] = {"shared": [], "one each": []}
        for _ in range(int(repeats)):
            for kind, turns in by_kind.items():
                turns.append(turn(kind, connections, float(seconds)))
        for kind, turns in by_kind.items():
            share, busy = (statistics.median(figures[n] for figures in turns) for n in (0, 1))
            worst = max(figures[0] for figures in turns)
            print(
                f"{connections} connections, {kind}: busier worker {share:.0%} (at worst "
                f"{worst:.0%}), {busy:.1f} us a request",
                flush=True,
            )


if __name__ == "__main__":
    work(sys.argv[2]) if sys.argv[1] == "work" else main(*sys.argv[1:])
