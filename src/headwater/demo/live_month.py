"""The demo's month live: flights of September as events, ingested into an online store, and compared with training as they go."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from headwater import clock
from headwater.definitions.freshness import streaming
from headwater.definitions.project import Project
from headwater.ingestion.archive import FOLDERS
from headwater.ingestion.replay import replay
from headwater.monitoring.parity import Parity, check_view
from headwater.online_stores import open_store
from headwater.training.resources import Tick

_ZONE = ZoneInfo("America/New_York")
BEGIN, DAYS = datetime(2013, 9, 1, tzinfo=_ZONE), 30
_CHECKED = 6  # days between two comparisons
_STEP = "1h"
_KEYS = 200


@dataclass(frozen=True)
class Live:
    """What the replay showed.

    events, commits: how many. seconds: of the whole. readable: seconds from handing events over until they could be read, by quantile.
    compared: moments at which values were compared. parities: of each view at each of them.
    """

    events: int
    commits: int
    seconds: float
    readable: Mapping[str, float]
    compared: int
    parities: list[Parity]

    @property
    def values(self) -> int:
        """How many values were compared."""
        return sum(p.values for p in self.parities)

    @property
    def mismatches(self) -> int:
        """How many of them differed."""
        return sum(len(p.mismatches) for p in self.parities)

    def __str__(self) -> str:
        age = self.readable
        return (
            f"September live: {self.events:,} events in {self.commits:,} durable commits, {self.seconds:.0f} s. "
            f"Each could be read {age['p50'] * 1e3:.0f} ms after it came (99 %: {age['p99'] * 1e3:.0f} ms). "
            f"At {self.compared} moments, {self.mismatches} mismatches in {self.values:,} values between what was served and what training computes"
        )

    def to_dict(self) -> dict[str, object]:
        """The same, as JSON can say it."""
        numbers = {"events": self.events, "commits": self.commits, "seconds": self.seconds, "readable_seconds": dict(self.readable)}
        return {**numbers, "moments": self.compared, "values": self.values, "mismatches": self.mismatches}


def live(project: Project, folder: Path, tick: Tick | None = None) -> Live:
    """Replay September into an online store in `folder`, every view streaming, and compare on the way.

    The views are the project's own but for one word: their freshness is `streaming("2s")`.
    """
    views = [replace(view, freshness=streaming("2s")) for view in project.views]
    for name in ("online", *FOLDERS.values()):
        shutil.rmtree(folder / name, ignore_errors=True)
    store = open_store(f"lmdb:{folder / 'online'}")
    began = clock.stopwatch()
    seconds: list[float] = []
    parities: list[Parity] = []
    events = moments = 0
    try:
        for number, step in enumerate(replay(views, store, start=BEGIN, end=BEGIN + timedelta(days=DAYS), step=_STEP, folder=folder), 1):
            events += sum(c.counts.get("accepted", 0) for c in step.committed)
            seconds += step.seconds
            if tick is not None:
                tick("September, live", number, 24 * DAYS)
            if number % (24 * _CHECKED) == 0:
                moments += 1
                parities += [check_view(view, store, folder, rows=_KEYS, at=step.now, seed=moments) for view in views]
    finally:
        store.close()
    quantiles = {name: float(np.quantile(seconds, q)) for name, q in (("p50", 0.5), ("p99", 0.99))}
    return Live(events, len(seconds), clock.stopwatch() - began, quantiles, moments, parities)
