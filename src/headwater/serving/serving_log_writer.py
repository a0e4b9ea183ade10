"""Writes results to the serving log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from headwater.logs.serving_log import ServedLog
from headwater.logs.serving_log_rows import BatchEntry, Entry, EntryContext, Kind, RowEntry
from headwater.online.compiled_reader import FeatureVector, FeatureVectors
from headwater.online.predictor import Predicted
from headwater.serving.http.handlers import HandlerResult, ParsedRequest
from headwater.serving.service import Service

_STAGES: Mapping[Kind, tuple[str, ...]] = {
    "features": ("third party", "read", "write"),
    "predict": ("third party", "look up", "read", "score"),
    "rank": ("third party", "retrieve", "look up", "read", "score"),
}


class ServingLogWriter:
    """Adds results to a serving log; one in each process.

    A request with some precomputed predictions has two entries, since those have no features.
    """

    def __init__(self, log: ServedLog, service: Service) -> None:
        self.log, self._service = log, service
        self._about: dict[tuple[Kind, str, str | None, str | None], EntryContext] = {}

    def collect(self) -> Iterator[Metric]:
        """Metrics of the log: the collector interface of prometheus_client."""
        counts = self.log.counts()
        entries = CounterMetricFamily("headwater_served_log_entries", "entries of the serving log", labels=["outcome"])
        entries.add_metric(["taken"], counts.taken)
        entries.add_metric(["written"], counts.written)
        for reason, count in counts.dropped.items():
            entries.add_metric([f"dropped: {reason}"], count)
        yield entries
        yield GaugeMetricFamily("headwater_served_log_bytes", "bytes queued to be written", counts.memory)

    def put(
        self,
        kind: Kind,
        name: str,
        level: str | None,
        request_id: str,
        t: int,
        ready: ParsedRequest,
        result: HandlerResult,
        seconds: float,
    ) -> None:
        """Add a result."""
        about = self._of(kind, name, level, result.version)
        for entry in _entries(about, request_id, t, ready, result, seconds):
            self.log.put(entry, len(result.body))

    def _of(self, kind: Kind, name: str, level: str | None, version: str | None) -> EntryContext:
        known = self._about.get((kind, name, level, version))
        if known is None:
            model = next(
                candidate
                for candidate in self._service.project.models
                if name == (candidate.features.name if kind == "features" else candidate.name)
            )
            service = self._service.project.arm(model.name, level).service
            known = EntryContext.of(
                kind,
                self._service.project.name,
                service,
                model=None if kind == "features" else name,
                version=version,
                level=level,
                stages=_STAGES[kind],
            )
            self._about[kind, name, level, version] = known
        return known


def _entries(about: EntryContext, id: str, t: int, ready: ParsedRequest, result: HandlerResult, seconds: float) -> list[Entry]:  # noqa: A002 (as `RowEntry`)
    if result.order is not None:
        return _ranked(about, id, t, ready, result, seconds)
    features = result.features
    if ready.row is not None:
        value, how, age = result.predicted[0] if result.predicted else (None, None, None)
        if isinstance(features, FeatureVector):
            return [
                RowEntry(
                    about,
                    id,
                    t,
                    ready.row,
                    features.values,
                    features.statuses,
                    features.read_versions,
                    value,
                    how,
                    age,
                    seconds,
                    result.stages,
                )
            ]
        return [RowEntry(about.bare, id, t, ready.row, (), b"", (), value, how, age, seconds, result.stages)]
    every = range(ready.height)
    if not isinstance(features, FeatureVectors):
        return [_many(about.bare, id, t, ready.columns, None, result.predicted, every, seconds, result.stages)]
    if result.of is None:
        return [_many(about, id, t, ready.columns, features, result.predicted, every, seconds, result.stages)]
    ahead = [n for n in every if n not in set(result.of)]
    return [
        _many(about, id, t, ready.columns, features, result.predicted, result.of, seconds, result.stages),
        _many(about.bare, id, t, ready.columns, None, result.predicted, ahead, seconds, result.stages),
    ]


def _ranked(about: EntryContext, id: str, t: int, ready: ParsedRequest, result: HandlerResult, seconds: float) -> list[Entry]:  # noqa: A002 (as `RowEntry`)
    """The entry of a ranking: the returned items with their features."""
    order, proposed = result.order, ready.proposed
    assert order is not None
    assert proposed is not None
    if not order.items:
        return []
    rows, features = order.rows, order.features
    columns: dict[str, Sequence[object]] = {name: [column[n] for n in rows] for name, column in proposed.columns.items()}
    predictions = [prediction for _, prediction in order.items]
    return [
        _many(
            about if features is not None else about.bare,
            id,
            t,
            columns,
            features,
            predictions,
            range(len(predictions)),
            seconds,
            result.stages,
        )
    ]


def _many(  # noqa: PLR0913, PLR0917 (as `BatchEntry`)
    about: EntryContext,
    id: str,  # noqa: A002 (as `BatchEntry`)
    t: int,
    columns: Mapping[str, Sequence[object]],
    features: FeatureVectors | None,
    predicted: Sequence[Predicted],
    rows: Sequence[int],
    seconds: float,
    stages: Mapping[str, float],
) -> BatchEntry:
    """The entry of some rows of a request, with the features of those rows."""
    chosen = [predicted[n] for n in rows] if predicted else None
    values, statuses, read_versions = ([], [], []) if features is None else features
    return BatchEntry(
        about,
        id,
        t,
        {name: [column[n] for n in rows] for name, column in columns.items()},
        values,
        statuses,
        read_versions,
        len(rows),
        None if chosen is None else [prediction.value for prediction in chosen],
        None if chosen is None else [prediction.how for prediction in chosen],
        None if chosen is None else [prediction.age for prediction in chosen],
        seconds,
        stages,
    )
