"""Features on a cluster of Spark, next to the local engine and Spark SQL on the same files.

python -m bench.spark FOLDER EXECUTORS EVENTS REPEATS LIMIT
        prints JSON; FOLDER has room for the events, about 13 bytes each

The cluster is that of scripts/spark.sh: executors have one core each, and here one thread. It is
started and warm before anything counts. Processor time is that of each part's processes: executors
with their Python, the driver, this process.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from bench.data import asking, write_history
from bench.measure import ROOT, Skipped, clean, peak_mb
from bench.servers import busy_of_tree
from bench.windows import LENGTHS, WINDOWS, equal, over

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    import headwater as hw

EVENTS_A_ROW = 50
# events up to which Spark SQL joins windows: ten times as many take a hundred times as long
LARGEST_JOIN = 1_000_000
_ONE_THREAD = dict.fromkeys(("POLARS_MAX_THREADS", "HEADWATER_THREADS", "NUMBA_NUM_THREADS"), "1")
_CALLS = {"count": "count({})", "sum": "sum({})", "mean": "avg({})", "max": "max({})"}
_PAST = "60d"  # longer than the history
# sides that are measured once: Spark SQL takes the longest by far
_ONCE = {"exact", "windows by sql"}


@dataclass(frozen=True)
class Cluster:
    """A running cluster, with its process ids in a folder."""

    url: str
    folder: Path

    def busy(self) -> dict[str, float]:
        """Seconds of a processor that its executors and its driver have taken so far."""
        workers = sorted(self.folder.glob("worker*.pid"))
        executors = sum(busy_of_tree(int(path.read_text())) for path in workers)
        return {
            "executors": executors,
            "driver": busy_of_tree(int((self.folder / "connect.pid").read_text())),
        }


@contextmanager
def cluster(executors: int) -> Iterator[Cluster]:
    """A cluster of its own.

    Raises:
        Skipped: Java is missing, or Spark cannot be installed.
    """
    if shutil.which("java") is None:
        raise Skipped("needs java, for a cluster of Apache Spark")
    script = str(ROOT / "scripts" / "spark.sh")
    environment = (
        clean()
        | _ONE_THREAD
        | {"HEADWATER_SPARK_PYTHON": sys.executable, "HEADWATER_SPARK_WORKERS": str(executors)}
    )
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        started = subprocess.run(
            [script, folder, "start"], capture_output=True, text=True, check=False, env=environment
        )
        if started.returncode:
            raise Skipped(f"no cluster of Spark: {started.stderr.strip()[-300:]}")
        try:
            yield Cluster(started.stdout.strip(), Path(folder))
        finally:
            subprocess.run([script, folder, "stop"], check=False, capture_output=True)


def main(folder: str, executors: str, events: str, repeats: str, limit: str) -> None:
    """By side: seconds, and processor seconds of each part; and whether the answers are equal."""
    import headwater as hw
    import headwater_spark
    from headwater.connectors.spark import open_session

    with cluster(int(executors)) as spark, tempfile.TemporaryDirectory(dir=folder) as scratch:
        os.environ["HEADWATER_HOME"] = f"{scratch}/home"
        path = Path(scratch) / "history"
        write_history(path, int(events))
        requests = asking(max(int(events) // EVENTS_A_ROW, 10))
        requests.with_row_index("i").write_parquet(f"{scratch}/requests.parquet")
        session = open_session(spark.url)
        session.read.parquet(str(path)).createOrReplaceTempView("events")
        session.read.parquet(f"{scratch}/requests.parquet").createOrReplaceTempView("requests")
        source = hw.Source(
            "payments",
            history=hw.parquet(str(path)),
            timestamp_field="at",
            select=["user", "amount"],
        )
        engine, local = headwater_spark.spark(spark.url), hw.Resources()

        def features(view: hw.FeatureView, resources: hw.Resources) -> Callable[[], pl.DataFrame]:
            return lambda: hw.get_historical_features(view, requests, resources=resources)

        windows, exact, past = over(source), over(source, "10ms"), _past(source)
        remote = hw.Resources(engine=engine)
        sides = {
            "spark": features(windows, remote),
            "local": features(windows, local),
            "past": features(past, remote),
            "past by sql": lambda: _asked(session, past_query()),
        }
        if joins := int(events) <= LARGEST_JOIN:
            sides |= {
                "exact": features(exact, remote),
                "windows by sql": lambda: _asked(session, windows_query(), float(limit)),
            }
        try:
            turns, answers = _in_turns(sides, spark, int(repeats))
        finally:
            session.stop()  # later it would try for minutes to tell a server that is gone
        same: dict[str, bool | None] = {
            "equal": answers["spark"].equals(answers["local"]),
            "past_equal": equal(answers["past"], answers["past by sql"], (_PAST,)),
        }
        if joins:
            same["interrupted"] = interrupted = not answers["windows by sql"].height
            same["windows_equal"] = (
                None if interrupted else equal(answers["exact"], answers["windows by sql"])
            )
    size = {
        "events": int(events) // 30 * 30,
        "rows": requests.height,
        "executors": int(executors),
        "peak_mb": peak_mb(),
    }
    print(json.dumps({"turns": turns, **same, **size}))


def _in_turns(
    sides: dict[str, Callable[[], pl.DataFrame]], spark: Cluster, repeats: int
) -> tuple[dict[str, dict[str, list[float]]], dict[str, pl.DataFrame]]:
    """Each side so many times, after a turn that does not count."""
    parts = ("seconds", "executors", "driver", "client")
    turns: dict[str, dict[str, list[float]]] = {
        side: {part: [] for part in parts} for side in sides
    }
    answers = {}
    for turn in range(repeats + 1):
        for side, work in sides.items():
            if side in _ONCE and turn != 1:
                continue
            before, client, since = spark.busy(), time.process_time(), time.perf_counter()
            answers[side] = work()
            elapsed, own, after = (
                time.perf_counter() - since,
                time.process_time() - client,
                spark.busy(),
            )
            if turn:
                took = (
                    elapsed,
                    after["executors"] - before["executors"],
                    after["driver"] - before["driver"],
                    own,
                )
                for part, value in zip(parts, took, strict=True):
                    turns[side][part].append(value)
    return turns, answers


def _past(source: hw.Source) -> hw.FeatureView:
    """Four features of all that happened before a request."""
    import headwater as hw

    features = [hw.count(), hw.sum("amount"), hw.mean("amount"), hw.max("amount")]
    return hw.FeatureView(
        "user",
        source=source,
        keys=["user"],
        features=features,
        windows=[_PAST],
        hop="10ms",
        freshness=hw.on_request(),
    )


def past_query() -> str:
    """The same in SQL: running aggregates over events and requests together."""
    made = ", ".join(
        f"{call.format('amount')} over past as {function}_{_PAST}"
        for function, call in _CALLS.items()
    )
    return f"""
        select * from (
            select i, {made} from (
                select user, unix_micros(at) as t, amount, cast(null as bigint) as i from events
                union all select user, unix_micros(timestamp) - 1, null, cast(i as bigint) from requests
            ) window past as (partition by user order by t rows between unbounded preceding and current row)
        ) where i is not null
    """


def windows_query() -> str:
    """The 12 features in SQL: a join of each request with its events of a week. Spark's own RANGE
    windows take longer.
    """
    made = ", ".join(
        f"{call.format(f'case when t >= asked - {length} then amount end')} as {function}_{window}"
        for function, call in _CALLS.items()
        for window, length in zip(WINDOWS, LENGTHS, strict=True)
    )
    return f"""
        select i, {made} from (select i, user, unix_micros(timestamp) as asked from requests) r
        left join (select user, amount, unix_micros(at) as t from events) e
        on r.user = e.user and t < asked and t >= asked - {max(LENGTHS)} group by i
    """


def _asked(session: SparkSession, query: str, limit: float = 600.0) -> pl.DataFrame:
    """The answer of Spark SQL; without rows where it is interrupted after `limit` seconds."""
    timer = threading.Timer(limit, session.interruptAll)
    since = time.perf_counter()
    timer.start()
    try:
        return pl.DataFrame(pl.from_arrow(session.sql(query).toArrow()))
    except Exception:
        if time.perf_counter() - since < limit:
            raise
        return pl.DataFrame()
    finally:
        timer.cancel()


if __name__ == "__main__":
    main(*sys.argv[1:])
