"""What every check of the audit reads, and what it returns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from headwater.backtesting.audit.labelled_rows import LabelledRows, spread
from headwater.backtesting.split import Split
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.kernel.arrays import F64, I64, Bool
from headwater.results.audit_result import AuditFinding
from headwater.results.backtest_result import LevelResult
from headwater.results.estimate import Comparison
from headwater.training.precomputed_rows import reading
from headwater.training.requests import Requests
from headwater.training.resources import Resources

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class NotRun:
    """A check had nothing to look at, and why."""

    reason: str


@dataclass(frozen=True)
class AuditedLevels:
    """The levels as they were judged: the headline metric, the levels from stale to fresh, and
    their differences.
    """

    headline: str
    levels: Sequence[LevelResult]
    comparisons: Sequence[Comparison]


@dataclass(frozen=True, eq=False)
class AuditInputs(LabelledRows):
    """The labelled requests of a backtest and the features of its freshest level.

    frame: those features, in the order of the requests. answered: bool (requests), those that the
    level answers. y: float64 (requests), the outcomes, one number a class. judged: None where no
    level was judged, as in an attribution.
    """

    model: Model
    level: Level
    requests: Requests
    frame: pl.DataFrame
    answered: Bool
    y: F64
    split: Split
    resources: Resources
    judged: AuditedLevels | None = None
    # whether one outcome becomes known later than the other, as answered before the backtest
    delay_by_outcome: bool | None = None
    skipped: dict[str, str] = field(default_factory=dict)  # subject -> why a check left it out
    # subjects with a LEAK or SUSPECT of an earlier check
    accused: set[str] = field(default_factory=set)

    @cached_property
    def sampled(self) -> tuple[Sequence[FeatureView], Level, Requests]:
        """The views that the level reads, their freshness, and the sampled requests at the time
        when these are read.
        """
        views, level, reads = reading(self.model, self.level, self.requests.t[self.sample])
        return views, level, Requests(self.requests.frame[self.sample], reads)

    @cached_property
    def training(self) -> I64:
        """The positions of at most `thresholds.SAMPLE` training rows that the level answers:
        int64.
        """
        return spread(np.flatnonzero(self.split.train & self.answered))


AuditCheck = Callable[[AuditInputs], "list[AuditFinding] | NotRun"]
"""A check: findings (an empty list where it found none), or why it did not run."""
