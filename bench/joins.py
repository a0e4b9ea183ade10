"""Ours of Feast's own join: the latest five values of two tables for every row, from parquet files
to one frame.

python -m bench.joins FOLDER      in this fresh process; prints JSON
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import polars as pl

from bench.measure import peak_mb, seconds


def joined(folder: Path) -> pl.DataFrame:
    """The rows with ten features: of each table, the values of the latest event."""
    import headwater as hw

    views = []
    for letter in "ab":
        columns = [f"{letter}{i}" for i in range(5)]
        source = hw.Source(
            f"events_{letter}",
            history=hw.parquet(str(folder / f"events_{letter}.parquet")),
            timestamp_field="event_timestamp",
        )
        views.append(
            hw.FeatureView(
                f"view_{letter}",
                source=source,
                keys=["user_id"],
                features=[hw.last(*columns)],
                windows=["60d"],
                freshness=hw.on_request(),
            )
        )
    return hw.get_historical_features(
        views, hw.parquet(str(folder / "rows.parquet")), timestamp_field="event_timestamp"
    )


def summed(frame: pl.DataFrame) -> list[float]:
    """The sum of each feature, to compare with what a peer finds."""
    return [
        float(frame[f"view_{letter}__last_{letter}{i}_60d"].cast(pl.Float64).sum())
        for letter in "ab"
        for i in range(5)
    ]


def once(folder: Path) -> dict:
    """The first call of a process, with its imports outside as the peer's are; then a second
    one.
    """
    from headwater.training import historical as _  # noqa: F401 (loaded before the clock starts)

    frames: list[pl.DataFrame] = []
    clock, busy = seconds(lambda: frames.append(joined(folder)))
    peak = peak_mb()
    again, _busy = seconds(lambda: joined(folder))
    return {
        "seconds": clock,
        "busy": busy,
        "again": again,
        "peak_mb": peak,
        "rows": frames[0].height,
        "sums": summed(frames[0]),
    }


if __name__ == "__main__":
    print(json.dumps(once(Path(sys.argv[1]))))
