"""What a relative lift is worth a month, and the lift that pays for a fresher arm, from a backtest
or an assessment.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from headwater.assessing.level_costs import known_costs
from headwater.definitions.definition import Readable
from headwater.errors import UsageError
from headwater.pages.recommendation_words import shown_metric
from headwater.pages.recommending import worth_of
from headwater.results.assessment_result import AssessmentResult
from headwater.results.backtest_result import BacktestResult
from headwater.results.estimate import Estimate
from headwater.results.experiment_result import AxisEstimate, NetValue
from headwater.results.measurement import Missing

MONTH = 30.0
"""Days."""


@dataclass(frozen=True)
class ExperimentEvidence(Readable):
    """Evidence about the arms from outside the experiment.

    Args:
        backtest: of their model; it shows the arms' levels by name.
        worth: money a month that a relative lift of 1 brings; NaN where it is not known.
        costs: by level, money a month.
        source: where worth and costs are from.
        names: what a level of an arm is called in the backtest, where it is called otherwise.
        least: the gain that pays, where worth and costs do not say; 0 is the frozen plan's.
    """

    backtest: BacktestResult | None = None
    worth: float = math.nan
    costs: Mapping[str, float] | None = None
    source: str = ""
    least: float = 0.0
    names: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of_assessment(path: str | Path) -> ExperimentEvidence:
        """From what `headwater assess --json` printed.

        Raises:
            UsageError: the file cannot be read, or is not an assessment.
        """
        try:
            data = msgspec.json.decode(Path(path).read_bytes())
            assessment = AssessmentResult.from_dict(data)
        except (OSError, msgspec.MsgspecError) as error:
            raise UsageError(
                f"{path} is not the JSON of an assessment: {error}; write one with: headwater "
                "assess --json > assess.json"
            ) from error
        backtest = None if isinstance(assessment.backtest, Missing) else assessment.backtest
        if backtest is None or backtest.value is None:
            return ExperimentEvidence(backtest)
        costs = backtest.value.costs
        levels = [] if isinstance(assessment.cost, Missing) else assessment.cost.levels
        a_day = known_costs(levels, costs)
        return ExperimentEvidence.of_backtest(
            backtest, {level: cost * MONTH for level, cost in a_day.items()}, str(path)
        )

    @staticmethod
    def of_backtest(
        backtest: BacktestResult,
        costs: Mapping[str, float] | None = None,
        source: str = "",
        least: float = 0.0,
    ) -> ExperimentEvidence:
        """From a backtest, whose worth of a decision says what a relative gain in precision
        brings.
        """
        if backtest.value is None:
            return ExperimentEvidence(backtest, costs=costs, source=source, least=least)
        value = worth_of(backtest.value)
        of_base = next(
            (level.metrics for level in backtest.levels if level.name == backtest.compared_with), {}
        )
        base = of_base[value.metric].value if value.metric in of_base else math.nan
        monthly_costs = (
            {name: cost * MONTH for name, cost in backtest.value.costs.items()}
            if costs is None
            else costs
        )
        return ExperimentEvidence(
            backtest,
            value.of_gain(base) * MONTH,
            monthly_costs,
            source or "the backtest's worth of a decision",
            least,
        )

    def break_even(self, control: str, level: str) -> float:
        """The relative lift at which a level pays for what it costs more than the control's; NaN
        where that is not known.
        """
        extra = self.added(control, level)
        return extra / self.worth if math.isfinite(extra) and self.worth > 0 else math.nan

    def added(self, control: str, level: str) -> float:
        """What a level costs a month more than the control's; NaN where that is not known."""
        costs = self.costs or {}
        return costs[level] - costs[control] if level in costs and control in costs else math.nan

    def net(self, arm: str, levels: tuple[str, str], gain: Estimate) -> NetValue | None:
        """The net value a month of an arm: levels are the control's and its own, gain its relative
        gain.
        """
        extra = self.added(*levels)
        if not (math.isfinite(extra) and math.isfinite(self.worth)):
            return None
        money = Estimate(*(end * self.worth - extra for end in (gain.value, gain.low, gain.high)))
        return NetValue(
            arm,
            money,
            f"{self.worth:,.6g} a month for a lift of 100 %, less {extra:,.6g} a month that "
            f"{levels[1]} costs more",
        )

    def estimates(self, arm: str, levels: tuple[str, str]) -> list[AxisEstimate]:
        """The backtest's estimate of an arm, relative to the control."""
        estimates = []
        named_levels = (self.names.get(levels[0], levels[0]), self.names.get(levels[1], levels[1]))
        if (
            self.backtest is not None
            and (lift := _relative(self.backtest, named_levels)) is not None
        ):
            named, estimate = lift
            estimates.append(
                AxisEstimate(
                    "backtest",
                    arm,
                    named,
                    estimate,
                    "yesterday's requests, if the world does not react",
                )
            )
        return estimates


def _relative(backtest: BacktestResult, levels: tuple[str, str]) -> tuple[str, Estimate] | None:
    """The backtest's gain between two levels as a share of the staler one's metric: the one acted
    on, else the headline.
    """
    metric = (
        (shown_metric(backtest) or backtest.headline)
        if backtest.value is None
        else worth_of(backtest.value).metric
    )
    by_name = {
        level.name: level.metrics[metric].value
        for level in backtest.levels
        if metric in level.metrics
    }
    base = by_name.get(levels[0], math.nan)
    step = next(
        (s for s in backtest.comparisons if (s.from_, s.to, s.metric) == (*levels, metric)), None
    )
    if not base > 0:
        return None
    if step is not None:
        return metric, Estimate(step.delta / base, step.low / base, step.high / base)
    if levels[1] in by_name:
        return metric, Estimate(by_name[levels[1]] / base - 1, math.nan, math.nan)
    return None
