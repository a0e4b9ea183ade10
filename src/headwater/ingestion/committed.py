"""The result of a commit: record counts by outcome, and the refused records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from numpy.typing import NDArray

if TYPE_CHECKING:
    import numpy as np
    import polars as pl


@dataclass(frozen=True)
class Committed:
    """A commit: its sequence in its partition, the time T of its tiles in microseconds, record
    counts by outcome, and the rejected records.

    known: all that was received by then is readable, microseconds. seconds: that it took.
    record_outcomes: of each `RecordBatch` committed, the outcome of its records, int8 (n).
    misplaced: partitions of records that were left out, since they do not follow the stored
    position: the stream is to be reopened there.
    """

    sequence: int
    at: int
    counts: Mapping[str, int]
    dead: pl.DataFrame
    known: int = 0
    seconds: float = 0.0
    record_outcomes: Sequence[NDArray[np.int8]] = ()
    misplaced: frozenset[str] = frozenset()
