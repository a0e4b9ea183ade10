"""The parts of an assessment as plain frozen values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from headwater.results.measurement import Reading
from headwater.results.result import Result

Effect = Literal["supply", "adversaries", "feedback"]


class NetworkEffect(Result, frozen=True):
    """A network effect that the task has by an answer: why it matters, its question, the right
    experiment, and why that one.
    """

    effect: Effect
    why: str
    question: str
    experiment: str
    tells: str


class Network(Result, frozen=True, rename={"tells": "why", "unanswered": "not_answered"}):
    """The network effects of a task; the experiment that would measure the model's value, and why;
    the questions without an answer.
    """

    effects: Sequence[NetworkEffect]
    experiment: str
    tells: str
    unanswered: Sequence[str]


class AtRequest(Result, frozen=True):
    """A feature computed at request time: its latency and its fallback."""

    name: str
    kind: str
    p50: Reading
    p99: Reading
    fallback: str
