"""Split labelled rows by time: train on what was known at the split, test on what was asked after
it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np

from headwater import clock
from headwater.definitions.checks import DAY, SECOND, parse_timestamp, timestamp_text
from headwater.definitions.evaluations import Rolling
from headwater.errors import UsageError
from headwater.kernel.arrays import I64, Bool
from headwater.results.backtest_result import TimeSplit
from headwater.training.requests import Requests


@dataclass(frozen=True)
class Fold:
    """One split in time: rows that asked early enough to train there, and those that test. bool
    (rows) each; `at` in microseconds.
    """

    at: int
    before_split: Bool
    test: Bool

    def train(self, known_at: I64) -> Bool:
        """The rows that train, if outcomes are known at `known_at`: int64 (rows), microseconds
        UTC.
        """
        return self.before_split & (known_at <= self.at)


@dataclass(frozen=True)
class Split:
    """The folds, the rows that train or test at any of them: bool (rows), and why other rows are
    left out.
    """

    folds: Sequence[Fold]
    train: Bool
    test: Bool
    left_out: Counter[str]

    @property
    def at(self) -> int:
        """The first split."""
        return self.folds[0].at


def split_rows(requests: Requests, split: str | datetime | Rolling | None) -> Split:
    """Cut at `split` (ISO 8601 with an offset, or a tz-aware datetime; None: where three quarters
    of the rows have asked), or in folds.

    A row trains if it asked before the split and its outcome was known by then; it tests if it
    asked at the split or after.

    Raises:
        UsageError: no row is left to train or to test on; the error says what the rows span.
    """
    assert requests.known_at is not None
    folds = (
        _rolling(requests.t, split) if isinstance(split, Rolling) else [_single(requests.t, split)]
    )
    span = (
        f"the request times are from {timestamp_text(int(requests.t.min()))} to "
        f"{timestamp_text(int(requests.t.max()))}"
    )
    for fold in folds:
        _check(fold, requests.known_at, span)
    train = np.logical_or.reduce([fold.train(requests.known_at) for fold in folds])
    test = np.logical_or.reduce([fold.test for fold in folds])
    early = np.logical_or.reduce([fold.before_split for fold in folds]) & ~train & ~test
    left_out = Counter(requests.left_out)
    reasons = {
        "outcome not known at the split": early,
        "requested outside of all folds": ~(train | test | early),
    }
    left_out.update({reason: int(rows.sum()) for reason, rows in reasons.items() if rows.any()})
    return Split(tuple(folds), train, test, left_out)


def _single(t: I64, split: str | datetime | None) -> Fold:
    at = (
        int(np.quantile(t, 0.75, method="higher"))
        if split is None
        else parse_timestamp(split, "split")
    )
    return Fold(at, t < at, t >= at)


def _rolling(t: I64, rolling: Rolling) -> list[Fold]:
    folds = []
    for at, until in pairwise(rolling.cuts):
        since = t.min() if rolling.train is None else at - rolling.train
        folds.append(Fold(at, (t >= since) & (t < at - rolling.gap), (t >= at) & (t < until)))
    return folds


def _check(fold: Fold, known_at: I64, span: str) -> None:
    subject = f"split {timestamp_text(fold.at)}"
    if not fold.test.any():
        raise UsageError(f"{subject} leaves no row to test on; {span}")
    if not fold.before_split.any():
        raise UsageError(f"{subject} leaves no row to train on; {span}")
    if not fold.train(known_at).any():
        raise UsageError(
            f"{subject} leaves no row to train on: of {int(fold.before_split.sum())} rows before "
            f"it, no outcome was known by then; {span}"
        )


def describe(requests: Requests, split: Split) -> TimeSplit:
    """What a report shows of the split."""
    t = requests.t
    assert requests.known_at is not None
    delay = (requests.known_at - t) / SECOND
    quantiles = dict(
        zip(
            ("p50", "p90", "p99", "max"),
            np.quantile(delay, [0.5, 0.9, 0.99, 1.0]).tolist(),
            strict=True,
        )
    )
    return TimeSplit(
        train_start=timestamp_text(int(t[split.train].min()))
        if split.train.any()
        else timestamp_text(split.at),
        split=timestamp_text(split.at),
        test_end=timestamp_text(int(t[split.test].max())),
        train_rows=int(split.train.sum()),
        test_rows=int(split.test.sum()),
        left_out=dict(split.left_out),
        label_delay_seconds=quantiles,
        rows_per_day=_per_day(t, split),
    )


def _per_day(t: I64, split: Split) -> list[tuple[str, int, str]]:
    """Rows of each day by use; a row that one fold tests and a later one trains on is a test
    row.
    """
    parts = (
        ("train", split.train & ~split.test),
        ("test", split.test),
        ("left out", ~(split.train | split.test)),
    )
    rows = []
    for name, mask in parts:
        days, counts = np.unique(t[mask] // DAY, return_counts=True)
        rows += [
            ((clock.EPOCH + timedelta(days=d)).date().isoformat(), n, name)
            for d, n in zip(days.tolist(), counts.tolist(), strict=True)
        ]
    return sorted(rows)
