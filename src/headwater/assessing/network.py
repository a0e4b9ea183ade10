"""Network effects: how the world may react to a model, which no backtest sees, and the experiment that would measure it.

A definition (a ranking, the words of its names) only makes an effect likely; a question settles it, and an answer takes precedence
over any inference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from headwater.definitions.model import Model
from headwater.errors import UsageError, nearest
from headwater.results.assessment_parts import Effect, Network, NetworkEffect


@dataclass(frozen=True)
class _Kind:
    words: frozenset[str]
    question: str
    why: str
    experiment: str
    tells: str


_KINDS: Mapping[Effect, _Kind] = {
    "adversaries": _Kind(
        frozenset(
            (
                "fraud",
                "fraudulent",
                "chargeback",
                "chargebacks",
                "abuse",
                "spam",
                "bot",
                "bots",
                "scam",
                "laundering",
                "aml",
                "takeover",
                "phishing",
                "cheat",
            )
        ),
        "Do the people that the model detects change their behaviour once it detects them?",
        "attackers adapt, so a gain on past attacks shrinks once they have seen the model in production",
        "cluster experiment with a burn-in (whole regions or merchants, read weeks after the start)",
        "attackers move from treated accounts to untreated ones, so an A/B test by account counts displaced attacks as prevented",
    ),
    "feedback": _Kind(
        frozenset(
            (
                "recommendation",
                "recommendations",
                "recommend",
                "ranking",
                "feed",
                "click",
                "clicks",
                "ctr",
                "clicked",
                "impression",
                "impressions",
                "ad",
                "ads",
            )
        ),
        "Do the model's own outputs decide which outcomes it is later trained on?",
        "only shown items can be clicked, so the model's own choices become its next training data",
        "interleaving to see which ranking is preferred, then an A/B test by user with the training log split by arm",
        "if both arms train on one log, each learns from the items that the other has shown, and their difference fades",
    ),
    "supply": _Kind(
        frozenset(
            (
                "price",
                "prices",
                "pricing",
                "surge",
                "dispatch",
                "driver",
                "drivers",
                "courier",
                "couriers",
                "ride",
                "rides",
                "rental",
                "rentals",
                "stock",
                "inventory",
                "demand",
                "matching",
                "discount",
                "discounts",
                "coupon",
                "bid",
                "bids",
                "auction",
            )
        ),
        "Do the users of the model share a limited supply: drivers, stock, budget, slots?",
        "one customer gets what another one then lacks, so a gain for some is partly a loss for others",
        "switchback by region and time (randomised by region and time bucket, without the start of each bucket)",
        "in an A/B test by user both arms draw on one supply, so the treated arm's gain includes what it took from the untreated one",
    ),
}
_NONE = "user-level A/B (each user hashed to one arm)"
_NONE_TELLS = "one user's treatment does not affect another user, so the difference between the arms is the effect"


def network(model: Model, answered: Sequence[str] | None = None) -> Network:
    """The network effects of a model's task.

    Args:
        model: the model; its names and task are used if there is no answer.
        answered: the effects that it has; ("none",) for none; None if not answered.

    Raises:
        UsageError: an unknown effect.

    >>> import headwater as hw
    >>> network(None, ["none"]).experiment
    'user-level A/B (each user hashed to one arm)'
    """
    chosen = _answered(answered) if answered is not None else _signs(model)
    known: Literal["answered", "likely"] = "likely" if answered is None else "answered"
    likely = [
        NetworkEffect(effect, known, sign, (kind := _KINDS[effect]).why, kind.question, kind.experiment, kind.tells)
        for effect, sign in chosen.items()
    ]
    # Of several, the one with the strictest experiment: shared supply, then adversaries, then feedback.
    first = next((item for effect in ("supply", "adversaries", "feedback") for item in likely if item.effect == effect), None)
    questions = [kind.question for kind in _KINDS.values()] if answered is None else []
    if first is None:
        return Network(likely, _NONE, _NONE_TELLS, answered is not None, questions)
    return Network(likely, first.experiment, first.tells, answered is not None, questions)


def _answered(answered: Sequence[str]) -> dict[Effect, str]:
    allowed = [*_KINDS, "none"]
    for name in answered:
        if name not in allowed:
            raise UsageError(f"network effect {name!r}; {nearest(name, allowed)} (of {', '.join(allowed)})")
    if "none" in answered and len(answered) > 1:
        raise UsageError(f"network effects {', '.join(answered)}: 'none' cannot be combined with others")
    return {effect: "as answered" for effect in _KINDS if effect in answered}


def _signs(model: Model) -> dict[Effect, str]:
    """Effects that the definition makes likely, and the sign of each."""
    named = {
        f"model {model.name!r}": model.name,
        f"labels {model.labels.name!r}": model.labels.name,
        f"label {model.labels.label_name!r}": model.labels.label_name,
        **{f"source {source.name!r}": source.name for source in model.features.sources},
    }
    signs: dict[Effect, str] = {}
    for effect, kind in _KINDS.items():
        sign = next((what for what, name in named.items() if words(name) & kind.words), None)
        if effect == "feedback" and model.ranking is not None:
            sign = f"the task is a {model.task}"
        if sign is not None:
            signs[effect] = sign
    return signs


def words(name: str) -> set[str]:
    """The words of a name.

    >>> sorted(words("card_fraudLabels2"))
    ['card', 'fraud', 'labels']
    """
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}
