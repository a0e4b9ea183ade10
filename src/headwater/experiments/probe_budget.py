"""What a probe has cost so far, against its budget."""

from __future__ import annotations

import math

from headwater.models.experiment_store import FrozenPlan
from headwater.results.experiment_result import ExperimentResult

LOSS_BUDGET = "loss_budget"
"""The setting of a frozen plan with the budget, in millionths of the metric's unit."""
CAPTION = "A probe: effect on a few, world unchanged."


def is_probe(plan: FrozenPlan) -> bool:
    """Whether a plan is of a probe."""
    return LOSS_BUDGET in plan.settings


def probe_loss(result: ExperimentResult) -> float:
    """The estimated loss so far, in the deciding metric's unit, summed over probed units with a
    final outcome; negative is a gain.

    NaN while no unit of an arm has one.
    """
    matured = {arm.name: arm.matured for arm in result.arms}
    losses = [
        (metric.control - metric.treated)
        * (1 if metric.higher_is_better else -1)
        * matured.get(metric.arm, 0)
        for metric in result.deciding
    ]
    finite = [loss for loss in losses if math.isfinite(loss)]
    return sum(finite) if finite else math.nan


def budget_spent(plan: FrozenPlan, result: ExperimentResult) -> list[str]:
    """That a probe has cost more than its budget, in words; empty where it has not, and of other
    experiments.

    The estimate itself counts, not a bound of it: noise may stop a probe early, which costs power
    and no money.
    """
    if not is_probe(plan):
        return []
    budget, loss = plan.settings[LOSS_BUDGET] / 1e6, probe_loss(result)
    if not loss > budget:
        return []
    return [f"the probe has cost {loss:,.4g} {plan.metrics[0]}, and its budget is {budget:,.4g}"]
