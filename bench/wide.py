"""Many features together: 1,000 over 20 windows for five keys, and a table of 1,000 columns joined
as of each row.

python -m bench.wide windows ROWS      or      python -m bench.wide columns FOLDER      in this
                                       fresh process; prints JSON
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import polars as pl

from bench.data import DAY, DAYS
from bench.measure import peak_mb, seconds

WINDOWS = (
    "1m",
    "5m",
    "10m",
    "15m",
    "30m",
    "1h",
    "2h",
    "3h",
    "4h",
    "6h",
    "8h",
    "12h",
    "18h",
    "1d",
    "2d",
    "3d",
    "5d",
    "7d",
    "14d",
    "30d",
)
KEYS = {"user": 100_000, "card": 150_000, "merchant": 5_000, "device": 50_000, "area": 200}
JOINED_ROWS, JOINED_COLUMNS, JOINED_KEYS = 17_000, 1_000, 500


def payments(events: int, seed: int) -> pl.DataFrame:
    """Events in order of time, with every key and two amounts."""
    random = np.random.default_rng(seed)
    time = np.sort(random.integers(0, DAYS * DAY // 1000, events)) * 1000
    keys = {name: (random.zipf(1.3, events) % size).astype(np.int64) for name, size in KEYS.items()}
    amounts = {
        "amount": random.exponential(50.0, events),
        "items": random.poisson(3.0, events).astype(np.int64),
    }
    return pl.DataFrame({**keys, **amounts, "at": pl.Series(time).cast(pl.Datetime("us", "UTC"))})


def views(events: pl.DataFrame) -> list:
    """Five views of 200 features: 10 functions over 20 windows."""
    import headwater as hw

    source = hw.Source("payments", history=events, timestamp_field="at")
    functions = [
        hw.count(),
        hw.sum("amount", "items"),
        hw.mean("amount", "items"),
        hw.min("amount"),
        hw.max("amount", "items"),
        hw.std("amount"),
        hw.last("amount"),
    ]
    return [
        hw.FeatureView(
            key,
            source=source,
            keys=[key],
            features=functions,
            windows=WINDOWS,
            freshness=hw.on_request(),
        )
        for key in KEYS
    ]


def thousand_windows(rows: int) -> dict:
    """As many events as rows; the features of every row, as a frame."""
    import headwater as hw

    events = payments(rows, 1)
    requests = payments(rows, 2).select(*KEYS, pl.col("at").alias("timestamp"))
    # kernels are compiled, or loaded, once
    hw.get_historical_features(views(events.head(1000)), requests.head(1000))
    before = peak_mb()
    frames: list[pl.DataFrame] = []
    clock, busy = seconds(
        lambda: frames.append(hw.get_historical_features(views(events), requests))
    )
    answer = frames[0].estimated_size("mb")
    return {
        "seconds": clock,
        "busy": busy,
        "peak_mb": peak_mb(),
        "before_mb": before,
        "answer_mb": answer,
        "shape": frames[0].shape,
    }


def write_columns(folder: Path) -> None:
    """A table of 17,000 rows x 1,000 float32 columns, and as many rows that ask for them."""
    random = np.random.default_rng(3)
    time = np.sort(random.integers(0, DAYS * DAY // 1000, JOINED_ROWS)) * 1000
    values = {
        f"f{i}": random.normal(size=JOINED_ROWS).astype(np.float32) for i in range(JOINED_COLUMNS)
    }
    moments = pl.Series(time).cast(pl.Datetime("us", "UTC"))
    frame = pl.DataFrame(
        {
            "user_id": random.integers(0, JOINED_KEYS, JOINED_ROWS),
            "event_timestamp": moments,
            **values,
        }
    )
    frame.write_parquet(folder / "events.parquet")
    frame.select("user_id", pl.col("event_timestamp") + pl.duration(seconds=1)).write_parquet(
        folder / "rows.parquet"
    )


def thousand_columns(folder: Path) -> dict:
    """The latest value of each column for every row."""
    import headwater as hw
    from headwater.training import historical as _  # noqa: F401 (loaded before the clock starts, as the peer's imports are)

    source = hw.Source(
        "events",
        history=hw.parquet(str(folder / "events.parquet")),
        timestamp_field="event_timestamp",
    )
    columns = [f"f{i}" for i in range(JOINED_COLUMNS)]
    view = hw.FeatureView(
        "view",
        source=source,
        keys=["user_id"],
        features=[hw.last(*columns)],
        windows=["60d"],
        freshness=hw.on_request(),
    )
    frames: list[pl.DataFrame] = []
    rows = hw.parquet(str(folder / "rows.parquet"))
    clock, busy = seconds(
        lambda: frames.append(
            hw.get_historical_features(view, rows, timestamp_field="event_timestamp")
        )
    )
    total = float(
        frames[0].select(pl.col(pl.Float32).cast(pl.Float64).sum()).sum_horizontal().item()
    )
    return {
        "seconds": clock,
        "busy": busy,
        "peak_mb": peak_mb(),
        "sum": total,
        "shape": frames[0].shape,
    }


if __name__ == "__main__":
    kind, of = sys.argv[1:]
    if kind == "write":
        write_columns(Path(of))
        print("null")
    else:
        print(
            json.dumps(
                thousand_windows(int(of)) if kind == "windows" else thousand_columns(Path(of))
            )
        )
