"""The demo's live month: flights of September are ingested into an online store, and values are
compared with training on the way.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from headwater import clock
from headwater.definitions.freshness import streaming
from headwater.definitions.project import Project
from headwater.engine.engines import engine_name
from headwater.ingestion.archive import FOLDERS
from headwater.ingestion.replay import replay
from headwater.monitoring.parity import Parity, ParityRun, check_view, keep_parity
from headwater.results.result import Result
from headwater.stores import open_store
from headwater.training.progress import OnProgress

_ZONE = ZoneInfo("America/New_York")
BEGIN, DAYS = datetime(2013, 9, 1, tzinfo=_ZONE), 30
_CHECKED = 6  # days between two comparisons
_STEP = "1h"
_KEYS = 200


class Live(Result, frozen=True, rename={"readable": "readable_seconds", "compared": "moments"}):
    """Result of the replay.

    events, commits: counts. seconds: of the whole run. readable: seconds from sending events until
    they were readable, by quantile.
    compared: number of comparisons. values, mismatches: compared values, and those that differ.
    """

    events: int
    commits: int
    seconds: float
    readable: Mapping[str, float]
    compared: int
    values: int
    mismatches: int

    def __str__(self) -> str:
        age = self.readable
        return (
            f"September live: {self.events:,} events in {self.commits:,} durable commits, "
            f"{self.seconds:.0f} s. Each could be read {age['p50'] * 1e3:.0f} ms after it came "
            f"(99 %: {age['p99'] * 1e3:.0f} ms). At {self.compared} times, {self.mismatches} "
            f"mismatches in {self.values:,} values between serving and training"
        )


def live(project: Project, folder: Path, on_progress: OnProgress | None = None) -> Live:
    """Replay September into an online store in `folder`, with every view streaming, and compare
    values on the way.

    The views are those of the project, with the freshness `streaming("2s")`.
    """
    views = [replace(view, freshness=streaming("2s")) for view in project.all_views]
    for name in ("online", *FOLDERS.values()):
        shutil.rmtree(folder / name, ignore_errors=True)
    store = open_store(f"lmdb:{folder / 'online'}")
    began = clock.stopwatch()
    seconds: list[float] = []
    parities: list[Parity] = []
    events = comparisons = 0
    try:
        for number, step in enumerate(
            replay(
                views,
                store,
                start=BEGIN,
                end=BEGIN + timedelta(days=DAYS),
                step=_STEP,
                data_dir=folder,
            ),
            1,
        ):
            events += sum(c.counts.get("accepted", 0) for c in step.committed)
            seconds += step.seconds
            if on_progress is not None:
                on_progress("September, live", number, 24 * DAYS)
            if number % (24 * _CHECKED) == 0:
                comparisons += 1
                compared = [
                    check_view(view, store, folder, rows=_KEYS, at=step.now, seed=comparisons)
                    for view in views
                ]
                parities += keep_parity(
                    ParityRun(project.name, served=False, views=compared), folder, engine_name(None)
                )
    finally:
        store.close()
    quantiles = {name: float(np.quantile(seconds, q)) for name, q in (("p50", 0.5), ("p99", 0.99))}
    values, mismatches = sum(p.values for p in parities), sum(len(p.mismatches) for p in parities)
    return Live(
        events, len(seconds), clock.stopwatch() - began, quantiles, comparisons, values, mismatches
    )
