"""Serving by one worker and by two, and what a request costs each of them apart: the points and the
units of the simulation.

`python -m bench.workers KIND SECONDS REPEATS` prints JSON; KIND is where features are read from,
lmdb or redis.

Units come from one worker alone, with one connection (no two requests share a read) and with 64
(most do). The points have 16 connections for each worker, which no unit was measured at. Of several
turns, the one counts in which other programs took the least of the processors (`others`, in
processors), for any figures.
"""

from __future__ import annotations

import json
import socket
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from bench.measure import Skipped, processors_busy
from bench.servers import server
from bench.serving import CONNECTIONS, _body, _ready, _rows, _scripts, _Side

_PATH = "/v1/features/plain_v1"
FEW, MANY = 1, 64


def main(kind: str, seconds: str, repeats: str) -> None:
    """By name of a case: its quietest turn; and all turns."""
    with server(kind) as store, tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        token = _ready(folder, store.url)
        bodies = [_body("features", row) for row in _rows()]
        peak, _ = _scripts(folder, "ours", bodies, token)
        sides = {}
        for count in (1, 2):
            sides[count] = _Side.workers(count, folder, _PATH)
            stack.callback(sides[count].close)
        cases = {
            "few": (1, FEW),
            "many": (1, MANY),
            "one worker": (1, CONNECTIONS),
            "two workers": (2, CONNECTIONS),
        }
        turns: dict[str, list[dict]] = {name: [] for name in cases}
        for turn in range(int(repeats) + 1):
            for name, (count, connections) in cases.items():
                there, all_of_it, begin = store.busy(), processors_busy(), time.perf_counter()
                taken = sides[count].wrk(
                    peak, float(seconds) if turn else 1, connections=connections
                )
                taken["store"] = (store.busy() - there) / taken["requests"] * 1e6
                own = (taken["busy"] + taken["client"] + taken["store"]) * taken["requests"] * 1e-6
                taken["others"] = (processors_busy() - all_of_it - own) / (
                    time.perf_counter() - begin
                )
                turns[name] += [taken] if turn else []
        sent, received = _bytes(sides[1], bodies[0], token)
    quietest = {
        name: min(several, key=lambda turn: turn["others"]) for name, several in turns.items()
    }
    print(
        json.dumps(
            {
                "kind": kind,
                **quietest,
                "request_bytes": sent,
                "response_bytes": received,
                "turns": turns,
            }
        )
    )


def _bytes(side: _Side, body: str, token: str) -> tuple[int, int]:
    """Bytes of a request and of its response, with their headers."""
    head = [
        f"POST {_PATH} HTTP/1.1",
        f"Host: 127.0.0.1:{side.port}",
        f"Authorization: Bearer {token}",
        "Content-Type: application/json",
    ]
    request = "\r\n".join([*head, f"Content-Length: {len(body)}", "", body]).encode()
    with socket.create_connection(("127.0.0.1", side.port)) as connection:
        connection.sendall(request)
        response = b""
        while True:
            top, blank, rest = response.partition(b"\r\n\r\n")
            lengths = [
                int(line.partition(b":")[2])
                for line in top.lower().split(b"\r\n")
                if line.startswith(b"content-length:")
            ]
            if blank and lengths and len(rest) >= lengths[0]:
                return len(request), len(response)
            more = connection.recv(1 << 16)
            if not more:
                raise Skipped("the server closed the connection")
            response += more


if __name__ == "__main__":
    main(*sys.argv[1:])
