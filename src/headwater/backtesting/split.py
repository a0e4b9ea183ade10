"""Split labelled rows by time: train on what was known at the split, test on what was asked after it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from headwater.backtesting.result import TimeSplit
from headwater.compute.arrays import I64, Bool
from headwater.definitions.durations import DAY, SECOND
from headwater.definitions.moments import EPOCH, moment_text, parse_moment
from headwater.errors import UsageError
from headwater.pipelines.requests import Requests


@dataclass(frozen=True)
class Split:
    """Masks over the requests: bool (rows) each; rows in neither are left out, by reason."""

    at: int
    train: Bool
    test: Bool
    left_out: Counter[str]


def split_rows(requests: Requests, split: str | datetime | None) -> Split:
    """Cut at `split` (ISO 8601 with an offset, or a tz-aware datetime; None: where three quarters of the rows have asked).

    A row trains if it asked before the split and its outcome was known by then; it tests if it asked at the split or after.

    Raises:
        UsageError: no row is left to train or to test on; the error says what the rows span.
    """
    assert requests.known_at is not None
    t = requests.t
    at = int(np.quantile(t, 0.75, method="higher")) if split is None else parse_moment(split, "split")
    before = t < at
    train = before & (requests.known_at <= at)
    span = f"the rows ask from {moment_text(int(t.min()))} to {moment_text(int(t.max()))}"
    if before.all():
        raise UsageError(f"split {moment_text(at)} leaves no row to test on; {span}")
    if not before.any():
        raise UsageError(f"split {moment_text(at)} leaves no row to train on; {span}")
    if not train.any():
        raise UsageError(
            f"split {moment_text(at)} leaves no row to train on: of {int(before.sum())} rows before it, no outcome was known by then; {span}"
        )
    left_out = Counter(requests.left_out)
    unknown = int((before & ~train).sum())
    if unknown:
        left_out["outcome not known at the split"] += unknown
    return Split(at, train, ~before, left_out)


def describe(requests: Requests, split: Split) -> TimeSplit:
    """What a report shows of the split."""
    t = requests.t
    assert requests.known_at is not None
    delay = (requests.known_at - t) / SECOND
    quantiles = dict(zip(("p50", "p90", "p99", "max"), np.quantile(delay, [0.5, 0.9, 0.99, 1.0]).tolist(), strict=True))
    return TimeSplit(
        train_start=moment_text(int(t.min())),
        split=moment_text(split.at),
        test_end=moment_text(int(t.max())),
        train_rows=int(split.train.sum()),
        test_rows=int(split.test.sum()),
        left_out=dict(split.left_out),
        label_delay_seconds=quantiles,
        rows_per_day=_per_day(t, split),
    )


def _per_day(t: I64, split: Split) -> list[tuple[str, int, str]]:
    rows = []
    for name, mask in (("train", split.train), ("test", split.test), ("left out", ~(split.train | split.test))):
        days, counts = np.unique(t[mask] // DAY, return_counts=True)
        rows += [((EPOCH + timedelta(days=d)).date().isoformat(), n, name) for d, n in zip(days.tolist(), counts.tolist(), strict=True)]
    return sorted(rows)
