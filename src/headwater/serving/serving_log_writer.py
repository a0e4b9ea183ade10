"""Writes results to the serving log."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from headwater import clock
from headwater.definitions.feature_service import FeatureService
from headwater.errors import StoreError
from headwater.journal.serving_log import ServedLog
from headwater.journal.serving_log_rows import (
    CANDIDATES,
    EXPLORED,
    PROPENSITY,
    BatchEntry,
    Entry,
    EntryContext,
    Kind,
    RowEntry,
)
from headwater.journal.shipping import shipping_state
from headwater.online.feature_vectors import FeatureVector, FeatureVectors
from headwater.online.predictor import Predicted
from headwater.serving.endpoints import Endpoints
from headwater.serving.http.row_decoder import ParsedRequest
from headwater.serving.served_project import endpoints_of
from headwater.serving.service import Service
from headwater.serving.serving_result import ServingResult

if TYPE_CHECKING:
    import polars as pl

_STAGES: Mapping[Kind, tuple[str, ...]] = {
    "features": ("third party", "read", "write"),
    "predict": ("third party", "look up", "read", "score"),
    "rank": ("third party", "retrieve", "look up", "read", "score"),
}
_UNSCORED: Final = None, None, None
_new: Final = tuple.__new__  # without the arguments' names, which take half of the time


class ServingLogWriter:
    """Adds results to a serving log; one in each process.

    A request with some precomputed predictions has two entries, since those have no features.
    """

    def __init__(self, log: ServedLog, service: Service) -> None:
        self.log, self._service = log, service
        self._entries: list[Entry] = []
        self._about: dict[tuple[Kind, str, str | None, str | None, str | None], EntryContext] = {}

    def collect(self) -> Iterator[Metric]:
        """Metrics of the log: the collector interface of prometheus_client."""
        counts = self.log.counts()
        entries = CounterMetricFamily(
            "headwater_served_log_entries", "entries of the serving log", labels=["outcome"]
        )
        entries.add_metric(["taken"], counts.taken)
        entries.add_metric(["written"], counts.written)
        for reason, count in counts.dropped.items():
            entries.add_metric([f"dropped: {reason}"], count)
        yield entries
        yield GaugeMetricFamily(
            "headwater_served_log_bytes", "bytes queued to be written", counts.memory
        )
        with suppress(StoreError):  # `headwater logs status` reports it
            if (state := shipping_state(self.log.folder.parent)) is not None:
                failing = (
                    0.0
                    if state.failing_since is None
                    else (clock.now_micros() - state.failing_since) / 1e6
                )
                yield GaugeMetricFamily(
                    "headwater_logs_waiting_bytes",
                    "bytes of the log that are not shipped yet",
                    state.waiting_bytes,
                )
                yield GaugeMetricFamily(
                    "headwater_logs_dropped",
                    "files of the log that were deleted before they were shipped",
                    state.dropped,
                )
                yield GaugeMetricFamily(
                    "headwater_logs_failing_seconds",
                    "seconds since logs cannot be shipped; 0 where they can",
                    failing,
                )

    def put(
        self,
        kind: Kind,
        request_id: str,
        ready: ParsedRequest,
        result: ServingResult,
        seconds: float,
        arm: str | None = None,
    ) -> None:
        """Add a result; `write` writes it. arm: of an experiment, as EXPERIMENT/ARM."""
        key = kind, result.name, result.level, None if kind == "features" else result.version, arm
        about = self._about.get(key) or self._context(endpoints_of(ready), *key)
        features = result.features
        if type(features) is not FeatureVector or result.order is not None:
            self._entries += _entries(about, request_id, result.t, ready, result, seconds)
            return
        assert ready.row is not None
        value, origin, age = result.predicted[0] if result.predicted else _UNSCORED
        values, statuses, read_versions = features
        entry = (
            about,
            request_id,
            result.t,
            ready.row,
            values,
            statuses,
            read_versions,
            value,
            origin,
            age,
            seconds,
            result.stages,
            features.words,
        )
        self._entries.append(_new(RowEntry, entry))

    def write(self) -> None:
        """Write what was added, without waiting for the disk."""
        if self._entries:
            self.log.write(self._entries)
            self._entries.clear()

    def _context(
        self,
        endpoints: Endpoints,
        kind: Kind,
        name: str,
        level: str | None,
        version: str | None,
        arm: str | None,
    ) -> EntryContext:
        """The context of the entries of a model's version, or of a feature service; kept."""
        model = next(
            candidate
            for candidate in self._service.project.models
            if name == (candidate.features.name if kind == "features" else candidate.name)
        )
        service = (
            endpoints.of_service(name, level)
            if kind == "features"
            else endpoints.variant(name, level)
        ).service
        about = EntryContext.for_service(
            kind,
            self._service.project.name,
            service,
            model=None if kind == "features" else name,
            version=version,
            arm=arm,
            level=level,
            schema=_mappings(endpoints, kind, name, level, service),
            stages=_STAGES[kind],
        )
        if kind == "rank" and model.ranking is not None and model.ranking.explore:
            about = dataclasses.replace(
                about, request=(*about.request, PROPENSITY, EXPLORED, CANDIDATES)
            )
        self._about[kind, name, level, version, arm] = about
        return about


def _mappings(
    endpoints: Endpoints, kind: Kind, name: str, level: str | None, service: FeatureService
) -> dict[str, pl.DataType]:
    """The dtypes of features that are mappings (`.by(...)`): values without a key do not tell
    theirs.
    """
    outputs = [
        output
        for view in service.views
        for output in zip(view.feature_names, view.outputs, strict=True)
    ]
    mapped = [
        full
        for full, feature in outputs
        if feature.aggregation.secondary is not None and full in service.feature_names
    ]
    if not mapped:
        return {}
    reader = (
        endpoints.features(name, level)
        if kind == "features"
        else endpoints.model(name, level).predictor
    )
    return {full: reader.features.dtypes[full] for full in mapped}


def _entries(
    about: EntryContext,
    id: str,  # noqa: A002
    t: int,
    ready: ParsedRequest,
    result: ServingResult,
    seconds: float,
) -> list[Entry]:
    if result.order is not None:
        return _ranked(about, id, t, ready, result, seconds)
    features = result.features
    if ready.row is not None:
        value, origin, age = result.predicted[0] if result.predicted else _UNSCORED
        return [
            RowEntry(
                about.bare,
                id,
                t,
                ready.row,
                (),
                b"",
                (),
                value,
                origin,
                age,
                seconds,
                result.stages,
            )
        ]
    every = range(ready.height)
    if not isinstance(features, FeatureVectors):
        return [
            _many(
                about.bare,
                id,
                t,
                ready.columns,
                None,
                result.predicted,
                every,
                seconds,
                result.stages,
            )
        ]
    if result.rows_read is None:
        return [
            _many(
                about,
                id,
                t,
                ready.columns,
                features,
                result.predicted,
                every,
                seconds,
                result.stages,
            )
        ]
    read = set(result.rows_read)
    looked_up = [n for n in every if n not in read]
    entries: list[Entry] = [
        _many(
            about,
            id,
            t,
            ready.columns,
            features,
            result.predicted,
            result.rows_read,
            seconds,
            result.stages,
        )
    ]
    if looked_up:
        entries.append(
            _many(
                about.bare,
                id,
                t,
                ready.columns,
                None,
                result.predicted,
                looked_up,
                seconds,
                result.stages,
            )
        )
    return entries


def _ranked(
    about: EntryContext,
    id: str,  # noqa: A002
    t: int,
    ready: ParsedRequest,
    result: ServingResult,
    seconds: float,
) -> list[Entry]:
    """The entry of a ranking: the returned items with their features."""
    order, proposed = result.order, ready.proposed
    assert order is not None
    assert proposed is not None
    if not order.items:
        return []
    rows, features = order.rows, order.features
    columns: dict[str, Sequence[object]] = {
        name: [column[n] for n in rows] for name, column in proposed.columns.items()
    }
    predictions = [prediction for _, prediction in order.items]
    if order.shown is not None:
        columns[PROPENSITY] = order.shown.propensities
        columns[EXPLORED] = [order.shown.explored] * len(predictions)
        if order.shown.explored:
            columns[CANDIDATES] = [order.shown.candidates, *[None] * (len(predictions) - 1)]
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
    whole = rows == range(len(rows))
    values, statuses, read_versions = ([], [], []) if features is None else features
    return BatchEntry(
        about,
        id,
        t,
        {
            name: list(column) if whole else [column[n] for n in rows]
            for name, column in columns.items()
        },
        values,
        statuses,
        read_versions,
        len(rows),
        None if chosen is None else [prediction.value for prediction in chosen],
        None if chosen is None else [prediction.how for prediction in chosen],
        None if chosen is None else [prediction.age for prediction in chosen],
        seconds,
        stages,
        None if features is None else features.words,
    )
