"""The result of an experiment's analysis as plain frozen values; every rendering reads them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from headwater.results.estimate import Estimate
from headwater.results.evidence_result import BacktestFinding
from headwater.results.result import Result
from headwater.terminal.text import visible

ExperimentDecision = Literal[
    "real-time", "stay batch", "inconclusive", "harm", "keep running", "invalid"
]
GuardrailState = Literal["within", "worse", "not proven"]
MetricRole = Literal["deciding", "metric", "guardrail"]
UNKNOWN = Estimate(math.nan, math.nan, math.nan)
KIND_NAMES: Mapping[str, str] = {
    "ab": "A/B test",
    "switchback": "switchback",
    "cluster": "cluster test",
    "interleaving": "interleaving",
    "shadow": "shadow",
}
"""What a kind is called on pages."""


def design(kind: str, unit: str, columns: Mapping[str, str]) -> str:
    """The unit of randomisation, in words; columns: the region's or the cluster's column.

    >>> (
    ...     design("ab", "user", {}),
    ...     design("switchback", "user", {"region": "city"}),
    ...     design("shadow", "user", {}),
    ... )
    ('A/B test by user', 'switchback by city', 'shadow')
    """
    if kind == "shadow":
        return KIND_NAMES[kind]
    return f"{KIND_NAMES[kind]} by {next(iter(columns.values()), unit)}"


class ArmResult(Result, frozen=True):
    """An arm as it was served, with its exposed units and its units with a final outcome at this
    look.

    allow_staler: its version was trained at `trained_level`, which is fresher than the level that
    it serves.
    """

    name: str
    model: str
    level: str
    weight: float
    version: int | None
    trained_level: str
    allow_staler: bool
    units: int
    matured: int


class LiftLook(Result, frozen=True):
    """The lift by the outcomes that were final at a time, with an interval that holds at all such
    times together.
    """

    at: str
    lift: Estimate
    units: int


class MetricLift(Result, frozen=True):
    """A metric of one arm against the control.

    control, treated: the metric's means, adjusted where the estimator adjusts. lift: relative, 0.01
    is one percent; its interval holds over all looks and arms (`interval`: the method). p: of one
    look alone. margin: of a guardrail, NaN else. state: of a guardrail, None else: "within" where
    the interval shows less harm than the margin, "worse" where it shows more, "not proven" where it
    shows neither. unknown: matured units that have no outcome and are left out. covariate: whether
    CUPED had one. note: why there is no lift.
    """

    metric: str
    arm: str
    role: MetricRole
    higher_is_better: bool
    control: float
    treated: float
    lift: Estimate
    interval: str
    p: float
    units: int
    unknown: int
    margin: float = math.nan
    state: GuardrailState | None = None
    covariate: bool = False
    note: str = ""
    over_time: Sequence[LiftLook] = ()

    @property
    def at_worst(self) -> float:
        """The end of the interval that means the most harm."""
        return self.lift.low if self.higher_is_better else self.lift.high


class AxisEstimate(Result, frozen=True):
    """One estimate of an arm's lift on the common axis: its method, its metric, and its limits.

    decides: whether it is the experiment's own, which decides it.
    """

    method: str
    arm: str
    metric: str
    lift: Estimate
    note: str
    decides: bool = False


class HealthLine(Result, frozen=True):
    """A check of the experiment's health; a broken one blocks the verdict."""

    check: str
    status: Literal["ok", "warning", "broken", "not checked"]
    evidence: str


class ExperimentSlice(Result, frozen=True):
    """The lift of an arm in a part of the units: exploratory, since slices were not planned and
    their intervals hold for one look.
    """

    slice: str
    arm: str
    lift: Estimate
    units: int


class NetValue(Result, frozen=True):
    """Money a month that an arm brings over the control, after its costs, and the arithmetic."""

    arm: str
    a_month: Estimate
    arithmetic: str


class Preferred(Result, frozen=True):
    """Of an interleaving: the share of units whose clicks prefer the second ranking, .5 for no
    preference.
    """

    arm: str
    share: Estimate
    units: int
    p: float


class ExperimentResult(Result, frozen=True):
    """The data of an `ExperimentAnalysis`.

    data_at: outcomes that were final then are the newest look's. look, looks: the look that the
    verdict is of, and how many are planned.
    information: the share of the planned units that had matured at each look so far;
    `information_by` "time": the share of the planned time, where no number of units is planned.
    matured: the units that had matured at each look. break_even: the relative gain that pays for
    the fresher arm. advice: what an inconclusive result means, and what to do; "" of others. plan:
    the frozen plan as JSON data,
    digest: its hash. changes: what was done since the start.
    backtest: the recommendation of the arms' model, where one is known.
    schedule: of a switchback the arm of each region and bucket. left_out: exposures and requests
    that are not analysed, by reason.
    """

    project: str
    experiment: str
    version: int
    kind: str
    unit: str
    at: str
    data_at: str
    decision: ExperimentDecision
    arm: str
    reason: str
    rule: str
    first_line: str
    look: int
    looks: int
    information: Sequence[float]
    arms: Sequence[ArmResult]
    metrics: Sequence[MetricLift]
    axis: Sequence[AxisEstimate]
    break_even: float
    break_even_from: str
    money: Sequence[NetValue]
    health: Sequence[HealthLine]
    slices: Sequence[ExperimentSlice]
    preference: Preferred | None
    plan: Mapping[str, Any]
    digest: str
    changes: Sequence[str]
    schedule: Sequence[tuple[str, int, str]] = ()
    left_out: Mapping[str, int] = {}
    information_by: Literal["units", "time"] = "units"
    matured: Sequence[int] = ()
    backtest: BacktestFinding | None = None
    advice: str = ""

    @property
    def design(self) -> str:
        """The unit of randomisation, in words."""
        return design(self.kind, self.unit, self.plan.get("columns") or {})

    @property
    def figures(self) -> Mapping[str, float]:
        """The lift of each metric by arm, and the share of the planned information."""
        lifts = {
            f"lift of {metric.metric}, {metric.arm}": metric.lift.value for metric in self.metrics
        }
        return lifts | ({"information": self.information[-1]} if self.information else {})

    def of_metric(self, role: MetricRole) -> list[MetricLift]:
        """The metrics of a role, arm by arm."""
        return [metric for metric in self.metrics if metric.role == role]

    @property
    def deciding(self) -> list[MetricLift]:
        """The deciding metric of each arm but the control."""
        return self.of_metric("deciding")

    def __str__(self) -> str:
        return visible(self.first_line)
