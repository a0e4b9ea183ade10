"""The only place that reads the wall clock."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now() -> datetime:
    """The present moment, tz-aware in UTC."""
    return datetime.now(UTC)


def stopwatch() -> float:
    """Seconds on a clock that never goes back; only differences mean something."""
    return time.perf_counter()
