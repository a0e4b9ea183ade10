"""Several splits in time, one after another: each fold trains on what was known at its split, and
tests until the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from headwater.definitions.checks import check_integer
from headwater.definitions.definition import Definition
from headwater.definitions.durations import Duration, micros, text
from headwater.definitions.timestamps import parse_timestamp, timestamp_text
from headwater.errors import DefinitionError


@dataclass(frozen=True, eq=False, init=False)
class Rolling(Definition, called="rolling"):
    """Splits at `start`, `start + every`, and so on: each fold trains a new model, and tests it
    until the next split.

    A row trains at a fold if it asked before the split (not longer than `train` before it, and not
    within `gap` of it) and its outcome was known by then. With `folds=1` this is a single split
    with an end, a length of training and a gap.

    Args:
        start: the first split, ISO 8601 with an offset, or a tz-aware datetime.
        every: how long each fold tests; how often the model would be trained.
        folds: how many.
        train: how far back training reaches; "all" for all rows.
        gap: rows that asked so shortly before a split do not train, known or not.

    Raises:
        DefinitionError: a duration or a number of folds that cannot be.
        UsageError: a start that is not a timestamp.

    Source: Tashman, "Out-of-sample tests of forecasting accuracy", 2000 (rolling origin).

    >>> print(rolling("2024-05-01T00:00Z", every="7d", folds=3, train="60d"))
    3 folds of 7d from 2024-05-01T00:00:00+00:00, each trained on the 60d before
    """

    start: int
    every: int
    folds: int
    train: int | None
    gap: int

    def __init__(
        self,
        start: str | datetime,
        *,
        every: Duration = "7d",
        folds: int = 4,
        train: Duration | Literal["all"] = "all",
        gap: Duration = "0s",
    ) -> None:
        step, behind = (
            micros(every, "rolling(): every", positive=True),
            micros(gap, "rolling(): gap"),
        )
        check_integer(folds, "rolling(): folds", least=1)
        back = None if train == "all" else micros(train, "rolling(): train")
        if back is not None and back <= behind:
            raise DefinitionError(
                f"rolling(train={text(back)}, gap={text(behind)}) leaves nothing to train on; "
                "make train longer than gap"
            )
        self._set(
            start=parse_timestamp(start, "rolling(): start"),
            every=step,
            folds=folds,
            train=back,
            gap=behind,
        )

    @property
    def cuts(self) -> tuple[int, ...]:
        """The split of each fold, and the end of the last one: int64 microseconds UTC, one more
        than there are folds.
        """
        return tuple(self.start + fold * self.every for fold in range(self.folds + 1))

    def __str__(self) -> str:
        back = "all before" if self.train is None else f"the {text(self.train)} before"
        gap = f" but the last {text(self.gap)}" if self.gap else ""
        return (
            f"{self.folds} folds of {text(self.every)} from {timestamp_text(self.start)}, each "
            f"trained on {back}{gap}"
        )


rolling = Rolling
