"""The verdict of a look, by the rule that was fixed before the start."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headwater.experiments.confidence_sequence import sequence_multiplier
from headwater.experiments.group_sequential import bounds
from headwater.experiments.health import HealthCheck
from headwater.experiments.relative_lift import RelativeLift
from headwater.results.experiment_result import ExperimentDecision, GuardrailState


@dataclass(frozen=True)
class GuardrailLook:
    """A guardrail of one arm at a look.

    Args:
        name: of the metric.
        lift: its relative change against the control.
        units: of both arms so far.
        margin: the relative harm that is still accepted.
        higher_is_better: whether a rise is a gain.
    """

    name: str
    lift: RelativeLift
    units: int
    margin: float
    higher_is_better: bool

    def interval(self, alpha: float) -> tuple[float, float]:
        """The interval of the change, which holds at all looks together."""
        return self.lift.sequential(sequence_multiplier(self.units, alpha))

    def state(self, alpha: float) -> GuardrailState:
        """Whether harm beyond the margin is excluded, shown, or neither.

        >>> lift = RelativeLift(1.0, 1.0, 0.0, 0.01)
        >>> [
        ...     GuardrailLook("clicks", lift, 5_000, margin, True).state(0.05)
        ...     for margin in (0.05, 0.01)
        ... ]
        ['within', 'not proven']
        """
        low, high = self.interval(alpha)
        gain_low, gain_high = (low, high) if self.higher_is_better else (-high, -low)
        return (
            "within"
            if gain_low > -self.margin
            else "worse"
            if gain_high < -self.margin
            else "not proven"
        )


@dataclass(frozen=True)
class ExperimentLook:
    """The state of an experiment at a look.

    Args:
        information: the share of the planned units that have matured, at each look so far, this one
            last; of the planned time where no number is planned.
        lifts: the deciding metric of each arm but the control.
        guardrails: by arm.
        checks: of the experiment's health.
        higher_is_better: whether a rise of the deciding metric is a gain.
        break_even: the relative gain at which the fresher arm pays for itself; 0 where costs are
            not known.
        of_arms: the same of arms whose own costs are known; of several winners the one that earns
            most over its cost is served.
        units: that had matured at each look; empty where information says it.
        by_time: whether information is a share of the planned time.
        alpha: the two-sided error of the whole experiment.
        min_lift: the least relative gain that is worth finding.
        over: why no further look comes, such as "the experiment was stopped"; "" while one may.
    """

    information: Sequence[float]
    lifts: Mapping[str, RelativeLift]
    guardrails: Mapping[str, Sequence[GuardrailLook]]
    checks: Sequence[HealthCheck]
    higher_is_better: bool = True
    break_even: float = 0.0
    alpha: float = 0.05
    of_arms: Mapping[str, float] = field(default_factory=dict)
    units: Sequence[int] = ()
    by_time: bool = False
    min_lift: float = 0.0
    over: str = ""

    def needs(self, arm: str) -> float:
        """The gain at which an arm pays for itself."""
        return self.of_arms.get(arm, self.break_even)

    def worth(self, arm: str) -> float:
        """The gain of an arm that is worth having: it pays, and was worth an experiment."""
        return max(self.needs(arm), self.min_lift)


@dataclass(frozen=True)
class ExperimentVerdict:
    """A decision, the arm that it is of, why, and the interval of each arm at this look.

    Intervals hold together over all looks and arms; they are of the metric as it is, not turned
    round where a fall is a gain.
    """

    decision: ExperimentDecision
    arm: str | None
    reason: str
    intervals: Mapping[str, tuple[float, float]]


def verdict(look: ExperimentLook) -> ExperimentVerdict:
    """The verdict, by Holm over the arms and O'Brien-Fleming over the looks.

    An arm wins when its interval lies above break-even (and so above 0). It harms when its interval
    lies below 0, or a guardrail is worse by more than its margin. Batch stays as soon as no arm can
    gain what it costs, and at the end if none gains enough. An end that shows neither is
    inconclusive.
    """
    intervals, gains = _intervals(look)
    broken = [check.name for check in look.checks if check.blocks]
    if broken:
        return ExperimentVerdict(
            "invalid", None, f"the experiment cannot be trusted: {', '.join(broken)}", intervals
        )
    worse = [
        (arm, rail.name)
        for arm, rails in look.guardrails.items()
        for rail in rails
        if rail.state(look.alpha / max(len(rails), 1)) == "worse"
    ]
    harmful = [arm for arm, (_, high) in gains.items() if high < 0]
    if worse:
        arm, name = worse[0]
        return ExperimentVerdict(
            "harm", arm, f"arm {arm!r} makes {name} worse by more than its margin", intervals
        )
    paying = (arm for arm, (low, _) in gains.items() if low > max(look.needs(arm), 0.0))
    winners = sorted(paying, key=lambda arm: look.needs(arm) - gains[arm][0])
    if winners:
        need = "its cost" if look.needs(winners[0]) > 0 else "nothing"
        return ExperimentVerdict(
            "real-time",
            winners[0],
            f"the gain of arm {winners[0]!r} is shown to exceed {need}",
            intervals,
        )
    if harmful:
        return ExperimentVerdict(
            "harm",
            harmful[0],
            f"arm {harmful[0]!r} is shown to be worse than the control",
            intervals,
        )
    if all(high < look.needs(arm) for arm, (_, high) in gains.items()):
        return ExperimentVerdict(
            "stay batch", None, "no arm can gain as much as it costs", intervals
        )
    over = look.over or (
        "the planned time is over" if look.by_time else "all planned units have matured"
    )
    if look.over or look.information[-1] >= 1:
        if all(high < look.worth(arm) for arm, (_, high) in gains.items()):
            return ExperimentVerdict(
                "stay batch",
                None,
                f"{over}, and no arm gains as much as is worth having",
                intervals,
            )
        return ExperimentVerdict("inconclusive", None, over, intervals)
    plan_text = "planned time is over" if look.by_time else "planned units have matured"
    return ExperimentVerdict(
        "keep running", None, f"{look.information[-1]:.0%} of the {plan_text}", intervals
    )


def _intervals(
    look: ExperimentLook,
) -> tuple[dict[str, tuple[float, float]], dict[str, tuple[float, float]]]:
    """The interval of each arm, and the same so signed that a gain is positive."""
    if look.information[-1] <= 0:
        endless = dict.fromkeys(look.lifts, (-math.inf, math.inf))
        return endless, endless
    order = sorted(look.lifts, key=lambda arm: -abs(look.lifts[arm].z))
    intervals: dict[str, tuple[float, float]] = {}
    remaining = len(order)
    for arm in order:
        bound = bounds(look.information, look.alpha / remaining, look.units or None)[-1]
        intervals[arm] = look.lifts[arm].sequential(bound)
        if (
            remaining > 1
            and _excludes_zero(intervals[arm])
            and remaining == len(order) - len(intervals) + 1
        ):
            remaining -= 1
    intervals = {arm: intervals[arm] for arm in look.lifts}
    gains = (
        intervals
        if look.higher_is_better
        else {arm: (-high, -low) for arm, (low, high) in intervals.items()}
    )
    return intervals, gains


def _excludes_zero(interval: tuple[float, float]) -> bool:
    return interval[0] > 0 or interval[1] < 0
