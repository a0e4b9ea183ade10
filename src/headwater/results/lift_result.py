"""The lift of a backtest, as an assessment reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headwater.definitions.definition import Readable
from headwater.results.attribution_result import AttributionResult
from headwater.results.backtest_result import BacktestResult, LevelResult
from headwater.results.estimate import Comparison


@dataclass(frozen=True)
class Lift(Readable):
    """The steps of a backtest in its headline metric, and its leaks. earned: which views earn from
    freshness, if that is known.
    """

    backtest: BacktestResult
    earned: AttributionResult | None = None

    @property
    def model(self) -> str:
        """The model's name."""
        return self.backtest.model

    @property
    def headline(self) -> str:
        """The metric of the verdicts."""
        return self.backtest.headline

    @property
    def levels(self) -> Sequence[LevelResult]:
        """The levels, from stale to fresh."""
        return self.backtest.levels

    @property
    def steps(self) -> Sequence[Comparison]:
        """The judged differences: each level that is fresher than the baseline against it, in the
        headline metric.
        """
        today = (self.backtest.compared_with, self.headline)
        return [step for step in self.backtest.comparisons if (step.from_, step.metric) == today]

    @property
    def leaks(self) -> Sequence[str]:
        """Findings that make every number unreliable."""
        return [f"{finding.subject}: {finding.message}" for finding in self.backtest.audit.blocking]

    def level(self, name: str) -> LevelResult:
        """The level of that name."""
        return next(level for level in self.levels if level.name == name)
