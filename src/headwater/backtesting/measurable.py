"""Which levels the timestamps of the data can tell from the staler one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import msgspec
import numpy as np

from headwater.definitions.checks import micros
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.definitions.source import Source, bottom_of
from headwater.kernel.arrays import I64, Bool
from headwater.kernel.as_of import NEVER, as_of
from headwater.results.backtest_result import BacktestResult
from headwater.results.estimate import VERDICT_WORDS, Comparison
from headwater.results.resolution_result import (
    MEASURABLE_SHARE,
    RESOLUTION_SECONDS,
    LevelMeasurable,
    Resolution,
    SourceResolution,
    ViewMeasurable,
)
from headwater.training.precomputed_rows import reading
from headwater.training.timestamp_resolution import Grid, measured, periods_of, request_steps


@dataclass(frozen=True)
class _Knowledge:
    """What a view can know at a level: K, and the step of the source's timestamps that is the last
    known by it; int64 (requests) each.

    latest: K if the request was made at the end of the step that its timestamp may have been
    rounded down from.
    """

    K: I64
    cell: I64
    latest: I64


class Measurability:
    """The resolution of every source that a model reads, and what it means for pairs of levels.

    Args:
        model: with the views that the levels read.
        levels: from stale to fresh.
        t: int64 (requests), when the predictions are requested.
        test: bool (requests), those that the levels are judged on; the others train.

    Timestamps of requests that were rounded down say only that a request was made within a step.
    Two levels differ for it if the staler one knows less at the end of the step than the fresher
    one at its beginning.
    """

    def __init__(self, model: Model, levels: Mapping[str, Level], t: I64, test: Bool) -> None:
        self._test, self._labels = test, model.labels
        self._steps, self._request_grids = (
            (np.zeros_like(t), list[Grid]()) if model.labels.exact_times else request_steps(t)
        )
        views = [v for v in model.features.views_in_history if v.source.history is not None]
        reads = any(level.reads_history(model) for level in levels.values())
        bottoms = (
            {bottom_of(view.source).name: bottom_of(view.source) for view in views} if reads else {}
        )
        self._sources = {name: measured(source) for name, source in bottoms.items()}
        self._views = {view.name: view for view in views}
        self._by_level = {name: self._of_level(model, level, t) for name, level in levels.items()}

    def resolutions(self) -> list[SourceResolution]:
        """What was measured of each source, with the questions that are open."""
        return [source.result() for source in self._sources.values()]

    def _of_level(self, model: Model, level: Level, t: I64) -> dict[str, _Knowledge]:
        views, fresh, request_times = reading(model, level, t)
        late = (
            reading(model, level, t + np.maximum(self._steps - 1, 0))[2]
            if self._steps.any()
            else None
        )
        by_view = {}
        for view in views:
            source = self._sources.get(bottom_of(view.source).name)
            # a job reads those of candidates too
            if source is not None and view.name in self._views:
                K = as_of(fresh.freshness(view), request_times)[1]
                latest = K if late is None else as_of(fresh.freshness(view), late)[1]
                by_view[view.name] = _Knowledge(
                    K, source.cell(K, self._delay(level, source.source)), latest
                )
        return by_view

    def _delay(self, level: Level, source: Source) -> int:
        """How long after its timestamp an event of the source is known at this level."""
        declared = next(
            (after for known_source, after in level.known_after.items() if known_source == source),
            None,
        )
        return source.delay if declared is None else micros(declared, "known_after")

    def between(self, staler: str, level: str) -> LevelMeasurable | None:
        """Whether the data can tell `level` from `staler`; None where no view is fresher."""
        judged = [
            judgement
            for name in self._by_level[level]
            if (judgement := self._view(name, staler, level)) is not None
        ]
        if not judged:
            return None
        views = [view for view in judged if view.measurable]
        others = [view for view in judged if not view.measurable]
        state = "measurable" if not others else "partly measurable" if views else "not measurable"
        return LevelMeasurable(level, staler, state, views, others, self.reason(others))  # type: ignore[arg-type]

    def _view(self, name: str, staler: str, level: str) -> ViewMeasurable | None:
        new, old = self._by_level[level][name], self._by_level[staler].get(name)
        never = np.full_like(new.K, NEVER)
        old_K, old_latest = (never, never) if old is None else (old.K, old.latest)
        fresher = (old_K < new.K) | (old_latest < new.latest)
        if not fresher.any():
            return None
        by_events = (
            fresher
            if old is None
            else fresher & ((new.cell > old.cell) | (old_K <= NEVER) | (old_K >= new.K))
        )
        by_requests = fresher & ((old_latest < new.K) | (self._steps == 0))
        parts = [rows & fresher for rows in (self._test, ~self._test) if (rows & fresher).any()]
        share, of_events = (
            min(float(apart[selected].mean()) for selected in parts)
            for apart in (by_events & by_requests, by_events)
        )
        return ViewMeasurable(
            name,
            bottom_of(self._views[name].source).name,
            share,
            of_events >= MEASURABLE_SHARE > share,
        )

    def reason(self, views: Sequence[ViewMeasurable]) -> str:
        """Why these views cannot tell two levels apart, in words."""
        reasons = []
        if any(view.by_requests for view in views):
            reasons.append(
                f"the request times {self._labels.timestamp_field!r} of labels "
                f"{self._labels.name!r} have a resolution of one {self._coarsest_request()}"
            )
        for source in dict.fromkeys(view.source for view in views if not view.by_requests):
            result = self._sources[source].result()
            reasons.append(
                f"the timestamps {result.column!r} of source {source!r} have a resolution of one "
                f"{result.coarsest}"
            )
        return "; ".join(reasons)

    def _coarsest_request(self) -> Resolution:
        return min(
            (grid.resolution for grid in self._request_grids), key=list(RESOLUTION_SECONDS).index
        )

    def request_times(self) -> SourceResolution:
        """The resolution of the request times, with the question that it leaves open."""
        labels, coarse = self._labels, self._coarsest_request()
        question = (
            f"the request times {labels.timestamp_field!r} of labels {labels.name!r} are whole "
            f"{coarse}s. Were they rounded down? Then give the time of each request. If requests "
            "are made at exactly these times, as by a job, give the labels exact_times=True. "
            f"Until then no level is compared with one that is fresher by less than a {coarse}"
        )
        return SourceResolution(
            labels.name, labels.timestamp_field, periods_of(self._request_grids), None, question
        )


def with_measurability(result: BacktestResult, measurability: Measurability) -> BacktestResult:
    """The result with the resolution of its sources, and without a verdict on steps that the
    timestamps cannot show.
    """
    pairs = {(c.from_, c.to) for c in result.comparisons}
    states = {pair: measurability.between(*pair) for pair in pairs}

    def judged(comparisons: Sequence[Comparison]) -> list[Comparison]:
        return [_unjudged(c, states.get((c.from_, c.to))) for c in comparisons]

    steps = pairwise(level.name for level in result.levels)
    by_requests = any(
        view.by_requests
        for state in states.values()
        if state is not None
        for view in state.other_views
    )
    return msgspec.structs.replace(
        result,
        comparisons=judged(result.comparisons),
        slices=[
            msgspec.structs.replace(s, comparisons=judged(s.comparisons)) for s in result.slices
        ],
        resolutions=measurability.resolutions(),
        request_times=measurability.request_times() if by_requests else None,
        measurable=[state for step in steps if (state := measurability.between(*step)) is not None],
    )


def _unjudged(comparison: Comparison, state: LevelMeasurable | None) -> Comparison:
    """The comparison without a verdict where the timestamps cannot show it."""
    if state is None or state.state != "not measurable":
        return comparison
    return not_measurable(comparison, state.reason)


def not_measurable(comparison: Comparison, reason: str) -> Comparison:
    """The comparison with "not measurable" as its verdict."""
    return msgspec.structs.replace(
        comparison,
        verdict="not measurable",
        sentence=f"{VERDICT_WORDS['not measurable']}: {reason}",
    )
