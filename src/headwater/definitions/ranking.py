"""The task of putting candidates in order: the owner of a list, its items, and the source of
candidates.

Negatives of a ranking that is trained on a log of positives: how many candidates are drawn for
each, and how.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Literal, get_args

from headwater.definitions.checks import (
    check_choice,
    check_integer,
    check_list,
    check_number,
    check_text,
    check_type,
)
from headwater.definitions.definition import Definition
from headwater.definitions.feature_service import FeatureService
from headwater.definitions.feature_view import FUNCTIONS, Feature, FeatureRef, FeatureView
from headwater.errors import DefinitionError


@dataclass(frozen=True, eq=False)
class Ranking(Definition):
    """Candidates are put in order within each group; a label is how relevant a candidate was, 0 or
    1 or in grades 0, 1, 2, ...

    Args:
        group: the column of the request that names the list: rows that share it are ranked against
            each other.
        item: the column of the request that names the candidate.
        candidates: features that are lists of items (`top_k`, `last_n`, `first_n`, `collect_set`),
            the best source first; [] where each request brings its own candidates.
        negatives: where the labels are a log of positives (the item that each request chose, none
            that it did not): how negatives are drawn from the candidates for training. None where
            the labels have rows of both kinds.
        explore: the share of lists that are served in random order, such as 0.02: their items are
            drawn from all candidates alike. Each item is logged with the probability of its place,
            so that another ranking can be judged from the log.

    Raises:
        DefinitionError: no column names, one column for both, a candidate that is not a list or is
            looked up by the item, or negatives without candidates.

    >>> import headwater as hw, polars as pl
    >>> clicks = hw.Source(
    ...     "clicks", history=pl.DataFrame({"item": ["a"], "at": [0]}), timestamp_field="at"
    ... )
    >>> popular = hw.FeatureView(
    ...     "popular",
    ...     source=clicks,
    ...     keys=[],
    ...     features=[hw.top_k("item", k=300)],
    ...     windows=["1d"],
    ...     freshness=hw.batch("1d"),
    ... )
    >>> print(hw.Ranking(group="request", item="item", candidates=[popular["top_k_item_1d"]]))
    ranking of 'item' within each 'request', candidates from popular__top_k_item_1d
    >>> catalogue = hw.FeatureView(
    ...     "catalogue",
    ...     source=clicks,
    ...     keys=[],
    ...     features=[hw.collect_set("item", max_size=10_000)],
    ...     freshness=hw.batch("1d"),
    ... )
    >>> print(
    ...     hw.Ranking(
    ...         "request",
    ...         "item",
    ...         [catalogue["collect_set_item"]],
    ...         hw.evaluation.NegativeSampling(n=20),
    ...     )
    ... )
    ranking of 'item' within each 'request', candidates from catalogue__collect_set_item; 20 negatives a positive uniformly, seed 0
    """  # noqa: E501 (output as it is printed)

    group: str
    item: str
    candidates: Sequence[FeatureRef] = ()
    negatives: NegativeSampling | None = field(default=None, metadata={"fingerprint": "given"})
    explore: float = field(default=0.0, metadata={"fingerprint": "given"})

    kind: ClassVar[str] = "ranking"

    def __post_init__(self) -> None:
        for role, name in (("group", self.group), ("item", self.item)):
            check_text(name, f"Ranking: {role}", "the name of a column of the request")
        if self.group == self.item:
            raise DefinitionError(
                f"Ranking: {self.group!r} is both group and item; the group identifies a list, "
                "such as 'request', and the item an entry of it"
            )
        give = 'a list of features that are lists, such as [popular["top_k_item_1d"]]'
        object.__setattr__(
            self, "candidates", check_list(self.candidates, FeatureRef, "Ranking: candidates", give)
        )
        for candidate in self.candidates:
            self._check_candidate(candidate)
        names = [ref.name for ref in self.candidates]
        if len(set(names)) < len(names):
            raise DefinitionError(f"Ranking: a feature is repeated among the candidates {names}")
        check_type(
            self.negatives,
            NegativeSampling | None,
            "Ranking: negatives",
            "hw.evaluation.NegativeSampling(n=...)",
        )
        check_number(
            self.explore,
            "Ranking: explore",
            "a share of lists",
            least=0,
            most=1,
            note="such as 0.02",
        )
        if self.negatives is not None and not self.candidates:
            raise DefinitionError(
                "Ranking: negatives are drawn from the candidates, and there are none; give "
                "candidates=[...], such as a collect_set() of all items"
            )

    def __str__(self) -> str:
        among = (
            f", candidates from {', '.join(ref.name for ref in self.candidates)}"
            if self.candidates
            else ""
        )
        drawn = f"; {self.negatives}" if self.negatives is not None else ""
        explored = f"; {self.explore:.3g} of lists in random order" if self.explore else ""
        return f"ranking of {self.item!r} within each {self.group!r}{among}{drawn}{explored}"

    @cached_property
    def retrieval(self) -> FeatureService | None:
        """The feature service that candidates are retrieved from; None where each request brings
        its own.
        """
        return FeatureService("candidates", self.candidates) if self.candidates else None

    def _check_candidate(self, candidate: FeatureRef) -> None:
        aggregation = feature_of(candidate).aggregation
        subject = f"Ranking: the candidate {candidate.name!r}"
        if not aggregation.facts.gives_list:  # which cannot be split into a map
            lists = sorted(f"{name}()" for name, facts in FUNCTIONS.items() if facts.gives_list)
            kinds = " and ".join((", ".join(lists[:-1]), lists[-1]))
            raise DefinitionError(
                f"{subject} is made by {aggregation.function}(), which gives no list; candidates "
                f"are lists of items: {kinds} make them"
            )
        if candidate.view.list_key is not None:
            raise DefinitionError(
                f"{subject} is looked up by a list of keys, so it is a list of lists; give a "
                "feature of one key"
            )
        if self.item in _asked_for(candidate.view):
            raise DefinitionError(
                f"{subject} is looked up by {self.item!r}, the item that it should propose; key "
                "it by a column that the request has, such as the user, or alias its view with "
                "keys={...}"
            )


def feature_of(ref: FeatureRef) -> Feature:
    """The feature that a reference names."""
    return next(f for f in ref.view.outputs if f.name == ref.feature)


def _asked_for(view: FeatureView) -> Iterator[str]:
    """The request's columns for the lookup of a view, through the features that fill its keys."""
    for key in view.keys:
        filled = view.request_key(key)
        if isinstance(filled, FeatureRef):
            yield from _asked_for(filled.view)
        else:
            yield filled


SampledBy = Literal["uniform", "popularity"]


@dataclass(frozen=True, eq=False)
class NegativeSampling(Definition):
    """Draw `n` candidates for each positive of a log as negatives of training. Evaluation always
    ranks every candidate.

    A candidate is drawn from those that the level knows when the request asks (as of its T and K),
    with replacement; an item that the request chose is never drawn. With fewer than `n` candidates,
    each is taken once.

    Args:
        n: draws for each positive, at least 1.
        by: "uniform": each candidate is equally likely; "popularity": in proportion to 1 + the
            item's positives in the log that were known when the UTC day of the request began.
        seed: of the draws. They depend on the seed, the request, the chosen item and the candidates
            alone, so levels with the same candidates draw the same negatives.

    Training corrects for the draws: with q the expected number of draws of a candidate, rankers get
    the offset -log q, and estimators that judge each candidate by itself the weight 1/q.

    Raises:
        DefinitionError: n below 1, another way to draw, or a seed that is not an integer of 0 or
            more.

    Source: Yi et al., "Sampling-bias-corrected neural modeling for large corpus item
    recommendations", 2019.

    >>> print(NegativeSampling(n=20, by="popularity"))
    20 negatives a positive by popularity, seed 0
    """

    n: int
    by: SampledBy = "uniform"
    seed: int = 0

    def __post_init__(self) -> None:
        check_integer(self.n, "NegativeSampling: n", least=1, most=100_000)
        check_choice(self.by, get_args(SampledBy), "NegativeSampling: by")
        check_integer(self.seed, "NegativeSampling: seed", least=0, most=2**63 - 1)

    def __str__(self) -> str:
        drawn = "uniformly" if self.by == "uniform" else "by popularity"
        return f"{self.n} negatives a positive {drawn}, seed {self.seed}"
