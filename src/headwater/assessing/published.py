"""Published lifts of fresher features: other companies' results on their data, not evidence for yours."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.assessing.network import words
from headwater.definitions.model import Model
from headwater.results.assessment_parts import TABLE, Published, UseCase

_WORDS: dict[UseCase, frozenset[str]] = {
    "fraud": frozenset(
        (
            "fraud",
            "fraudulent",
            "chargeback",
            "abuse",
            "spam",
            "bot",
            "scam",
            "laundering",
            "aml",
            "takeover",
            "phishing",
        )
    ),
    "ads": frozenset(
        (
            "ad",
            "ads",
            "ctr",
            "click",
            "clicks",
            "clicked",
            "campaign",
            "bid",
            "bids",
            "impression",
            "impressions",
        )
    ),
    "marketplace": frozenset(
        (
            "price",
            "pricing",
            "surge",
            "dispatch",
            "driver",
            "courier",
            "ride",
            "rental",
            "rentals",
            "stock",
            "inventory",
            "demand",
            "eta",
            "delivery",
        )
    ),
    "recommendations": frozenset(
        (
            "recommendation",
            "recommendations",
            "recommend",
            "feed",
            "item",
            "items",
            "session",
            "sessions",
        )
    ),
}


def use_cases(model: Model) -> Sequence[UseCase]:
    """The use cases of a model, by its task and the words of its names; empty if they are not known."""
    name_words = set().union(*(words(name) for name in (model.name, model.labels.name, model.labels.label_name)))
    uses: list[UseCase] = [use for use, mine in _WORDS.items() if name_words & mine]
    if model.ranking is not None and "recommendations" not in uses:
        uses.append("recommendations")
    return uses


def published(model: Model) -> Sequence[Published]:
    """The published lifts for a model's use cases; empty if there are none or the use cases are not known."""
    uses = use_cases(model)
    return [lift for lift in TABLE if lift.use in uses]
