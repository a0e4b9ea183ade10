"""What third parties have answered: for one request, and counted for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

BUCKETS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds: upper ends of `Tally.seconds`, whose last place counts what took longer."""


@dataclass
class Tally:
    """What became of one third party's features, counted since the start.

    rows: for each row that asked, where its values came from: kept, stale, fetched, or fallback. calls: outcomes of calls: answered,
    nothing (the third party has no answer), or why there is none. repeated: how often a call was. seconds, total: how long calls took.
    """

    rows: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    seconds: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0

    def took(self, seconds: float) -> None:
        """Count how long a call took."""
        self.seconds[next((n for n, end in enumerate(BUCKETS) if seconds <= end), len(BUCKETS))] += 1
        self.total += seconds


@dataclass(frozen=True)
class Contact:
    """What one request learnt of one third party: how many rows by where their values came from, and seconds until it had them.

    reasons: why rows have fallback values.
    """

    rows: Mapping[str, int]
    seconds: float
    reasons: Mapping[str, int]


@dataclass(frozen=True)
class Called:
    """The third-party features of some rows.

    values, statuses: by feature name; for each row a value, and a place in `events.statuses.STATUSES` as a byte. ages: by third party, for
    each row the seconds since it answered, None for fallback values. asked: by third party.
    """

    values: dict[str, list[object]]
    statuses: dict[str, bytes]
    ages: dict[str, list[float | None]]
    asked: dict[str, Contact]

    @property
    def cut_off(self) -> bool:
        """Whether the time ran out before a third party had answered."""
        return any(one.reasons.get("cut off", 0) > 0 for one in self.asked.values())
