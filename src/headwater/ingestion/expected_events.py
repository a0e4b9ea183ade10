"""Events that break an expectation of their source: counted, and rejected where the definition says
so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from headwater.definitions.source import Expect, Source
from headwater.events.expected_values import breaks

UNEXPECTED = "unexpected"
"""The count of events that break an expectation; "unexpected: " and the expectation for each of
them.
"""


@dataclass(frozen=True)
class ExpectedEvents:
    """The expectations that an event alone can break."""

    expectations: tuple[Expect, ...]

    @staticmethod
    def of(source: Source) -> ExpectedEvents | None:
        """Those of a source; None without any, which costs nothing."""
        alone = tuple(
            e
            for e in source.expectations
            if isinstance(e, Expect) and breaks(e, pl.Null()) is not None
        )
        return ExpectedEvents(alone) if alone else None

    @property
    def columns(self) -> list[str]:
        """What they are of."""
        return sorted({expected.column for expected in self.expectations})

    def judged(
        self, values: pl.DataFrame, reasons: pl.Series
    ) -> tuple[pl.Series, Mapping[str, int]]:
        """The reasons why events are rejected, and how many of the others break each expectation.

        values: the columns, a row an event. reasons: why each is rejected already, or null.
        """
        sound = reasons.is_null()
        broken = values.select(
            breaks(expected, values.schema[expected.column]) for expected in self.expectations
        )
        counts = {
            UNEXPECTED: int((broken.select(pl.any_horizontal(pl.all())).to_series() & sound).sum())
        }
        for expected, column in zip(self.expectations, broken.get_columns(), strict=True):
            wrong = column & sound
            counts[f"{UNEXPECTED}: {column.name}"] = int(wrong.sum())
            if expected.on_violation == "reject" and wrong.any():
                reasons = reasons.set(wrong & reasons.is_null(), f"unexpected {column.name}")
        return reasons, {name: count for name, count in counts.items() if count}
