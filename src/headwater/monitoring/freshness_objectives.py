"""Service level objectives of freshness: the share of reads within the promised age over 30 days,
and the error budget that is used.

The definitions are those of Google's Site Reliability Workbook (2018), chapter 5: an objective of
99 % leaves a budget of 1 % of reads; at a burn rate of 1 it is used up in exactly 30 days.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from headwater import clock
from headwater.definitions.definition import Readable
from headwater.definitions.project import Project
from headwater.monitoring.served_statistics import view_ages

DAYS: Final = 30


@dataclass(frozen=True)
class FreshnessObjective(Readable):
    """A view's objective, and how it is kept.

    view: its name. target: the share of reads that should be fresh. reads: of the last 30 days.
    fresh: the share of them that was, None without any. budget_used: the share of the error budget
    that is used, above 1 where the objective is missed. burn: the burn rate since yesterday.
    """

    view: str
    target: float
    reads: int
    fresh: float | None
    budget_used: float | None
    burn: float | None

    @property
    def missed(self) -> bool:
        """Whether more of the budget is used than there is."""
        return self.budget_used is not None and self.budget_used > 1

    def __str__(self) -> str:
        promised = f"freshness of {self.view}: {self.target:.4g} of reads promised fresh"
        if self.fresh is None or self.budget_used is None:
            return f"{promised}, and there were none in {DAYS} days"
        burn = "" if self.burn is None else f", burn rate {self.burn:.1f} since yesterday"
        return (
            f"{promised}, {self.fresh:.4f} of {self.reads:,} were in {DAYS} days; "
            f"{self.budget_used:.0%} of the error budget is used{burn}"
        )


def freshness_objectives(project: Project, folder: Path, now: int) -> list[FreshnessObjective]:
    """The objectives of a project's views at a time, microseconds; `folder`: the data directory,
    whose serving log counts.

    >>> import headwater as hw, tempfile
    >>> from headwater.testing.examples import visiting
    >>> freshness_objectives(visiting(hw.batch("1h")), Path(tempfile.mkdtemp()), 0)
    []
    """
    targets = {view.name: view.slo for view in project.all_views if view.slo is not None}
    if not targets:
        return []
    ages = view_ages(folder, list(targets), days=DAYS, now=now)
    yesterday = clock.timestamp(now).date() - timedelta(days=1)
    objectives = []
    for view, target in targets.items():
        days = [(day.day, day.reads, day.stale * day.reads) for day in ages.get(view, [])]
        reads, stale = _sums(days)
        latest = _share(*_sums([day for day in days if day[0] >= yesterday]))
        used = _share(reads, stale)
        budget = 1 - target
        objectives.append(
            FreshnessObjective(
                view,
                target,
                reads,
                None if used is None else 1 - used,
                None if used is None else used / budget,
                None if latest is None else latest / budget,
            )
        )
    return objectives


def _sums(days: Sequence[tuple[date, int, float]]) -> tuple[int, float]:
    return sum(reads for _, reads, _ in days), sum(stale for *_, stale in days)


def _share(reads: int, stale: float) -> float | None:
    return stale / reads if reads else None
