"""Requests over HTTP compared with an app that ignores them, in turns, each with one worker; the
other app is served by granian.

`python -m bench.serving measure KIND SECONDS REPEATS` prints JSON. KIND is `features` (27 of 3
views, in compact form), `full` (the same, an object a feature) or `predict` (27 features, one
request feature, one request field, a LightGBM model). `python -m bench.serving feast PYTHON SECONDS
REPEATS` has Feast's server as the other app, by an interpreter that has feast; it checks no token.
`python -m bench.serving apart KIND SECONDS REPEATS` prints where the time of a request goes, in
microseconds of a processor. `python -m bench.serving servers KIND SECONDS REPEATS` prints what a
request costs on granian, on our server, and on a bare one that lacks every limit. `python -m
bench.serving workers SECONDS REPEATS` compares one worker with two on one socket, by the processor
time of a request. Each worker has as many connections: requests that arrive together share a read,
so a worker with half the connections takes more for each.

The other app reads the same body, checks the same token, and answers with as many bytes of JSON; it
has no routes, ids, limits or logs. Where there are several processors, each server has one to
itself, and wrk another: else they would take turns on both, and the figure would say how well the
machine shares them.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import re
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

import headwater as hw
import headwater.serving.serve as hw_serve
from bench import bare
from bench.measure import ROOT, Skipped, clean
from bench.streams import KEYS, batch, cover, payments, shard, views
from headwater.cli.ingest import seldom_collected
from headwater.journal.serving_log import ServedLog
from headwater.models.fit import fit
from headwater.models.serving_model import ServedModel
from headwater.serving.http.asgi import App, Read, Scope, Send
from headwater.serving.http.auth import TokenFile
from headwater.serving.process.uvicorn_server import ServerOptions, serving
from headwater.stores import open_store

EVENTS, USERS = 300_000, 20_000
CONNECTIONS = 16
SHARE = 0.7  # of the peak, at which tails are measured


def project() -> hw.Project:
    """A model of fraud over the views of payments."""
    of = fresh()

    @hw.request_feature
    def ratio(amount: float, usual: float | None = of[0]["max_amount_1d"]) -> float | None:
        return amount / usual if usual else None

    table = pl.DataFrame({**{key: [1] for key in KEYS}, "asked": [0], "amount": [1.0], "bad": [1]})
    table = table.with_columns(pl.col("asked").cast(pl.Datetime("us", "UTC")))
    labels = hw.Labels("bad", table=table, timestamp_field="asked", label="bad", known_after="1d")
    plain = hw.Model(
        "plain", features=hw.FeatureService("plain_v1", of), labels=labels, task="binary"
    )
    more = hw.FeatureService("fraud_v1", [*of, ratio, hw.RequestField("amount", float)])
    return hw.Project(
        "fraud", [plain, hw.Model("fraud", features=more, labels=labels, task="binary")]
    )


def fresh() -> list[hw.FeatureView]:
    """The views, at a freshness that a store without writers can keep: a stale value costs more to
    answer.
    """
    return [view.at(hw.streaming("1d")) for view in views(*KEYS)]


def fill(folder: Path, url: str | None = None) -> None:
    """A store in which the last payment has just come: one at `url`, or in the folder; the folder
    says where it is.
    """
    frame = payments(EVENTS, seed=2, hours=24, users=USERS)
    late = pl.lit(time.time_ns() // 1000 - int(frame["ts"].dt.epoch("us").max()) - 1_000_000).cast(
        pl.Duration("us")
    )  # type: ignore[arg-type]
    frame = frame.with_columns(pl.col("ts") + late)
    url = url or f"lmdb:{folder / 'online'}"
    (folder / "store").write_text(url)
    store = open_store(url)
    partition = "0" if store.capabilities.multi_process else None
    writer = shard(views(*KEYS), store, partition)
    for at in range(0, frame.height, 100_000):
        records, now = batch(frame[at : at + 100_000], at)
        writer.apply([records], now)
    cover(writer, fresh())
    store.close()


def serve(side: str, folder: str, port: str, length: str, fd: str = "") -> None:
    """One of the two apps, until the input ends; then the seconds that it has kept a processor
    busy. fd: of a socket to listen at.
    """
    data_dir = Path(folder)
    if not fd:
        _alone(first=True)
    with seldom_collected(), ExitStack() as stack:
        app, _, server = side.partition(" on ")
        which = _SERVERS[server or ("granian" if app == "nothing" else "uvicorn")]
        if fd:
            which = partial(serving, options=ServerOptions(int(fd)))
        if app == "nothing":
            token = (data_dir / "token").read_text()
            stack.enter_context(which(_nothing(token, int(length)), "127.0.0.1", int(port)))
        else:
            hw_serve.serving = which
            definitions = project()
            log = (
                None
                if side == "without logs"
                else stack.enter_context((data_dir / "log").open("w"))
            )
            logged = data_dir / side.replace(" ", "-") / fd
            served = (
                stack.enter_context(ServedLog(logged)) if side.startswith("headwater") else None
            )
            models = {"fraud": _scorer(definitions.model("fraud"))}
            service = {
                "tokens": data_dir / "tokens.json",
                "models": models,
                "options": hw.operations.ServeOptions(log=log, serving_log=served),
            }
            stack.enter_context(
                hw.operations.serve(
                    definitions,
                    (data_dir / "store").read_text(),
                    listen=f"127.0.0.1:{port}",
                    **service,
                )
            )  # type: ignore[arg-type]
        print("ready", flush=True)
        for line in sys.stdin:
            used = resource.getrusage(resource.RUSAGE_SELF)
            print(used.ru_utime + used.ru_stime, flush=True)
            if not line:
                break


@contextmanager
def _granian(app: App, host: str, port: int, **_: object) -> Iterator[str]:
    """Serve with granian until the process ends."""
    from granian.constants import Interfaces
    from granian.server.embed import Server

    server = Server(
        app,
        host,
        port,
        interface=Interfaces.ASGINL,
        websockets=False,
        backlog=1024,
        backpressure=4096,
        log_enabled=False,
    )
    threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True).start()
    while True:
        with suppress(OSError), socket.create_connection((host, port)):
            break
        time.sleep(0.01)
    yield f"http://{host}:{port}"


_SERVERS = {"granian": _granian, "uvicorn": serving, "bare": bare.serving}


def _alone(*, first: bool) -> None:
    """Keep this process to the first processor that it may use, or to the last."""
    if hasattr(os, "sched_setaffinity"):
        every = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {every[0] if first else every[-1]})


def _nothing(token: str, length: int):
    """Reads the body, checks the token, answers `length` bytes."""
    digest = hashlib.sha256(token.encode()).digest()
    body = b'{"nothing":"' + b"x" * (length - 14) + b'"}'

    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % length)]

    async def app(scope: Scope, read: Read, send: Send) -> None:
        message = await read()
        token = dict(scope["headers"]).get(b"authorization", b"").removeprefix(b"Bearer ")
        good = hmac.compare_digest(hashlib.sha256(token).digest(), digest) and message["body"]
        status = 200 if good else 401
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def _scorer(model: hw.Model) -> ServedModel:
    r = np.random.default_rng(0)
    names = model.features.feature_names
    frame = pl.DataFrame({name: r.lognormal(1, 1, 20_000) for name in names})
    label = (frame[names[0]].to_numpy() * r.lognormal(0, 1, 20_000) > 4).astype(np.float64)
    return ServedModel(fit(model, frame, label, threads=1), version="bench")


class _Side:
    """A server in a process of its own, or in several that share a socket."""

    def __init__(
        self, commands: Sequence[Sequence[str]], port: int, path: str, fds: Sequence[int] = ()
    ) -> None:
        self.port, self.path = port, path
        pipes = {
            "stdin": subprocess.PIPE,
            "stdout": subprocess.PIPE,
            "text": True,
            "cwd": ROOT,
            "env": clean() | {"OMP_NUM_THREADS": "1"},
        }
        self.processes = [subprocess.Popen(command, pass_fds=fds, **pipes) for command in commands]  # type: ignore[call-overload]
        for command, process in zip(commands, self.processes, strict=True):
            if process.stdout.readline().strip() != "ready":
                raise RuntimeError(f"does not serve: {' '.join(command)}")

    @staticmethod
    def app(side: str, folder: Path, length: int, path: str) -> _Side:
        """One of our two apps."""
        port = free_port()
        return _Side(
            [
                [
                    sys.executable,
                    "-m",
                    "bench.serving",
                    "serve",
                    side,
                    str(folder),
                    str(port),
                    str(length),
                ]
            ],
            port,
            path,
        )

    @staticmethod
    def workers(count: int, folder: Path, path: str) -> _Side:
        """Workers of our app that share a socket, as `headwater serve --workers` has them."""
        with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
            port, fd = listener.getsockname()[1], listener.fileno()
            command = [sys.executable, "-m", "bench.serving", "serve", f"headwater {count}"]
            commands = [[*command, str(folder), str(port), "0", str(fd)] for _ in range(count)]
            return _Side(commands, port, path, [fd])

    def busy(self) -> float:
        """Seconds of a processor so far."""
        for process in self.processes:
            process.stdin.write("\n")
            process.stdin.flush()
        return sum(float(process.stdout.readline()) for process in self.processes)

    def wrk(
        self, script: Path, seconds: float, *more: str, connections: int = CONNECTIONS
    ) -> dict[str, float]:
        """Requests a second, latencies in milliseconds, and microseconds of a processor a request,
        also of wrk's.

        Each worker has as many connections.
        """
        before, client = self.busy(), _children()
        command = [
            "wrk",
            "-t1",
            f"-c{connections * len(self.processes)}",
            f"-d{seconds:.0f}s",
            "--latency",
            "-s",
            str(script),
        ]
        output = subprocess.run(
            [*command, f"http://127.0.0.1:{self.port}{self.path}", "--", *more],
            capture_output=True,
            text=True,
            check=True,
            preexec_fn=partial(_alone, first=False),
        ).stdout
        if "Non-2xx" in output or "Socket errors" in output:
            raise RuntimeError(f"{self.path}: {output}")
        figures = {name: _number(output, pattern) for name, pattern in _PATTERNS.items()}
        taken = {"busy": self.busy() - before, "client": _children() - client}
        return figures | {
            name: seconds / figures["requests"] * 1e6 for name, seconds in taken.items()
        }

    def close(self) -> None:
        for process in self.processes:
            process.stdin.close()
        for process in self.processes:
            process.wait(30)


def _children() -> float:
    """Seconds of a processor of the processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def free_port() -> int:
    """A free port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


_PATTERNS = {
    "rate": r"Requests/sec:\s+([\d.]+)",
    "p50": r"50%\s+([\d.]+\w+)",
    "p99": r"99%\s+([\d.]+\w+)",
    "requests": r"(\d+) requests in",
}
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def _number(text: str, pattern: str) -> float:
    match = re.search(pattern, text)
    assert match is not None, text
    number = re.match(r"[\d.]+", match[1])
    assert number is not None
    return float(number[0]) * _UNITS.get(match[1][number.end() :], 1.0)


_SCRIPT = """
local bodies, pause = {{}}, 0
function init(arguments)
  pause = tonumber(arguments[1] or 0)
  math.randomseed(7)
  for line in io.lines("{bodies}") do bodies[#bodies + 1] = line end
  wrk.headers["Authorization"] = "Bearer {token}"
  wrk.headers["Content-Type"] = "application/json"
end
function request() return wrk.format("POST", nil, nil, bodies[math.random(#bodies)]) end
"""
_PACED = "function delay() return math.floor(-math.log(1 - math.random()) * pause + 0.5) end\n"


def measure(kind: str, seconds: str, repeats: str) -> None:
    """Ours, and an app that makes nothing of a request on granian and on our server, in turns:
    peaks, then tails at a share of them.
    """
    path = "/v1/predict/fraud" if kind == "predict" else "/v1/features/plain_v1"
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        token = _ready(folder)
        bodies = [_body(kind, row) for row in _rows()]
        peak, paced = _scripts(folder, "ours", bodies, token)
        ours = _Side.app("headwater", folder, 0, path)
        stack.callback(ours.close)
        length = round(statistics.mean(_length(ours, bodies[n], token) for n in range(50)))
        sides = {"ours": ours}
        for name, side in {"peer": "nothing", "nothing": "nothing on uvicorn"}.items():
            sides[name] = _Side.app(side, folder, length, path)
            stack.callback(sides[name].close)
        turns = _turns(
            {name: (side, peak) for name, side in sides.items()}, float(seconds), int(repeats)
        )
        tails: dict[str, list[dict]] = {}
        for name, side in sides.items():
            rate = statistics.median(turn["rate"] for turn in turns[name])
            pause = (
                CONNECTIONS / (SHARE * rate) * 1000
                - statistics.median(turn["p50"] for turn in turns[name]) / CONNECTIONS
            )
            tails[name] = [
                side.wrk(paced, float(seconds), f"{max(pause, 0):.3f}") for _ in range(int(repeats))
            ]
    print(json.dumps({"length": length, "peak": turns, "tail": tails}))


def feast(python: str, seconds: str, repeats: str) -> None:
    """Our features in compact form and those of Feast's server in turns, at their peaks; both give
    values, statuses and times.
    """
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        token = _ready(folder)
        names = [f"{key[:-3]}:{key[:-3]}_{n}" for key in KEYS for n in range(9)]
        bodies = [
            json.dumps(
                {
                    "features": names,
                    "entities": dict(zip(KEYS, ([turn] for turn in row), strict=True)),
                }
            )
            for row in _rows()
        ]
        ours = _Side.app("headwater", folder, 0, "/v1/features/plain_v1")
        stack.callback(ours.close)
        port = free_port()
        command = [
            python,
            str(ROOT / "bench" / "feast_server.py"),
            str(folder / "feast"),
            str(port),
            str(USERS),
        ]
        theirs = _Side([command], port, "/get-online-features")
        stack.callback(theirs.close)
        sides = {
            "ours": (
                ours,
                _scripts(folder, "ours", [_body("features", row) for row in _rows()], token)[0],
            ),
            "peer": (theirs, _scripts(folder, "feast", bodies, token)[0]),
        }
        turns = _turns(sides, float(seconds), int(repeats))
    print(json.dumps({"peak": turns}))


def apart(kind: str, seconds: str, repeats: str) -> None:
    """What a request costs as the app grows: one that makes nothing of it, ours without logs, with
    lines, with the serving log too.
    """
    path = "/v1/predict/fraud" if kind == "predict" else "/v1/features/plain_v1"
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        token = _ready(folder)
        bodies = [_body(kind, row) for row in _rows()]
        peak, _ = _scripts(folder, "ours", bodies, token)
        sides = {}
        for name in ("without logs", "with a line each", "headwater"):
            sides[name] = _Side.app(name, folder, 0, path)
            stack.callback(sides[name].close)
        length = _length(sides["headwater"], bodies[0], token)
        sides["nothing"] = _Side.app("nothing on uvicorn", folder, length, path)
        stack.callback(sides["nothing"].close)
        by_side = _turns(
            {name: (side, peak) for name, side in sides.items()}, float(seconds), int(repeats)
        )
        busy = {
            name: statistics.median(turn["busy"] for turn in turns)
            for name, turns in by_side.items()
        }
        stages = _stages(sides["without logs"], token)
    rest = busy["without logs"] - busy["nothing"] - sum(stages.values())
    logs = {
        "a line of the request log": busy["with a line each"] - busy["without logs"],
        "the serving log": busy["headwater"] - busy["with a line each"],
    }
    parts = {
        "our server, and an app that does nothing": busy["nothing"],
        **stages,
        "route, token, limits, body, ids, numbers": rest,
        **logs,
    }
    for name, cost in {**parts, "all": busy["headwater"]}.items():
        print(f"{cost:6.1f} us  {name}")


def servers(kind: str, seconds: str, repeats: str) -> None:
    """What a request costs on each server: of an app that makes nothing of it, and of ours."""
    path = "/v1/predict/fraud" if kind == "predict" else "/v1/features/plain_v1"
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        token = _ready(folder)
        bodies = [_body(kind, row) for row in _rows()]
        peak, _ = _scripts(folder, "ours", bodies, token)
        sides, length = {}, 0
        for name in [
            f"{app} on {server}" for app in ("headwater", "nothing") for server in _SERVERS
        ]:
            sides[name] = _Side.app(name, folder, length, path)
            stack.callback(sides[name].close)
            length = length or _length(sides[name], bodies[0], token)
        by_side = _turns(
            {name: (side, peak) for name, side in sides.items()}, float(seconds), int(repeats)
        )
    for name, turns in by_side.items():
        print(f"{statistics.median(turn['busy'] for turn in turns):6.1f} us  {name}")
    for turn in ("headwater", "nothing"):
        ratios = [
            a["busy"] / b["busy"]
            for a, b in zip(by_side[f"{turn} on uvicorn"], by_side[f"{turn} on bare"], strict=True)
        ]
        print(f"{statistics.median(ratios):6.2f}     {turn}: uvicorn to bare")


def workers(seconds: str, repeats: str) -> None:
    """One worker and two, in turns: microseconds of their processors a request."""
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = Path(temporary)
        token = _ready(folder)
        peak, _ = _scripts(folder, "ours", [_body("features", row) for row in _rows()], token)
        sides = {}
        for count in (1, 2):
            sides[str(count)] = _Side.workers(count, folder, "/v1/features/plain_v1")
            stack.callback(sides[str(count)].close)
        turns = _turns(
            {name: (side, peak) for name, side in sides.items()}, float(seconds), int(repeats)
        )
    print(json.dumps({"peak": turns}))


def _stages(side: _Side, token: str) -> dict[str, float]:
    """Mean microseconds of each stage of an answer, as the service itself counts them."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{side.port}/metrics", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request) as answer:
        text = answer.read().decode()
    histograms: dict[str, dict[str, float]] = {}
    for what, labels, value in re.findall(
        r"^headwater_stage_seconds_(sum|count)\{(.*)\} (\S+)$", text, re.MULTILINE
    ):
        stage = re.search(r'stage="([^"]*)"', labels)
        assert stage is not None
        histograms.setdefault(stage[1], {})[what] = float(value)
    return {
        stage: histogram["sum"] / histogram["count"] * 1e6
        for stage, histogram in histograms.items()
        if histogram.get("count")
    }


def _ready(folder: Path, url: str | None = None) -> str:
    """A filled store and a token."""
    if shutil.which("wrk") is None:
        raise Skipped("needs wrk")
    fill(folder, url)
    token = TokenFile(folder / "tokens.json").add("bench", ["read", "predict"])
    (folder / "token").write_text(token)
    return token


def _rows() -> list[list[int]]:
    return np.random.default_rng(1).integers(0, USERS, (2000, 3)).tolist()


def _scripts(folder: Path, name: str, bodies: Sequence[str], token: str) -> tuple[Path, Path]:
    """What wrk is to send: as fast as it can, and with pauses."""
    (folder / f"{name}.bodies").write_text("\n".join(bodies))
    script = _SCRIPT.format(bodies=folder / f"{name}.bodies", token=token)
    peak, paced = folder / f"{name}.lua", folder / f"{name}.paced.lua"
    peak.write_text(script)
    paced.write_text(script + _PACED)
    return peak, paced


def _turns(
    sides: Mapping[str, tuple[_Side, Path]], seconds: float, repeats: int
) -> dict[str, list[dict]]:
    """Each side at its peak, in turns; a first short one is not counted."""
    by_side: dict[str, list[dict]] = {name: [] for name in sides}
    for turn in range(repeats + 1):
        for name, (side, script) in sides.items():
            once = side.wrk(script, seconds if turn else 2)
            by_side[name] += [once] if turn else []
    return by_side


def _body(kind: str, row: Sequence[int]) -> str:
    keys = dict(zip(KEYS, row, strict=True))
    return json.dumps(
        {"row": {**keys, "amount": 12.5}}
        if kind == "predict"
        else {"row": keys, "compact": kind == "features"}
    )


def _length(side: _Side, body: str, token: str) -> int:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(
        f"http://127.0.0.1:{side.port}{side.path}", body.encode(), headers
    )
    with urllib.request.urlopen(request) as answer:
        return len(answer.read())


if __name__ == "__main__":
    {
        "measure": measure,
        "feast": feast,
        "apart": apart,
        "servers": servers,
        "workers": workers,
        "serve": serve,
    }[sys.argv[1]](*sys.argv[2:])
