"""The parts of an assessment: plain values that its page reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from headwater.results.lift_result import Step
from headwater.results.measurement import Missing, Reading

Effect = Literal["adversaries", "feedback", "supply"]


@dataclass(frozen=True)
class NetworkEffect:
    """One effect: whether it is given by an answer or likely by a sign, the question that settles it, and the experiment that tells."""

    effect: Effect
    known: Literal["answered", "likely"]
    sign: str
    why: str
    question: str
    experiment: str
    tells: str

    def to_dict(self) -> dict[str, object]:
        """The same, as JSON can say it."""
        return {name: getattr(self, name) for name in ("effect", "known", "sign", "why", "question", "experiment", "tells")}


@dataclass(frozen=True)
class Network:
    """The effects that a task has, or likely has; the experiment that would tell what the model is worth, and why that one."""

    effects: Sequence[NetworkEffect]
    experiment: str
    tells: str
    answered: bool
    questions: Sequence[str]

    def to_dict(self) -> dict[str, object]:
        """The same, as JSON can say it."""
        return {
            "effects": [one.to_dict() for one in self.effects],
            "experiment": self.experiment,
            "why": self.tells,
            "answered": self.answered,
            "questions": list(self.questions),
        }


UseCase = Literal["recommendations", "ads", "fraud", "marketplace"]


@dataclass(frozen=True)
class Published:
    """A published lift: whose, when, of what use, what was made fresher, what it gave, and where that stands.

    through: "" where the source itself was read, else that only a summary of it was. confounded: what changed beside freshness.
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
        """The same, as JSON can say it."""
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


_SUMMARY = "read in a summary of it"


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
        "a sequence of the user's latest actions, beside nightly user embeddings",
        "+11 % repins, -10 % hides",
        "https://arxiv.org/abs/2306.00248",
        _SUMMARY,
        "the model changed with the features",
    ),
    Published(
        "Kuaishou",
        2022,
        "recommendations",
        "what the user has just watched, by ranking again on the device",
        "+1.28 % effective views, +8.22 % likes, +13.6 % follows",
        "https://arxiv.org/abs/2208.09577",
        "",
        "the model and the place of ranking changed too",
    ),
    Published(
        "Grubhub",
        2021,
        "recommendations",
        "the model, trained online each day in place of anew",
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
        "features for detecting fraud, in real time in place of batch",
        "millions a year of fraud prevented, no rates given",
        "https://tech.instacart.com/lessons-learned-the-journey-to-real-time-machine-learning-at-instacart-942f3a656af3",
    ),
    Published(
        "Instacart",
        2022,
        "marketplace",
        "whether an item is in stock, from hours to seconds",
        "no rates given",
        "https://tech.instacart.com/lessons-learned-the-journey-to-real-time-machine-learning-at-instacart-942f3a656af3",
    ),
)


@dataclass(frozen=True)
class TimedOut:
    """The lift over the stale level where a share of the calls time out, and their feature has its fallback."""

    share: float
    lift: Step

    def to_dict(self) -> dict[str, object]:
        """The same, as JSON can say it."""
        return {"share": self.share, "lift": self.lift.to_dict()}


@dataclass(frozen=True)
class AtRequest:
    """A feature that is made at request time: its time, what stands in for it, and the lift where some of its calls time out."""

    name: str
    kind: str
    p50: Reading
    p99: Reading
    fallback: str
    timed_out: Sequence[TimedOut] | Missing

    def to_dict(self) -> dict[str, object]:
        """The same, as JSON can say it."""
        lifts = self.timed_out.to_dict() if isinstance(self.timed_out, Missing) else [one.to_dict() for one in self.timed_out]
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

    transition: 1, from predictions made ahead to predictions on request with batch features; 2, on to fresher features. gives: its gain
    in words. costs: money a day, by itself. blocker and remedy: what is in the way, and what to do.
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
        """The same, as JSON can say it."""
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
    """The stages in order, and the views that may stay as they are."""

    stages: Sequence[Stage]
    stay: Sequence[str]
    note: str

    def to_dict(self) -> dict[str, object]:
        """The same, as JSON can say it."""
        return {"stages": [stage.to_dict() for stage in self.stages], "stay": list(self.stay), "note": self.note}


@dataclass(frozen=True)
class Change:
    """An input that the verdict hangs on: what it is now, where it tips, and what would be said then."""

    input: str
    now: str
    threshold: str
    then: str

    def to_dict(self) -> dict[str, object]:
        """The same, as JSON can say it."""
        return {"input": self.input, "now": self.now, "threshold": self.threshold, "then": self.then}


def listed(names: Sequence[str]) -> str:
    """Names as a sentence lists them.

    >>> listed(["card"]), listed(["card", "shop", "user"])
    ('card', 'card, shop and user')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "no view"
