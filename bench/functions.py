"""Each function of the table and `.by`, offline and online, against an earlier version of
headwater.

python -m bench.functions offline|online EVENTS ROWS REPEATS [PYTHON]      prints JSON

Each version is a process of its own, which prepares everything and then measures a turn of a
function when it is told to: the turns alternate. PYTHON is the interpreter of the other version;
`python -m scripts.against_former` makes one below build/former. Both are used by their public API.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from bench.measure import ROOT, clean, peak_mb

KEYS, DAYS, READS = 2_000, 30, 200
BEGIN, DAY = 1_760_054_400_000_000, 86_400_000_000
WINDOWS = ["1h", "1d", "7d"]


def functions() -> Mapping[str, object]:
    """One feature of each function of the table, and of `.by`."""
    import headwater as hw

    named = [
        *(hw.count(), hw.sum("amount"), hw.mean("amount"), hw.std("amount"), hw.var("amount")),
        *(hw.min("amount"), hw.max("amount"), hw.first("shop"), hw.last("shop")),
        *(hw.latest("amount"), hw.since_last(), hw.rate(), hw.fraction("ok")),
        *(hw.ratio("amount", "n"), hw.min_by("n", by="amount"), hw.max_by("n", by="amount")),
        *(hw.decayed_sum("amount", half_life="1h"), hw.decayed_mean("amount", half_life="1h")),
        *(hw.open_count(until="until"), hw.open_age(until="until"), hw.last_n("amount", k=5)),
        *(hw.first_n("shop", k=5), hw.count_distinct("shop"), hw.mode("shop")),
        *(hw.approx_percentile("amount", q=0.9), hw.top_k("shop", k=3)),
        hw.collect_set("shop", max_size=10),
    ]
    grouped = {"sum by": hw.sum("amount").by("shop", max_keys=5)}
    grouped["count by"] = hw.count().by("shop", max_keys=5)
    return {feature.function: feature for feature in named} | grouped


def _public(name: str) -> Any:
    """A name for operators, which a former version may have in `hw` itself."""
    import headwater as hw

    return getattr(hw.operations, name, None) or getattr(hw, name)


def events(count: int, end: int = BEGIN + DAYS * DAY):
    """Events of the month before `end`, in order; keys are as skewed as customers are."""
    import numpy as np
    import polars as pl

    r = np.random.default_rng(7)
    at = end - np.sort(r.integers(1, DAYS * DAY, count))[::-1]
    moment = pl.Datetime("us", "UTC")
    return pl.DataFrame(
        {
            "user": (r.zipf(1.2, count) % KEYS).astype(np.int64),
            "at": pl.Series(at).cast(moment),
            "amount": np.round(r.lognormal(3, 1, count), 2),
            "n": r.integers(0, 50, count),
            "shop": [f"shop{n:03}" for n in r.integers(0, 300, count)],
            "ok": r.random(count) < 0.5,
            "until": pl.Series(at + r.integers(0, DAY, count)).cast(moment),
        }
    )


def offline(count: int, rows: int) -> dict[str, Callable[[], object]]:
    """The features of `rows` requests over `count` events in memory, by function."""
    import numpy as np
    import polars as pl

    import headwater as hw

    history, r = events(count), np.random.default_rng(8)
    asked = pl.DataFrame(
        {
            "user": (r.zipf(1.2, rows) % KEYS).astype(np.int64),
            "timestamp": pl.Series(r.integers(0, DAYS * DAY, rows) + BEGIN),
        }
    ).with_columns(pl.col("timestamp").cast(history["at"].dtype))

    def work(feature) -> Callable[[], object]:
        columns = [name for name in history.columns if name != "at"]
        source = hw.Source("payments", history=history, timestamp_field="at", select=columns)
        view = _view("user", source, feature, hw.on_request())
        return lambda: hw.get_historical_features(view, asked)

    return {name: work(feature) for name, feature in functions().items()}


def online(count: int, rows: int, folder: Path) -> dict[str, Callable[[], object]]:
    """Reads of one key in process, each function a view with its own source, out of one store."""
    import polars as pl

    import headwater as hw

    at = time.time_ns() // 1000  # what lies in the past of a store cannot be read
    frame = events(count, at)
    text = frame.with_columns(pl.selectors.datetime().dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"))
    text.write_ndjson(folder / "events.ndjson")
    views = {}
    for number, (name, feature) in enumerate(functions().items()):
        stream = hw.appended(folder / "events.ndjson", schema=dict(frame.schema))
        source = hw.Source(f"s{number}", stream=stream, timestamp_field="at")
        fresh = hw.streaming("2s")
        views[name] = _view(f"v{number}", source, feature, fresh, on_incomplete="value")
    table = pl.DataFrame({"asked": [frame["at"][0]], "y": [1], "user": [0]})
    given = {"timestamp_field": "asked", "label": "y", "known_after": "1d", "select": ["user"]}
    labels = hw.Labels("y", table=table, **given)
    service = hw.FeatureService("all", list(views.values()))
    project = hw.Project("bench", [hw.Model("m", task="binary", features=service, labels=labels)])
    url = f"lmdb:{folder}/online?size=4GB"
    options = _public("IngestOptions")(allow_unapplied=True)
    hw.ingest(project, url, data_dir=folder / "home", listen=None, once=True, options=options)
    store = _public("open_store")(url, readonly=True)
    users = frame["user"].unique().sort().head(min(READS, rows)).to_list()
    now = int(time.time() * 1e6)

    def work(view) -> Callable[[], object]:
        reader = _public("OnlineFeatures")(hw.FeatureService("one", [view]), store)
        found = reader.read([{"user": user} for user in users], details=True)
        statuses = found.select(pl.selectors.ends_with("__status")).to_dict(as_series=False)
        if not any("present" in values for values in statuses.values()):
            raise AssertionError(f"no event was found by {view.name}")
        return lambda: [reader.row({"user": user}, t=now) for user in users]

    return {name: work(view) for name, view in views.items()}


def _view(name, source, feature, freshness, **more):
    import headwater as hw

    features = {"features": [feature], "windows": WINDOWS, "freshness": freshness}
    return hw.FeatureView(name, source=source, keys=["user"], **features, **more)


def work_on_demand(kind: str, count: str, rows: str) -> None:
    """Prepare everything; then, for each line with the name of a function, measure a turn of it."""
    with tempfile.TemporaryDirectory() as folder:
        sizes = int(count), int(rows)
        works = offline(*sizes) if kind == "offline" else online(*sizes, Path(folder))
        units = 1 if kind == "offline" else min(READS, sizes[1])
        print(json.dumps({"functions": list(works)}), flush=True)
        for line in sys.stdin:
            begin, busy = time.perf_counter(), time.process_time()
            works[line.strip()]()
            clock, busy = time.perf_counter() - begin, time.process_time() - busy
            told = {"seconds": clock / units, "busy": busy / units, "peak_mb": peak_mb()}
            print(json.dumps(told), flush=True)


class Worker:
    """A version in a process that measures when it is told to."""

    def __init__(self, python: str, path: str, arguments: list[str], folder: str) -> None:
        environment = clean() | {"PYTHONPATH": path, "HEADWATER_HOME": folder}
        command = [python, "-m", "bench.functions", "worker", *arguments]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)
        self.functions: list[str] = self._answer()["functions"]

    def turn(self, function: str) -> dict[str, float]:
        self.process.stdin.write(function + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"a version ended with {self.process.wait()} before it was measured")
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.process.stdin.close()
        self.process.wait()


def main(kind: str, count: str, rows: str, repeats: str, python: str = "") -> None:
    """Each function on both sides, in turns; the first turn compiles and is not counted."""
    sides = {"ours": (sys.executable, os.pathsep.join([str(ROOT / "src"), str(ROOT)]))}
    if python:
        sides["peer"] = (python, str(ROOT))
    with ExitStack() as stack:
        workers = {}
        for side, (interpreter, path) in sides.items():
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            worker = Worker(interpreter, path, [kind, count, rows], folder)
            workers[side] = stack.enter_context(worker)
        names = [worker.functions for worker in workers.values()]
        shared = [name for name in names[0] if all(name in others for others in names)]
        found = {function: _turns(workers, function, int(repeats)) for function in shared}
    print(json.dumps({"functions": found, "events": int(count), "rows": int(rows)}))


def _turns(workers: Mapping[str, Worker], function: str, repeats: int) -> dict[str, dict]:
    times = {side: {"seconds": [], "busy": []} for side in workers}
    for turn in range(repeats + 1):
        order = list(workers) if turn % 2 else list(reversed(workers))
        for side in order:
            told = workers[side].turn(function)
            if turn:
                times[side]["seconds"].append(told["seconds"])
                times[side]["busy"].append(told["busy"])
    return times


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        work_on_demand(*sys.argv[2:])
    else:
        main(*sys.argv[1:])
