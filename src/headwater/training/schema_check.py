"""Check definitions against the schemas of their tables and streams, before anything runs: no row
is read, and every problem is listed.

The schema of a table is that of its connector: the footer of a parquet file, the header and the
first lines of a CSV file, the columns of a frame. The checks, and so their messages, are those of
the pipelines that read the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from headwater.definitions.feature_service import Enriched, FeatureService, lacking
from headwater.definitions.feature_view import Aggregation, Feature, FeatureRef, FeatureView
from headwater.definitions.labels import Labels, Outcome
from headwater.definitions.model import Model, Precomputed
from headwater.definitions.source import Expect, Source
from headwater.errors import DataError, DefinitionError, nearest
from headwater.events.columns import (
    check_accepts,
    check_secondary,
    check_values,
    check_where,
    feature_dtype,
)
from headwater.events.key_lists import key_lists
from headwater.events.keys import check_types
from headwater.events.read_events import called, flag, timestamp_micros
from headwater.ingestion.sources.stream_reader import declared
from headwater.models.estimators import misfit
from headwater.models.feature_encoding import kind_of
from headwater.online.request_features import check_declared
from headwater.training.identity_map import IdentityMap
from headwater.training.label_rows import check_outcome, outcome_column, weight_column
from headwater.training.selected_columns import Columns, Problem, Problems, named


def problems(
    models: Sequence[Model], *, views: Sequence[FeatureView] = (), fitted: bool = False
) -> tuple[Problem, ...]:
    """Every problem of the models and of all that they read, and of further views, each once.

    fitted: also the features that no estimator takes, such as maps, which can be served and written
    all the same.

    >>> import headwater as hw, polars as pl
    >>> from datetime import datetime, UTC
    >>> table = pl.DataFrame(
    ...     {
    ...         "user": ["a"],
    ...         "price": [1.0],
    ...         "at": [datetime(2024, 5, 1, tzinfo=UTC)],
    ...         "late": [True],
    ...     }
    ... )
    >>> clicks = hw.Source("clicks", history=table, timestamp_field="at", select=["user", "price"])
    >>> labels = hw.Labels(
    ...     "late", table=table, timestamp_field="att", label="late", known_after="1d"
    ... )
    >>> user = hw.FeatureView(
    ...     "user",
    ...     source=clicks,
    ...     keys=["user"],
    ...     features=[hw.mean("price")],
    ...     freshness=hw.on_request(),
    ... )
    >>> found = problems(
    ...     [hw.Model("m", features=hw.FeatureService("s", [user]), labels=labels, task="binary")]
    ... )
    >>> [one.message for one in found]
    ["no column 'att'; did you mean 'at'?"]
    """
    check = _Check()
    for model in models:
        check.model(model, fitted=fitted)
    for view in views:
        check.view(view)
    return tuple(dict.fromkeys(check.problems.noted))


def check_model(model: Model, *, fitted: bool = False) -> None:
    """Refuse a model whose definitions do not fit the schemas of their tables; `fitted` as for
    `problems`.

    Raises:
        DataError: with every problem.
    """
    found_problems = problems([model], fitted=fitted)
    if len(found_problems) == 1:
        raise DataError(str(found_problems[0]))
    if found_problems:
        raise DataError(
            f"model {model.name!r} cannot run: "
            f"{' '.join(f'({i}) {problem}.' for i, problem in enumerate(found_problems, 1))}"
        )


class _Check:
    """problems: the problems found. Sources and views are checked once."""

    def __init__(self) -> None:
        self.problems = Problems()
        self._sources: IdentityMap[Source, list[Columns]] = IdentityMap()
        self._views: IdentityMap[FeatureView, None] = IdentityMap()

    # ---------------------------------------------------------------- sources

    def source(self, source: Source) -> list[Columns]:
        """The columns of its history and of its stream's own schema, as far as there are any and
        they can be read.
        """
        return self._sources.setdefault(source, lambda: list(self._tables(source)))

    def _tables(self, source: Source) -> Iterator[Columns]:
        context = called(source)
        if isinstance(source.history, Enriched):
            raw = self._enriched(source, source.history)
        else:
            raw = None if source.history is None else self.problems.table(source.table, context)
        if raw is not None:
            yield self._events(source, raw, context)
        stream = (
            None
            if source.stream is None or isinstance(source.history, Enriched)
            else declared(source.stream)
        )
        if stream is not None:
            yield self._events(source, stream, f"{context}, {source.stream}")

    def _events(
        self, source: Source, raw: Mapping[str, pl.DataType | None], context: str
    ) -> Columns:
        """The columns of events: the selected ones and the source's own; naive timestamps in the
        source's zone.
        """
        source_columns = [
            c
            for c in (
                source.timestamp_field,
                source.known_at_field,
                source.id_field,
                source.changes,
            )
            if c
        ]
        columns = self.problems.selected(raw, source.select, source.filter, source_columns, context)
        for name in (source.timestamp_field, source.known_at_field):
            if name is not None and self.problems.look(columns, name, context):
                self.problems.attempt(
                    context,
                    timestamp_micros,
                    name,
                    columns.schema,
                    source.timezone,
                    context,
                    days=True,
                )
        if source.id_field is not None:
            self.problems.look(columns, source.id_field, context)
        for expected in source.expectations:
            if isinstance(expected, Expect):
                self.problems.look(columns, expected.column, f"{context}: an expectation")
        if source.changes is not None and self.problems.look(columns, source.changes, context):
            self.problems.attempt(context, flag, source.changes, columns.schema, context)
        return columns.in_zone(source.timezone)

    def _enriched(
        self, source: Source, enriched: Enriched
    ) -> Mapping[str, pl.DataType | None] | None:
        """The columns of the base and the features; None where those of the base are unknown."""
        tables = self.source(enriched.base)
        for view in enriched.features.views_in_history:
            self.view(view)
        if not tables:
            return None
        base = tables[0]
        for name, who in enriched.features.needed_by().items():
            if name not in base.dtypes:
                error_text = lacking(source, name, who, frozenset(base.dtypes))
                self.problems.note(
                    called(source), error_text.removeprefix(f"source {source.name!r}: ")
                )
        self._keys(enriched.features, base)
        self._fields(enriched.features, base, called(source))
        known_at = (
            {}
            if source.known_at_field is None
            else {source.known_at_field: pl.Datetime("us", "UTC")}
        )
        functions = {feature.name: None for feature in enriched.features.request_features}
        return {**base.dtypes, **functions, **self._dtypes(enriched.features), **known_at}

    # ---------------------------------------------------------------- views

    def view(self, view: FeatureView) -> None:
        """The keys and features of a view, in every table of its source."""
        root = view.root
        if root in self._views:
            return
        self._views.setdefault(root, lambda: None)
        context = named("feature view", root, root.name)
        for columns in self.source(root.source):
            for key in root.keys:
                self.problems.look(
                    columns, key, f"{context}: the key over source {root.source.name!r}"
                )
            for aggregation in root.features:
                self._aggregation(
                    aggregation,
                    columns,
                    f"{context}: {aggregation.function}() over source {root.source.name!r}",
                )

    def _aggregation(self, aggregation: Aggregation, columns: Columns, context: str) -> None:
        until = aggregation.facts.queue  # whose column may be left out of the selection
        for name in aggregation.columns:
            if self.problems.look(columns.all if until else columns, name, context):
                self.problems.attempt(
                    context,
                    _check_column,
                    aggregation.function,
                    columns.all.schema[name],
                    f"{context}: the column {name!r}",
                )
        split, condition = aggregation.secondary, aggregation.where
        if split is not None and self.problems.look(columns, split.column, context):
            self.problems.attempt(
                context,
                check_secondary,
                _single_column(columns.schema[split.column]),
                f"{context}: {split.column!r}",
            )
        if condition is not None and self.problems.look(columns, condition, context):
            self.problems.attempt(
                context,
                check_where,
                aggregation.function,
                condition,
                columns.schema[condition],
                context,
            )

    def _dtypes(self, service: FeatureService) -> dict[str, pl.DataType | None]:
        """The dtypes of features of views by full name, as far as they are known."""
        return {ref.name: self._dtype(ref) for ref in service.refs}

    def _dtype(self, ref: FeatureRef) -> pl.DataType | None:
        tables = self.source(ref.view.source)
        dtype = (
            _dtype_of(next(f for f in ref.view.outputs if f.name == ref.feature), tables[0])
            if tables
            else None
        )
        return dtype if dtype is None or ref.view.list_key is None else pl.List(dtype)

    # ---------------------------------------------------------------- labels

    def labels(self, labels: Labels, *, strings: bool) -> Columns | None:
        """The columns of the requests; None where they are unknown."""
        context, label = named("labels", labels, labels.name), labels.label
        raw = self.problems.table(labels.data, context)
        if isinstance(label, Outcome):
            self._outcome(labels, label, context, strings=strings)
        if raw is None:
            return None
        times = [
            labels.timestamp_field,
            *([labels.known_at_field] if labels.known_at_field else []),
        ]
        label_columns = [
            *times,
            *([label] if isinstance(label, str) else label.keys),
            *([labels.weight] if labels.weight else []),
        ]
        columns = self.problems.selected(raw, labels.select, labels.filter, label_columns, context)
        if labels.weight is not None and self.problems.look(columns, labels.weight, context):
            self.problems.attempt(context, weight_column, labels.weight, columns.schema, context)
        for name in times:
            if self.problems.look(columns, name, context):
                self.problems.attempt(
                    context,
                    timestamp_micros,
                    name,
                    columns.schema,
                    labels.timezone,
                    context,
                    days=name == labels.known_at_field,
                )
        if isinstance(label, str):
            if self.problems.look(columns, label, context):
                self.problems.attempt(
                    context, outcome_column, label, columns.schema, context, strings=strings
                )
            return columns
        for key in label.keys:
            self.problems.look(columns, key, f"{context}: outcome")
        for events in self.source(label.source)[:1]:
            self._key_types(
                label.source, {key: (events.get(key), columns.get(key)) for key in label.keys}
            )
        return columns

    def _outcome(self, labels: Labels, outcome: Outcome, context: str, *, strings: bool) -> None:
        aggregation = outcome.aggregation
        feature = Feature(
            labels.label_name,
            aggregation,
            aggregation.columns[:1] if aggregation.each else aggregation.columns,
            outcome.window,
        )
        for columns in self.source(outcome.source)[:1]:
            subject = f"{context}: outcome over source {outcome.source.name!r}"
            for key in outcome.keys:
                self.problems.look(columns, key, subject)
            self._aggregation(aggregation, columns, f"{subject}, {aggregation.function}()")
            dtype = _dtype_of(feature, columns)
            if dtype is not None:
                self.problems.attempt(subject, check_outcome, labels, dtype, strings=strings)

    # ---------------------------------------------------------------- models

    def model(self, model: Model, *, fitted: bool) -> None:
        """A model: its views, its labels, what its features need of the labels, and its
        estimator.
        """
        context = named("model", model, model.name)
        wrong = misfit(model)
        if wrong:
            self.problems.note(context, wrong)
        for service in model.services:
            for view in service.views_in_history:
                # else its source is not read
                if view.third_party is None or view.third_party.trains:
                    self.view(view)
        columns = self.labels(model.labels, strings=model.task_type.classes)
        try:
            services = [service.in_training for service in model.services]
        except DefinitionError:
            # nothing that history supplies: it is served, and cannot be trained
            return
        if columns is not None:
            self._needed(model, services, columns)
            for service in services:
                self._keys(service, columns)
                self._fields(service, columns, named("labels", model.labels, model.labels.name))
        for name, dtype in self._dtypes(services[-1]).items() if fitted else ():
            if dtype is not None:
                self.problems.attempt(context, kind_of, name, dtype)

    def _needed(self, model: Model, services: Sequence[FeatureService], columns: Columns) -> None:
        """The columns of the labels that something needs."""
        needs: dict[str, list[str]] = {}
        for service in services:
            for name, who in service.needed_by().items():
                needs.setdefault(name, []).extend(who)
        if model.ranking is not None:
            needs.setdefault(model.ranking.group, []).append("the ranking's group")
            needs.setdefault(model.ranking.item, []).append("the ranking's item")
        if isinstance(model.predictions, Precomputed):
            for name in model.predictions.keys:
                needs.setdefault(name, []).append("precomputed(keys=)")
        context = named("labels", model.labels, model.labels.name)
        for name, who in needs.items():
            if name not in columns.dtypes:
                readers = ", ".join(dict.fromkeys(who))
                verb = "needs" if len(set(who)) == 1 else "need"
                self.problems.note(
                    context,
                    f"no column {name!r}, which {readers} of model {model.name!r} {verb}; "
                    f"{nearest(name, columns.dtypes)}",
                )

    def _keys(self, service: FeatureService, columns: Columns) -> None:
        """The types of the views' keys in the requests and in the sources."""
        for view in service.views_in_history:
            filled = {key: view.request_key(key) for key in view.keys}
            theirs = {
                key: columns.get(filler) if isinstance(filler, str) else self._dtype(filler)
                for key, filler in filled.items()
            }
            if view.list_key is not None:
                theirs[view.list_key.key] = self._element(theirs[view.list_key.key], view)
            for events in self.source(view.source)[:1]:
                self._key_types(
                    view.source, {key: (events.get(key), theirs[key]) for key in view.keys}
                )

    def _element(self, dtype: pl.DataType | None, view: FeatureView) -> pl.DataType | None:
        """The dtype of the keys in a list; None where it is unknown or no list, which is noted."""
        if dtype is None:
            return None
        checked = self.problems.attempt(
            named("feature view", view, view.name), _elements_of, dtype, view
        )
        return None if checked is None else checked.dtype

    def _key_types(
        self, source: Source, pairs: Mapping[str, tuple[pl.DataType | None, pl.DataType | None]]
    ) -> None:
        context = called(source)
        for key, (dtype, request_dtype) in pairs.items():
            if dtype is not None and request_dtype is not None:
                self.problems.attempt(context, check_types, key, dtype, request_dtype, context)

    def _fields(self, service: FeatureService, columns: Columns, context: str) -> None:
        """The declared types of request fields, and of the answers of third parties in their
        history.
        """
        wanted = [
            (columns.get(field.name), field.dtype, f"{context}: request field {field.name!r}")
            for field in service.request_fields
        ]
        for function in service.request_features:
            subject = f"{context}: request feature {function.name!r}: the field"
            wanted += [
                (columns.get(name), dtype, f"{subject} {name!r}")
                for name, dtype in function.fields.items()
            ]
        for http in service.http_features:
            for events in self.source(http.view.source)[:1]:
                subject = f"{called(http.view.source)}: third-party features {http.name!r}:"
                wanted += [
                    (events.get(name), dtype, f"{subject} {name!r}")
                    for name, (_, dtype) in http.columns.items()
                ]
        for actual, dtype, subject in wanted:
            if actual is not None:
                self.problems.attempt(subject, check_declared, actual, dtype, subject)


def _elements_of(dtype: pl.DataType, view: FeatureView) -> pl.Series:
    """A column of the keys in lists of that dtype."""
    assert view.list_key is not None
    column = view.request_key(view.list_key.key)
    empty = pl.Series(column if isinstance(column, str) else column.name, [], dtype)
    return key_lists(empty, view.list_key.max_length, named("feature view", view, view.name))[1]


def _check_column(function: str, dtype: pl.DataType, context: str) -> None:
    check_values(pl.Series([], dtype=dtype), context)
    check_accepts(function, dtype, context)


def _dtype_of(feature: Feature, columns: Columns) -> pl.DataType | None:
    """The dtype of a feature; None where a column is missing, unknown or refused."""
    split = feature.aggregation.secondary
    read = [*feature.columns, *([] if split is None else [split.column])]
    dtypes = {name: dtype for name in read if (dtype := columns.all.get(name)) is not None}
    try:
        for dtype in dtypes.values():
            check_values(pl.Series([], dtype=dtype), feature.name)
    except DataError:
        return None
    return feature_dtype(feature, dtypes) if len(dtypes) == len(set(read)) else None


def _single_column(dtype: pl.DataType) -> pl.Series:
    """A column with one value where it is of floats, so that it is told from one of nulls."""
    return pl.Series([0.0] if dtype.is_float() else [], dtype=dtype)
