"""A probe: a small share of units is served at another level for a while, to see what that level
gives a few.
"""

from __future__ import annotations

from collections.abc import Sequence

from headwater.definitions.checks import check_number
from headwater.definitions.experiment import Arm, Experiment, ExperimentMetric, ExperimentPlan
from headwater.definitions.experiment_kinds import Probe
from headwater.definitions.freshness import Freshness
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.definitions.spelling import spelled
from headwater.errors import DefinitionError

PREFIX, PROBED, SERVED = "probe_", "probed", "served"
"""The prefix of probes' names, so that training leaves out their rows; and their two arms."""
MOST = 0.2
"""The largest share: a larger one is an A/B test."""


@spelled
def probe(
    name: str,
    model: Model,
    level: Level | Freshness,
    *,
    unit: str,
    share: float,
    loss_budget: float,
    metrics: Sequence[ExperimentMetric] = (ExperimentMetric("label_mean"),),
    plan: ExperimentPlan | None = None,
) -> Experiment:
    """An experiment that serves a share of sticky units at another materialised level, by that
    level's own model.

    It is assigned, exposed, planned and analysed as an A/B test: propensities are logged, and
    `headwater experiment plan` states its power. `headwater experiment ramp` stops it once its
    estimated loss exceeds the budget. Training from the serving log leaves out its rows. Its effect
    is that on a few while the world stays as it is: if all units changed, others might react.

    Args:
        name: the experiment is named `probe_NAME`.
        model: which model.
        level: at which the share is served.
        unit: the request's column whose values keep their level for the period, such as "user".
        share: of units, above 0 and up to 0.2.
        loss_budget: the loss that it may cost, in the unit of the first metric, summed over the
            probed units.
        metrics: the first decides, and is a mean over units.
        plan: the period and looks; a further period is `ExperimentPlan` with a later start, and a
            new version of the experiment.

    Raises:
        DefinitionError: a share that is too large, a ratio of two sums, or as `Experiment`.

    >>> from headwater.definitions.freshness import batch
    >>> from headwater.testing.examples import churn
    >>> fresh = probe("nightly", churn(), batch("1d"), unit="user", share=0.02, loss_budget=50)
    >>> fresh.name, [(arm.name, arm.weight) for arm in fresh.arms]
    ('probe_nightly', [('served', 0.98), ('probed', 0.02)])
    """
    check_number(
        share,
        f"probe {name!r}: share",
        "a share of units",
        above=0,
        most=MOST,
        note="or run an A/B test",
    )
    if metrics and isinstance(metrics[0], ExperimentMetric) and metrics[0].base is not None:
        raise DefinitionError(
            f"probe {name!r}: metric {metrics[0].name!r} is a ratio, and a loss budget is of a "
            "sum; leave its base out"
        )
    arms = [Arm(SERVED, model, weight=1 - share), Arm(PROBED, model, level, weight=share)]
    kind = Probe(loss_budget=loss_budget)
    return Experiment(
        f"{PREFIX}{name}",
        arms,
        unit=unit,
        kind=kind,
        metrics=metrics,
        plan=plan or ExperimentPlan(),
    )
