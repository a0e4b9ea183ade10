"""Rows of unit costs and of one to three processes or executors: what docs/scale.md and the
simulation are computed from.
"""

from __future__ import annotations

import math
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from bench.measure import Skipped, child, compared
from bench.scale.inputs import Results
from bench.simulation import scenarios

if TYPE_CHECKING:
    from bench.rows import Settings

Row = Callable[["Settings"], list[dict]]
STORES = ("lmdb", "redis", "postgres")
_NONE = {"goal": None, "peer": None, "ratio": None}


def _bench(settings: Settings, module: str, *arguments: object) -> dict:
    return child([sys.executable, "-m", f"bench.{module}", *map(str, arguments)], settings.threads)


def store_costs(settings: Settings) -> list[dict]:
    """What an entity's record, a read and a commit cost in each store; the first row of a store has
    all figures.
    """
    rows = []
    for kind in STORES:
        taken = _bench(settings, "stores", kind, settings.of(300_000))
        one, commit = taken["reads"]["one"], taken["commits"][1]
        what = f"{kind}, nine features of an entity"
        figures = {
            "stored": (round(taken["stored_bytes"], 1), "B"),
            "read with two others, one key each": (round(one["wall"] * 1e6, 1), "us"),
            f"commit of {commit['records']:,.0f} such records": (
                round(commit["wall"] * 1e3, 2),
                "ms",
            ),
        }
        rows += [
            {"name": f"{what}: {text}", "ours": value, "unit": unit, **_NONE}
            for text, (value, unit) in figures.items()
        ]
        rows[-3] |= {"details": taken, "peak_mb": taken["peak_mb"]}
    return rows


def materialized(settings: Settings) -> list[dict]:
    """Rows a second of a nightly job, and bytes of an event in a history of parquet files."""
    taken = _bench(settings, "materialized", settings.of(5_000_000), settings.of(500_000))
    names = {
        "materialize: rows of nine features written into LMDB": (
            round(taken["rows"] / taken["wall"] / 1e3, 1),
            "k rows/s",
        ),
        "history in parquet files: an event of three columns": (
            round(taken["history_bytes"], 2),
            "B",
        ),
    }
    rows = [
        {"name": name, "ours": value, "unit": unit, **_NONE}
        for name, (value, unit) in names.items()
    ]
    return [rows[0] | {"details": taken, "peak_mb": taken["peak_mb"]}, *rows[1:]]


def _workers(kind: str) -> Row:
    def row(settings: Settings) -> list[dict]:
        """One worker and two; wrk and the store share the processors."""
        taken = _bench(
            settings, "workers", kind, max(round(2 * settings.scale), 1), min(settings.repeats, 4)
        )
        rows = []
        for case in ("one worker", "two workers"):
            own = {key: round(value, 3) for key, value in taken[case].items()}
            rows.append(
                {
                    "name": f"POST features from {kind}, {case}",
                    "ours": own["rate"],
                    "unit": "requests/s",
                    **_NONE,
                    "details": own,
                }
            )
        rows[0]["units"] = {
            key: taken[key] for key in ("few", "many", "request_bytes", "response_bytes")
        }
        return rows

    return row


def _ingest_group(kind: str, *processes: int) -> Row:
    def row(settings: Settings) -> list[dict]:
        """Ingest processes in one Kafka group; broker and store share the processors."""
        taken = _bench(
            settings, "ingest_group", "measure", kind, settings.of(3_000_000), *processes
        )
        rows = []
        for count, point in taken["points"].items():
            name = f"Kafka JSON into {kind}, ingest processes in one group: {count}"
            figures = {"ours": round(point["rate"] / 1e3, 1), "unit": "k events/s", **_NONE}
            rows.append({"name": name, **figures, "details": point, "events": taken["events"]})
        rows[0]["units"] = taken["units"] | {"partitions": taken["partitions"]}
        return rows

    return row


def spark(settings: Settings) -> list[dict]:
    """Features on one executor of a cluster and on two, next to the local engine with as many
    threads, and next to Spark SQL.
    """
    rows = []
    with tempfile.TemporaryDirectory(dir=settings.disk) as folder:
        for executors in (1, 2):
            for events in (settings.of(1_000_000), settings.of(10_000_000)):
                arguments = (folder, executors, events, min(settings.repeats, 3), settings.limit)
                taken = child(
                    [sys.executable, "-m", "bench.spark", *map(str, arguments)], executors
                )
                rows += _of_spark(taken, f"{events:,} events, executors: {executors}")
    return rows


def _of_spark(taken: dict, size: str) -> list[dict]:
    """The rows of a cluster."""
    turns = taken["turns"]
    busy = {
        part: statistics.median(turns["spark"][part]) for part in ("executors", "driver", "client")
    }
    also = {key: taken[key] for key in ("events", "rows", "executors", "peak_mb")} | {"goal": None}
    local = {
        "peer_name": "the local engine with as many threads",
        "equal": taken["equal"],
        "busy": busy,
    }
    rows = [
        {
            "name": f"12 features on Spark, {size}",
            **compared(turns["spark"], turns["local"]),
            **local,
            **also,
        }
    ]
    if "windows by sql" in turns:
        sides = compared(turns["exact"], turns["windows by sql"], peer_over_ours=True)
        stopped = ", interrupted" if taken["interrupted"] else ""
        sql = {
            "peer_name": f"Spark SQL, a join by time and a group by request{stopped}",
            "equal": taken["windows_equal"],
        }
        rows.append(
            {"name": f"12 features on Spark, {size}, against Spark SQL", **sides, **sql, **also}
        )
    past = compared(turns["past"], turns["past by sql"], peer_over_ours=True)
    sql = {
        "peer_name": "Spark SQL, running aggregates over events and requests together",
        "equal": taken["past_equal"],
    }
    return [
        *rows,
        {
            "name": f"4 features of all the past on Spark, {size}, against Spark SQL",
            **past,
            **sql,
            **also,
        },
    ]


def simulation(_settings: Settings) -> list[dict]:
    """The simulation next to the measurements, of units and points that bench/results.json
    holds.
    """
    rows = []
    for point in scenarios.points(_results()):
        ours, peer = round(point["simulated"], 1), point["measured"]
        ratio = round(max(ours / peer, peer / ours), 3)
        same = {
            "unit": point["unit"],
            "ratio": ratio,
            "spread": [ratio, ratio],
            "ratio_is": "the greater over the less",
        }
        more = {"others": point["others"], "details": point["details"]}
        rows.append(
            {
                "name": f"simulated: {point['name']}",
                "goal": "<= 1.15",
                "ours": ours,
                "peer": peer,
                "peer_name": "measured",
                **same,
                **more,
            }
        )
    return rows


def fleets(_settings: Settings) -> list[dict]:
    """Fleets of the simulation that are saturated, lose a zone, are rebalanced, or wait for a slow
    store.
    """
    rows = []
    for name, cases in scenarios.fleets(_results()).items():
        worst = cases[-1].get("after", cases[-1].get("during", cases[-1]))["p99"]
        same = {"ours": round(worst, 1), "unit": "ms", **_NONE}
        rows.append(
            {
                "name": f"simulated fleet: {name}, the last case, p99",
                **same,
                "cases": [_finite(case) for case in cases],
            }
        )
    return rows


def _finite(value: object) -> object:
    """With None for what never happens, which JSON has no number for."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value


def _results() -> Results:
    try:
        results = Results.read()
        scenarios.points(results)
    except KeyError as error:
        raise Skipped(str(error.args[0])) from error
    return results


CURVES = (
    "event_counts",
    "larger",
    "growth",
    "workers",
    "redis_workers",
    "ingest_group",
    "postgres_ingest_group",
    "spark",
    "simulation",
    "fleets",
)
"""Rows with the curves of docs/scale.md, and what the simulation makes of them: `python -m bench
--keep --only curves`.
"""

ROWS: Mapping[str, Row] = {
    "store_costs": store_costs,
    "materialized": materialized,
    "workers": _workers("lmdb"),
    "redis_workers": _workers("redis"),
    "ingest_group": _ingest_group("redis", 1, 2, 3),
    "postgres_ingest_group": _ingest_group("postgres", 1, 2),
    "spark": spark,
    "simulation": simulation,
    "fleets": fleets,
}
