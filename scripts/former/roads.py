"""One version on all roads: offline, ingestion that is killed, jobs, and requests over HTTP."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from scripts.former.log import Log

HERE = Path(__file__).parent
WAIT = 600  # seconds; a machine may be busy
TIMES = {"at", "T", "K", "age", "timing", "stale", "version", "sequence", "request_id"}
"""Fields of answers that are the clock's, of one request, or the hash of a model file."""

_ROW = {"user": "u3", "shop": 1, "price": 12.5}
_USERS = [{"user": f"u{i}", "shop": i % 6, "price": i / 2} for i in range(13)]
BODIES = {
    "row": {"row": _ROW},
    "rows": {"rows": _USERS},
    "unknown user": {"row": _ROW | {"user": "é"}},
    "no key": {"row": {"shop": 1, "price": 1.0}},
    "null key": {"row": _ROW | {"user": None}},
    "wrong key": {"row": _ROW | {"user": 3}},
    "wrong type": {"row": _ROW | {"shop": "one"}},
    "no price": {"row": {"user": "u1", "shop": 1}},
    "null price": {"row": _ROW | {"price": None}},
    "unknown field": {"row": _ROW | {"colour": "red"}},
    "empty": {},
    "no rows": {"rows": []},
    "a list": [1],
}
"""Requests: rows that there are, that are unknown, that lack a key, that are not rows."""


class Side:
    """A version: its interpreter, and a folder with a project, a store and its answers."""

    def __init__(self, name: str, python: Path, folder: Path, path: str = "") -> None:
        self.name, self.python, self.folder = name, str(python), folder
        self.log, self.answers = folder / "log", folder / "answers"
        for made in (self.log, self.answers):
            made.mkdir(parents=True)
        for file in ("features.py", "side.py"):
            shutil.copy(HERE / file, folder)
        self.store = f"lmdb:{folder}/online?size=1GB"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HEADWATER_", "PYTHON"))}
        self.environment = kept | {
            "COMPARED_DATA": str(folder.parent / "data"),
            "COMPARED_LOG": str(self.log),
            "HEADWATER_HOME": str(folder / "home"),
            "HEADWATER_STORE": self.store,
            "HEADWATER_RUNS": "off",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": path,
        }

    def run(self, *arguments: str) -> str:
        """Run a command of headwater, or side.py, to its end; what it prints."""
        begun = time.monotonic()
        command = self._command(arguments)
        done = subprocess.run(command, **self._given(), capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{self.name}: {' '.join(arguments)} failed:\n{done.stdout}\n{done.stderr}")
        told = f"{self.name}: {' '.join(arguments[:2])} ({time.monotonic() - begun:.0f} s)"
        print(f"  {told}", file=sys.stderr, flush=True)
        return done.stdout

    def start(self, *arguments: str) -> subprocess.Popen:
        with (self.folder / f"{arguments[0]}.txt").open("ab") as out:
            given = self._given() | {"stdout": out, "stderr": out}
            return subprocess.Popen(self._command(arguments), **given)

    def keep(self, name: str, answer: object) -> None:
        text = json.dumps(answer, indent=1, sort_keys=True)
        (self.answers / f"{name}.json").write_text(text, encoding="utf-8")

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        program = [] if arguments[0] == "side.py" else ["-m", "headwater"]
        return [self.python, *program, *arguments]

    def _given(self) -> dict:
        return {"cwd": self.folder, "env": self.environment, "stdin": subprocess.DEVNULL}


def all_roads(side: Side, log: Log, seed: int, kills: int) -> None:
    """Everything, in the order in which a user would do it."""
    offline(side)
    side.run("apply")
    ingest(side, log, seed, kills)
    side.run("materialize", "--at", log.now.isoformat())
    side.run("train", "--model", "steady", "--as-of", log.now.isoformat())
    side.run("side.py", "online", side.store, log.now.isoformat())
    requests(side)


def offline(side: Side) -> None:
    """Features of a table alone."""
    side.run("side.py", "offline")


def ingest(side: Side, log: Log, seed: int, kills: int) -> None:
    """Append and push the log chunk by chunk, kill the process after each, and send it again."""
    chance = random.Random(seed)
    tables = (log.purchases, log.visits)
    appended, pushed = (log.chunks(rows, kills + 1, seed) for rows in tables)
    for number in range(kills + 1):
        port = free_port()
        process = side.start("ingest", "--listen", f"127.0.0.1:{port}", "--batch", "300")
        with (side.log / f"{number % 2}.ndjson").open("ab") as file:
            file.write(appended[number])
        url = f"http://127.0.0.1:{port}/v1/events/visits"
        headers = {"Idempotency-Key": f"chunk-{number}", "content-type": "application/x-ndjson"}
        until_taken(process, url, pushed[number], headers)
        if number < kills:
            time.sleep(chance.uniform(0, 0.5))
            process.send_signal(signal.SIGKILL)
            process.wait()
            pushed[number + 1] = pushed[number] + pushed[number + 1]
        else:
            process.send_signal(signal.SIGTERM)
            process.wait(WAIT)
    side.run("ingest", "--once", "--listen", "none")


def requests(side: Side) -> None:
    """Features and predictions of many rows, and refusals."""
    port = free_port()
    process = side.start("serve", "--listen", f"127.0.0.1:{port}")
    url, row = f"http://127.0.0.1:{port}/v1", {"user": "u1", "shop": 2, "price": 10.0}
    try:
        until_taken(process, f"{url}/features/steady", {"row": row})
        for name, body in BODIES.items():
            for road in ("features/steady", "features/many", "predict/steady"):
                sent = of_users_alone(body) if road == "features/many" else body
                status, answer = post(f"{url}/{road}", sent)
                side.keep(f"{road} {name}".replace("/", " "), [status, without(TIMES, answer)])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(WAIT)


def of_users_alone(body: object) -> object:
    """A request of a service that has one key."""
    return without({"shop", "price"}, body)


def without(names: Collection[str], value: object) -> object:
    """A value without some fields, at any depth."""
    if isinstance(value, dict):
        return {key: without(names, of) for key, of in value.items() if key not in names}
    return [without(names, of) for of in value] if isinstance(value, list) else value


def post(url: str, body: object, headers: dict[str, str] | None = None) -> tuple[int, object]:
    """The status and the body of an answer; 0 while no server answers."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"content-type": "application/json"} | (headers or {})
    request = urllib.request.Request(url, data, given)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        text = error.read()
        with suppress(ValueError):
            return error.code, json.loads(text)
        return error.code, text.decode()
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return 0, None


def until_taken(process: subprocess.Popen, *request: object) -> None:
    """Send a request again and again until it is answered, while a process lives."""
    end = time.monotonic() + WAIT
    while post(*request)[0] not in {200, 422}:
        if process.poll() is not None or time.monotonic() > end:
            sys.exit(f"{' '.join(map(str, process.args))} does not answer; see its output")
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]
