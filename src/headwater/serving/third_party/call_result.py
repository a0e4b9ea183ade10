"""Results of third-party calls for one request, and their counters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

BUCKETS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Upper bounds of `CallCounts.seconds`, in seconds; its last count is of longer calls."""


@dataclass
class CallCounts:
    """Counters of one third party since the start of the process.

    rows: requested rows by origin of their values: kept, stale, fetched, or fallback. calls: by
    outcome: answered, nothing (no data), or the reason of a failure. repeated: number of retries.
    seconds, total: durations of calls.
    """

    rows: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    seconds: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0

    def took(self, seconds: float) -> None:
        """Count the duration of a call."""
        self.seconds[
            next((n for n, end in enumerate(BUCKETS) if seconds <= end), len(BUCKETS))
        ] += 1
        self.total += seconds


@dataclass(frozen=True)
class CallSummary:
    """The calls of one request to one third party: rows by origin of their values, and seconds
    until they were complete.

    reasons: rows with fallback values, by reason.
    """

    rows: Mapping[str, int]
    seconds: float
    reasons: Mapping[str, int]


@dataclass(frozen=True)
class ThirdPartyResult:
    """The third-party features of rows.

    values, statuses: by feature name; for each row a value, and an index into
    `events.statuses.STATUSES` as a byte. ages: by third party, for each row the seconds since its
    response, None for fallback values. contacts: by third party.
    """

    values: dict[str, list[object]]
    statuses: dict[str, bytes]
    ages: dict[str, list[float | None]]
    contacts: dict[str, CallSummary]

    @property
    def cut_off(self) -> bool:
        """Whether a call was cut off by the latency budget."""
        return any(contact.reasons.get("cut off", 0) > 0 for contact in self.contacts.values())
