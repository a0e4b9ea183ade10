"""Negatives of a log of positives: drawn from the candidates of each level, with features as of the
request.

For a request with P chosen items among the level's candidates, n candidates are drawn for each,
with replacement, from those that it did not choose, in proportion to their weights w (1 each, or 1
+ popularity). An item that was drawn c times is one row. Its `log_q` is log(n P w / W) - log c,
where W sums the weights of the candidates that were not chosen: the log of its expected draws over
its draws.

- 1/q as a weight makes the negatives an unbiased estimate of the sum over all candidates that were
  not chosen: Hansen and Hurwitz, "On the theory of sampling from finite populations", 1943.
- -log q as an offset corrects a sampled softmax; a chosen item has it by its own w: Yi et al.,
  "Sampling-bias-corrected neural modeling for large corpus item recommendations", 2019; Ma and
  Collins, "Noise contrastive estimation and negative sampling for conditional models", 2018.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl

from headwater.definitions.checks import DAY
from headwater.definitions.freshness import on_request
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.definitions.ranking import NegativeSampling
from headwater.events.read_events import Notes
from headwater.kernel.arrays import F64, I64, Bool
from headwater.kernel.hashes import hashes_of_strings, mixed
from headwater.models.outcomes import LabelValues
from headwater.training.candidate_sets import CandidateSets, Retrieval, pairs_in_memory
from headwater.training.feature_frames import feature_frames
from headwater.training.precomputed_rows import job_candidates, known_rows, rows_of
from headwater.training.requests import Requests
from headwater.training.resources import Resources

_STEP = -7046029254386353131  # the increment of SplitMix64, as int64


@dataclass(frozen=True)
class Negatives:
    """The negatives of one level.

    request_index: int64 (negatives), the request whose positive each was drawn for, rising.
    item: (negatives). frame: their features.
    log_q: float64 (negatives). positive_log_q: float64 (requests), of the chosen items; NaN where
    it is not among the candidates of its request, and of requests that do not train.
    """

    request_index: I64
    item: pl.Series
    frame: pl.DataFrame
    log_q: F64
    positive_log_q: F64

    @property
    def trains(self) -> Bool:
        """The requests whose chosen item is a candidate: bool (requests). Others could not have
        been ranked, and do not train.
        """
        return ~np.isnan(self.positive_log_q)

    def rows(self, positives: I64) -> I64:
        """Positions of rows in `outcomes` and `features`: each positive, followed by its negatives;
        int64.
        """
        first, last = (
            np.searchsorted(self.request_index, positives, "left"),
            np.searchsorted(self.request_index, positives, "right"),
        )
        counts = last - first + 1
        ends = np.cumsum(counts)
        offset = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
        negative = len(self.positive_log_q) + np.repeat(first, counts) + offset - 1
        return np.where(offset == 0, np.repeat(positives, counts), negative)

    def outcomes(self, positives: LabelValues) -> LabelValues:
        """The outcomes of the requests, then those of the negatives, which are 0."""
        assert positives.groups is not None
        weight = (
            None
            if positives.weight is None
            else np.append(positives.weight, positives.weight[self.request_index])
        )
        return LabelValues(
            np.append(positives.y, np.zeros(len(self.request_index))),
            groups=np.append(positives.groups, positives.groups[self.request_index]),
            weight=weight,
            log_q=np.append(self.positive_log_q, self.log_q),
        )

    def features(self, positives: pl.DataFrame) -> pl.DataFrame:
        """The features of the requests, then those of the negatives."""
        return pl.concat([positives, self.frame.select(positives.columns)], how="vertical_relaxed")


def sample_negatives(
    model: Model,
    requests: Requests,
    groups: I64,
    levels: Mapping[str, Level],
    train: I64,
    resources: Resources,
) -> dict[str, Negatives]:
    """The negatives of every level.

    Args:
        model: with features of training only, and `Ranking(negatives=)`.
        requests: the log of positives, one time for each group.
        groups: int64 (requests).
        levels: by name.
        train: int64, the positions of requests that need negatives.
        resources: candidates are read in chunks that fit into a part of its memory.
    """
    sampler = _Sampler(model, requests, groups, np.sort(train), resources)
    plain = {name: level for name, level in levels.items() if level.precomputed(model) is None}
    drawn = sampler.on_request(plain, sampler.lists) if plain else {}
    frames = sampler.features(plain, {name: drawn[name].pairs for name in plain}) if plain else {}
    for name, level in levels.items():
        if name not in plain:
            drawn[name] = sampler.precomputed(level)
            pairs = drawn[name].pairs
            frames[name] = rows_of(
                model, sampler.requests_of(pairs), level, Notes(), resources
            ).frame
    by_level = {}
    for name in levels:
        pairs = drawn[name].pairs
        order = np.argsort(pairs["request"].to_numpy(), kind="stable")
        taken = pairs[order]
        log_q = np.full(len(requests.t), np.nan)
        log_q[drawn[name].positive] = drawn[name].log_q
        by_level[name] = Negatives(
            taken["request"].to_numpy(),
            taken["item"],
            frames[name][order],
            taken["log_q"].to_numpy(),
            log_q,
        )
    return by_level


@dataclass(frozen=True)
class _Drawn:
    """Drawn pairs: `of`, `item`, `log_q`; the positives that are candidates, int64, and their
    log_q.
    """

    pairs: pl.DataFrame
    positive: I64
    log_q: F64

    @classmethod
    def concat(cls, parts: Sequence[_Drawn]) -> _Drawn:
        return cls(
            pl.concat([part.pairs for part in parts]),
            np.concatenate([part.positive for part in parts]),
            np.concatenate([part.log_q for part in parts]),
        )


@dataclass
class _Sampler:
    """Draws from candidates. lists: int64, the first training request of each group that trains."""

    model: Model
    requests: Requests
    groups: I64
    train: I64
    resources: Resources
    lists: I64 = field(init=False)

    def __post_init__(self) -> None:
        task = self.model.ranking
        assert task is not None
        assert task.negatives is not None
        self.item_name, self.sampling, self.task = task.item, task.negatives, task
        self.lists = self.train[np.unique(self.groups[self.train], return_index=True)[1]]
        self.item = self.requests.frame[task.item]
        self.in_list = np.argsort(self.groups, kind="stable")
        self.trains = np.zeros(len(self.groups), np.bool_)
        self.trains[self.train] = True
        names = [
            self.requests.frame[task.group].cast(pl.String),
            self.item.cast(pl.String).fill_null(""),
        ]
        seeds = mixed(np.array([self.sampling.seed], np.int64))
        self.stream = mixed(
            hashes_of_strings(names[0]) ^ mixed(hashes_of_strings(names[1]) ^ seeds[0])
        )

    def on_request(self, levels: Mapping[str, Level], lists: I64) -> dict[str, _Drawn]:
        """The draws at levels that predict on request, for the lists of these requests: int64."""
        assert self.task.retrieval is not None
        return self._drawn(Retrieval(self.task.retrieval, self.requests.take(lists), levels), lists)

    def precomputed(self, level: Level) -> _Drawn:
        """The draws at a level with precomputed lists: from the candidates of the job where it knew
        the keys.
        """
        known = known_rows(
            self.model, self.requests.take(self.lists), level, Notes(), self.resources
        )
        lists = self.lists[known]
        service, fresh, cut = job_candidates(self.model, level, self.requests.t[lists])
        parts = [
            self._drawn(
                Retrieval(service, Requests(self.requests.frame[lists], cut), {"": fresh}), lists
            )[""]
        ]
        precomputed = level.precomputed(self.model)
        if precomputed is not None and precomputed.on_request and not known.all():
            parts.append(
                self.on_request({"": replace(level, predictions=on_request())}, self.lists[~known])[
                    ""
                ]
            )
        return _Drawn.concat(parts)

    def requests_of(self, pairs: pl.DataFrame) -> Requests:
        """A request for each pair: that of the positive, with the other item."""
        request_index = pairs["request"].to_numpy()
        return Requests(
            self.requests.frame[request_index].with_columns(pairs["item"].alias(self.item_name)),
            self.requests.t[request_index],
        )

    def features(
        self, levels: Mapping[str, Level], pairs: Mapping[str, pl.DataFrame]
    ) -> dict[str, pl.DataFrame]:
        """The features of each level's pairs; all levels share one pass over all pairs."""
        keys = ["request", "item"]
        union = pl.concat([of_level.select(keys) for of_level in pairs.values()]).unique(
            maintain_order=True
        )
        frames = feature_frames(
            self.model.features, self.requests_of(union), levels, Notes(), self.resources
        )
        at = union.with_row_index("at")
        rows = {
            name: of_level.join(at, on=keys, how="left", maintain_order="left")["at"]
            for name, of_level in pairs.items()
        }
        return {name: frames[name][rows[name].cast(pl.Int64)] for name in levels}

    def _drawn(self, retrieval: Retrieval, lists: I64) -> dict[str, _Drawn]:
        empty = _Drawn(self._pairs([], [], self.item.clear()), np.empty(0, np.int64), np.empty(0))
        parts: dict[str, list[_Drawn]] = {name: [empty] for name in retrieval.levels}
        if len(lists):
            most = pairs_in_memory(1, len(retrieval.levels), self.resources)
            for sets in retrieval.sets(most, Notes(), self.resources):
                for name, drawn in self._of_sets(sets, lists[sets.positions]).items():
                    parts[name].append(drawn)
        return {name: _Drawn.concat(of_level) for name, of_level in parts.items()}

    def _pairs(
        self, request_indexes: Sequence[I64], log_q: Sequence[F64], item: pl.Series
    ) -> pl.DataFrame:
        rows = np.concatenate([np.empty(0, np.int64), *request_indexes])
        return pl.DataFrame(
            {"request": rows, "item": item, "log_q": np.concatenate([np.empty(0), *log_q])}
        )

    def _of_sets(self, sets: CandidateSets, lists: I64) -> dict[str, _Drawn]:
        """The draws of one chunk. lists: int64, the request of each list of the chunk."""
        cast = {name: pairs["item"].cast(self.item.dtype) for name, pairs in sets.pairs.items()}
        names = pl.concat([self.item.drop_nulls(), *cast.values()]).unique().sort()
        positive_codes = _codes(self.item, names)
        popularity = _Popularity.from_requests(
            self.sampling, positive_codes, self.requests, len(names)
        )
        drawn = {}
        for name, pairs in sets.pairs.items():
            code, row = _codes(cast[name], names), pairs["row"].to_numpy()
            order = np.lexsort((code, row))
            ends = np.searchsorted(
                row[order], np.arange(int(sets.set_index.max(initial=-1)) + 1), side="right"
            )
            drawn[name] = self._of_level(
                code[order], ends, sets.set_index, lists, positive_codes, popularity, names
            )
        return drawn

    def _of_level(
        self,
        codes: I64,
        ends: I64,
        set_index: I64,
        lists: I64,
        positive_codes: I64,
        popularity: _Popularity,
        names: pl.Series,
    ) -> _Drawn:
        """codes: int64, the candidates of each set in rising order, set after set; ends: int64
        (sets). set_index: the set of each list.
        """
        positive: list[int] = []
        positive_log_q: list[float] = []
        rows, chosen, log_q = list[I64](), list[I64](), list[F64]()
        day = self.requests.t[lists] // DAY
        by_group = self.groups[self.in_list]
        starts, stops = (
            np.searchsorted(by_group, self.groups[lists], side) for side in ("left", "right")
        )
        last: tuple[int, int] | None = None
        candidates = weight = np.empty(0, np.int64)
        for n in np.lexsort((set_index, day)):
            if last != (set_index[n], day[n]):
                last = (set_index[n], day[n])
                candidates = codes[
                    (ends[set_index[n] - 1] if set_index[n] else 0) : ends[set_index[n]]
                ]
                weight = popularity.weights(candidates, int(day[n]))
            in_request = self.in_list[starts[n] : stops[n]]
            at = np.searchsorted(candidates, positive_codes[in_request])
            there = np.append(candidates, -2)[at] == positive_codes[in_request]
            training = there & self.trains[in_request]
            count = int(training.sum())
            if not count:
                continue
            draws, rate = draw(
                self.sampling.n, weight, np.sort(at[there]), self.stream[in_request[training]]
            )
            positive += in_request[training].tolist()
            positive_log_q += (rate[at[training]] + np.log(count)).tolist()
            for request, (picked, rates) in zip(in_request[training], draws, strict=True):
                rows.append(np.full(len(picked), request))
                chosen.append(candidates[picked])
                log_q.append(rates + np.log(count))
        taken = names[np.concatenate([np.empty(0, np.int64), *chosen])]
        return _Drawn(
            self._pairs(rows, log_q, taken), np.array(positive, np.int64), np.array(positive_log_q)
        )


def draw(n: int, weight: I64, excluded: I64, streams: I64) -> tuple[list[tuple[I64, F64]], F64]:
    """`n` draws with replacement for each of some positives, in proportion to `weight`, never of
    `excluded`.

    Args:
        n: draws a positive. Where no more candidates are left than that, each is taken once, and
            its rate is 1.
        weight: int64 (candidates), above 0.
        excluded: int64, positions of candidates that are not drawn, rising.
        streams: int64 (positives), the seed of each positive's draws.

    Returns:
        For each positive the positions of the candidates that were drawn, int64, rising, and
        log(expected draws / draws) of each; and log(expected draws) of every candidate, float64
        (candidates): of an excluded one, what it would be with its weight.

    >>> draws, rate = draw(4, np.array([1, 1, 1, 1]), np.array([2]), np.array([7]))
    >>> [(picked.tolist(), log_q.tolist()) for picked, log_q in draws], rate.tolist()
    ([([0, 1, 3], [0.0, 0.0, 0.0])], [0.0, 0.0, 0.0, 0.0])
    """
    available = np.ones(len(weight), np.bool_)
    available[excluded] = False
    if n >= int(available.sum()):
        everything = np.flatnonzero(available)
        return [(everything, np.zeros(len(everything)))] * len(streams), np.zeros(len(weight))
    total = int(weight[available].sum())
    rate: F64 = np.log(n * weight / total)
    uniform = (
        mixed((streams[:, None] + _STEP * np.arange(1, n + 1)).ravel()).view(np.uint64)
        >> np.uint64(11)
    ) / 2.0**53
    at = np.minimum((uniform * total).astype(np.int64), total - 1)
    ends = np.cumsum(weight)
    for position in excluded:  # draws at or after an excluded candidate go past it
        at += np.where(at >= ends[position] - weight[position], weight[position], 0)
    picked = np.searchsorted(ends, at, side="right").reshape(len(streams), n)
    draws = []
    for row in picked:
        candidates, counts = np.unique(row, return_counts=True)
        draws.append((candidates, rate[candidates] - np.log(counts)))
    return draws, rate


@dataclass
class _Popularity:
    """1 + the positives of each item that were known when a day began; 1 each where draws are
    uniform.

    code, known_at: int64 (positives), in the order in which they were known.
    """

    code: I64
    known_at: I64
    items: int
    uniform: bool
    day: int | None = None
    counts: I64 = field(default_factory=lambda: np.empty(0, np.int64))

    @classmethod
    def from_requests(
        cls, sampling: NegativeSampling, code: I64, requests: Requests, items: int
    ) -> _Popularity:
        assert requests.known_at is not None
        order = np.argsort(requests.known_at, kind="stable")
        order = order[code[order] >= 0]
        return cls(code[order], requests.known_at[order], items, sampling.by == "uniform")

    def weights(self, candidates: I64, day: int) -> I64:
        """The weights of these items for requests of a day: int64 (candidates)."""
        if self.uniform:
            return np.ones(len(candidates), np.int64)
        if self.day != day:
            known = np.searchsorted(self.known_at, day * DAY, side="right")
            self.day, self.counts = day, np.bincount(self.code[:known], minlength=self.items)
        weights: I64 = 1 + self.counts[candidates]
        return weights


def _codes(items: pl.Series, names: pl.Series) -> I64:
    """The position of each item in `names`, -1 where it is null: int64 (items)."""
    at = pl.DataFrame({"item": names}).with_row_index("at")
    codes = pl.DataFrame({"item": items}).join(at, on="item", how="left", maintain_order="left")[
        "at"
    ]
    return codes.cast(pl.Int64).fill_null(-1).to_numpy()
