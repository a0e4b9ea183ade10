"""What a backtest and an experiment of one model say of each other, in sentences."""

from __future__ import annotations

import math

from headwater.pages import wording
from headwater.results.backtest_result import BacktestResult
from headwater.results.estimate import Estimate
from headwater.results.evidence_result import ExperimentFinding
from headwater.results.experiment_result import ExperimentResult


def percent(value: float) -> str:
    """A relative lift in percent."""
    return (
        f"{wording.number(100 * value, 1, signed=True)} %"
        if math.isfinite(value)
        else wording.NO_VALUE
    )


def of_experiments(result: BacktestResult) -> list[str]:
    """For a backtest: what each experiment tested, its verdict, and whether it tested the
    recommended level.
    """
    return [
        f"{_tested(finding)}: {finding.sentence}{_recommended(result, finding)}"
        for finding in result.experiments
    ]


def of_backtest(result: ExperimentResult) -> list[str]:
    """For an experiment: the recommendation of the backtest, and what the experiment says of that
    level.
    """
    finding = result.backtest
    if finding is None:
        return []
    lines = [f"The backtest of {finding.at[:10]} says: {finding.sentence}"]
    control, treated = result.arms[0], [arm.name for arm in result.arms[1:]]
    tested = f"{wording.listed(treated)} against {control.name}"
    if not finding.level:
        return lines
    if not finding.arm:
        return [
            *lines,
            (
                f"No arm serves {finding.level}, so this experiment does not test that "
                f"recommendation: it tests {tested}."
            ),
        ]
    if finding.arm == control.name:
        return [
            *lines,
            f"{_arm(finding.arm, finding.level)} is the control: this experiment tests {tested}.",
        ]
    lines.append(
        f"{_arm(finding.arm, finding.level)} is one of the arms: this experiment tests {tested}."
    )
    return lines + [_over(result, arm, finding.arm, change) for arm, change in finding.over.items()]


def _tested(finding: ExperimentFinding) -> str:
    levels = f"tested {wording.listed(finding.levels)} against {finding.control}"
    return f"Experiment {finding.experiment} ({finding.design}, as of {finding.at[:10]}) {levels}"


def _recommended(result: BacktestResult, finding: ExperimentFinding) -> str:
    recommendation = result.recommendation
    if (
        recommendation is None
        or recommendation.answer != "run"
        or recommendation.level in (*finding.levels, finding.control)
    ):
        return ""
    return f" It did not test {recommendation.level}, which is recommended here."


def _arm(arm: str, level: str) -> str:
    return f"Arm {arm}" if arm == level else f"Arm {arm}, which serves {level},"


def _over(result: ExperimentResult, arm: str, recommended: str, change: Estimate) -> str:
    """Whether an arm is shown to be better than the one that the backtest recommends."""
    metric = result.deciding[0]
    low, high = (
        (change.low, change.high) if metric.higher_is_better else (-change.high, -change.low)
    )
    shown = (
        "shown to be better"
        if low > 0
        else "shown to be worse"
        if high < 0
        else "not shown to be better"
    )
    by = (
        f"{percent(change.value)} (between {percent(change.low)} and {percent(change.high)}, one "
        "look)"
    )
    return (
        f"{arm} against {recommended}: {metric.metric} {by}. {arm} is {shown} than {recommended}."
    )
