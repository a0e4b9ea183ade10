"""The lists of a ranking as each level would have made them: candidates found as of T and K, each with its features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from headwater.backtesting.fitting import places
from headwater.backtesting.levels import LevelRows, made_ahead, reading
from headwater.compute.arrays import F64, I64, Bool
from headwater.definitions.feature_service import FeatureService
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.definitions.ranking import Ranking
from headwater.engines.events import Notes
from headwater.errors import DataError, UsageError
from headwater.models.fit import Fitted
from headwater.pipelines.historical import feature_frames
from headwater.pipelines.means import Means
from headwater.pipelines.requests import Requests

_GROUP, _ITEM, _ORDER, _ROW = "__group", "__item", "__order", "__row"


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
        some = np.arange(len(self.group)) if groups is None else np.flatnonzero(np.isin(self.group, groups))
        at = np.full(len(self.group) + 1, np.inf)  # the last one is that of rows without a pair
        if len(some):
            at[some] = places(self.group[some], fitted.score(self.frame[some]), self.order[some])
        return at[self.pair]

    def says(self, y: F64) -> str:
        """How much of what was relevant could be found, in words: `y` is float64 (test rows)."""
        made = len(np.unique(self.group))
        length = len(self.group) / made if made else 0.0
        return f"{100 * float((self.pair[y > 0] >= 0).mean()):.1f} % of what was relevant is among the candidates, {length:.0f} a list"


def lists(
    model: Model, requests: Requests, groups: I64, levels: Mapping[str, Level], rows: Mapping[str, LevelRows], test: I64, means: Means
) -> dict[str, Lists]:
    """The lists of every level for the test rows, int64.

    Without candidates in the definition, each list holds the rows that the labels have of it. With them, it holds what the level
    finds: an item that is not among these cannot be ranked, however relevant it was. A candidate that was not shown has no row among
    the labels, and counts as not relevant.
    """
    task = model.task
    assert isinstance(task, Ranking)
    of_test = groups[test]
    if not task.candidates:
        return {name: _own(of_test, rows[name], test) for name in levels}
    _, first = np.unique(of_test, return_index=True)
    asks = requests.take(test[first])  # one row a list
    numbers = of_test[first]
    labelled = _labelled(requests, of_test, test, task)
    found: dict[str, Lists] = {}
    plain = {name: level for name, level in levels.items() if level.scoring(model) is None}
    if plain:
        found |= _on_request(model, task, requests, test, asks, numbers, labelled, plain, means)
    for name, level in levels.items():
        if name not in plain:
            found[name] = _ahead(model, task, asks, numbers, labelled, level, rows[name].answered[test[first]], means)
    return {name: found[name] for name in levels}


def _own(groups: I64, level: LevelRows, test: I64) -> Lists:
    answered = level.answered[test]
    pair = np.where(answered, np.cumsum(answered) - 1, -1)
    some = np.flatnonzero(answered)
    ties = np.random.default_rng(0).permutation(len(some))
    return Lists(level.frame[test[some]], groups[some], ties, pair)


def _labelled(requests: Requests, groups: I64, test: I64, task: Ranking) -> pl.DataFrame:
    """The group and item of each test row, by its position among them."""
    return pl.DataFrame({_GROUP: groups, _ITEM: requests.frame[task.item][test], _ROW: np.arange(len(test))})


def _on_request(  # noqa: PLR0913, PLR0917 (what a list is made of)
    model: Model,
    task: Ranking,
    requests: Requests,
    test: I64,
    asks: Requests,
    numbers: I64,
    labelled: pl.DataFrame,
    levels: Mapping[str, Level],
    means: Means,
) -> dict[str, Lists]:
    """The candidates of levels that predict on request; all levels share one pass over all that any of them finds."""
    retrieval = task.retrieval
    assert retrieval is not None
    raw = feature_frames(retrieval, asks, levels, Notes(), means)
    by_level = {name: _candidates(frame, numbers, labelled) for name, frame in raw.items()}
    pairs = pl.concat([found.select(_GROUP, _ITEM) for found in by_level.values()]).unique(maintain_order=True)
    shown = labelled.unique([_GROUP, _ITEM], keep="first", maintain_order=True)
    pairs = pairs.join(shown, on=[_GROUP, _ITEM], how="left", maintain_order="left")
    asked = _requests_of(model, task, requests, test, asks, numbers, pairs)
    frames = feature_frames(model.features, asked, levels, Notes(), means)
    at = pairs.select(_GROUP, _ITEM).with_row_index("at")
    made = {}
    for name, found in by_level.items():
        mine = found.join(at, on=[_GROUP, _ITEM], how="left", maintain_order="left")
        made[name] = _lists(frames[name][mine["at"].cast(pl.Int64)], mine, labelled)
    return made


def _ahead(
    model: Model, task: Ranking, asks: Requests, numbers: I64, labelled: pl.DataFrame, level: Level, answered: Bool, means: Means
) -> Lists:
    """The candidates and features of lists that were made ahead, as of their cut; a list that nobody made has no candidate."""
    views, fresh, cut = reading(model, level, asks.t)
    known = [ref for ref in task.candidates if ref.view in views]
    if not known:
        raise UsageError(
            f"model {model.name!r}: lists are made ahead, and none of the candidates {[ref.name for ref in task.candidates]} is known by "
            "the keys of precomputed() alone; name one that is, or rank on request"
        )
    at_cut = Requests(asks.frame, cut)
    found = feature_frames(FeatureService("candidates", known), at_cut, {"": fresh}, Notes(), means)[""]
    mine = _candidates(found.filter(pl.Series(answered)), numbers[answered], labelled)
    of = np.searchsorted(numbers, mine[_GROUP].to_numpy())
    frame = at_cut.frame[of].with_columns(mine[_ITEM].alias(task.item))
    members = [m for m in model.features.features if made_ahead(m, views, (task.item,))]
    features = feature_frames(FeatureService("precomputed", members), Requests(frame, cut[of]), {"": fresh}, Notes(), means)[""]
    return _lists(features, mine, labelled)


def _candidates(found: pl.DataFrame, numbers: I64, labelled: pl.DataFrame) -> pl.DataFrame:
    """Group, item and order of each candidate: the lists one after another, each item once, where it first stands."""
    dtype = labelled.schema[_ITEM]
    parts = []
    for place, series in enumerate(found.get_columns()):
        lists = (
            series.cast(pl.List(dtype)) if series.dtype != pl.Null else pl.Series(series.name, [None] * len(series), dtype=pl.List(dtype))
        )
        one = pl.DataFrame({_GROUP: numbers, _ITEM: lists}).with_columns(pl.int_ranges(pl.col(_ITEM).list.len().fill_null(0)).alias(_ORDER))
        one = one.filter(pl.col(_ITEM).list.len() > 0).explode(_ITEM, _ORDER)
        parts.append(one.with_columns(pl.lit(place).alias("place")))
    every = pl.concat(parts).filter(pl.col(_ITEM).is_not_null()).sort(_GROUP, "place", _ORDER)
    return every.unique([_GROUP, _ITEM], keep="first", maintain_order=True).with_columns(pl.int_range(pl.len()).alias(_ORDER)).drop("place")


def _requests_of(model: Model, task: Ranking, requests: Requests, test: I64, asks: Requests, numbers: I64, pairs: pl.DataFrame) -> Requests:
    """A request for each pair: the labels' own row where there is one, else the list's first with another item."""
    of = np.searchsorted(numbers, pairs[_GROUP].to_numpy())
    row = pairs[_ROW].fill_null(-1).to_numpy()
    shown = row >= 0
    needed = [c for c in model.features.needed_by() if c != task.item]
    _check_of_list(requests, test, task, needed)
    frame = asks.frame[of].with_columns(pairs[_ITEM].alias(task.item))
    t = np.where(shown, requests.t[test[np.maximum(row, 0)]], asks.t[of])
    return Requests(frame, t)


def _check_of_list(requests: Requests, test: I64, task: Ranking, needed: list[str]) -> None:
    """Refuse columns that differ within a list: they say something of the item, which nobody knows of a candidate that was not shown."""
    if not needed:
        return
    kinds = requests.frame[test].group_by(task.group).agg(pl.col(c).n_unique() for c in needed if c != task.group)
    for column in kinds.columns[1:]:
        if (differ := int((kinds[column] > 1).sum())) > 0:
            raise DataError(
                f"the column {column!r} differs within {differ} of {kinds.height} lists, so it belongs to the item, and is not known of candidates "
                f"that were not shown; make it a feature of a view keyed by {task.item!r}, or leave the candidates of the Ranking out"
            )


def _lists(frame: pl.DataFrame, mine: pl.DataFrame, labelled: pl.DataFrame) -> Lists:
    at = mine.select(_GROUP, _ITEM).with_row_index("at")
    pair = labelled.join(at, on=[_GROUP, _ITEM], how="left", maintain_order="left")["at"].cast(pl.Int64).fill_null(-1)
    return Lists(frame, mine[_GROUP].to_numpy(), mine[_ORDER].to_numpy(), pair.to_numpy())
