"""What a backtest and an experiment of one model say of each other, as plain frozen values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headwater.results.estimate import Estimate
from headwater.results.result import Result


class BacktestFinding(Result, frozen=True):
    """The recommendation of a backtest, as the decision page of an experiment shows it.

    at: when the backtest was made, ISO 8601. level: the recommended level, empty where the backtest
    recommends none. sentence: its first line. arm: the arm of the experiment that serves this
    level, empty where no arm does. over: by other treated arm, the relative change of the deciding
    metric from that arm to it, with the 95 % interval of one look.
    """

    at: str
    level: str
    sentence: str
    arm: str = ""
    over: Mapping[str, Estimate] = {}


class ExperimentFinding(Result, frozen=True):
    """The verdict of an experiment, as the report of a backtest shows it.

    experiment, at, sentence: its name, the time of the analysis and its first line. design: what
    was assigned to arms, in words.
    control: the level of the control. levels: those of the other arms, as the backtest calls them.
    """

    experiment: str
    at: str
    sentence: str
    design: str
    control: str
    levels: Sequence[str]
