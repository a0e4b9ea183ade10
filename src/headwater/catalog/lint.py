"""Lint rules over a project: valid definitions that are probably not meant, and definitions that no
pipeline can run, each with a remedy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import urlsplit

from headwater.aggregations.table import TABLE
from headwater.definitions.checks import DAY, micros, text
from headwater.definitions.definition import Readable
from headwater.definitions.feature_service import Enriched, FeatureService
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.http_features import HttpFeatures
from headwater.definitions.project import REFUSALS, Finding, Project
from headwater.definitions.source import Source, bottom_of
from headwater.errors import listed
from headwater.training.schema_check import problems

Severity = Literal["refused", "warning"]

LONG_HORIZON = 7 * DAY
LONG_WINDOW = 30 * DAY
LONG_IMAGES = 90 * DAY


@dataclass(frozen=True)
class Lint(Readable):
    """What a rule found: `refused` stops an apply, a `warning` does not."""

    rule: str
    severity: Severity
    subject: str
    message: str
    remedy: str

    def __str__(self) -> str:
        remedy = f". {self.remedy}" if self.remedy else ""
        return f"{self.subject}: {self.message}{remedy} [{self.rule}]"


def lints(project: Project) -> tuple[Lint, ...]:
    """What every rule finds in a project, and what does not fit the schemas of its tables; the
    refused first.
    """
    findings = [
        Lint(SCHEMA, "refused", problem.subject, problem.message, "")
        for problem in problems(project.models, views=project.views)
    ]
    for rule, (severity, look) in RULES.items():
        for subject, message, remedy in look(project):
            kind = (
                "view"
                if isinstance(subject, FeatureView)
                else "http"
                if isinstance(subject, HttpFeatures)
                else "source"
            )
            findings.append(Lint(rule, severity, f"{kind} {subject.name}", message, remedy))
    return tuple(findings)


def grouped(findings: Iterable[Lint]) -> list[str]:
    """What was found, once for all that it is found of."""
    subjects: dict[Lint, list[str]] = {}
    for lint in findings:
        subjects.setdefault(replace(lint, subject=""), []).append(lint.subject)
    return [str(replace(lint, subject=", ".join(names))) for lint, names in subjects.items()]


# ---------------------------------------------------------------- refused


# ---------------------------------------------------------------- probably not meant


def _no_stream(project: Project) -> Iterator[Finding]:
    for source in _streamed(project):
        if getattr(bottom_of(source), "stream", None) is None:
            views = [v.name for v in project.roots if v.source == source and v.freshness.streamed]
            yield (
                source,
                (
                    f"it has no stream to ingest, and {listed(views)} "
                    f"{'is' if len(views) == 1 else 'are'} streaming"
                ),
                "Give it stream=, or the views hw.batch(...)",
            )


def _no_history(project: Project) -> Iterator[Finding]:
    for view in project.roots:
        if view.freshness.scheduled and bottom_of(view.source).history is None:
            yield (
                view,
                f"it is batch, and source {view.source.name} has no history to compute it from",
                "Give the source history=, or stream the view",
            )


def _within_delay(project: Project) -> Iterator[Finding]:
    for view in project.roots:
        delay = view.source.delay
        short = sorted(
            {f.window.length + f.window.offset for f in view.outputs if f.window.length is not None}
        )
        if short and short[0] <= delay and view.source.window_on == "timestamp":
            yield (
                view,
                (
                    f"events of source {view.source.name} are known {text(delay)} after they "
                    f"happen, and have then left the window of {text(short[0])}"
                ),
                "Take a longer window, or window_on='known_at' with hw.batch(...)",
            )


def _no_id(project: Project) -> Iterator[Finding]:
    for source in _streamed(project):
        if source.id_field is None:
            yield (
                source,
                "it has no id_field, so an event that the producer sends twice counts twice",
                "Name the column that identifies an event",
            )


def _horizon(project: Project) -> Iterator[Finding]:
    for source in _streamed(project):
        if (
            source.id_field is not None
            and source.changes is None
            and micros(source.id_horizon, "id_horizon") > LONG_HORIZON
        ):
            yield (
                source,
                f"the id of every event of the last {source.id_horizon} is kept online",
                (
                    f"An id_horizon of at most {text(LONG_HORIZON)} is enough where producers send "
                    "again within days"
                ),
            )


def _images(project: Project) -> Iterator[Finding]:
    for view in project.roots:
        if view.freshness.streamed and view.source.changes is not None:
            lengths = [f.window.length for f in view.outputs]
            if None in lengths or max(n for n in lengths if n is not None) > LONG_IMAGES:
                yield (
                    view,
                    (
                        f"source {view.source.name} has changes={view.source.changes!r}, so each "
                        "of its events is kept online while a window reaches it"
                    ),
                    (
                        "Take shorter windows, or put those longer than 90 days into a view of its "
                        "own with hw.batch(...)"
                    ),
                )


def _unread(project: Project) -> Iterator[Finding]:
    for view in (v for v in project.roots if v not in project.views):
        read = {
            f.name
            for service in _services(project)
            for v in service.views
            if v.root == view
            for f in service.needed[v.name]
        }
        idle = [f.name for f in view.outputs if f.name not in read]
        if idle:
            yield (
                view,
                f"no model reads {listed(idle)}, which would be computed and kept",
                "Take them out of the view, or into a feature service",
            )


def _twins(project: Project) -> Iterator[Finding]:
    first: dict[object, FeatureView] = {}
    for view in (v for v in project.roots if v not in project.views):
        same = (
            view.source,
            frozenset(view.keys),
            frozenset(f.window for f in view.outputs),
            view.freshness,
            view.ttl,
        )
        twin = first.setdefault(same, view)
        if twin is not view:
            yield (
                view,
                (
                    f"it has the source, keys and windows of view {twin.name}, and each keeps "
                    "state of its own"
                ),
                "Make one view of both",
            )


def _for_ever(project: Project) -> Iterator[Finding]:
    for view in project.roots:
        if view.keys and view.ttl is None and any(f.window.length is None for f in view.outputs):
            yield (
                view,
                (
                    f"it keeps every {', '.join(view.keys)} that was ever seen: a lifetime window "
                    "has no end, and the view no ttl"
                ),
                "Give it ttl= where keys come and go, or a window",
            )


def _many_values(project: Project) -> Iterator[Finding]:
    for view in project.roots:
        wide = sorted(
            {
                f"{f.aggregation.function}().by()"
                if f.aggregation.secondary
                else f"{f.aggregation.function}()"
                for f in view.outputs
                if (TABLE[f.aggregation.function].keeps_values or f.aggregation.secondary)
                and (f.window.length is None or f.window.length > LONG_WINDOW)
            }
        )
        if wide:
            yield (
                view,
                (
                    f"{', '.join(wide)} keeps every value of its column that was seen, in a window "
                    f"longer than {text(LONG_WINDOW)}"
                ),
                "Take a shorter window, or a column with few values",
            )


def _text_extremes(project: Project) -> Iterator[Finding]:
    for view in project.roots:
        columns = {c for a in view.features if TABLE[a.function].compares for c in a.columns}
        texts = sorted(columns & _text_columns(view.source)) if columns else []
        if texts:
            yield (
                view,
                (
                    f"min() and max() of {', '.join(texts)} compare strings letter by letter "
                    "('10' < '9'), and each tile keeps a whole string"
                ),
                (
                    "Cast it in the source's select where it is a number or a time; for names, "
                    "mode() or last() may be meant"
                ),
            )


def _not_in_training(project: Project) -> Iterator[Finding]:
    for http in _http(project):
        if not http.trains:
            yield (
                http,
                (
                    "no model is trained on it: it has no history that says what it was for past "
                    "requests"
                ),
                "Serve it, log its answers, and give it history= when there is enough of it",
            )


def _plain_http(project: Project) -> Iterator[Finding]:
    for http in _http(project):
        parts = urlsplit(http.url)
        if (
            parts.scheme == "http"
            and http.headers
            and parts.hostname not in ("localhost", "127.0.0.1", "::1")
        ):
            yield (
                http,
                f"the headers {', '.join(http.headers)} go over the network for all to read",
                "Ask at https://",
            )


def _cut_off(project: Project) -> Iterator[Finding]:
    for http in _http(project):
        budgets = {
            model.name: model.latency_budget
            for model in project.models
            if http in model.features.http_features
        }
        short = [
            f"{name} ({budget})"
            for name, budget in budgets.items()
            if budget is not None
            and micros(http.timeout, "timeout") >= micros(budget, "latency_budget")
        ]
        if short:
            yield (
                http,
                (
                    f"its timeout of {http.timeout} is not shorter than the latency_budget of "
                    f"model {listed(short)}, which would cut it off before"
                ),
                "Give it a shorter timeout, or the model a longer budget",
            )


def _coarse_timestamps(project: Project) -> Iterator[Finding]:
    from headwater.errors import ConnectError, DataError
    from headwater.training.timestamp_resolution import measured, request_times

    for source in dict.fromkeys(bottom_of(view.source) for view in project.roots):
        if source.history is None or isinstance(source.history, Enriched):
            continue
        try:
            measurement = measured(source)
            question = measurement.result().question
            models = [
                m
                for m in project.models
                if question
                and any(bottom_of(v.source) == source for v in m.features.views_in_history)
            ]
            if models and all(
                measurement.same_grid(request_times(model.labels)) for model in models
            ):
                continue
        except (ConnectError, DataError, OSError):
            continue  # the schema rule reports what cannot be read
        if question:
            problem, _, remedy = question.partition(". ")
            yield source, problem, remedy


def _text_columns(source: Source) -> frozenset[str]:
    """The string columns, where a history can be read; one that cannot is reported when it is
    read.
    """
    if source.history is None or isinstance(source.history, Enriched):
        return frozenset()
    import polars as pl

    from headwater.connectors import scan
    from headwater.errors import ConnectError, DataError

    try:
        frame = scan(source.table)
        schema = (frame if source.select is None else frame.select(source.select)).collect_schema()
    except (ConnectError, DataError, OSError, pl.exceptions.PolarsError):
        return frozenset()
    return frozenset(
        name for name, dtype in schema.items() if dtype in (pl.String, pl.Categorical, pl.Enum)
    )


def _of_roots(
    look: Callable[[Sequence[FeatureView]], Iterator[Finding]],
) -> Callable[[Project], Iterator[Finding]]:
    return lambda project: look(project.roots)


SCHEMA = "schema"
"""The rule that definitions fit the schemas of their tables and streams:
`training.schema_check`.
"""

RULES: Mapping[str, tuple[Severity, Callable[[Project], Iterator[Finding]]]] = {
    **{name: ("refused", _of_roots(look)) for name, look in REFUSALS.items()},
    "no-stream": ("warning", _no_stream),
    "no-history": ("warning", _no_history),
    "within-delay": ("warning", _within_delay),
    "no-id": ("warning", _no_id),
    "long-id-horizon": ("warning", _horizon),
    "images-kept": ("warning", _images),
    "unread": ("warning", _unread),
    "twins": ("warning", _twins),
    "kept-for-ever": ("warning", _for_ever),
    "many-values": ("warning", _many_values),
    "text-extremes": ("warning", _text_extremes),
    "not-in-training": ("warning", _not_in_training),
    "plain-http": ("warning", _plain_http),
    "cut-off": ("warning", _cut_off),
    "coarse-timestamps": ("warning", _coarse_timestamps),
}
"""Every rule by its name: whether it stops an apply, and what it looks for. docs/catalog.md lists
them.
"""


def _http(project: Project) -> list[HttpFeatures]:
    return list(
        dict.fromkeys(http for model in project.models for http in model.features.http_features)
    )


def _streamed(project: Project) -> list[Source]:
    return list(dict.fromkeys(view.source for view in project.roots if view.freshness.streamed))


def _services(project: Project) -> list[FeatureService]:
    enriched = [s.history.features for s in project.sources if isinstance(s.history, Enriched)]
    return list(dict.fromkeys([*(model.features for model in project.models), *enriched]))
