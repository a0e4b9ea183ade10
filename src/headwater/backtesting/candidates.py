"""The lists of a ranking as each level would have made them: candidates found as of T and K, each with its features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from headwater.backtesting.levels import LevelRows
from headwater.definitions.freshness import on_request
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.definitions.ranking import Ranking
from headwater.errors import DataError
from headwater.events.read_events import Notes
from headwater.kernel.arrays import F64, I64, Bool
from headwater.metrics.places import places
from headwater.models.fit import Fitted
from headwater.training.feature_frames import feature_frames
from headwater.training.precomputed_rows import in_turn, precomputed_lists
from headwater.training.requests import Requests
from headwater.training.resources import Resources

_Made = tuple[pl.DataFrame, pl.DataFrame]  # group and item of each candidate, and their features
_GROUP, _ITEM, _ROW = "__group", "__item", "__row"


@dataclass(frozen=True)
class Lists:
    """What one level has to put in order for the test's lists, a pair of list and candidate a row.

    frame: the features. group, order: int64 (pairs), whose list it is, and the candidate's place among the candidates as they were
    found. pair: int64 (test rows), the pair of each labelled row, -1 where its item is no candidate.
    """

    frame: pl.DataFrame
    group: I64
    order: I64
    pair: I64

    def places(self, fitted: Fitted, groups: I64 | None = None) -> F64:
        """The place of each test row's item in its list, 1 the first, infinity where it is no candidate: float64 (test rows)."""
        pairs = np.arange(len(self.group)) if groups is None else np.flatnonzero(np.isin(self.group, groups))
        at = np.full(len(self.group) + 1, np.inf)  # the last one is that of rows without a pair
        if len(pairs):
            at[pairs] = places(self.group[pairs], fitted.score(self.frame[pairs]), self.order[pairs])
        return at[self.pair]

    def says(self, y: F64) -> str:
        """How much of what was relevant could be found, in words: `y` is float64 (test rows)."""
        list_count = len(np.unique(self.group))
        length = len(self.group) / list_count if list_count else 0.0
        return f"{100 * float((self.pair[y > 0] >= 0).mean()):.1f} % of what was relevant is among the candidates, {length:.0f} a list"


def lists(
    model: Model,
    requests: Requests,
    groups: I64,
    levels: Mapping[str, Level],
    rows: Mapping[str, LevelRows],
    test: I64,
    resources: Resources,
) -> dict[str, Lists]:
    """The lists of every level for the test rows, int64.

    Without candidates in the definition, each list holds the rows that the labels have of it. With them, it holds what the level
    finds: an item that is not among these cannot be ranked, however relevant it was. A candidate that was not shown has no row among
    the labels, and counts as not relevant.
    """
    task = model.ranking
    assert task is not None
    of_test = groups[test]
    if not task.candidates:
        return {name: _own(of_test, rows[name], test) for name in levels}
    numbers, first = np.unique(of_test, return_index=True)
    labelled = pl.DataFrame({_GROUP: of_test, _ITEM: requests.frame[task.item][test], _ROW: np.arange(len(test))})
    asking = _Asking(model, task, requests, test, requests.take(test[first]), numbers, labelled, resources)
    plain = {name: level for name, level in levels.items() if level.precomputed(model) is None}
    by_level = asking.on_request(plain, np.arange(len(numbers))) if plain else {}
    for name, level in levels.items():
        if name not in plain:
            by_level[name] = asking.precomputed(level, rows[name].precomputed[test[first]])
    return {name: asking.lists(*by_level[name]) for name in levels}


def _own(groups: I64, level: LevelRows, test: I64) -> Lists:
    answered = level.answered[test]
    pair = np.where(answered, np.cumsum(answered) - 1, -1)
    rows = np.flatnonzero(answered)
    ties = np.random.default_rng(0).permutation(len(rows))
    return Lists(level.frame[test[rows]], groups[rows], ties, pair)


@dataclass(frozen=True)
class _Asking:
    """The test's lists: `list_requests` one for each, `numbers` int64 (lists) its group, `labelled` group and item of each test row."""

    model: Model
    task: Ranking
    requests: Requests
    test: I64
    list_requests: Requests
    numbers: I64
    labelled: pl.DataFrame
    resources: Resources

    def on_request(self, levels: Mapping[str, Level], positions: I64) -> dict[str, _Made]:
        """The candidates of some lists at levels that predict on request; all levels share one pass over all that any of them finds."""
        retrieval = self.task.retrieval
        assert retrieval is not None
        list_requests, numbers = self.list_requests.take(positions), self.numbers[positions]
        raw = feature_frames(retrieval, list_requests, levels, Notes(), self.resources)
        by_level = {name: self._pairs(in_turn(frame), numbers) for name, frame in raw.items()}
        pairs = pl.concat([*by_level.values()]).unique(maintain_order=True)
        shown = self.labelled.unique([_GROUP, _ITEM], keep="first", maintain_order=True)
        pairs = pairs.join(shown, on=[_GROUP, _ITEM], how="left", maintain_order="left")
        frames = feature_frames(self.model.features, self._requests(list_requests, numbers, pairs), levels, Notes(), self.resources)
        at = pairs.select(_GROUP, _ITEM).with_row_index("at")
        by_name = {}
        for name, candidates in by_level.items():
            row = candidates.join(at, on=[_GROUP, _ITEM], how="left", maintain_order="left")["at"].cast(pl.Int64)
            by_name[name] = candidates, frames[name][row]
        return by_name

    def precomputed(self, level: Level, known: Bool) -> _Made:
        """The lists that a job made, of those whose keys it knew; the others have no candidate, or are made on request."""
        numbers = np.flatnonzero(known)
        candidates = precomputed_lists(self.model, self.list_requests.take(numbers), level, Notes(), self.resources)
        pairs = self._pairs(pl.DataFrame({"row": candidates.row, "item": candidates.item}), self.numbers[numbers])
        precomputed = level.precomputed(self.model)
        if known.all() or precomputed is None or not precomputed.on_request:
            return pairs, candidates.frame
        late, features = self.on_request({"": replace(level, predictions=on_request())}, np.flatnonzero(~known))[""]
        return pl.concat([pairs, late]), pl.concat([candidates.frame, features], how="diagonal_relaxed").select(features.columns)

    def lists(self, pairs: pl.DataFrame, frame: pl.DataFrame) -> Lists:
        """The lists to rank, and the position of each test row in them."""
        at = pairs.with_row_index("at")
        pair = self.labelled.join(at, on=[_GROUP, _ITEM], how="left", maintain_order="left")["at"].cast(pl.Int64).fill_null(-1)
        return Lists(frame, pairs[_GROUP].to_numpy(), np.arange(pairs.height), pair.to_numpy())

    def _pairs(self, pairs: pl.DataFrame, numbers: I64) -> pl.DataFrame:
        """Group and item of each candidate, in the order in which they were found."""
        return pl.DataFrame({_GROUP: numbers[pairs["row"].to_numpy()], _ITEM: pairs["item"].cast(self.labelled.schema[_ITEM])})

    def _requests(self, list_requests: Requests, numbers: I64, pairs: pl.DataFrame) -> Requests:
        """A request for each pair, at the time of the labels' row where there is one, else of the list's first."""
        self._check_of_list()
        of = np.searchsorted(numbers, pairs[_GROUP].to_numpy())
        row = pairs[_ROW].fill_null(-1).to_numpy()
        t = np.where(row >= 0, self.requests.t[self.test[np.maximum(row, 0)]], list_requests.t[of])
        return Requests(list_requests.frame[of].with_columns(pairs[_ITEM].alias(self.task.item)), t)

    def _check_of_list(self) -> None:
        """Refuse columns that differ within a list: they describe the item, and are not known for an item that was not shown."""
        group, item = self.task.group, self.task.item
        needed = [c for c in self.model.features.needed_by() if c not in (item, group)]
        kinds = self.requests.frame[self.test].group_by(group).agg(pl.col(c).n_unique() for c in needed)
        for column in needed:
            if (differ := int((kinds[column] > 1).sum())) > 0:
                raise DataError(
                    f"the column {column!r} differs within {differ} of {kinds.height} lists, so it belongs to the item, and is not known of "
                    f"candidates that were not shown; make it a feature of a view keyed by {item!r}, or leave the candidates of the Ranking out"
                )
