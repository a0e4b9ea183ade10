"""Rows that `materialize` writes a second, and bytes of an event in files: `python -m
bench.materialized EVENTS KEYS` prints JSON.

One batch view of nine features over a parquet history, into a new LMDB store, for the second time:
the first loads loops.
"""

from __future__ import annotations

import json
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

import headwater as hw
from bench.data import write_history
from bench.measure import peak_mb, seconds

END = datetime(2026, 1, 8, tzinfo=UTC)


def main(events: str, keys: str) -> None:
    """Seconds of a cut, by the clock and of processors; rows written; bytes."""
    count, distinct = int(events), int(keys)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        r = np.random.default_rng(1)
        at = np.sort(r.integers(0, 7 * 86_400_000_000, count)) + int(
            (END - timedelta(days=7)).timestamp() * 1e6
        )
        user = np.concatenate(
            [np.arange(min(distinct, count)), r.integers(0, distinct, max(count - distinct, 0))]
        )
        frame = pl.DataFrame(
            {"user": r.permutation(user), "amount": np.round(r.lognormal(3, 1, count), 2), "at": at}
        )
        frame = frame.with_columns(pl.col("at").cast(pl.Datetime("us", "UTC")))
        frame.write_parquet(folder / "events.parquet")
        times = [
            seconds(
                lambda n=n: hw.materialize(
                    _project(folder), store=f"lmdb:{folder}/online{n}", at=END
                )
            )
            for n in range(2)
        ]
        history = folder / "history"
        write_history(history, count)
        size = sum(path.stat().st_size for path in history.rglob("*.parquet")) / count
    wall, busy = times[-1]
    result = {
        "events": count,
        "rows": distinct,
        "wall": wall,
        "busy": busy,
        "history_bytes": size,
        "peak_mb": peak_mb(),
    }
    print(json.dumps(result))


def _project(folder: Path) -> hw.Project:
    source = hw.Source(
        "payments", history=str(folder / "events.parquet"), timestamp_field="at", known_after="0s"
    )
    features = [hw.count(), hw.sum("amount"), hw.max("amount")]
    view = hw.FeatureView(
        "card",
        source=source,
        keys=["user"],
        features=features,
        windows=["1d", "3d", "7d"],
        freshness=hw.batch("1d"),
    )
    table = pl.DataFrame({"user": [1], "asked": [END], "y": [1]})
    labels = hw.Labels("l", table=table, timestamp_field="asked", label="y", known_after="1d")
    return hw.Project(
        "bench",
        [hw.Model("m", task="binary", features=hw.FeatureService("cards", [view]), labels=labels)],
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
