"""The verdict of an experiment in a product manager's words, and the rule that was fixed before the
start.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from headwater.definitions.checks import timestamp_text
from headwater.experiments.experiment_power import SequentialPlan
from headwater.experiments.probe_budget import CAPTION, is_probe
from headwater.experiments.relative_lift import RelativeLift
from headwater.kernel.arrays import I64
from headwater.models.experiment_store import FrozenPlan
from headwater.results.estimate import Estimate
from headwater.results.experiment_result import ExperimentDecision, MetricLift

SEVERAL_WINNERS = (
    "Of several winners whose costs are not known, the first in the list is served, unless a "
    "later one is shown to be better."
)


def percent(value: float) -> str:
    """A relative lift in percent with its sign.

    >>> percent(0.0314), percent(-0.5), percent(math.nan)
    ('+3.1 %', '-50.0 %', 'not known')
    """
    return f"{100 * value:+.1f} %" if math.isfinite(value) else "not known"


def between(lift: Estimate) -> str:
    """A lift with its interval."""
    if not (math.isfinite(lift.low) and math.isfinite(lift.high)):
        return percent(lift.value)
    return f"{percent(lift.value)} (between {percent(lift.low)} and {percent(lift.high)})"


def first_line(
    decision: ExperimentDecision,
    names: tuple[str, str, str],
    lift: Estimate | None,
    reason: str,
    not_within: Sequence[str] = (),
) -> str:
    """The verdict as a sentence, and what the arm changes.

    names: the control, the arm, the metric. not_within: the words about guardrails.
    """
    control, arm, metric = names
    by = "" if lift is None else f" {arm} changes {metric} by {between(lift)}."
    rails = "".join(f"; {rail}" for rail in not_within)
    match decision:
        case "real-time":
            return f"Real-time: serve {arm}{rails}.{by}"
        case "inconclusive":
            return (
                f"Inconclusive: {reason}, and neither a gain nor its absence is shown{rails}.{by}"
            )
        case "stay batch":
            return f"Stay batch: keep {control}; {reason}.{by}"
        case "harm":
            return f"Harm: stop {arm} and serve {control}; {reason}."
        case "invalid":
            return f"Invalid: {reason}. Repair it, and start a new version of the experiment."
    return f"Keep running: {reason}{rails}."


def not_proven(guardrails: Sequence[MetricLift], *, arms: int) -> list[str]:
    """Of each guardrail that is not proven, how bad it may be. arms: of the experiment, the control
    included.
    """
    lines = []
    for rail in guardrails:
        if rail.state == "not proven":
            is_finite = math.isfinite(rail.at_worst)
            why = (
                f"it may be as bad as {percent(rail.at_worst)}"
                if is_finite
                else rail.note or "how bad it may be is not known"
            )
            lines.append(
                f"{rail.metric}{f' of {rail.arm}' if arms > 2 else ''} is not proven: {why}"
            )
    return lines


def advice(plan: FrozenPlan, lifts: Mapping[str, RelativeLift]) -> str:
    """What an inconclusive end means, and what decides it. lifts: of the arms but the control, at
    the last look.
    """
    control, version, command = (
        plan.arms[0].name,
        plan.version + 1,
        f"headwater experiment plan {plan.experiment}",
    )
    again = f"Keep {control} until then. To go on, give the experiment version={version}"
    more = "units" if plan.kind == "ab" else "time"
    widest = max(lifts.values(), key=lambda lift: lift.se, default=None)
    if widest is None or not (math.isfinite(widest.se) and widest.se > 0):
        return f"Nothing can be said of the gain yet. {again}, with more {more} ({command})."
    means = "It may gain much, or nothing: the experiment was too small to tell."
    drift = SequentialPlan(plan.looks, plan.alpha / len(lifts), plan.power, widest.degrees).drift
    if not math.isfinite(drift):
        return f"{means} {again}, with more clusters or regions ({command})."
    times = (drift * widest.se / math.log1p(plan.min_lift)) ** 2
    finding = (
        f"An experiment of this size finds a lift of {percent(math.expm1(drift * widest.se))} "
        f"with a power of {plan.power:.0%}"
    )
    if times <= 1:
        return (
            f"The gain, if there is one, is close to {percent(plan.min_lift)}, the least worth "
            f"finding. {finding}. {again}, with more {more} or another min_lift ({command})."
        )
    factor = f"{times:,.0f}" if times >= 10 else f"{times:.1f}"
    return (
        f"{means} {finding}; {percent(plan.min_lift)}, the least worth finding, takes about "
        f"{factor} times the {more}. {again} ({command})."
    )


def awaited(final_at: I64, at: int) -> str:
    """When the outcomes of units are final that are not yet at a time, microseconds; "" where all
    are.

    >>> import numpy as np
    >>> awaited(np.array([0, 3_600_000_000]), 0)
    'the next outcome is final at 1970-01-01T01:00:00+00:00, all so far by 1970-01-01T01:00:00+00:00'
    """  # noqa: E501 (output as it is printed)
    later = final_at[final_at > at]
    if not len(later):
        return ""
    order = "first" if len(later) == len(final_at) else "next"
    return (
        f"the {order} outcome is final at {timestamp_text(int(later.min()))}, all so far by "
        f"{timestamp_text(int(later.max()))}"
    )


def rule(plan: FrozenPlan, estimator: str, break_even: float) -> str:
    """The decision rule of the experiment."""
    need = f"above break-even, {percent(break_even)}" if break_even > 0 else "above 0"
    looks = "one look" if plan.looks == 1 else f"{plan.looks} looks"
    metric = plan.metrics[0]
    rails = (
        f" A guardrail ({', '.join(plan.guardrails)}) that is shown to be worse by more than its "
        "margin is harm at any time; one that may be is not proven, and stops nothing."
        if plan.guardrails
        else ""
    )
    by_time = plan.units_needed is None or plan.kind != "ab"
    over = "the planned time is over" if by_time else "all planned units have matured"
    worth = max(break_even, plan.min_lift)
    spending = " by the share of the planned time" if by_time else ""
    arms = f" Holm's method corrects for the arms. {SEVERAL_WINNERS}" if len(plan.arms) > 2 else ""
    return (
        f"An arm wins if the interval of its gain in {metric} lies {need}, and harms if it lies "
        f"below 0. If {over} and no arm has won, batch stays where every interval lies below "
        f"{percent(worth)}; else the experiment is inconclusive. The error of {plan.alpha:.0%} is "
        f"spent over {looks}{spending} (O'Brien-Fleming, Lan-DeMets).{arms}{rails} Estimator: "
        f"{estimator}.{f' {CAPTION}' if is_probe(plan) else ''}"
    )
