"""Made-up events and rows: zipf keys over 30 days, exponential amounts, the same ones for the same
seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

DAY = 86_400_000_000
DAYS = 30
KEYS = 100_000
# times are whole hundredths of a second, so that a window with a hop of 10 ms has the exact edges
# that SQL gives it
STEP = 10_000


@dataclass(frozen=True)
class Shape:
    """What events look like.

    text: keys are strings. known: a column says when each event was known, a second later. late:
    the share of events that were known hours later instead, exponentially. ids: each event has an
    id, and one in a thousand is a duplicate. shuffled: events come in any order, not as they
    happened.
    """

    events: int
    rows: int
    text: bool = False
    known: bool = False
    late: float = 0.0
    ids: bool = False
    shuffled: bool = False


@dataclass(frozen=True)
class Made:
    """`key`, `time` (int64 microseconds) and `amount` of each event; the frames that headwater is
    given.
    """

    key: np.ndarray
    time: np.ndarray
    amount: np.ndarray
    events: pl.DataFrame
    rows: pl.DataFrame


def make(shape: Shape, seed: int = 42) -> Made:
    """Events, and rows that ask for them at times of their own."""
    random = np.random.default_rng(seed)
    key, time = _keys(random, shape.events), _times(random, shape.events)
    if not shape.shuffled:
        time.sort()
    amount = random.exponential(50.0, shape.events)
    frame = {
        "user": _named(key, text=shape.text),
        "at": _moments(time),
        "amount": pl.Series(amount),
    }
    if shape.known or shape.late:
        delay = np.full(shape.events, 1_000_000)
        slow = random.random(shape.events) < shape.late
        delay[slow] = random.exponential(3 * 3_600_000_000, int(slow.sum())).astype(np.int64)
        frame["known_at"] = _moments(time + delay)
    if shape.ids:
        ids = random.permutation(shape.events)
        again = random.random(shape.events) < 0.001
        ids[again] = random.choice(ids, int(again.sum())) if again.any() else ids[again]
        frame["id"] = pl.Series(ids)
    rows = {
        "user": _named(_keys(random, shape.rows), text=shape.text),
        "timestamp": _moments(_times(random, shape.rows)),
    }
    return Made(key, time, amount, pl.DataFrame(frame), pl.DataFrame(rows))


def write_tables(folder: Path, events: int, rows: int, users: int = 10_000) -> None:
    """Two tables of five float32 features each, and the rows that ask for them, as parquet files in
    `folder`.
    """
    for number, letter in enumerate("ab"):
        random = np.random.default_rng(42 + number)
        time = np.sort(random.integers(0, DAYS * DAY // 1000, events)) * 1000
        values = {f"{letter}{i}": random.normal(size=events).astype(np.float32) for i in range(5)}
        frame = pl.DataFrame(
            {
                "user_id": random.integers(0, users, events),
                "event_timestamp": _moments(time, 2024),
                **values,
            }
        )
        frame.write_parquet(folder / f"events_{letter}.parquet")
    random = np.random.default_rng(49)
    time = random.integers(DAY // 1000, DAYS * DAY // 1000, rows) * 1000
    frame = pl.DataFrame(
        {"user_id": random.integers(0, users, rows), "event_timestamp": _moments(time, 2024)}
    )
    frame.write_parquet(folder / "rows.parquet")


def write_history(folder: Path, events: int, seed: int = 42) -> None:
    """Events of a month in a hive of daily files, made a day at a time: `user`, `at` and `amount`,
    as `make` makes them.
    """
    random = np.random.default_rng(seed)
    for day in range(DAYS):
        n = events // DAYS
        time = np.sort(random.integers(0, DAY // STEP, n)) * STEP + day * DAY
        partition = folder / f"date=1970-01-{day + 1:02}"
        partition.mkdir(parents=True)
        frame = {
            "user": _keys(random, n),
            "at": _moments(time),
            "amount": random.exponential(50.0, n),
        }
        pl.DataFrame(frame).write_parquet(partition / "part.parquet")


def asking(rows: int, seed: int = 43) -> pl.DataFrame:
    """Rows that ask for the events of `write_history`."""
    random = np.random.default_rng(seed)
    return pl.DataFrame({"user": _keys(random, rows), "timestamp": _moments(_times(random, rows))})


def _keys(random: np.random.Generator, n: int) -> np.ndarray:
    return (random.zipf(1.2, n) % KEYS).astype(np.int64)


def _times(random: np.random.Generator, n: int) -> np.ndarray:
    return random.integers(0, DAYS * DAY // STEP, n) * STEP


def _named(key: np.ndarray, *, text: bool) -> pl.Series:
    if not text:
        return pl.Series(key)
    return pl.select(pl.format("user-{}", pl.Series(key).cast(pl.String).str.zfill(8))).to_series()


def _moments(time: np.ndarray, year: int = 1970) -> pl.Series:
    since = (year - 1970) * 365 * DAY + (13 * DAY if year == 2024 else 0)
    return pl.Series(time + since).cast(pl.Datetime("us", "UTC"))
