"""The candidates that levels know when requests ask, in chunks of bounded size; requests that read
the same state share one set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from headwater.definitions.feature_service import FeatureService
from headwater.definitions.feature_view import FeatureRef
from headwater.definitions.level import Level
from headwater.definitions.ranking import feature_of
from headwater.events.read_events import Notes
from headwater.kernel.arrays import I64
from headwater.kernel.as_of import as_of
from headwater.training.feature_frames import feature_frames
from headwater.training.precomputed_rows import in_turn
from headwater.training.requests import Requests
from headwater.training.resources import Resources

# bytes that candidates and their features may take where `Resources(memory=)` does not say
_MEMORY = 1_000_000_000
_SHARE = 4  # of the memory that the resources allow: the history and the rows need the rest
_VALUE = 16  # bytes of one feature of one candidate while it is computed
_FIRST = 16  # sets of the first chunk, where lists may be too long for all


@dataclass(frozen=True)
class CandidateSets:
    """The candidates of some requests.

    positions: int64 (requests), which of the requests these are. set_index: int64
    (requests), the set of each.
    pairs: by level, `row` (the set) and `item`, a row for each candidate, in the order in which
    they were found.
    """

    positions: I64
    set_index: I64
    pairs: Mapping[str, pl.DataFrame]

    def parts(self, most_pairs: int) -> Iterator[CandidateSets]:
        """The same in parts of at most so many candidates a level, or of one request; `row` is then
        the position in `positions`.
        """
        count = int(self.set_index.max(initial=-1)) + 1
        lengths = np.max(
            [
                np.bincount(pairs["row"].to_numpy(), minlength=count)
                for pairs in self.pairs.values()
            ],
            axis=0,
        )
        chunk = np.cumsum(lengths[self.set_index]) // max(most_pairs, 1)
        for number in np.unique(chunk):
            rows = np.flatnonzero(chunk == number)
            lists = pl.DataFrame({"list": np.arange(len(rows)), "row": self.set_index[rows]})
            pairs = {
                name: lists.join(sets, on="row", how="inner", maintain_order="left_right").select(
                    row="list", item="item"
                )
                for name, sets in self.pairs.items()
            }
            yield CandidateSets(self.positions[rows], np.arange(len(rows)), pairs)


@dataclass(frozen=True)
class Retrieval:
    """What proposes candidates at some levels that ask at the same times.

    service: the features that are lists of items. requests: one for each list, at the time that its
    candidates are read.
    """

    service: FeatureService
    requests: Requests
    levels: Mapping[str, Level]

    def sets(self, most_pairs: int, notes: Notes, resources: Resources) -> Iterator[CandidateSets]:
        """The candidates of all requests, in chunks of about `most_pairs` candidates a level."""
        first, set_index = np.unique(self._same_state(), return_inverse=True)
        order = np.argsort(set_index, kind="stable")
        ends = np.searchsorted(set_index[order], np.arange(len(first)), side="right")
        longest = sum(_longest(ref) for ref in self.service.refs)
        size, done = (
            (
                len(first)
                if len(first) * longest <= most_pairs
                else max(_FIRST, most_pairs // longest)
            ),
            0,
        )
        while done < len(first):
            upto = min(done + size, len(first))
            asking = self.requests.take(first[done:upto])
            frames = feature_frames(self.service, asking, self.levels, notes, resources)
            pairs = {name: in_turn(frame) for name, frame in frames.items()}
            rows = order[(ends[done - 1] if done else 0) : ends[upto - 1]]
            yield CandidateSets(rows, set_index[rows] - done, pairs)
            mean = max(frame.height for frame in pairs.values()) / (upto - done)
            size, done = max(1, int(most_pairs / max(mean, 1))), upto

    def _same_state(self) -> I64:
        """By request, the first one with the same columns, T and K, whose candidates are therefore
        the same: int64 (requests).
        """
        t = self.requests.t
        columns = {
            f"column_{n}": self.requests.frame[name]
            for n, name in enumerate(self.service.needed_by())
        }
        freshnesses = {
            freshness.fingerprint: freshness
            for level in self.levels.values()
            for view in self.service.views_in_history
            if (freshness := level.freshness(view)).reads_events
        }
        for n, freshness in enumerate(freshnesses.values()):
            T, K = as_of(freshness, t)
            columns |= {f"T_{n}": pl.Series(T), f"K_{n}": pl.Series(K)}
        rows = pl.DataFrame(
            {"all": pl.repeat(0, len(t), eager=True), **columns, "row": np.arange(len(t))}
        )
        return rows.select(pl.col("row").min().over(["all", *columns])).to_series().to_numpy()


def pairs_in_memory(width: int, levels: int, resources: Resources) -> int:
    """How many candidates with `width` features at so many levels fit into the memory of a call.

    >>> pairs_in_memory(20, 2, Resources(memory="4GB"))
    1562500
    """
    return max(1, bytes_of_lists(resources) // (_VALUE * max(width, 1) * max(levels, 1)))


def bytes_of_lists(resources: Resources) -> int:
    """The bytes that candidates with their features may take."""
    return _MEMORY if resources.bytes is None else resources.bytes // _SHARE


def _longest(ref: FeatureRef) -> int:
    """The longest list that a feature may give."""
    sizes = [value for _, value in feature_of(ref).aggregation.params if isinstance(value, int)]
    return max(sizes, default=1)
