"""One layer of events with what aggregations derive from it, each derived once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, cast

import numpy as np

from headwater.definitions.windows import Window
from headwater.kernel import bounds
from headwater.kernel.arrays import F64, I64, NOTHING, Bool, Events, RequestTimes, Values
from headwater.kernel.folds import Ranges

Derived = TypeVar("Derived")


@dataclass(frozen=True)
class Use:
    """The input of an aggregation: columns of the source, on the events where `where` is true."""

    columns: tuple[str, ...] = ()
    where: str | None = None


@dataclass(frozen=True)
class Layer:
    """Events in known order; `derive` keeps what was made of them under a key."""

    events: Events
    _derived: dict[tuple[object, ...], object] = field(default_factory=dict)

    def derive(self, key: tuple[object, ...], make: Callable[[], Derived]) -> Derived:
        """The result of `make`, computed once for each key."""
        if key not in self._derived:
            self._derived[key] = make()
        return cast("Derived", self._derived[key])

    def valid(self, use: Use) -> Bool:
        """Whether each event counts for `use`: every column not null, `where` true. bool (n), or
        empty where all do.
        """
        return self.derive(("valid", use), lambda: self._valid(use))

    def filled(self, use: Use, fill: float) -> Values:
        """The values of the one column, `fill` where they do not count."""
        return self.derive(("filled", use, fill), lambda: self._filled(use, fill))

    def floats(self, use: Use) -> F64:
        """The values of the one column as float64, NaN where they do not count."""
        return self.derive(("floats", use), lambda: self._floats(use))

    def block(self, window: Window) -> I64:
        """`bounds.blocks` of the window."""
        hop = window.hop if len(self.events.gone) else 0
        return self.derive(
            ("block", window.length, hop), lambda: bounds.blocks(self.events, window)
        )

    def distinct_times(self) -> bool:
        """Whether no two neighbours have the same time, so that neither ids nor values decide
        between two events of a key.
        """
        return self.derive(
            ("distinct times",), lambda: not bool((self.events.t[1:] == self.events.t[:-1]).any())
        )

    def _valid(self, use: Use) -> Bool:
        masks = [
            c.valid
            for c in (self.events.columns[name] for name in use.columns)
            if c.valid is not None
        ]
        if use.where is not None:
            flag = self.events.columns[use.where]
            masks += [flag.values != 0, *([] if flag.valid is None else [flag.valid])]
        return cast("Bool", np.logical_and.reduce(masks)) if masks else np.empty(0, np.bool_)

    def _filled(self, use: Use, fill: float) -> Values:
        values, valid = self.events.columns[use.columns[0]].values, self.valid(use)
        return values if len(valid) == 0 else np.where(valid, values, values.dtype.type(fill))

    def _floats(self, use: Use) -> F64:
        values, valid = (
            self.events.columns[use.columns[0]].values.astype(np.float64),
            self.valid(use),
        )
        return values if len(valid) == 0 else np.where(valid, values, np.nan)


@dataclass(frozen=True)
class Spans:
    """The ranges of one window: for request j, the events lo[j]:hi[j] of `layer`. All int64 (l).

    shares: whether states may have arrays in common, which are then read-only.
    """

    layer: Layer
    requests: RequestTimes
    window: Window
    lo: I64
    hi: I64
    shares: bool = False
    _derived: dict[tuple[object, ...], object] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def derive(self, key: tuple[object, ...], make: Callable[[], Derived]) -> Derived:
        """The result of `make`, computed once for each key."""
        if key not in self._derived:
            self._derived[key] = make()
        return cast("Derived", self._derived[key])

    @property
    def ranges(self) -> Ranges:
        """The ranges as `folds` take them."""
        return Ranges(
            self.lo, self.hi, self.layer.block(self.window), len(self.layer.events.gone) > 0
        )

    def counted(self, use: Use) -> I64:
        """How many events count for `use` in each range: int64 (l)."""
        valid = self.layer.valid(use)
        if len(valid) == 0:
            return self.hi - self.lo
        before = self.layer.derive(
            ("before", use), lambda: np.concatenate([[0], np.cumsum(valid, dtype=np.int64)])
        )
        return cast("I64", before[self.hi] - before[self.lo])

    def rows(self, position: I64) -> I64:
        """Positions in the layer as positions in the events it was taken from; -1 stays."""
        row = self.layer.events.row
        return position if len(row) == 0 else np.where(position < 0, -1, row[position])


@dataclass(frozen=True)
class KnownRanges:
    """The ranges begin:stop of a layer that are visible to sets of requests before a window is
    applied. All int64.

    requests: the sets, for the layer's keys. T, K: of all, one set after the other. at: where each
    set begins; one more at the end.
    """

    layer: Layer
    requests: Sequence[RequestTimes]
    T: I64
    K: I64
    at: I64
    begin: I64
    stop: I64

    def spans(self, window: Window) -> Spans:
        """The ranges of a window."""
        parts = [
            bounds.within(self.layer.events, request_set, window, self.begin[a:b], self.stop[a:b])
            for request_set, a, b in zip(self.requests, self.at[:-1], self.at[1:], strict=True)
        ]
        lo, hi = (_joined(arrays) for arrays in zip(*parts, strict=True))
        return Spans(self.layer, RequestTimes(NOTHING, self.T, self.K), window, lo, hi, shares=True)


def seen(layer: Layer, requests: Sequence[RequestTimes]) -> KnownRanges:
    """The ranges of a layer that are known to at least one set of requests."""
    begin, stop = zip(
        *(bounds.seen(layer.events, request_set) for request_set in requests), strict=True
    )
    at = np.cumsum([0, *(len(request_set.T) for request_set in requests)])
    return KnownRanges(
        layer,
        requests,
        _joined([a.T for a in requests]),
        _joined([a.K for a in requests]),
        at,
        _joined(begin),
        _joined(stop),
    )


def spans(layer: Layer, requests: RequestTimes, window: Window) -> Spans:
    """The ranges of one window for one set of requests."""
    return seen(layer, [requests]).spans(window)


def _joined(parts: Sequence[I64]) -> I64:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
