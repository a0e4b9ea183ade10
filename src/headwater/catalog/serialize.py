"""What the definitions of a project say, as a catalog holds it: JSON-ready, each naming the others
rather than holding them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from headwater.catalog.entry import CatalogEntry, Entries, EntryKey
from headwater.definitions.checks import text
from headwater.definitions.connectors import Table
from headwater.definitions.definition import Definition, fingerprint_of
from headwater.definitions.experiment import Arm, Experiment, ExperimentMetric
from headwater.definitions.feature_service import Enriched, FeatureService, Member
from headwater.definitions.feature_view import Feature, FeatureRef, FeatureView
from headwater.definitions.freshness import OnRequest
from headwater.definitions.http_features import HttpFeatures
from headwater.definitions.labels import Labels, Outcome
from headwater.definitions.level import Level, at_level
from headwater.definitions.model import Model, Precomputed
from headwater.definitions.project import Project, StoredView, replayed, stored
from headwater.definitions.request_feature import RequestField
from headwater.definitions.source import DTYPES, Source, has_one_writer, output_name
from headwater.errors import DefinitionError

HIDDEN = frozenset({"reads", "events", "made_of"})
"""Fields of a definition that other definitions are checked by, and that follow from the fields
shown.
"""


def describe(project: Project) -> Entries:
    """Every definition that the project reaches, by kind and name.

    Raises:
        DefinitionError: two feature services or labels of one name that differ.
    """
    by_key: dict[EntryKey, CatalogEntry] = {}
    only = replayed(project)
    entries = [
        *(CatalogEntry("source", s.name, s.fingerprint, _source(s)) for s in project.sources),
        *(
            CatalogEntry("view", v.name, v.fingerprint, view_definition(v), v.tiles_fingerprint)
            for v in project.all_views
        ),
        *(
            CatalogEntry("http", h.name, h.fingerprint, _http(h))
            for m in project.models
            for h in m.features.http_features
        ),
        *(
            CatalogEntry(
                "view",
                at_level.name,
                at_level.view.fingerprint,
                view_definition(at_level.view),
                at_level.view.tiles_fingerprint,
            )
            for at_level in _of_levels(project)
        ),
        *(
            CatalogEntry(
                "service", m.features.name, m.features.fingerprint, service_definition(m.features)
            )
            for m in project.models
        ),
        *(
            CatalogEntry("labels", m.labels.name, m.labels.fingerprint, _labels(m.labels))
            for m in project.models
        ),
        *(
            CatalogEntry("model", m.name, m.fingerprint, model_definition(m))
            for m in project.models
        ),
        *(
            CatalogEntry("level", name, level.fingerprint, _level(level, only.get(name)))
            for name, level in project.named_levels.items()
        ),
        *(
            CatalogEntry("experiment", e.name, e.fingerprint, experiment_definition(project, e))
            for e in project.experiments
        ),
    ]
    for entry in entries:
        if by_key.setdefault(entry.key, entry).fingerprint != entry.fingerprint:
            raise DefinitionError(
                f"project {project.name!r}: two {_PLURAL[entry.kind]} are named {entry.name!r} "
                "and differ; rename one, since a name identifies one definition in the catalog"
            )
    return by_key


_PLURAL = {
    "source": "sources",
    "view": "feature views",
    "http": "third-party features",
    "service": "feature services",
    "labels": "labels",
    "model": "models",
    "level": "levels",
    "experiment": "experiments",
}


def _of_levels(project: Project) -> list[StoredView]:
    """The views at a freshness that only levels give them."""
    return [
        stored_view for stored_view in stored(project) if stored_view.name != stored_view.view.name
    ]


def _level(level: Level, only: Mapping[str, str] | None) -> dict[str, object]:
    """`only`: by model, why the level is for backtests alone."""
    fresh: object = None
    if isinstance(level.features, Mapping):
        fresh = {view.name: freshness.written for view, freshness in level.features.items()}
    elif level.features is not None:
        fresh = level.features.written
    return _without_none(
        features=fresh,
        predictions=None if level.predictions is None else _predictions(level.predictions),
        known_after={source.name: soon for source, soon in level.known_after.items()} or None,
        backtest_only=dict(only) if only else None,
    )


def experiment_definition(project: Project, experiment: Experiment) -> dict[str, object]:
    """An experiment as a catalog holds it: arms by name, metrics as what they sum, and the plan."""
    plan = experiment.plan
    return _without_none(
        arms={arm.name: _arm(project, experiment, arm) for arm in experiment.arms},
        unit=experiment.unit,
        kind=str(experiment.kind),
        metrics={metric.name: _metric(metric) for metric in experiment.metrics},
        guardrails={metric.name: _metric(metric) for metric in experiment.guardrails} or None,
        plan=_without_none(**{item.name: getattr(plan, item.name) for item in fields(plan)})
        | {"enrolled": list(plan.enrolled)},
        layer=experiment.layer,
        span=None if experiment.layer is None else list(experiment.span),
        version=experiment.version,
    )


def _arm(project: Project, experiment: Experiment, arm: Arm) -> str:
    variant = project.arm_variant(experiment, arm)
    staler = ", may be staler than trained" if variant.allow_staler else ""
    return f"{at_level(arm.model.name, variant.name)}, {arm.weight:.4g} of the units{staler}"


def _metric(metric: ExperimentMetric) -> str:
    base = "" if metric.base is None else f" / {_sum(metric.base)}"
    better = "higher" if metric.higher_is_better else "lower"
    margin = "" if metric.margin is None else f", margin {metric.margin:g}"
    return (
        f"{_sum(metric.value)}{base}, {better} is better, without an outcome {metric.never}{margin}"
    )


def _sum(total: Outcome | str) -> str:
    return total if isinstance(total, str) else _outcome(total)


def _outcome(outcome: Outcome) -> str:
    aggregation = outcome.aggregation
    return (
        f"{aggregation.function}({', '.join(aggregation.columns)}) of {outcome.source.name} by "
        f"{', '.join(outcome.keys)} within {outcome.within}"
    )


def _predictions(predictions: Precomputed | OnRequest) -> str:
    if not isinstance(predictions, Precomputed):
        return "on request"
    otherwise = ", otherwise on request" if predictions.on_request else ""
    stale = "" if predictions.on_stale == "previous" else f", on_stale {predictions.on_stale}"
    return (
        f"precomputed {predictions.freshness.written}, by "
        f"{', '.join(predictions.keys)}{otherwise}{stale}"
    )


def _source(source: Source) -> dict[str, object]:
    history: object = source.history
    if isinstance(history, Enriched):
        history = {"base": history.base.name, "features": list(history.features.feature_names)}
    return _without_none(
        timestamp_field=source.timestamp_field,
        history=_table(history) if isinstance(history, Definition) else history,
        stream=_expression(getattr(source, "stream", None)),
        select=None
        if source.select is None
        else {output_name(item): _expression(item) for item in source.select},
        filter=_expression(source.filter),
        known_at_field=source.known_at_field,
        known_after=source.known_after,
        window_on=source.window_on,
        id_field=source.id_field,
        id_horizon=source.id_horizon if source.id_field else None,
        changes=source.changes,
        writers=_writers(source),
        timezone=source.timezone,
    )


def _writers(source: Source) -> str | None:
    """Who writes its stream in a store that several processes may write to; None without a
    stream.
    """
    if source.stream is None:
        return None
    return "one" if has_one_writer(source, multi_process=True) else "partition"


def view_definition(view: FeatureView) -> dict[str, object]:
    """A view as a catalog holds it."""
    return _without_none(
        source=view.source.name,
        keys=list(view.keys),
        features={f.name: feature_text(f) for f in view.outputs},
        freshness=view.freshness.written,
        ttl=view.ttl,
        on_stale=view.on_stale,
        on_incomplete=None if view.on_incomplete == "null" else view.on_incomplete,
        alias_of=None if view.base is None else view.root.name,
        request_keys={k: _expression(v) for k, v in view.request_keys.items()} or None,
        list_key=None if view.list_key is None else {view.list_key.key: view.list_key.max_length},
        events=fingerprint_of(_events(view.source, frozenset(view.keys)), 8),
        made_of={
            f.name: fingerprint_of(
                _columns(view.source, frozenset({*f.columns, *f.aggregation.extra_columns})), 8
            )
            for f in view.outputs
        },
    )


def _http(http: HttpFeatures) -> dict[str, object]:
    """Without its headers, which may hold secrets."""
    return _without_none(
        url=http.url,
        method=http.method,
        request={name: DTYPES[dtype] for name, dtype in http.request.items()},
        features={
            name: f"{DTYPES[dtype]} at {path}" for name, (path, dtype) in http.columns.items()
        },
        fallback={name: _expression(value) for name, value in http.fallback.items()},
        history=None if http.history is None else http.history.name,
        **{name: getattr(http, name) for name in _CALL_OPTIONS},
    )


_CALL_OPTIONS = (
    "timeout",
    "cache",
    "stale_while_revalidate",
    "retries",
    "idempotent",
    "cache_entries",
    "concurrency",
    "breaker",
)


def service_definition(service: FeatureService) -> dict[str, object]:
    """A feature service as a catalog holds it."""
    members = {name: text for member in service.features for name, text in _member(member)}
    return {
        "features": members,
        "reads": {
            v.name: [f.name for f in service.needed[v.name]] for v in service.views_in_history
        },
    }


def _member(member: Member) -> list[tuple[str, object]]:
    if isinstance(member, FeatureView):
        return [(name, f"of view {member.name}") for name in member.feature_names]
    if isinstance(member, FeatureRef):
        return [
            (
                member.name,
                (
                    f"of {'view' if member.view.third_party is None else 'third party'} "
                    f"{member.view.name}"
                ),
            )
        ]
    if isinstance(member, HttpFeatures):
        return [(name, f"of third party {member.name}") for name in member.feature_names]
    if isinstance(member, RequestField):
        return [(member.name, f"a request field, {member.dtype.__name__}")]
    inputs = {parameter: ref.name for parameter, ref in member.inputs.items()}
    signature = (
        f"{member.name}({', '.join([*member.fields, *(f'{p}={n}' for p, n in inputs.items())])}) "
        f"-> {member.dtype.__name__}"
    )
    return [
        (
            member.name,
            {
                "text": signature,
                "id": fingerprint_of([member.function, member.fields, inputs, member.dtype], 8),
            },
        )
    ]


def _labels(labels: Labels) -> dict[str, object]:
    label: object = labels.label
    if isinstance(label, Outcome):
        label = {"text": _outcome(label), "id": label.fingerprint}
    return _without_none(
        table=_table(labels.data),
        timestamp_field=labels.timestamp_field,
        label=label,
        select=None
        if labels.select is None
        else {output_name(item): _expression(item) for item in labels.select},
        filter=_expression(labels.filter),
        known_at_field=labels.known_at_field,
        known_after=labels.known_after,
        timezone=labels.timezone,
        weight=labels.weight,
    )


def model_definition(model: Model) -> dict[str, object]:
    """A model as a catalog holds it, without its labels' table."""
    predictions = model.predictions
    return _without_none(
        features=model.features.name,
        labels=model.labels.name,
        task=str(model.task),
        estimator=_expression(model.estimator),
        predictions=None if predictions is None else _predictions(predictions),
        latency_budget=model.latency_budget,
        default=model.default,
        outcomes=_expression(model.outcomes),
    )


def feature_text(feature: Feature) -> str:
    """A feature without its name, such as `mean(amount) over 1d, in steps of 10m`."""
    aggregation, window = feature.aggregation, feature.window
    args = [
        *feature.columns,
        *(f"{name}={value}" for name, value in aggregation.params),
        *([f"where={aggregation.where}"] if aggregation.where else []),
    ]
    split = (
        f".by({aggregation.secondary.column}, max_keys={aggregation.secondary.max_keys})"
        if aggregation.secondary
        else ""
    )
    column = f".{feature.columns[feature.column]}" if aggregation.facts.per_column else ""
    size = "lifetime" if window.length is None else text(window.length)
    offset = f" ending {text(window.offset)} before" if window.offset else ""
    hop = "" if window.length is None and not window.offset else f", in steps of {text(window.hop)}"
    return f"{aggregation.function}({', '.join(args)}){split}{column} over {size}{offset}{hop}"


def _events(source: Source, columns: frozenset[str]) -> list[object]:
    """What decides which events there are, their times and their keys (`columns`); not where they
    are read.
    """
    fields = [
        source.filter,
        source.timestamp_field,
        source.window_on,
        source.changes,
        source.timezone,
    ]
    if isinstance(source.history, Enriched):
        return [
            *fields,
            _columns(source, columns | {source.timestamp_field}),
            _events(source.history.base, frozenset()),
        ]
    return [*fields, _columns(source, columns | {source.timestamp_field}), source.name]


def _columns(source: Source, columns: frozenset[str]) -> list[object]:
    """What columns of a source are made of; of an enriched one, all that is below may be."""
    select_items: list[object] = [
        item for item in source.select or () if output_name(item) in columns
    ]
    if isinstance(source.history, Enriched):
        below = source.history
        return [
            *select_items,
            below.base.select,
            [(ref.name, ref.view.tiles_fingerprint) for ref in below.features.refs],
        ]
    return select_items


def _table(table: Definition) -> str:
    return (
        str(table)
        if isinstance(table, Table) and str(table) != "a frame in memory"
        else f"{table} ({table.fingerprint[:6]})"
    )


def _expression(value: object) -> object:
    """A value as JSON: plain ones as they are, others as a text to read and an id to compare."""
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, FeatureRef):
        return value.name
    # else it is what Python makes of all fields, secrets included
    written = type(value).__str__ is not object.__str__
    shown = str(value) if written else type(value).__name__
    return {"text": shown, "id": fingerprint_of(value, 8)}


def _without_none(**fields: object) -> dict[str, object]:
    """Drop None, so that a field which a later version adds does not count as a change."""
    return {name: value for name, value in fields.items() if value is not None}


def is_said(value: object) -> bool:
    """Whether a value of a definition is a text with an id."""
    return isinstance(value, Mapping) and value.keys() == {"text", "id"}
