"""The result of an assessment from scratch as plain frozen values; every rendering reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from headwater.results.assessment_parts import Network
from headwater.results.result import Result

Start = Literal["precompute", "batch", "on request"]


class EventToLog(Result, frozen=True):
    """A kind of event to log from today on: its name, the columns that it needs, and why."""

    name: str
    columns: Sequence[str]
    why: str


class ScratchResult(Result, frozen=True, tag="scratch"):
    """How a team without a model begins.

    start: how predictions are computed at first. first_line: what to do, in a sentence.
    precomputable: whether predictions can be computed before they are asked for, and why. worth:
    what a decision is worth, in sentences. log: what to log from today on.
    first_backtest_days: after how many days of logs a backtest can decide. network: the experiment
    to plan. cautions: what to expect.
    """

    at: str
    start: Start
    first_line: str
    precomputable: bool
    reason: str
    deadline_seconds: float
    worth: Sequence[str]
    log: Sequence[EventToLog]
    first_backtest_days: float
    network: Network
    cautions: Sequence[str]

    def __str__(self) -> str:
        return self.first_line
