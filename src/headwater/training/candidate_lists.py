"""The lists of a ranking as each level would have made them: candidates found as of T and K, each
with its features.
"""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import polars as pl

from headwater.definitions.freshness import on_request
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.definitions.ranking import Ranking
from headwater.errors import DataError
from headwater.events.read_events import Notes
from headwater.kernel.arrays import F64, I64, Bool
from headwater.metrics.places import places
from headwater.models.fit import Fitted
from headwater.training.candidate_sets import (
    CandidateSets,
    Retrieval,
    bytes_of_lists,
    pairs_in_memory,
)
from headwater.training.feature_frames import feature_frames
from headwater.training.precomputed_rows import job_candidates, job_features, known_rows
from headwater.training.requests import Requests
from headwater.training.resources import Resources

_GROUP, _ITEM, _ROW = "__group", "__item", "__row"


@dataclass(frozen=True)
class _Batch:
    """Some whole lists. group, order: int64 (pairs). rows: int64, the test rows of these lists;
    pair: the pair of each, -1 without.

    held: the features of the pairs, or the file that has them.
    """

    group: I64
    order: I64
    rows: I64
    pair: I64
    held: pl.DataFrame | Path

    @property
    def frame(self) -> pl.DataFrame:
        return pl.read_ipc(self.held) if isinstance(self.held, Path) else self.held


class _SpillFolder:
    """A folder for features that do not fit into memory, removed when nothing refers to it any
    more.
    """

    def __init__(self) -> None:
        self.path = Path(mkdtemp(prefix="headwater-lists-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


@dataclass(frozen=True)
class Lists:
    """What one level has to put in order for the test's lists.

    batches: whole lists each; what does not fit into memory is in files, which are read again for
    each model that scores them.
    rows: how many test rows there are. folder: of the files, removed with the lists.
    """

    batches: Sequence[_Batch]
    rows: int
    folder: _SpillFolder | None = field(default=None, repr=False)

    def places(self, fitted: Fitted, groups: I64 | None = None) -> F64:
        """The place of each test row's item in its list, 1 the first, infinity where it is not a
        candidate: float64 (test rows).
        """
        out = np.full(self.rows, np.inf)
        for batch in self.batches:
            pairs = (
                np.arange(len(batch.group))
                if groups is None
                else np.flatnonzero(np.isin(batch.group, groups))
            )
            if not len(pairs):
                continue
            # the last one is that of rows without a pair
            at = np.full(len(batch.group) + 1, np.inf)
            at[pairs] = places(
                batch.group[pairs], fitted.score(batch.frame[pairs]), batch.order[pairs]
            )
            out[batch.rows] = at[batch.pair]
        return out

    def says(self, y: F64) -> str:
        """How much of the relevant could be found, in words. y: float64 (test rows)."""
        available = np.zeros(self.rows, np.bool_)
        for batch in self.batches:
            available[batch.rows] = batch.pair >= 0
        list_count = sum(len(np.unique(batch.group)) for batch in self.batches)
        length = sum(len(batch.group) for batch in self.batches) / list_count if list_count else 0.0
        return (
            f"{100 * float(available[y > 0].mean()):.1f} % of what was relevant is among the "
            f"candidates, {length:.0f} a list"
        )


def candidate_lists(
    model: Model,
    requests: Requests,
    groups: I64,
    levels: Mapping[str, Level],
    like: Mapping[str, pl.DataFrame],
    test: I64,
    resources: Resources,
) -> dict[str, Lists]:
    """The lists of every level for the test rows: the candidates that the level finds, every one of
    them.

    An item that is not among these cannot be ranked, however relevant it was. A candidate that was
    not shown has no row among the labels, and counts as not relevant.

    Args:
        model, requests: with labels; groups: int64 (requests), whose rows of one number are one
            list.
        levels: by name.
        like: by level, features with the columns that its models are fitted on.
        test: int64, the positions of the test rows.
        resources: candidates beyond a quarter of its memory (1 GB where it does not say) are read
            in batches and kept in files.
    """
    task = model.ranking
    assert task is not None
    of_test = groups[test]
    numbers, first = np.unique(of_test, return_index=True)
    labelled = pl.DataFrame(
        {_GROUP: of_test, _ITEM: requests.frame[task.item][test], _ROW: np.arange(len(test))}
    )
    asking = _Asking(
        model, task, requests, test, requests.take(test[first]), numbers, labelled, resources
    )
    plain = {name: level for name, level in levels.items() if level.precomputed(model) is None}
    by_level = {name: _ListWriter(asking, like[name].clear()) for name in levels}
    if plain:
        asking.on_request(by_level, plain, np.arange(len(numbers)))
    for name, level in levels.items():
        if name not in plain:
            asking.precomputed(by_level[name], level)
    return {name: writer.lists() for name, writer in by_level.items()}


def shown_lists(groups: I64, frame: pl.DataFrame, answered: Bool, test: I64) -> Lists:
    """Each list has the rows that the labels have of it, where the level answers them.

    Args:
        groups: int64 (test rows).
        frame, answered: of a level, (requests) each.
        test: int64, the positions of the test rows.
    """
    of_test = answered[test]
    pair = np.where(of_test, np.cumsum(of_test) - 1, -1)
    rows = np.flatnonzero(of_test)
    ties = np.random.default_rng(0).permutation(len(rows))
    return Lists(
        [_Batch(groups[rows], ties, np.arange(len(test)), pair, frame[test[rows]])], len(test)
    )


@dataclass(frozen=True)
class _Asking:
    """The test's lists: `list_requests` one for each, `numbers` int64 (lists) its group, `labelled`
    group and item of each test row.
    """

    model: Model
    task: Ranking
    requests: Requests
    test: I64
    list_requests: Requests
    numbers: I64
    labelled: pl.DataFrame
    resources: Resources

    def on_request(
        self, to: Mapping[str, _ListWriter], levels: Mapping[str, Level], positions: I64
    ) -> None:
        """Add the lists at `positions` at levels that predict on request; these share one pass over
        all that any of them finds.
        """
        retrieval = self.task.retrieval
        assert retrieval is not None
        self._check_request_columns()
        most = self._most_pairs(len(levels))
        for sets in Retrieval(retrieval, self.list_requests.take(positions), levels).sets(
            most, Notes(), self.resources
        ):
            for part in sets.parts(most):
                numbers = self.numbers[positions[part.positions]]
                for name, (pairs, frame) in self._with_features(
                    part, levels, positions[part.positions]
                ).items():
                    to[name].add(numbers, pairs, frame)

    def _with_features(
        self, part: CandidateSets, levels: Mapping[str, Level], positions: I64
    ) -> dict[str, tuple[pl.DataFrame, pl.DataFrame]]:
        list_requests, numbers = self.list_requests.take(positions), self.numbers[positions]
        by_level = {name: self._pairs(pairs, numbers) for name, pairs in part.pairs.items()}
        pairs = pl.concat([*by_level.values()]).unique(maintain_order=True)
        shown = self.labelled.unique([_GROUP, _ITEM], keep="first", maintain_order=True)
        pairs = pairs.join(shown, on=[_GROUP, _ITEM], how="left", maintain_order="left")
        frames = feature_frames(
            self.model.features,
            self._requests(list_requests, numbers, pairs),
            levels,
            Notes(),
            self.resources,
        )
        at = pairs.select(_GROUP, _ITEM).with_row_index("at")
        by_name = {}
        for name, candidates in by_level.items():
            row = candidates.join(at, on=[_GROUP, _ITEM], how="left", maintain_order="left")[
                "at"
            ].cast(pl.Int64)
            by_name[name] = candidates, frames[name][row]
        return by_name

    def precomputed(self, to: _ListWriter, level: Level) -> None:
        """Add the lists that a job precomputed, for known keys; other lists have no candidate, or
        are ranked on request.
        """
        known = known_rows(self.model, self.list_requests, level, Notes(), self.resources)
        positions, most = np.flatnonzero(known), self._most_pairs(1)
        if len(positions):
            list_requests = self.list_requests.take(positions)
            service, fresh, cut = job_candidates(self.model, level, list_requests.t)
            for sets in Retrieval(service, Requests(list_requests.frame, cut), {"": fresh}).sets(
                most, Notes(), self.resources
            ):
                for part in sets.parts(most):
                    numbers, row = (
                        self.numbers[positions[part.positions]],
                        part.positions[part.pairs[""]["row"].to_numpy()],
                    )
                    pairs = self._pairs(part.pairs[""], numbers)
                    asking = list_requests.frame[row].with_columns(
                        pairs[_ITEM].alias(self.task.item)
                    )
                    frame = job_features(
                        self.model,
                        Requests(asking, list_requests.t[row]),
                        level,
                        Notes(),
                        self.resources,
                    )
                    to.add(numbers, pairs, frame)
        precomputed = level.precomputed(self.model)
        if not known.all() and precomputed is not None and precomputed.on_request:
            self.on_request(
                {"": to}, {"": replace(level, predictions=on_request())}, np.flatnonzero(~known)
            )

    def _check_request_columns(self) -> None:
        """Refuse columns that differ within a list: they describe the item, and are not known for
        an item that was not shown.
        """
        group, item = self.task.group, self.task.item
        needed = [c for c in self.model.features.needed_by() if c not in (item, group)]
        kinds = (
            self.requests.frame[self.test].group_by(group).agg(pl.col(c).n_unique() for c in needed)
        )
        for column in needed:
            if (differ := int((kinds[column] > 1).sum())) > 0:
                raise DataError(
                    f"the column {column!r} differs within {differ} of {kinds.height} lists, so "
                    "it belongs to the item, and is not known of candidates that were not shown; "
                    f"make it a feature of a view keyed by {item!r}, or leave the candidates of "
                    "the Ranking out"
                )

    def _most_pairs(self, levels: int) -> int:
        return pairs_in_memory(len(self.model.features.feature_names), levels, self.resources)

    def _pairs(self, pairs: pl.DataFrame, numbers: I64) -> pl.DataFrame:
        """Group and item of each candidate, in the order in which they were found."""
        return pl.DataFrame(
            {
                _GROUP: numbers[pairs["row"].to_numpy()],
                _ITEM: pairs["item"].cast(self.labelled.schema[_ITEM]),
            }
        )

    def _requests(self, list_requests: Requests, numbers: I64, pairs: pl.DataFrame) -> Requests:
        """A request for each pair, at the time of the labels' row where there is one, else of the
        list's first.
        """
        list_index = np.searchsorted(numbers, pairs[_GROUP].to_numpy())
        row = pairs[_ROW].fill_null(-1).to_numpy()
        t = np.where(
            row >= 0, self.requests.t[self.test[np.maximum(row, 0)]], list_requests.t[list_index]
        )
        return Requests(
            list_requests.frame[list_index].with_columns(pairs[_ITEM].alias(self.task.item)), t
        )


@dataclass
class _ListWriter:
    """Collects the lists of a level: in memory while they fit, then in files."""

    asking: _Asking
    like: pl.DataFrame
    batches: list[_Batch] = field(default_factory=list)
    held: int = 0
    folder: _SpillFolder | None = None

    def add(self, numbers: I64, pairs: pl.DataFrame, frame: pl.DataFrame) -> None:
        """Add the lists of the groups `numbers`, int64; pairs: group and item of each candidate;
        frame: their features.
        """
        if frame.columns != self.like.columns:  # a job does not know all features
            frame = pl.concat([frame, self.like], how="diagonal_relaxed").select(self.like.columns)
        labelled = self.asking.labelled
        labelled_rows = labelled.filter(np.isin(labelled[_GROUP].to_numpy(), numbers))
        at = pairs.with_row_index("at")
        pair = (
            labelled_rows.join(at, on=[_GROUP, _ITEM], how="left", maintain_order="left")["at"]
            .cast(pl.Int64)
            .fill_null(-1)
            .to_numpy()
        )
        self.held += int(frame.estimated_size())
        stored: pl.DataFrame | Path = frame
        if self.held > bytes_of_lists(self.asking.resources):
            self.folder = self.folder or _SpillFolder()
            stored = self.folder.path / f"{len(self.batches)}.arrow"
            frame.write_ipc(stored)
        self.batches.append(
            _Batch(
                pairs[_GROUP].to_numpy(),
                np.arange(pairs.height),
                labelled_rows[_ROW].to_numpy(),
                pair,
                stored,
            )
        )

    def lists(self) -> Lists:
        """The lists that were added."""
        return Lists(self.batches, self.asking.labelled.height, self.folder)
