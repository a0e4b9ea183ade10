"""The kernel: events and requests in, one column for each feature out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from headwater.aggregations.base import (
    AggregateFunction,
    Answers,
    FinalizeContext,
    GroupBy,
    State,
    SweepingFunction,
    visible_ranges,
)
from headwater.aggregations.table import family
from headwater.definitions.feature_view import Parameter
from headwater.definitions.windows import Window
from headwater.kernel.arrays import I64, NOTHING, Column, Events, ListColumn, RequestTimes
from headwater.kernel.distinct_requests import DistinctRequests, ResultBuffer
from headwater.kernel.late_events import layers, reached
from headwater.kernel.layers import KnownRanges, Layer, Spans, Use, seen
from headwater.kernel.sorting import in_threads

# events and requests of one chunk of a thread: its arrays fit into the processor's cache
_CHUNK = 1 << 18
# with more features than these, a thread takes fewer events and requests, so that its memory stays
# the same
_FEATURES = 24


@dataclass(frozen=True)
class FeatureSpec:
    """One feature: a function of what `use` names, over one window, of all events or for each value
    of a secondary key (`by`).

    `output` picks among several results.
    """

    function: str
    use: Use
    window: Window
    params: tuple[tuple[str, Parameter], ...] = ()
    output: int = 0
    by: GroupBy | None = None


@dataclass(frozen=True)
class _Task:
    """Some keys with all their requests, or one key with some of its requests; `at` says where each
    set of requests begins and ends.

    features: which of those that are wanted; `ticks`: whether its requests are done with it.
    """

    events: Events
    requests: tuple[RequestTimes, ...]
    at: tuple[tuple[int, int], ...]
    features: Sequence[int]
    ticks: bool = True

    @property
    def load(self) -> int:
        """How many events and requests."""
        return len(self.events.t) + sum(len(a.T) for a in self.requests)


def aggregate(
    events: Events,
    requests: Sequence[DistinctRequests],
    specs: Sequence[FeatureSpec],
    threads: int,
    on_progress: Callable[[int], None] | None = None,
) -> list[list[Answers]]:
    """The value of each feature wanted, for each set of requests.

    Args:
        events: sorted events of m keys.
        requests: sets of requests over the same m keys, such as one for each freshness; they share
            the events' sort and folds.
        specs: the features.
        threads: how many threads work; the values do not depend on it.
        on_progress: called with the number of rows done, from any thread.

    Returns:
        For each set of requests, one column, or lists, for each feature, in the order of the set's
        rows.
    """
    everything, times = range(len(specs)), [a.times for a in requests]
    kinds = _run(
        _Task(
            events.keys(0, 0),
            tuple(a.keys(0, 0) for a in times),
            ((0, 0),) * len(requests),
            everything,
        ),
        specs,
    )
    out = [_AnswerBuffer(kinds, request_set) for request_set in requests]

    def work(task: _Task) -> None:
        task_answers = _run(task, [specs[i] for i in task.features])
        start = 0
        for into, (first, last) in zip(out, task.at, strict=True):
            stop = start + last - first
            into.put(
                first,
                {
                    i: answers.slice(start, stop)
                    for i, answers in zip(task.features, task_answers, strict=True)
                },
            )
            start = stop
        if on_progress is not None and task.ticks:
            on_progress(
                sum(
                    len(request_set.rows_of(*at))
                    for request_set, at in zip(requests, task.at, strict=True)
                )
            )

    in_threads(work, _shared(_tasks(events, times, everything), specs, threads), threads)
    return [buffer.whole() for buffer in out]


class _AnswerBuffer:
    """Collects the answers to one set of requests from all tasks, in any order; `kinds`: answers to
    no request.
    """

    def __init__(self, kinds: Sequence[Answers], requests: DistinctRequests) -> None:
        self._kinds, self._requests = kinds, requests
        numbers = {i: kind for i, kind in enumerate(kinds) if isinstance(kind, Column)}
        self._index = {i: index for index, i in enumerate(numbers)}
        self._numbers = ResultBuffer([kind.values.dtype for kind in numbers.values()], requests)
        self._lists = {
            i: {-1: kind} for i, kind in enumerate(kinds) if isinstance(kind, ListColumn)
        }

    def put(self, first: int, by_feature: Mapping[int, Answers]) -> None:
        """The answers of some features from position `first` on."""
        self._numbers.put(
            first,
            {
                index: cast("Column", by_feature[i])
                for i, index in self._index.items()
                if i in by_feature
            },
        )
        for i in self._lists.keys() & by_feature.keys():
            lists = cast("ListColumn", by_feature[i])
            if len(lists.list_index):
                self._lists[i][first] = lists

    def whole(self) -> list[Answers]:
        """All answers, in the order of rows."""
        out = list(self._kinds)
        for i, column in zip(self._index, self._numbers.columns(), strict=True):
            out[i] = column
        if self._lists:
            position = self._requests.request_of()
            for i, lists in self._lists.items():
                out[i] = ListColumn.join([lists[first] for first in sorted(lists)]).take(position)
        return out


def _shared(tasks: Sequence[_Task], specs: Sequence[FeatureSpec], threads: int) -> list[_Task]:
    """The tasks, the heaviest first. A task of more than its share, such as a key with half of all
    events, is split by windows.
    """
    share = max(sum(task.load for task in tasks) // (2 * threads), 4 * _CHUNK)
    by_window: dict[Window, list[int]] = {}
    for i, w in enumerate(specs):
        by_window.setdefault(w.window, []).append(i)
    shared_tasks = []
    for task in tasks:
        if threads > 1 and task.load > share:
            shared_tasks += [
                replace(task, features=indexes, ticks=indexes is by_window[specs[0].window])
                for indexes in by_window.values()
            ]
        else:
            shared_tasks.append(task)
    return sorted(shared_tasks, key=lambda task: -task.load)


def _tasks(
    events: Events, requests: Sequence[RequestTimes], features: Sequence[int]
) -> list[_Task]:
    """Cut by keys into pieces of about one chunk; the requests of a key that has many are cut
    too.
    """
    chunk = max(_CHUNK * _FEATURES // max(len(features), _FEATURES), 1)
    request_starts = sum((a.starts for a in requests), np.zeros(len(events.starts), np.int64))
    load = events.starts + request_starts
    tasks, first, keys = [], 0, len(load) - 1
    while first < keys:
        last = min(
            max(int(np.searchsorted(load, load[first] + chunk, side="right")) - 1, first + 1), keys
        )
        if request_starts[last] > request_starts[first]:
            tasks += _cut(
                events.keys(first, last),
                [(a.keys(first, last), int(a.starts[first])) for a in requests],
                features,
                4 * chunk,
            )
        first = last
    return tasks


def _cut(
    events: Events, requests: list[tuple[RequestTimes, int]], features: Sequence[int], most: int
) -> list[_Task]:
    pieces = max(1, *(-(-len(a.T) // most) for a, _ in requests))
    tasks = []
    for piece in range(pieces):
        ends = [(len(a.T) * piece // pieces, len(a.T) * (piece + 1) // pieces) for a, _ in requests]
        parts = tuple(
            a.part(*e) if pieces > 1 else a for (a, _), e in zip(requests, ends, strict=True)
        )
        at = tuple(
            (begin + e[0], begin + e[1]) for (_, begin), e in zip(requests, ends, strict=True)
        )
        tasks.append(_Task(events, parts, at, features))
    return tasks


def _run(task: _Task, specs: Sequence[FeatureSpec]) -> list[Answers]:
    """The columns of one task, its sets of requests one after the other."""
    T = np.concatenate([a.T for a in task.requests])
    states: dict[tuple[Window, AggregateFunction, Use], State] = {}
    families = [family(w.function, dict(w.params), w.by) for w in specs]
    keys = dict.fromkeys(
        (w.window, made_by, w.use) for w, made_by in zip(specs, families, strict=True)
    )
    folded = [key for key in keys if not isinstance(key[1], SweepingFunction)]
    parts = []
    for depth, events in enumerate(layers(task.events)):
        layer = Layer(events)
        if len(folded) < len(keys):
            parts.append(layer)
        got = _seen(layer, task.requests, everywhere=depth == 0) if folded else None
        if got is None:
            continue
        for window in dict.fromkeys(w for w, _, _ in folded):
            hit_spans, index = _hit(got[0].spans(window), got[1])
            if depth and len(index) == 0:
                continue
            for key in folded:
                key_window, made_by, use = key
                if key_window == window:
                    states[key] = _merged(
                        states.get(key), made_by.partial(use, hit_spans), index, made_by
                    )
    whole = parts[0] if len(parts) == 1 else Layer(task.events)
    contexts = [
        FinalizeContext(w.function, dict(w.params), T, task.events, w.use, w.window, w.output)
        for w in specs
    ]
    swept: dict[int, list[Answers]] = {
        i: [] for i, made_by in enumerate(families) if isinstance(made_by, SweepingFunction)
    }
    for window, breadth in dict.fromkeys(_sliding(specs[i]) for i in swept):
        for a, b, visible in visible_ranges(whole, parts, task.requests, window, breadth):
            for i, answers in swept.items():
                if _sliding(specs[i]) == (window, breadth):
                    answers.append(
                        cast("SweepingFunction", families[i]).sweep(
                            specs[i].use, visible, replace(contexts[i], T=T[a:b])
                        )
                    )
    return [
        _joined(swept[i])
        if i in swept
        else families[i].finalize(states[w.window, families[i], w.use], contexts[i])
        for i, w in enumerate(specs)
    ]


def _sliding(w: FeatureSpec) -> tuple[Window, int]:
    """The key of features swept together: a window, and the breadth of a request (each pair of
    request and category has a state too).
    """
    return w.window, 1 if w.by is None else 4 * w.by.max_keys


def _joined(slices: list[Answers]) -> Answers:
    """The answers of slices, one after the other."""
    if len(slices) == 1:
        return slices[0]
    lists, columns = (
        [f for f in slices if isinstance(f, ListColumn)],
        [f for f in slices if isinstance(f, Column)],
    )
    return ListColumn.join(lists) if lists else Column.join(columns)


def _seen(
    layer: Layer, requests: Sequence[RequestTimes], *, everywhere: bool
) -> tuple[KnownRanges, I64] | None:
    """The ranges of one layer known to all sets of requests, and the indexes of these requests
    (empty: all); None without any events.
    """
    if everywhere:
        return seen(layer, requests), NOTHING
    parts, row_indexes, begin = [], [], 0
    for request_set in requests:
        got = reached(layer.events, request_set)
        if got is not None:
            parts.append(got[0])
            row_indexes.append(begin + (got[1] if len(got[1]) else np.arange(len(request_set.T))))
        begin += len(request_set.T)
    return (seen(layer, parts), np.concatenate(row_indexes)) if parts else None


def _hit(spans: Spans, index: I64) -> tuple[Spans, I64]:
    """Only the requests that count an event, where not all requests are present."""
    if len(index) == 0:
        return spans, index
    hit = spans.hi > spans.lo
    return replace(
        spans,
        requests=RequestTimes(NOTHING, spans.requests.T[hit], spans.requests.K[hit]),
        lo=spans.lo[hit],
        hi=spans.hi[hit],
    ), index[hit]


def _merged(state: State | None, more: State, index: I64, by: AggregateFunction) -> State:
    if state is None:
        return more
    joined = by.merge(tuple(array[index] for array in state), more)
    # the read-only ones are shared with other states
    writable = tuple(array if array.flags.writeable else array.copy() for array in state)
    for array, new in zip(writable, joined, strict=True):
        array[index] = new
    return writable
