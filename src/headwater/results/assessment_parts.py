"""The parts of an assessment as plain frozen values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from headwater.results.estimate import Comparison
from headwater.results.measurement import Missing, Reading
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


class TimedOut(Result, frozen=True):
    """The lift over the stale level if a share of the calls time out and the feature takes its
    fallback.
    """

    share: float
    lift: Comparison


class AtRequest(Result, frozen=True):
    """A feature computed at request time: its latency, its fallback, and the lift if some of its
    calls time out.
    """

    name: str
    kind: str
    p50: Reading
    p99: Reading
    fallback: str
    timed_out: Sequence[TimedOut] | Missing


State = Literal["ready", "blocked", "not known", "not needed"]


class Stage(Result, frozen=True):
    """A stage of the plan.

    transition: 1, from precomputed predictions to predictions on request with batch features; 2, to
    fresher features. gives: its gain in words. costs: money a day, by itself. blocker and remedy:
    what blocks it, and what to do.
    """

    transition: Literal[1, 2]
    name: str
    does: str
    gives: str
    costs: Reading
    state: State
    blocker: str
    remedy: str


class StagedPlan(Result, frozen=True):
    """The stages in order, and the views that can stay as they are."""

    stages: Sequence[Stage]
    stay: Sequence[str]
    note: str


class Change(Result, frozen=True):
    """An input that the verdict depends on: its value, the threshold, and the verdict beyond it."""

    input: str
    now: str
    threshold: str
    then: str
