"""The headline metric with the events of one source placed later: by the offset that the audit
found, an hour, and a day.

An event that is moved by d counts for a request at t if and only if the event as it is counts for
one at t - d, in a window of that time. So no table is changed: the views of the source read with T
= K = t - d, through the one rule (`kernel.as_of`), and windows keep their lengths. The model is
trained again at each offset, since one that was trained on unmoved events would do worse than it
must.

The curve illustrates where a source was flagged, or named. It never convicts: an honest source
whose signal is fresh loses with every offset too, and a leak may fall little where values last.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headwater.backtesting.audit import AuditInputs
from headwater.backtesting.audit.own_events import own_events
from headwater.backtesting.experiment_rows import ExperimentRows
from headwater.backtesting.intervals import ResampledMetrics
from headwater.backtesting.row_blocks import RowBlocks
from headwater.definitions.checks import DAY, HOUR, SECOND, text
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.freshness import Freshness, measured, never, on_request
from headwater.definitions.level import Level
from headwater.errors import UsageError, nearest
from headwater.results.audit_result import AuditFinding
from headwater.results.estimate import Estimate
from headwater.results.offset_curve_result import OffsetCurve, OffsetPoint

FLAGGED = "flagged"
_WITHOUT, _UNMOVED = "without", "not moved"
# every time zone is so many quarters of an hour from UTC, and none further
_QUARTER, _WIDEST = HOUR // 4, 14 * HOUR


def offset_curves(
    experiment: ExperimentRows,
    levels: Mapping[str, Level],
    findings: Sequence[AuditFinding],
    row_blocks: RowBlocks,
) -> tuple[OffsetCurve, ...]:
    """The curves that `Evaluation(offset_curves=)` names: of the given sources, or of sources that
    the audit flagged.

    Args:
        experiment: the rows; each model is trained once.
        levels: the compared ones; views of other sources are as fresh as at the last.
        findings: of the audit.
        row_blocks: those of the intervals.

    Raises:
        UsageError: a source that no view of the model reads.
    """
    curves_asked, name = experiment.evaluation.offset_curves, list(levels)[-1]
    by_source: dict[str, list[FeatureView]] = {}
    for view in experiment.model.features.views:
        if view.source.history is not None:
            by_source.setdefault(view.source.name, []).append(view)
    flagged = {
        finding.subject: finding.check
        for finding in reversed(findings)
        if finding.subject in by_source and finding.severity in ("LEAK", "SUSPECT")
    }
    chosen = (
        flagged
        if curves_asked == FLAGGED
        else {str(source): flagged.get(str(source), "named") for source in curves_asked}
    )
    for source in chosen:
        if source not in by_source:
            raise UsageError(
                f"Evaluation(offset_curves=) names {source!r}, which no view of the model reads; "
                f"{nearest(source, by_source)}"
            )
    if not chosen:
        return ()
    offsets = _found_offsets(experiment, levels[name])
    once = dataclasses.replace(
        experiment, evaluation=dataclasses.replace(experiment.evaluation, refits=0, tune=None)
    )
    return tuple(
        _CurveOfSource(
            once,
            levels[name],
            name,
            row_blocks,
            source,
            by_source[source],
            why,
            offsets.get(source, ()),
        ).result()
        for source, why in chosen.items()
    )


def _found_offsets(experiment: ExperimentRows, level: Level) -> dict[str, Sequence[int]]:
    """By source, how much earlier than a timestamp of the label row its own event is, in
    microseconds, where the audit sees a spike.
    """
    requests, rows = experiment.requests, len(experiment.requests.t)
    inputs = AuditInputs(
        experiment.model,
        level,
        requests,
        requests.frame,
        np.ones(rows, np.bool_),
        experiment.outcomes.y,
        experiment.split,
        dataclasses.replace(experiment.resources, progress=False),
    )
    return {
        events.subject: [-offset for offset in events.spike.offsets if offset < 0]
        for events in own_events(inputs)
        if events.spike is not None and events.spike.excess
    }


def named(offset: int, audited: Sequence[int]) -> str:
    """An offset in words; `audited` are those of the audit.

    >>> named(0, []), named(HOUR, []), named(4 * HOUR, [4 * HOUR]), named(HOUR + 1, [HOUR + 1])
    ('not moved', '1h later', '4h later, as far as the audit found (a time zone can be)', '3600000001us later, as far as the audit found')
    """  # noqa: E501 (output as it is printed)
    if not offset:
        return _UNMOVED
    if offset not in audited:
        return f"{text(offset)} later"
    zone = " (a time zone can be)" if offset % _QUARTER == 0 and offset <= _WIDEST else ""
    return f"{text(offset)} later, as far as the audit found{zone}"


@dataclass(frozen=True)
class _CurveOfSource:
    experiment: ExperimentRows
    level: Level
    name: str
    row_blocks: RowBlocks
    source: str
    views: Sequence[FeatureView]
    why: str
    audited: Sequence[int]

    def result(self) -> OffsetCurve:
        offsets = sorted({0, HOUR, DAY, *self.audited})
        evaluation = self._evaluation(offsets)
        first = evaluation.position(_label(0))
        points = []
        for offset in offsets:
            at = evaluation.position(_label(offset))
            points.append(
                OffsetPoint(
                    offset / SECOND,
                    named(offset, self.audited),
                    self._value(evaluation, at),
                    _change(evaluation, at, first),
                )
            )
        without = self._value(evaluation, evaluation.position(_WITHOUT))
        views = [view.name for view in self.views]
        return OffsetCurve(
            self.source,
            views,
            self.why,
            evaluation.metrics[0].name,
            self.name,
            points,
            without,
            len(offsets) + 1,
        )

    def _evaluation(self, offsets: Sequence[int]) -> ResampledMetrics:
        """The headline without the source's views, and at each offset."""
        model = self.experiment.model
        fresh: dict[FeatureView, Freshness] = {
            view: self.level.freshness(view) for view in model.features.views
        }
        read: dict[str, Freshness] = {_WITHOUT: never()}
        for offset in offsets:
            read[_label(offset)] = (
                measured([text(offset)], cuts=[text(offset)]) if offset else on_request()
            )
        levels = {
            name: Level(
                {**fresh, **dict.fromkeys(self.views, freshness)},
                on_request(),
                self.level.known_after,
            )
            for name, freshness in read.items()
        }
        return self.experiment.headline_by_level(levels, self.row_blocks)

    @staticmethod
    def _value(evaluation: ResampledMetrics, at: int) -> Estimate:
        (metric,) = evaluation.estimates(evaluation.levels[at]).values()
        return metric


def _label(offset: int) -> str:
    return f"{offset} us"


def _change(evaluation: ResampledMetrics, at: int, first: int) -> Estimate:
    """The change from the unmoved point, on the same resamples."""
    sign = 1.0 if evaluation.metrics[0].higher_is_better else -1.0
    value = sign * (evaluation.values[at, 0] - evaluation.values[first, 0])
    draws = sign * (evaluation.replicates[at, 0] - evaluation.replicates[first, 0])
    return Estimate(
        float(value),
        *(evaluation.sure(float(value), draws).interval() if at != first else (0.0, 0.0)),
    )
