"""Kinds of experiments and how each is analysed: a row a kind, whose functions stand in a file of
their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from headwater.experiments import cluster_analysis, switchback_analysis, unit_analysis
from headwater.experiments.health import HealthCheck
from headwater.experiments.look_rows import LookRows
from headwater.experiments.relative_lift import RelativeLift
from headwater.models.experiment_store import FrozenPlan

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class AnalysisKind:
    """How a kind is analysed.

    Args:
        exposures: the exposures that count, by the analysis' units.
        lift: of an arm over the control.
        checks: of health, that this kind has besides those of all.
        assigned: units with their arms, gathered to the randomised units.
        accrues: what information grows with.
        estimator: in words.
        assumes: what must be true for the estimate to be of the whole product.
        p_value: of one look, where it is not that of the lift.
    """

    exposures: Callable[[pl.DataFrame, FrozenPlan], pl.DataFrame]
    lift: Callable[[LookRows, str, str, FrozenPlan], RelativeLift]
    checks: Callable[[LookRows, FrozenPlan, float], list[HealthCheck]]
    assigned: Callable[[pl.DataFrame], pl.DataFrame]
    accrues: Literal["units", "time"]
    estimator: str
    assumes: str
    p_value: Callable[[LookRows, str, str, FrozenPlan], float] | None = None


KINDS: dict[str, AnalysisKind] = {
    "ab": AnalysisKind(
        unit_analysis.exposures,
        unit_analysis.lift,
        unit_analysis.checks,
        unit_analysis.assigned,
        "units",
        "log ratio over units with CUPED",
        "a unit's arm changes nothing for other units",
    ),
    "switchback": AnalysisKind(
        switchback_analysis.exposures,
        switchback_analysis.lift,
        switchback_analysis.checks,
        switchback_analysis.assigned,
        "time",
        "region and bucket effects removed, errors clustered by region",
        "an arm's effect ends within the washout, and regions do not act on each other",
        switchback_analysis.randomisation_p,
    ),
    "cluster": AnalysisKind(
        cluster_analysis.exposures,
        cluster_analysis.lift,
        cluster_analysis.checks,
        cluster_analysis.assigned,
        "time",
        "ratio of sums over clusters, Welch's test",
        "clusters do not act on each other",
    ),
}
"""Interleaving and shadow give no lift; `analyse` treats them apart."""
