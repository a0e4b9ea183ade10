"""The recommendation of a backtest next to an experiment: which arm serves that level, and what
other arms gain over it.
"""

from __future__ import annotations

from headwater.experiments.experiment_look import ExperimentLooks
from headwater.experiments.experiment_money import ExperimentEvidence
from headwater.experiments.stalest_winner import gain_over
from headwater.results.backtest_result import BacktestResult
from headwater.results.estimate import Estimate
from headwater.results.evidence_result import BacktestFinding
from headwater.results.experiment_result import ExperimentResult


def backtest_finding(
    result: ExperimentResult,
    backtest: BacktestResult,
    evidence: ExperimentEvidence,
    look: ExperimentLooks | None,
) -> BacktestFinding | None:
    """The recommendation of a backtest for the decision page; None where it has none.

    Args:
        result: of the experiment.
        backtest: of a model of its arms.
        evidence: which has the names of the arms' levels in the backtest.
        look: the experiment as it was analysed; None of an interleaving, which has no lift.
    """
    recommendation = backtest.recommendation
    if recommendation is None:
        return None
    level = recommendation.level if recommendation.answer == "run" else ""
    serving = (
        arm.name
        for arm in result.arms
        if arm.model == backtest.model and evidence.names.get(arm.level, arm.level) == level
    )
    arm = next(serving, "") if level else ""
    over = {} if look is None or arm in ("", look.control) else _over(result, arm, look)
    return BacktestFinding(backtest.at, level, recommendation.first_line, arm, over)


def _over(result: ExperimentResult, arm: str, look: ExperimentLooks) -> dict[str, Estimate]:
    """The relative change from the arm to each other treated one."""
    if result.decision != "real-time":
        return {}
    rows = look.look(look.experiment.metrics[0].name, look.time)
    estimates = {other: gain_over(look, rows, other, arm) for other in look.treated if other != arm}
    return {other: estimate for other, estimate in estimates.items() if estimate is not None}
