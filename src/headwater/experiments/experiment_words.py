"""The verdict of an experiment in a product manager's words, and the rule that was fixed before the start."""

from __future__ import annotations

import math

from headwater.experiments.probe_budget import CAPTION, is_probe
from headwater.models.experiment_store import FrozenPlan
from headwater.results.estimate import Estimate
from headwater.results.experiment_result import ExperimentDecision

SEVERAL_WINNERS = "Of several winners whose costs are not known, the first in the list is served, unless a later one is shown to be better."


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


def first_line(decision: ExperimentDecision, names: tuple[str, str, str], lift: Estimate | None, reason: str) -> str:
    """The verdict as one sentence. names: the control, the arm, the metric."""
    control, arm, metric = names
    by = "" if lift is None else f": it changes {metric} by {between(lift)}"
    match decision:
        case "real-time":
            return f"Real-time: serve {arm}{by}."
        case "stay batch":
            return f"Stay batch: keep {control}; {reason}" + (f". {arm} changes {metric} by {between(lift)}." if lift else ".")
        case "harm":
            return f"Harm: stop {arm} and serve {control}; {reason}."
        case "invalid":
            return f"Invalid: {reason}. Repair it, and start a new version of the experiment."
    return f"Keep running: {reason}."


def rule(plan: FrozenPlan, estimator: str, break_even: float) -> str:
    """The rule by which the experiment is decided."""
    need = f"above break-even, {percent(break_even)}" if break_even > 0 else "above 0"
    looks = "one look" if plan.looks == 1 else f"{plan.looks} looks"
    metric = plan.metrics[0]
    rails = (
        f" A guardrail ({', '.join(plan.guardrails)}) that is shown to be worse by more than its margin is harm at any time."
        if plan.guardrails
        else ""
    )
    by_time = plan.units_needed is None or plan.kind != "ab"
    over = "the planned time is over" if by_time else "all planned units have matured"
    spending = " by the share of the planned time" if by_time else ""
    arms = f" Holm's method corrects for the arms. {SEVERAL_WINNERS}" if len(plan.arms) > 2 else ""
    return (
        f"An arm wins if the interval of its gain in {metric} lies {need}, and harms if it lies below 0; batch stays if {over} "
        f"and no arm has won. The error of {plan.alpha:.0%} is spent over {looks}{spending} (O'Brien-Fleming, Lan-DeMets).{arms}{rails} Estimator: {estimator}."
        f"{f' {CAPTION}' if is_probe(plan) else ''}"
    )
