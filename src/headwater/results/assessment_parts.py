"""The parts of an assessment as plain frozen dataclasses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from headwater.results.lift_result import Step
from headwater.results.measurement import Missing, Reading

Effect = Literal["adversaries", "feedback", "supply"]


@dataclass(frozen=True)
class NetworkEffect:
    """One network effect: known from an answer or likely from the definition, the question that settles it, and the right experiment."""

    effect: Effect
    known: Literal["answered", "likely"]
    sign: str
    why: str
    question: str
    experiment: str
    tells: str

    def to_dict(self) -> dict[str, object]:
        """The value as JSON data."""
        return {name: getattr(self, name) for name in ("effect", "known", "sign", "why", "question", "experiment", "tells")}


@dataclass(frozen=True)
class Network:
    """The network effects of a task, known or likely; the experiment that would measure the model's value, and why."""

    effects: Sequence[NetworkEffect]
    experiment: str
    tells: str
    answered: bool
    questions: Sequence[str]

    def to_dict(self) -> dict[str, object]:
        """The value as JSON data."""
        return {
            "effects": [effect.to_dict() for effect in self.effects],
            "experiment": self.experiment,
            "why": self.tells,
            "answered": self.answered,
            "questions": list(self.questions),
        }


UseCase = Literal["recommendations", "ads", "fraud", "marketplace"]


@dataclass(frozen=True)
class Published:
    """A published lift: who, when, use case, what was made fresher, the lift, and the source.

    through: "" if the source itself was read, else that only a summary of it was. confounded: other changes besides freshness.
    """

    who: str
    year: int
    use: UseCase
    fresher: str
    gave: str
    source: str
    through: str = ""
    confounded: str = ""

    def to_dict(self) -> dict[str, object]:
        """The value as JSON data."""
        return {
            "who": self.who,
            "year": self.year,
            "use_case": self.use,
            "fresher": self.fresher,
            "gave": self.gave,
            "source": self.source,
            "through": self.through,
            "confounded": self.confounded,
        }


_SUMMARY = "taken from a summary of the source"


TABLE: Sequence[Published] = (
    Published(
        "LinkedIn",
        2022,
        "recommendations",
        "a member's own actions, from a day to about a minute",
        "+0.66 % job applications, -20 % dismissals; offline, AUC -3.51 % at an hour's delay and -4.45 % at a day's",
        "https://engineering.linkedin.com/blog/2022/near-real-time-features-for-near-real-time-personalization/",
        _SUMMARY,
    ),
    Published(
        "Pinterest, TransAct",
        2023,
        "recommendations",
        "a sequence of the user's latest actions, in addition to nightly user embeddings",
        "+11 % repins, -10 % hides",
        "https://arxiv.org/abs/2306.00248",
        _SUMMARY,
        "the model changed with the features",
    ),
    Published(
        "Kuaishou",
        2022,
        "recommendations",
        "the videos just watched, by reranking on the device",
        "+1.28 % effective views, +8.22 % likes, +13.6 % follows",
        "https://arxiv.org/abs/2208.09577",
        "",
        "the model and where ranking runs changed too",
    ),
    Published(
        "Grubhub",
        2021,
        "recommendations",
        "the model, trained online each day instead of retrained in full",
        "+20 % purchase-through rate, training 45 times cheaper",
        "https://arxiv.org/abs/2107.07106",
        "",
        "freshness of the model, not of features",
    ),
    Published(
        "ByteDance, Monolith",
        2022,
        "ads",
        "the model's parameters, synchronised every 5 hours, hour or half-hour",
        "AUC 79.66, 79.78 and 79.80, and 79.42 to 79.44 in batch; +14 to +18 % AUC in a live test of ads over 7 days",
        "https://arxiv.org/abs/2209.07663",
        "",
        "freshness of the model, not of features",
    ),
    Published(
        "Etsy Ads, adSformers",
        2023,
        "ads",
        "the user's actions of the last hour, as a sequence",
        "ROC-AUC +2.66 % (clicks) and +2.42 % (purchases) offline; an earlier version +5.34 % return on ad spend",
        "https://arxiv.org/abs/2302.01255",
        "",
        "the model changed with the features",
    ),
    Published(
        "DoorDash, ads",
        2024,
        "ads",
        "no fresher features, but training on features as old as those served",
        "the gap between offline and online AUC from 4.3 % to 0.76 %",
        "https://careersatdoordash.com/blog/how-to-investigate-the-online-vs-offline-performance-for-dnn-models",
    ),
    Published(
        "Instacart",
        2022,
        "fraud",
        "fraud detection features, in real time instead of batch",
        "millions a year of fraud prevented, no rates given",
        "https://tech.instacart.com/lessons-learned-the-journey-to-real-time-machine-learning-at-instacart-942f3a656af3",
    ),
    Published(
        "Instacart",
        2022,
        "marketplace",
        "item availability, from hours to seconds",
        "no rates given",
        "https://tech.instacart.com/lessons-learned-the-journey-to-real-time-machine-learning-at-instacart-942f3a656af3",
    ),
)


@dataclass(frozen=True)
class TimedOut:
    """The lift over the stale level if a share of the calls time out and the feature takes its fallback."""

    share: float
    lift: Step

    def to_dict(self) -> dict[str, object]:
        """The value as JSON data."""
        return {"share": self.share, "lift": self.lift.to_dict()}


@dataclass(frozen=True)
class AtRequest:
    """A feature computed at request time: its latency, its fallback, and the lift if some of its calls time out."""

    name: str
    kind: str
    p50: Reading
    p99: Reading
    fallback: str
    timed_out: Sequence[TimedOut] | Missing

    def to_dict(self) -> dict[str, object]:
        """The value as JSON data."""
        lifts = self.timed_out.to_dict() if isinstance(self.timed_out, Missing) else [timed_out.to_dict() for timed_out in self.timed_out]
        return {
            "name": self.name,
            "kind": self.kind,
            "p50": self.p50.to_dict(),
            "p99": self.p99.to_dict(),
            "fallback": self.fallback,
            "timed_out": lifts,
        }


State = Literal["ready", "blocked", "not known", "not needed"]


@dataclass(frozen=True)
class Stage:
    """A stage of the plan.

    transition: 1, from precomputed predictions to predictions on request with batch features; 2, to fresher features. gives: its gain
    in words. costs: money a day, by itself. blocker and remedy: what blocks it, and what to do.
    """

    transition: Literal[1, 2]
    name: str
    does: str
    gives: str
    costs: Reading
    state: State
    blocker: str
    remedy: str

    def to_dict(self) -> dict[str, object]:
        """The value as JSON data."""
        return {
            "transition": self.transition,
            "name": self.name,
            "does": self.does,
            "gives": self.gives,
            "costs": self.costs.to_dict(),
            "state": self.state,
            "blocker": self.blocker,
            "remedy": self.remedy,
        }


@dataclass(frozen=True)
class Plan:
    """The stages in order, and the views that can stay as they are."""

    stages: Sequence[Stage]
    stay: Sequence[str]
    note: str

    def to_dict(self) -> dict[str, object]:
        """The value as JSON data."""
        return {"stages": [stage.to_dict() for stage in self.stages], "stay": list(self.stay), "note": self.note}


@dataclass(frozen=True)
class Change:
    """An input that the verdict depends on: its value, the threshold, and the verdict beyond it."""

    input: str
    now: str
    threshold: str
    then: str

    def to_dict(self) -> dict[str, object]:
        """The value as JSON data."""
        return {"input": self.input, "now": self.now, "threshold": self.threshold, "then": self.then}


def listed(names: Sequence[str]) -> str:
    """Names as a list in a sentence.

    >>> listed(["card"]), listed(["card", "shop", "user"])
    ('card', 'card, shop and user')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "no view"
