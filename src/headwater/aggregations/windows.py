"""The kernel: events and asks in, one column for each feature out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from headwater.aggregations.algebra import Answers, By, Family, Finish, State, Sweeping
from headwater.aggregations.sights import sights
from headwater.aggregations.table import family
from headwater.compute.arrays import I64, NOTHING, Asks, Column, Events, Lists
from headwater.compute.layer import Layer, Spans, Use, spans
from headwater.compute.layers import layers, reached
from headwater.definitions.aggregation import Parameter
from headwater.definitions.durations import Window

_CHUNK = 1 << 18  # events and asks a thread takes at once: their arrays stay near the processor's cache


@dataclass(frozen=True)
class Wanted:
    """One feature: a function of what `use` names, over one window, of all events or for each value of a secondary key (`by`).

    `output` picks among several results.
    """

    function: str
    use: Use
    window: Window
    params: tuple[tuple[str, Parameter], ...] = ()
    output: int = 0
    by: By | None = None


@dataclass(frozen=True)
class _Task:
    """Some keys with all their asks, or one key with some of its asks; `at` says where each set of asks begins and ends."""

    events: Events
    asks: tuple[Asks, ...]
    at: tuple[tuple[int, int], ...]


def aggregate(
    events: Events, asks: Sequence[Asks], wanted: Sequence[Wanted], threads: int, tick: Callable[[int], None] | None = None
) -> list[list[Answers]]:
    """The value of each feature wanted, for each set of asks.

    Args:
        events: sorted events of m keys.
        asks: sets of requests over the same m keys, such as one for each freshness; they share the events' sort and folds.
        wanted: the features.
        threads: how many threads work; the values do not depend on it.
        tick: called with the number of asks done, from any thread.

    Returns:
        For each set of asks, one column (l), or lists, for each feature.
    """
    kinds = _run(_Task(events.keys(0, 0), tuple(a.keys(0, 0) for a in asks), ((0, 0),) * len(asks)), wanted)
    out = [[_Place(kind, len(a.T)) for kind in kinds] for a in asks]

    def work(task: _Task) -> None:
        found = _run(task, wanted)
        start = 0
        for into, (first, last) in zip(out, task.at, strict=True):
            stop = start + last - first
            for place, answers in zip(into, found, strict=True):
                place.put(first, answers.slice(start, stop))
            start = stop
        if tick is not None:
            tick(start)

    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, _tasks(events, asks)):
            pass
    return [[place.whole() for place in places] for places in out]


class _Place:
    """Where the answers to one set of asks come together, of whatever task and in whatever order; `kind`: answers to none."""

    def __init__(self, kind: Answers, count: int) -> None:
        self.lists = {-1: kind} if isinstance(kind, Lists) else {}
        self.values = np.empty_like(NOTHING if isinstance(kind, Lists) else kind.values, shape=0 if self.lists else count)
        self.valid = np.ones(len(self.values), np.bool_)

    def put(self, first: int, answers: Answers) -> None:
        """The answers from position `first` on."""
        if isinstance(answers, Lists):
            if len(answers.of):
                self.lists[first] = answers
            return
        last = first + len(answers.values)
        self.values[first:last] = answers.values
        if answers.valid is not None:
            self.valid[first:last] = answers.valid

    def whole(self) -> Answers:
        """All answers, in order."""
        if self.lists:
            return Lists.join([self.lists[first] for first in sorted(self.lists)])
        return Column(self.values, None if self.valid.all() else self.valid)


def _tasks(events: Events, asks: Sequence[Asks]) -> list[_Task]:
    """Cut by keys into pieces of about one chunk; the asks of a key that has many are cut too."""
    asked = sum((a.starts for a in asks), np.zeros(len(events.starts), np.int64))
    load = events.starts + asked
    tasks, first, keys = [], 0, len(load) - 1
    while first < keys:
        last = min(max(int(np.searchsorted(load, load[first] + _CHUNK, side="right")) - 1, first + 1), keys)
        if asked[last] > asked[first]:
            tasks += _cut(events.keys(first, last), [(a.keys(first, last), int(a.starts[first])) for a in asks])
        first = last
    return tasks


def _cut(events: Events, asks: list[tuple[Asks, int]]) -> list[_Task]:
    pieces = max(1, *(-(-len(a.T) // (4 * _CHUNK)) for a, _ in asks))
    tasks = []
    for piece in range(pieces):
        ends = [(len(a.T) * piece // pieces, len(a.T) * (piece + 1) // pieces) for a, _ in asks]
        parts = tuple(a.part(*e) if pieces > 1 else a for (a, _), e in zip(asks, ends, strict=True))
        tasks.append(_Task(events, parts, tuple((begin + e[0], begin + e[1]) for (_, begin), e in zip(asks, ends, strict=True))))
    return tasks


def _run(task: _Task, wanted: Sequence[Wanted]) -> list[Answers]:
    """The columns of one task, its sets of asks one after the other."""
    T = np.concatenate([a.T for a in task.asks])
    states: dict[tuple[Window, Family, Use], State] = {}
    families = [family(w.function, dict(w.params), w.by) for w in wanted]
    keys = dict.fromkeys((w.window, made_by, w.use) for w, made_by in zip(wanted, families, strict=True))
    folded = [key for key in keys if not isinstance(key[1], Sweeping)]
    parts = []
    for depth, events in enumerate(layers(task.events)):
        layer = Layer(events)
        if len(folded) < len(keys):
            parts.append(layer)
        for window in dict.fromkeys(w for w, _, _ in folded):
            found, index = _spans(layer, task.asks, window, everywhere=depth == 0)
            if found is None:
                continue
            for key in folded:
                of, made_by, use = key
                if of == window:
                    states[key] = _merged(states.get(key), made_by.ranges(use, found), index, made_by)
    whole = parts[0] if len(parts) == 1 else Layer(task.events)
    hows = [Finish(w.function, dict(w.params), T, task.events, w.use, w.window, w.output) for w in wanted]
    swept: dict[int, list[Answers]] = {i: [] for i, made_by in enumerate(families) if isinstance(made_by, Sweeping)}
    for window, breadth in dict.fromkeys(_sliding(wanted[i]) for i in swept):
        for a, b, sight in sights(whole, parts, task.asks, window, breadth):
            for i, answers in swept.items():
                if _sliding(wanted[i]) == (window, breadth):
                    answers.append(cast("Sweeping", families[i]).sweep(wanted[i].use, sight, replace(hows[i], T=T[a:b])))
    return [
        _joined(swept[i]) if i in swept else families[i].finish(states[w.window, families[i], w.use], hows[i]) for i, w in enumerate(wanted)
    ]


def _sliding(w: Wanted) -> tuple[Window, int]:
    """What features that are swept together share: a window, and the breadth of an ask (a pair of ask and category has a state too)."""
    return w.window, 1 if w.by is None else 4 * w.by.max_keys


def _joined(found: list[Answers]) -> Answers:
    """The answers of slices, one after the other."""
    if len(found) == 1:
        return found[0]
    lists, columns = [f for f in found if isinstance(f, Lists)], [f for f in found if isinstance(f, Column)]
    return Lists.join(lists) if lists else Column.join(columns)


def _spans(layer: Layer, asks: Sequence[Asks], window: Window, *, everywhere: bool) -> tuple[Spans | None, I64]:
    """The ranges of all sets of asks in one layer, and which asks they are of (empty: all)."""
    parts, where, begin = [], [], 0
    for some in asks:
        got = (some, NOTHING) if everywhere else reached(layer.events, some)
        if got is not None:
            parts.append(spans(layer, got[0], window))
            where.append(begin + (got[1] if len(got[1]) else np.arange(len(some.T))))
        begin += len(some.T)
    if not parts:
        return None, NOTHING
    lo, hi = np.concatenate([p.lo for p in parts]), np.concatenate([p.hi for p in parts])
    T, K = np.concatenate([p.asks.T for p in parts]), np.concatenate([p.asks.K for p in parts])
    if everywhere:
        return Spans(layer, Asks(NOTHING, T, K), window, lo, hi), NOTHING
    index, hit = np.concatenate(where), hi > lo
    if not hit.any():
        return None, NOTHING
    return Spans(layer, Asks(NOTHING, T[hit], K[hit]), window, lo[hit], hi[hit]), index[hit]


def _merged(state: State | None, more: State, index: I64, by: Family) -> State:
    if state is None:
        return more
    joined = by.merge(tuple(part[index] for part in state), more)
    for part, new in zip(state, joined, strict=True):
        part[index] = new
    return state
