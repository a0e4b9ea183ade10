"""Network effects: why the world may answer a model back, which no backtest sees, and the kind of experiment that would tell.

What a definition gives away (a ranking, the words of its names) only makes an effect likely; a question settles it, and an answer goes
before any guess.
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
        "Do those whom the model is to catch change what they do once it catches them?",
        "who is caught adapts, so what a backtest gains on past attacks shrinks once the attackers have seen the model at work",
        "cluster experiment with a burn-in (whole regions or merchants, read weeks after the start)",
        "attackers move from treated accounts to untreated ones beside them, so an A/B by account counts displaced attacks as prevented",
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
        "Does what the model shows decide which outcomes it later learns from?",
        "what is shown is what can be clicked, so the model's own choices become its next training data",
        "interleaving to see which ranking is preferred, then an A/B by user with the training log split by arm",
        "if both arms train on one log, each learns from what the other has shown, and the difference between them fades",
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
        "Do those whom the model serves share what there is of something: drivers, stock, budget, slots?",
        "what one customer is given another one lacks, so a gain for some is partly taken from the others",
        "switchback by region and time (coin a region and bucket, the first part of each bucket left out)",
        "in an A/B by user both arms draw on one supply, so the treated arm's gain holds what it took from the untreated one",
    ),
}
_NONE = "user-level A/B (each user hashed to one arm)"
_NONE_TELLS = "nothing that one user is given changes what another one has, so their difference is the effect"


def network(model: Model, answered: Sequence[str] | None = None) -> Network:
    """The network effects of a model's task.

    Args:
        model: whose names and task are looked at where nobody has answered.
        answered: the effects that it has, as somebody who knows says; ("none",) for none. None: nobody has answered.

    Raises:
        UsageError: an effect that there is not.

    >>> import headwater as hw
    >>> network(None, ["none"]).experiment
    'user-level A/B (each user hashed to one arm)'
    """
    chosen = _answered(answered) if answered is not None else _signs(model)
    known: Literal["answered", "likely"] = "likely" if answered is None else "answered"
    found = [
        NetworkEffect(effect, known, sign, (kind := _KINDS[effect]).why, kind.question, kind.experiment, kind.tells)
        for effect, sign in chosen.items()
    ]
    # Of several, the one whose experiment forgives the others the least: shared supply, then adversaries, then feedback.
    first = next((one for effect in ("supply", "adversaries", "feedback") for one in found if one.effect == effect), None)
    questions = [kind.question for kind in _KINDS.values()] if answered is None else []
    if first is None:
        return Network(found, _NONE, _NONE_TELLS, answered is not None, questions)
    return Network(found, first.experiment, first.tells, answered is not None, questions)


def _answered(answered: Sequence[str]) -> dict[Effect, str]:
    allowed = [*_KINDS, "none"]
    for name in answered:
        if name not in allowed:
            raise UsageError(f"network effect {name!r}; {nearest(name, allowed)} (of {', '.join(allowed)})")
    if "none" in answered and len(answered) > 1:
        raise UsageError(f"network effects {', '.join(answered)}: 'none' stands alone")
    return {effect: "as answered" for effect in _KINDS if effect in answered}


def _signs(model: Model) -> dict[Effect, str]:
    """Effects that the definition makes likely, and what of it does."""
    named = {
        f"model {model.name!r}": model.name,
        f"labels {model.labels.name!r}": model.labels.name,
        f"label {model.labels.label_name!r}": model.labels.label_name,
        **{f"source {source.name!r}": source.name for source in model.features.sources},
    }
    found: dict[Effect, str] = {}
    for effect, kind in _KINDS.items():
        sign = next((what for what, name in named.items() if words(name) & kind.words), None)
        if effect == "feedback" and model.ranking is not None:
            sign = f"the task is a {model.task}"
        if sign is not None:
            found[effect] = sign
    return found


def words(name: str) -> set[str]:
    """The words of a name.

    >>> sorted(words("card_fraudLabels2"))
    ['card', 'fraud', 'labels']
    """
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}
