"""The pages of the console for 500 features and a serving log of 10 million rows, and what serving
pays while the console is open.

python -m bench.console seed FOLDER ROWS              fills a folder; prints JSON: the seconds that
                                                      counting the log took
python -m bench.console pages FOLDER REPEATS          prints JSON: seconds of each page, computed
                                                      again each time
python -m bench.console serving SECONDS REPEATS       prints JSON: p99 of requests without and with
                                                      an open console, in turns

The log is written as the conversion of segments writes it: thirty days of ten files of one model
with twenty features. The console that is open watches the data as a browser does (one connection
for events), and loads a page of each kind in turn, one every two seconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import polars as pl
from starlette.testclient import TestClient

import headwater as hw
from bench.measure import clean
from bench.serving import CONNECTIONS, fill
from bench.streams import KEYS
from headwater.console.console_app import console_app
from headwater.console.console_context import ConsoleContext
from headwater.events.columns import STATUSES
from headwater.journal.serving_log_files import SERVED, day_folder
from headwater.monitoring.daily_statistics import update

DAYS, FILES, VIEWS, WINDOWS = 30, 10, 50, ("1h", "6h", "1d", "7d", "30d")
RATE, PAUSE = 200, 2.0  # requests a second; seconds between two pages
PAGES = (
    "", "/decide", "/experiments", "/features", "/features?q=mean", "/definition?of=view%20v7", "/features/v7__mean_amount_1d", "/lineage",
    "/freshness", "/serving", "/models",
)  # fmt: skip


def project(history: Path) -> hw.Project:
    """500 features: fifty views of ten, ten services and models of five views each."""
    events = hw.Source(
        "payments",
        history=str(history),
        timestamp_field="at",
        known_after="0s",
        owner="risk",
        tags=["core"],
    )
    views = [
        hw.FeatureView(
            f"v{n}", source=events, keys=["card"], windows=list(WINDOWS), freshness=hw.batch("1h"), features=[hw.count(), hw.mean("amount")],
            description=f"view number {n}",
        )
        for n in range(VIEWS)
    ]  # fmt: skip
    labels = hw.Labels(
        "bad", table=str(history), timestamp_field="at", label="bad", known_after="1d"
    )
    services = [hw.FeatureService(f"s{n}", views[n * 5 : n * 5 + 5]) for n in range(VIEWS // 5)]
    return hw.Project(
        "big",
        [
            hw.Model(f"m{n}", features=service, labels=labels, task="binary")
            for n, service in enumerate(services)
        ],
    )


def seed(folder: Path, rows: int) -> dict:
    """The history, a store with the last cut of every view, and the log of what was served of `m1`,
    counted.
    """
    now, rng = datetime.now(UTC), np.random.default_rng(1)
    at = [now - timedelta(hours=1 + n / 10) for n in range(2000)]
    history = pl.DataFrame(
        {
            "card": rng.integers(0, 100, 2000),
            "amount": rng.exponential(50, 2000),
            "at": at,
            "bad": rng.random(2000) < 0.1,
        }
    )
    history.write_parquet(folder / "history.parquet")
    made = project(folder / "history.parquet")
    store = hw.operations.open_store(f"lmdb:{folder / 'online'}?size=1GB")
    hw.materialize(made, store=store)
    store.close()
    model = made.model("m1")
    names, views = (
        list(model.features.feature_names)[:20],
        [view.name for view in model.features.views][:2],
    )
    base = int(now.replace(hour=0, minute=0, second=0, microsecond=0).timestamp() * 1e6)
    for number in range(FILES):
        frame = _served(names, views, rows // (DAYS * FILES), rng)
        for day in range(DAYS):
            start = base - day * 86_400_000_000 + number * 100_000_000
            shifted = (pl.col("headwater_at") + start).cast(pl.Datetime("us", "UTC"))
            times = [
                shifted,
                *((shifted - pl.col(f"{view}__age")).alias(f"{view}__K") for view in views),
            ]
            target = (
                day_folder(
                    folder / "data" / SERVED, datetime.fromtimestamp(start / 1e6, UTC).date()
                )
                / "model=m1"
            )
            target.mkdir(parents=True, exist_ok=True)
            frame.with_columns(times).write_parquet(target / f"{start}-{number}.parquet")
    begin = time.perf_counter()
    files = update(folder / "data")
    return {
        "rows": rows,
        "files": files,
        "statistics_seconds": round(time.perf_counter() - begin, 2),
    }


def _served(
    names: list[str], views: list[str], rows: int, rng: np.random.Generator
) -> pl.DataFrame:
    """A file of the log, its times counted from 0."""
    columns: dict[str, object] = {
        "headwater_request": [f"r{n}" for n in range(rows)],
        "headwater_row": pl.Series([0] * rows, dtype=pl.Int32),
        "headwater_at": np.arange(rows),
        "headwater_prediction": rng.random(rows),
        "headwater_how": ["on_request"] * rows,
        "headwater_latency_us": rng.gamma(2, 200, rows).astype(np.int64),
        "headwater_latency_us__read": rng.gamma(2, 60, rows).astype(np.int64),
        "headwater_version": ["1"] * rows,
        "headwater_views": [json.dumps(dict.fromkeys(views, "f"))] * rows,
    }
    for name in names:
        columns[name] = rng.exponential(50, rows).round(1)
        columns[f"{name}__status"] = pl.Series(
            rng.choice(STATUSES[:2], rows), dtype=pl.Enum(STATUSES)
        )
    for view in views:
        columns[f"{view}__age"] = pl.Series(rng.exponential(60e6, rows).astype(np.int64)).cast(
            pl.Duration("us")
        )
        columns[f"{view}__stale"] = rng.random(rows) < 0.01
        columns[f"{view}__incomplete"] = np.zeros(rows, bool)
    return pl.DataFrame(columns)


def pages(folder: Path, repeats: int) -> dict:
    """Seconds of each page: the first call, and the median and the most of calls that share nothing
    with the one before.
    """
    made = project(folder / "history.parquet")
    context = ConsoleContext(
        made, folder / "data", store=f"lmdb:{folder / 'online'}?size=1GB", models=folder / "models"
    )
    client = TestClient(console_app(context, None), base_url="http://127.0.0.1:8330")
    found = {}
    for page in PAGES:
        times = []
        for _ in range(repeats + 1):
            context.forget()
            begin = time.perf_counter()
            answer = client.get(f"/console{page}")
            times.append(time.perf_counter() - begin)
            assert answer.status_code == 200, (page, answer.text[:500])
        found[page or "/"] = {
            "first": times[0],
            "median": float(np.median(times[1:])),
            "most": max(times[1:]),
            "bytes": len(answer.content),
        }
    context.close()
    return {"pages": found}


def serving(seconds: float, repeats: int) -> dict:
    """Milliseconds of p99 of one-row requests for features at an even rate, without and with an
    open console, in turns.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fill(folder)
        with _process("serve", folder) as server, _process("console", folder) as console:
            asyncio.run(_load(server, 2.0))
            turns = {"closed": [], "open": []}
            for turn in range(repeats):
                for side in ("closed", "open") if turn % 2 == 0 else ("open", "closed"):
                    with _visited(console) if side == "open" else _left():
                        turns[side].append(
                            1000 * float(np.quantile(asyncio.run(_load(server, seconds)), 0.99))
                        )
            return turns


@contextmanager
def _process(what: str, folder: Path) -> Iterator[str]:
    """The address of a child process that serves."""
    command = [sys.executable, "-m", "bench.console", what, str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=clean()
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()  # type: ignore[union-attr]
            process.wait(20)


def _child(what: str, folder: Path) -> None:
    from bench.serving import project as served_project
    from headwater.cli.ingest import seldom_collected
    from headwater.serving.process.uvicorn_server import serving as listening

    made, url = served_project(), f"lmdb:{folder / 'online'}"
    with seldom_collected(), hw.operations.ServedLog(folder / "data") as log:
        if what == "serve":
            models: Mapping[str, object] = {"fraud": _Half()}
            options = hw.operations.ServeOptions(serving_log=log)
            running = hw.operations.serve(
                made,
                url,
                listen="127.0.0.1:8341",
                models=models,
                data_dir=folder / "data",
                options=options,
            )  # type: ignore[arg-type]
        else:
            context = ConsoleContext(made, folder / "data", store=url, models=folder / "models")
            os.nice(10)  # as that of `headwater serve --console`
            running = listening(console_app(context, None), "127.0.0.1", 8342)
        with running as address:
            print(address, flush=True)
            sys.stdin.read()


class _Half:
    """A model that costs nothing."""

    def predict(self, frame: pl.DataFrame) -> np.ndarray:
        return np.full(frame.height, 0.5)


async def _load(url: str, seconds: float) -> list[float]:
    """Seconds of each request from when it was due, at an even rate over some connections that stay
    open.
    """
    address, rng, times = urlsplit(url), np.random.default_rng(1), []
    waiting: asyncio.Queue[float | None] = asyncio.Queue()

    async def connection() -> None:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        head = (
            f"POST /v1/features/plain_v1 HTTP/1.1\r\nhost: {address.netloc}\r\ncontent-type: "
            "application/json\r\n"
        ).encode()
        while (due := await waiting.get()) is not None:
            body = json.dumps({"row": {key: int(rng.integers(0, 20_000)) for key in KEYS}}).encode()
            writer.write(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200"), answer
            await reader.readexactly(
                int(answer.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            )
            times.append(time.perf_counter() - due)
        writer.close()

    connections = [asyncio.create_task(connection()) for _ in range(CONNECTIONS)]
    begin = time.perf_counter()
    for n in range(round(seconds * RATE)):
        due = begin + n / RATE
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        waiting.put_nowait(due)
    for _ in connections:
        waiting.put_nowait(None)
    await asyncio.gather(*connections)
    return times


@contextmanager
def _visited(url: str) -> Iterator[None]:
    """A console that someone looks at, from a process of their own."""
    command = [sys.executable, "-m", "bench.console", "look", url]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=clean()
    ) as looking:
        assert looking.stdout is not None
        looking.stdout.readline()
        try:
            yield
        finally:
            looking.stdin.close()  # type: ignore[union-attr]
            looking.wait(40)


def _look(url: str) -> None:
    """Watch the events, and load one page after the other, until the input ends."""
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    with (
        httpx.Client(base_url=url, trust_env=False, timeout=30) as client,
        client.stream("GET", "/console/events"),
    ):
        print("{}", flush=True)
        for n in range(10_000):
            client.get(
                (
                    "/console",
                    "/console/features",
                    "/console/lineage",
                    "/console/freshness",
                    "/console/serving",
                )[n % 5]
            )
            if stop.wait(PAUSE):
                return


@contextmanager
def _left() -> Iterator[None]:
    yield


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["seed", folder, rows]:
            print(json.dumps(seed(Path(folder), int(rows))))
        case ["pages", folder, repeats]:
            print(json.dumps(pages(Path(folder), int(repeats))))
        case ["serving", seconds, repeats]:
            print(json.dumps(serving(float(seconds), int(repeats))))
        case ["look", url]:
            _look(url)
        case [("serve" | "console") as what, folder]:
            _child(what, Path(folder))
