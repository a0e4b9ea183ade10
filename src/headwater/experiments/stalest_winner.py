"""Which of several winning arms is served, where their costs are not known: the first, unless a
later one is shown to be better.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from headwater.experiments.experiment_look import ExperimentLooks
from headwater.experiments.experiment_verdict import ExperimentVerdict
from headwater.experiments.look_rows import LookRows
from headwater.results.estimate import Estimate


def stalest_winner(
    decided: ExperimentVerdict,
    look: ExperimentLooks,
    rows: LookRows,
    priced: Collection[str],
    even: float,
) -> ExperimentVerdict:
    """The verdict with the first winner in the list of arms that no later winner is shown to beat.

    Args:
        decided: by the intervals of each arm against the control.
        look: the experiment.
        rows: of the deciding metric.
        priced: arms whose costs are known; the one that earns most over its cost stays.
        even: the gain above which an arm wins.
    """
    if decided.decision != "real-time" or priced:
        return decided
    rising = look.experiment.metrics[0].higher_is_better
    gains = {arm: low if rising else -high for arm, (low, high) in decided.intervals.items()}
    first, *others = [arm for arm in look.treated if gains.get(arm, 0.0) > max(even, 0.0)]
    for arm in others:
        over = gain_over(look, rows, arm, first)
        if over is not None and (over.low > 0 if rising else over.high < 0):
            first = arm
    reason = decided.reason.replace(repr(decided.arm), repr(first))
    return replace(decided, arm=first, reason=reason)


def gain_over(look: ExperimentLooks, rows: LookRows, arm: str, other: str) -> Estimate | None:
    """The relative change of the deciding metric from one treated arm to another, with the 95 %
    interval of this look alone.
    """
    lift = look.lift(rows, arm, over=other).lift
    return None if lift is None else Estimate(lift.lift, *lift.interval())
