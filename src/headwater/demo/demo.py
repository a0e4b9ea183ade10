"""The backtest of the demo."""

from __future__ import annotations

from headwater.backtesting.backtest import Backtest
from headwater.backtesting.backtest import backtest as _backtest
from headwater.definitions.project import Project
from headwater.training.progress import OnProgress
from headwater.training.resources import Resources


def backtest(project: Project, on_progress: OnProgress | None = None) -> Backtest:
    """The demo's backtest, as its definitions say."""
    return _backtest(
        project.model("late"),
        project.levels,
        project.evaluation,
        resources=Resources(progress=on_progress or False),
    )
