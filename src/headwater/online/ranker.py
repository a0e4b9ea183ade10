"""Candidates of one request in order: the request's own, or the proposals of the model's candidate
features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import NamedTuple, cast

from headwater import clock
from headwater.definitions.model import PredictionOrigin
from headwater.errors import DataError
from headwater.online.feature_reader import OnlineFeatures
from headwater.online.feature_vectors import FeatureVectors
from headwater.online.precomputed import PrecomputedReader
from headwater.online.predictor import BatchPrediction, Predicted, Predictor, ThirdPartyValues
from headwater.state.prediction_codec import Items

MOST_CANDIDATES = 10_000


class ItemPropensities(NamedTuple):
    """How the items of a list came to their places.

    propensities: of each item, the probability that its place had it. explored: whether the list is
    in random order. candidates: of such a list, all items that could have been shown; empty of
    others.
    """

    propensities: Sequence[float]
    explored: bool
    candidates: Sequence[object]


class Order(NamedTuple):
    """The best candidates, the best first.

    items: each with its prediction. rows: where each stands among the candidates. features: theirs,
    in the same order; None where none were read. candidates: how many there were. stages: the
    seconds that each took. version: of the model. how: they were put in order.
    age: of the oldest that they are made of. shown: how each item came to its place, where the
    model explores; None where it does not.
    """

    items: list[tuple[object, Predicted]]
    rows: Sequence[int]
    features: FeatureVectors | None
    candidates: int
    stages: Mapping[str, float]
    version: str
    how: PredictionOrigin = "on_request"
    age: float = 0.0
    shown: ItemPropensities | None = None


class Proposed(NamedTuple):
    """A request's candidates in columns, `height` of them, with all that is known of each; and the
    seconds it took to find them.

    order: of candidates that were put in order before the request: nothing is left to do.
    """

    columns: Mapping[str, list[object]]
    height: int
    stages: Mapping[str, float]
    order: Order | None = None


class Ranker:
    """A ranking model at a level; made once for many requests.

    Args:
        predictor: scores candidates.
        retrieval: the features that propose them; None where each request brings its own.
        precomputed: precomputed lists; None where there are none.
        random: decides which lists are in random order, where the ranking explores.

    `asks` are fields that a request may have for the sake of the list, in addition to the inputs of
    features.
    """

    def __init__(
        self,
        predictor: Predictor,
        retrieval: OnlineFeatures | None,
        precomputed: PrecomputedReader | None = None,
        random: Random | None = None,
    ) -> None:
        assert predictor.model.ranking is not None
        self._explore, self._random = predictor.model.ranking.explore, random or Random()  # noqa: S311 (no secret is drawn)
        self.predictor, self.retrieval, self.item, self.precomputed = (
            predictor,
            retrieval,
            predictor.model.ranking.item,
            precomputed,
        )
        self.asks = frozenset(
            [
                predictor.model.ranking.group,
                *(() if retrieval is None else retrieval.service.needed_by()),
            ]
        )

    def propose(
        self, request: Mapping[str, object], candidates: Sequence[object] | None, *, t: int
    ) -> Proposed:
        """The candidates of a request, asked for at t: microseconds.

        Args:
            request: the fields that all candidates share.
            candidates: items, or mappings with the item and fields of its own; None takes those
                that the model retrieves.
            t: the moment of asking.

        Raises:
            DataError: candidates of several kinds, or without an item; none were given and the
                model retrieves none.
            StoreError, StaleError: the features that propose cannot be read.
        """
        begin = clock.stopwatch()
        if self.precomputed is not None:
            ready_list = self._looked_up(self.precomputed, request, candidates, t)
            if ready_list is not None:
                order = ready_list._replace(stages={"look up": clock.stopwatch() - begin})
                columns = {name: [value] * len(order.items) for name, value in request.items()}
                return Proposed(
                    {**columns, self.item: [item for item, _ in order.items]},
                    0,
                    order.stages,
                    order,
                )
        candidate_columns = (
            self._retrieved(request, t) if candidates is None else self._columns_of(candidates)
        )
        stages = {"retrieve": clock.stopwatch() - begin} if candidates is None else {}
        count = len(candidate_columns[self.item])
        return Proposed(
            {**{name: [value] * count for name, value in request.items()}, **candidate_columns},
            count,
            stages,
        )

    def order(
        self, proposed: Proposed, k: int, *, t: int, third_party: ThirdPartyValues | None = None
    ) -> Order:
        """The best `k` of some candidates; of equal scores, the one proposed first. Raises as
        `Predictor.one`.
        """
        if proposed.order is not None:
            return self._of_list(proposed.order, k)
        if not proposed.height:
            return Order(
                [],
                [],
                None,
                0,
                proposed.stages,
                "" if self.predictor.scorer is None else self.predictor.scorer.version,
            )
        scored = self.predictor.many(proposed.columns, t=t, third_party=third_party)
        by_score = sorted(
            range(proposed.height), key=lambda n: -cast("float", scored.predicted[n].value)
        )
        items = proposed.columns[self.item]
        best, shown = self._shown(by_score, k, items)
        stages, first = {**proposed.stages, **scored.stages}, scored.predicted[0]
        order = [(items[n], scored.predicted[n]) for n in best]
        return Order(
            order,
            best,
            _features_of(scored, best),
            proposed.height,
            stages,
            scored.version,
            first.how,
            first.age,
            shown,
        )

    def _of_list(self, order: Order, k: int) -> Order:
        """The first `k` of a list that was put in order before, or k of it at random."""
        items = [item for item, _ in order.items]
        best, shown = self._shown(range(len(items)), k, items)
        return order._replace(
            items=[order.items[n] for n in best], rows=[order.rows[n] for n in best], shown=shown
        )

    def _shown(
        self, by_score: Sequence[int], k: int, items: Sequence[object]
    ) -> tuple[Sequence[int], ItemPropensities | None]:
        """Which candidates are shown, in order: the best `k`, or in a share of lists k at random;
        and how they came to their places.

        An item is in its place with the probability (1 - e) [it is there by its score] + e /
        candidates, of e = `explore`.
        """
        best, share = by_score[:k], self._explore
        if not share or not best:
            return best, None
        explored = self._random.random() < share
        shown = self._random.sample(range(len(by_score)), len(best)) if explored else best
        propensities = [
            (1 - share) * (n == first) + share / len(by_score)
            for n, first in zip(shown, best, strict=True)
        ]
        return shown, ItemPropensities(propensities, explored, items if explored else ())

    def _looked_up(
        self,
        precomputed: PrecomputedReader,
        request: Mapping[str, object],
        candidates: Sequence[object] | None,
        t: int,
    ) -> Order | None:
        """The precomputed list of the requested candidates; None where the candidates are scored on
        request.
        """
        looked_up = precomputed.one(request, t)
        if looked_up.value is None and looked_up.how == "on_request":
            return None
        version = "" if looked_up.cut is None else looked_up.cut.version
        if looked_up.value is None:
            return Order([], [], None, 0, {}, version, "default")
        items, scores = cast("Items", looked_up.value)
        allowed = None if candidates is None else set(self._columns_of(candidates)[self.item])
        listed: list[tuple[object, Predicted]] = [
            (item, Predicted(score, "precomputed", looked_up.age))
            for item, score in zip(items, scores, strict=True)
            if allowed is None or item in allowed
        ]
        return Order(
            listed, range(len(listed)), None, len(listed), {}, version, "precomputed", looked_up.age
        )

    def _columns_of(self, candidates: Sequence[object]) -> dict[str, list[object]]:
        """The columns that candidates bring with them."""
        if not any(isinstance(candidate, Mapping) for candidate in candidates):
            return {self.item: list(candidates)}
        rows = [candidate if isinstance(candidate, Mapping) else {} for candidate in candidates]
        for index, row in enumerate(rows):
            if row.keys() != rows[0].keys() or self.item not in row:
                raise DataError(
                    f"candidate {index} has the fields {sorted(row) or 'none'}; give all "
                    f"candidates as items, or all as objects with {self.item!r} and the same "
                    "fields"
                )
        return {name: [row[name] for row in rows] for name in rows[0]}

    def _retrieved(self, request: Mapping[str, object], t: int) -> dict[str, list[object]]:
        if self.retrieval is None:
            raise DataError(
                f"model {self.predictor.model.name!r} retrieves no candidates; give them in the "
                "request"
            )
        lists = self.retrieval.row(request, t=t).values
        every = dict.fromkeys(
            item for items in lists if isinstance(items, list) for item in items if item is not None
        )
        return {self.item: list(every)[:MOST_CANDIDATES]}


def _features_of(scored: BatchPrediction, rows: Sequence[int]) -> FeatureVectors | None:
    """The features of some rows."""
    if scored.features is None:
        return None
    values, statuses, read_versions = scored.features
    return FeatureVectors(
        [[column[n] for n in rows] for column in values],
        [bytes([codes[n] for n in rows]) for codes in statuses],
        read_versions,
    )
