"""Readiness: measure a project without changing it, and derive how fresh each view can be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import polars as pl

from headwater import clock
from headwater.assessing.checks import TABLE
from headwater.assessing.checks.check import Check, Limits
from headwater.assessing.locations import Locations
from headwater.assessing.probes import archive_probe, request_probe, stream_probe
from headwater.assessing.probes import database_probe as database
from headwater.assessing.probes import store_probe as of_store
from headwater.assessing.questions import Answers
from headwater.assessing.readiness_levels import judged, ladders, no_stream, nothing_to_read
from headwater.definitions.checks import HOUR, micros
from headwater.definitions.connectors import BrokerStream
from headwater.definitions.feature_service import Enriched
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.model import Model
from headwater.definitions.project import Project
from headwater.definitions.source import Source, bottom_of
from headwater.errors import HeadwaterError, UsageError, nearest
from headwater.models.registry import ModelRegistry
from headwater.results.measurement import Missing, Number, Reading, measured
from headwater.results.readiness_result import Finding, Reach, Readiness
from headwater.training.requests import Requests

_DEFAULTS = {
    "F": ("1m", "the freshness to aim at, if the view does not stream; --freshness"),
    "B": ("100ms", "--budget"),
}


def readiness(
    project: Project, locations: Locations | None = None, answers: Answers | None = None
) -> Readiness:
    """How ready a project is for fresher features: the scorecard, measured where it can be, and the
    highest level of each view.

    Nothing is changed. A part that cannot be reached is "not measured", with the reason; an
    unanswered question is unknown.

    Args:
        project: the project.
        locations: where to measure.
        answers: to the questions that cannot be measured.

    Raises:
        UsageError: a table for a source that the project does not have.
    """
    seen = _Seen(project, locations or Locations(), answers or Answers({}))
    for name in seen.locations.tables:
        if name not in {s.name for s in project.sources}:
            raise UsageError(
                f"project {project.name!r} has no source {name!r}; "
                f"{nearest(name, [s.name for s in project.sources])}"
            )
    findings, views, further = [], [], []
    shared = [
        c.judge(f"project {project.name}", seen.of_project(c), seen.limits())
        for c in TABLE
        if c.subject == "project"
    ]
    by_model = {
        m.name: [
            c.judge(f"model {m.name}", seen.of_model(m, c), seen.limits(m))
            for c in TABLE
            if c.subject == "model"
        ]
        for m in project.models
    }
    for view in project.all_views:
        models = [m for m in project.models if view in m.views_within]
        limits = seen.limits(models[0], view)
        own_findings = [
            c.judge(f"view {view.name}", seen.of_view(view, models, c), limits)
            for c in TABLE
            if c.subject == "view" and seen.applies(view, c)
        ]
        findings += own_findings
        beyond = seen.beyond(view, models, limits)
        theirs = [f for m in models for f in by_model[m.name]]
        views.append(judged(view, [*own_findings, *theirs, *shared], beyond))
        further += [finding for level, finding in beyond if level != "at request time"]
    findings += [f for model_findings in by_model.values() for f in model_findings] + shared
    online, learning = ladders([*findings, *further])
    now = clock.timestamp(clock.now_micros()).isoformat(timespec="seconds")
    return Readiness(project.name, now, views, findings, online, learning, seen.assumed)


@dataclass
class _Seen:
    """The readings of each place, measured once."""

    project: Project
    locations: Locations
    answers: Answers
    assumed: dict[str, Reading] = field(default_factory=dict)
    _tails: dict[str, stream_probe.Tail | Missing] = field(default_factory=dict)
    _histories: dict[str, archive_probe.History | Missing] = field(default_factory=dict)
    _sources: dict[str, dict[str, Reading]] = field(default_factory=dict)
    _models: dict[str, tuple[dict[str, Reading], Requests | None, pl.DataFrame | None]] = field(
        default_factory=dict
    )

    # ---------------------------------------------------------------- limits

    def limits(self, model: Model | None = None, view: FeatureView | None = None) -> Limits:
        """F, W, B, T and L in seconds, as far as they are known; the origin of each goes into
        `assumed`.
        """
        first = model or self.project.models[0]
        readings, _, _ = self.model(first)
        values = {
            name: r.value if isinstance(r, Number) else math.nan
            for name, r in self._stated_limits(first, readings).items()
        }
        if view is not None:
            longest = Number(
                _longest(view), "s", "given", f"the longest window of view {view.name!r}"
            )
            self.assumed[f"W of {view.name}"] = longest
            values["W"] = longest.value
            if view.freshness.streamed:
                lag = Number(
                    view.freshness.worst_age / 1e6, "s", "given", f"the lag of view {view.name!r}"
                )
                self.assumed[f"F of {view.name}"] = lag
                values["F"] = lag.value
        return values

    def _stated_limits(self, model: Model, readings: Mapping[str, Reading]) -> dict[str, Reading]:
        budget = model.latency_budget if self.locations.budget is None else self.locations.budget
        stated = {"F": self.locations.freshness, "B": budget}
        limits: dict[str, Reading] = {}
        for name, duration_text in stated.items():
            default, source = _DEFAULTS[name]
            value = micros(default if duration_text is None else duration_text, name) / 1e6
            limits[name] = Number(
                value,
                "s",
                "default" if duration_text is None else "given",
                source if duration_text is None else "as given",
            )
        limits |= {"T": readings["training_span"], "L": readings["label_p95"]}
        self.assumed |= limits
        return limits

    # ---------------------------------------------------------------- subjects

    def of_project(self, check: Check) -> dict[str, Reading]:
        """Readings of the project."""
        return {"reads": self.store.reads, "answer": self.answers.reading(check)}

    def of_model(self, model: Model, check: Check) -> dict[str, Reading]:
        """Readings of a model."""
        readings = dict(self.model(model)[0])
        answer = self.answers.reading(check)
        latency = readings.get("latency", Missing("no serving log"))
        budget = self.limits(model)["B"]
        # Too slow at today's rate is also too slow at twice the peak; fast enough today proves
        # nothing for the peak.
        slow = isinstance(latency, Number) and latency.value > budget
        readings["peak_latency"] = latency if slow else answer
        registered = _registered(model, self.locations.registry)
        readings |= {
            "answer": answer,
            "registered": registered if isinstance(registered, Number) else answer,
        }
        if isinstance(answer, Missing) and isinstance(registered, Missing):
            readings["registered"] = Missing(f"{registered.reason}, and {answer.reason}")
        return readings

    def of_view(self, view: FeatureView, models: list[Model], check: Check) -> dict[str, Reading]:
        """Readings of a view: of the topic if there is one, else of the history; a database table
        takes precedence over a file.
        """
        past, live = self.history(view.source), self.tail(view.source)
        readings = dict(self.source(view.source))
        if isinstance(past, archive_probe.History):
            readings |= archive_probe.of_view(view, past)
        if isinstance(live, stream_probe.Tail):
            readings |= stream_probe.of_view(view, live)
            readings["agreement"] = (
                archive_probe.agreement(view, live, past)
                if isinstance(past, archive_probe.History)
                else Missing(f"no history: {past.reason}")
            )
        else:
            readings |= {
                name: live for name in ("agreement", "retention", "policy") if name not in readings
            }
        _, requests, rows = self.model(models[0])
        readings |= request_probe.of_view(view, rows)
        if "cold" not in readings:
            readings["cold"] = request_probe.cold(
                view, requests, past if isinstance(past, archive_probe.History) else None
            )
        readings["differs"] = self.store.differs.get(
            view.name, Missing(f"no value of view {view.name!r} was compared")
        )
        copied = readings.get("copies", Missing("duplicates cannot be recognised"))
        readings["idempotent"] = _idempotent(copied)
        answer = self.answers.reading(check)
        for name in ("known_column", "history_kept"):
            reading = readings.get(name)
            if isinstance(answer, Number) and (
                reading is None or isinstance(reading, Missing) or reading.origin == "given"
            ):
                readings[name] = answer
            elif reading is None or isinstance(reading, Missing):
                readings[name] = answer if reading is None else reading
        return readings

    def applies(self, view: FeatureView, check: Check) -> bool:
        """Whether a check applies to the view: topic settings do not apply to pushed events."""
        return check.id not in {"E6", "E8", "E9", "E11"} or isinstance(
            bottom_of(view.source).stream, BrokerStream | None
        )

    def beyond(
        self, view: FeatureView, models: list[Model], limits: Limits
    ) -> list[tuple[Reach, Finding]]:
        """The requirements of a level beyond its gates."""
        readings = self.of_view(view, models, TABLE[0])
        past, live = self.history(view.source), bottom_of(view.source).stream
        requirements: list[tuple[Reach, Finding]] = []
        if isinstance(past, Missing):
            requirements.append(("daily", nothing_to_read(view, past)))
        delay = readings.get(
            "known_delay", Missing("no history with the time when events become known")
        )
        if isinstance(delay, Number) and delay.value > HOUR / 1e6:
            remedy = "load events more often than hourly, or read them from a stream"
            late = Finding(
                "D1",
                "O1",
                f"view {view.name}",
                "events are known within the hour",
                "red",
                delay,
                "≤ 1h",
                "> 1h",
                remedy,
                {},
            )
            requirements.append(("hourly", late))
        if live is None and view.third_party is None:
            requirements.append(("streaming", no_stream(view)))
        if view.third_party is None:
            lag = next(c for c in TABLE if c.id == "E3").at(F="B")
            requirements.append(
                ("at request time", lag.judge(f"view {view.name}", readings, limits))
            )
        return requirements

    # ---------------------------------------------------------------- places, each measured once

    def tail(self, source: Source) -> stream_probe.Tail | Missing:
        """The end of the source's topic."""
        if source.name not in self._tails:
            self._tails[source.name] = self._tail(source)
        return self._tails[source.name]

    def _tail(self, source: Source) -> stream_probe.Tail | Missing:
        if isinstance(source.history, Enriched):
            return Missing(
                f"source {source.name!r} is enriched; its events are those of "
                f"{bottom_of(source).name!r}"
            )
        if not isinstance(source.stream, BrokerStream):
            return Missing(
                f"source {source.name!r} has no stream that a broker keeps, such as a topic, but "
                f"{source.stream or 'no stream'}"
            )
        try:
            return stream_probe.tail(
                source,
                self._over(source),
                records=self.locations.records,
                watch=self.locations.watch,
            )
        except HeadwaterError as error:
            return Missing(str(error))

    def history(self, source: Source) -> archive_probe.History | Missing:
        """The source's history."""
        if source.name not in self._histories:
            self._histories[source.name] = self._history(source)
        return self._histories[source.name]

    def _history(self, source: Source) -> archive_probe.History | Missing:
        if isinstance(source.history, Enriched):
            return Missing(
                f"source {source.name!r} is enriched; its events are those of "
                f"{bottom_of(source).name!r}"
            )
        try:
            past = archive_probe.history(source, self._over(source))
            past.frame.head(1).collect()
        except (HeadwaterError, OSError, pl.exceptions.PolarsError) as error:
            return Missing(str(error))
        return past

    def source(self, source: Source) -> dict[str, Reading]:
        """Readings that all views of a source share."""
        if source.name not in self._sources:
            past, live = self.history(source), self.tail(source)
            topic = bottom_of(source).stream
            readings: dict[str, Reading] = {}
            if isinstance(past, Missing):
                readings |= dict.fromkeys(
                    ("timed", "span", "copies", "keyed", "disorder", "hottest"),
                    live if isinstance(live, Missing) and topic else past,
                )
            if isinstance(live, Missing):
                readings |= dict.fromkeys(("lag", "schema"), live)
            if isinstance(past, archive_probe.History):
                readings |= archive_probe.of_source(past)
            if isinstance(live, stream_probe.Tail):
                readings |= {
                    n: r
                    for n, r in stream_probe.of_source(source, live).items()
                    if isinstance(r, Number) or n not in readings
                }
            if isinstance(topic, BrokerStream):
                readings["schema"] = stream_probe.schema(topic)
            table = self.locations.tables.get(source.name)
            if table is not None and self.locations.database is not None:
                keys = list(dict.fromkeys(key for view in self._over(source) for key in view.keys))
                table_readings = database.of_table(
                    self.locations.database,
                    table,
                    time=source.timestamp_field,
                    keys=keys,
                    known_column=source.known_at_field,
                )
                readings |= {
                    n: r
                    for n, r in table_readings.items()
                    if isinstance(r, Number) or n not in readings
                }
            self._sources[source.name] = readings
        return self._sources[source.name]

    def model(
        self, model: Model
    ) -> tuple[dict[str, Reading], Requests | None, pl.DataFrame | None]:
        """Readings of labels, outcomes and the serving log."""
        if model.name not in self._models:
            labelled, requests = request_probe.of_labels(model)
            logged, rows = request_probe.of_log(model, self.folder)
            self._models[model.name] = (labelled | logged, requests, rows)
        return self._models[model.name]

    @cached_property
    def store(self) -> of_store.StoreSeen:
        """The online store."""
        logged = any(self.model(m)[2] is not None for m in self.project.models)
        return of_store.of_store(self.project, self.locations.store, self.folder, logged=logged)

    @property
    def folder(self) -> Path:
        """The folder of the logs."""
        return self.locations.folder

    def _over(self, source: Source) -> list[FeatureView]:
        return [view for view in self.project.all_views if view.source == source]


def _idempotent(copied: Reading) -> Reading:
    """Whether producers are idempotent. The client cannot list a broker's producers, so the share
    of duplicates is the evidence.
    """
    if isinstance(copied, Missing):
        return Missing(
            "the Kafka client cannot list producers, and duplicates are not measured: "
            f"{copied.reason}"
        )
    few = 1.0 if copied.value <= 1e-4 else 0.5 if copied.value <= 1e-3 else 0.0
    return measured(
        few,
        "",
        f"the Kafka client cannot list producers; the share of duplicates is {copied.value:.3g}",
    )


def _registered(model: Model, folder: Path | None) -> Reading:
    versions = ModelRegistry(folder).versions(model.name)
    if not versions:
        return Missing(f"headwater's registry has no version of model {model.name!r}")
    return measured(
        1.0,
        "",
        f"{len(versions)} versions in headwater's registry, each with the fingerprints of its "
        "features",
    )


def _longest(view: FeatureView) -> float:
    """The longest window of a view in seconds; infinite for a lifetime."""
    lengths = [
        None if f.window.length is None else f.window.length + f.window.offset for f in view.outputs
    ]
    return math.inf if None in lengths else max(n for n in lengths if n is not None) / 1e6
