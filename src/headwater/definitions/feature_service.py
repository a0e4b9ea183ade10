"""A feature service: the features that one model reads.

Enriched sources: `enrich`, changes to their bases, and the table columns behind them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from headwater.definitions.checks import check_list, check_reference, check_type
from headwater.definitions.definition import Described, check_name
from headwater.definitions.feature_view import Feature, FeatureRef, FeatureView
from headwater.definitions.http_features import HttpFeatures
from headwater.definitions.request_feature import RequestFeature, RequestField
from headwater.definitions.source import (
    EnrichedHistory,
    Selection,
    Source,
    output_name,
    root_columns,
)
from headwater.errors import DataError, DefinitionError, UsageError, listed, nearest

if TYPE_CHECKING:
    import polars as pl

Member = FeatureView | FeatureRef | RequestFeature | RequestField | HttpFeatures

_MEMBERS = "feature views, single features, request features, request fields and HttpFeatures"


@dataclass(frozen=True, eq=False)
class FeatureService(Described):
    """The features that one model reads, in order.

    Args:
        name: letters, digits and single underscores.
        features: feature views (all their features), single ones (`view["count_1h"]`), request
            features, request fields and `HttpFeatures`.
        description, owner, tags: for people and the catalogue; nothing computed depends on them.

    Raises:
        DefinitionError: something else in the list, or two features of one name.
    """

    name: str
    features: Sequence[Member]

    def __post_init__(self) -> None:
        self.remember_site()
        check_name(self.name, "a feature service")
        subject = f"feature service {self.name!r}"
        self.check_description(subject)
        features = check_list(
            self.features,
            Member,
            f"{subject}: features",
            f"a list of {_MEMBERS}, at least one",
            least=1,
        )
        object.__setattr__(self, "features", features)
        names = list(self.feature_names)
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise DefinitionError(
                f"{subject}: two features are named {twice[0]!r}; rename one, or alias its view "
                "under another name"
            )
        self._check_views(subject)
        self._check_lists(subject)

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """The columns of the model's input, in order."""
        return tuple(name for member in self.features for name in names_of(member))

    @cached_property
    def refs(self) -> tuple[FeatureRef, ...]:
        """Every feature of a view that is returned, in order."""
        refs: list[FeatureRef] = []
        for member in self.features:
            if isinstance(member, FeatureView | HttpFeatures):
                view = member.view if isinstance(member, HttpFeatures) else member
                refs.extend(FeatureRef(view, f.name) for f in view.outputs)
            elif isinstance(member, FeatureRef):
                refs.append(member)
        return tuple(refs)

    @cached_property
    def views(self) -> tuple[FeatureView, ...]:
        """Every view that is read, including views that only feed a request feature or a key;
        feeding views first.

        Views over the history of third-party features are not included, since they are not read
        online: see `views_in_history`.
        """
        return tuple(view for view in self.views_in_history if view.third_party is None)

    @cached_property
    def http_features(self) -> tuple[HttpFeatures, ...]:
        """All third-party features, including those that only feed a request feature or a key."""
        return tuple(
            view.third_party
            for view in self.views_in_history
            if isinstance(view.third_party, HttpFeatures)
        )

    @cached_property
    def views_in_history(self) -> tuple[FeatureView, ...]:
        """`views`, and the views over the history of third-party features; feeding views first."""
        by_name: dict[str, FeatureView] = {}

        def add(view: FeatureView) -> None:
            for key in view.keys:
                filled = view.request_key(key)
                if isinstance(filled, FeatureRef):
                    add(filled.view)
            by_name.setdefault(view.name, view)

        for view in self._read():
            add(view)
        return tuple(by_name.values())

    @cached_property
    def views_within(self) -> tuple[FeatureView, ...]:
        """Every view that is read, and the views that enrich the events of their sources, to any
        depth.
        """
        return views_within(self.views)

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """Every source that is read, including the sources below an enriched one."""
        read = [
            view
            for view in self.views_in_history
            if view.third_party is None or view.third_party.history is not None
        ]
        return sources_of(views_within(read))

    @property
    def request_features(self) -> tuple[RequestFeature, ...]:
        """The functions evaluated at request time, in order."""
        return tuple(m for m in self.features if isinstance(m, RequestFeature))

    @property
    def request_fields(self) -> tuple[RequestField, ...]:
        """The fields of the request that are features themselves, in order."""
        return tuple(m for m in self.features if isinstance(m, RequestField))

    @cached_property
    def needed(self) -> Mapping[str, tuple[Feature, ...]]:
        """By the name of each view, its features that something reads, in the view's order."""
        names: dict[str, set[str]] = {v.name: set() for v in self.views_in_history}
        for ref in self.refs:
            names[ref.view.name].add(ref.feature)
        for function in self.request_features:
            for ref in function.inputs.values():
                names[ref.view.name].add(ref.feature)
        for view in self.views_in_history:
            for filled in view.request_keys.values():
                if isinstance(filled, FeatureRef):
                    names[filled.view.name].add(filled.feature)
        return {
            v.name: tuple(f for f in v.outputs if f.name in names[v.name])
            for v in self.views_in_history
        }

    def needed_by(self) -> dict[str, list[str]]:
        """For each required column of a request, the features that need it."""
        needs: dict[str, list[str]] = {}
        for view in self.views:
            for key in view.keys:
                column = view.request_key(key)
                if isinstance(column, str):
                    needs.setdefault(column, []).append(f"view {view.name!r}")
        for http in self.http_features:
            for name in http.request:
                needs.setdefault(name, []).append(f"third-party features {http.name!r}")
        for field in self.request_fields:
            needs.setdefault(field.name, []).append(f"request field {field.name!r}")
        for function in self.request_features:
            for name in function.fields:
                needs.setdefault(name, []).append(f"request feature {function.name!r}")
        return needs

    @cached_property
    def list_fields(self) -> Mapping[str, int]:
        """The columns of a request that hold lists of keys, and the maximum length of each."""
        longest: dict[str, int] = {}
        for view in self.views:
            if view.list_key is not None and isinstance(
                column := view.request_key(view.list_key.key), str
            ):
                longest[column] = min(
                    view.list_key.max_length, longest.get(column, view.list_key.max_length)
                )
        return longest

    @cached_property
    def not_in_training(self) -> tuple[str, ...]:
        """The features without training values: third-party features without a history, and request
        features computed from them.
        """
        kept = {id(member) for member in self._trainable}
        return tuple(
            name for member in self.features if id(member) not in kept for name in names_of(member)
        )

    @cached_property
    def in_training(self) -> FeatureService:
        """The service without the features that are not in training; itself where all are.

        Raises:
            DefinitionError: none is.
        """
        if not self.not_in_training:
            return self
        if not self._trainable:
            raise DefinitionError(
                f"feature service {self.name!r}: no feature can be trained on: all come from "
                "third parties without history=. Serve it with --log-third-party, and give the "
                "recorded responses as history=, or add other features"
            )
        return FeatureService(self.name, self._trainable)

    @cached_property
    def _trainable(self) -> list[Member]:
        """The members that history can answer."""

        def answered(view: FeatureView) -> bool:
            if view.third_party is not None:
                return view.third_party.trains
            return all(
                answered(filled.view)
                for filled in view.request_keys.values()
                if isinstance(filled, FeatureRef)
            )

        return [member for member in self.features if all(map(answered, _views(member)))]

    def over(self, change: Callable[[Source], Source]) -> FeatureService:
        """The service with the source of every view replaced by `change` of it; itself where that
        changes none.
        """

        def of_view(view: FeatureView) -> FeatureView:
            source = change(view.source)
            return view if source is view.source else dataclasses.replace(view, source=source)

        return self.changed(of_view)

    def changed(self, change: Callable[[FeatureView], FeatureView]) -> FeatureService:
        """The service with every view replaced by `change` of it, under its name and with its
        features; itself where that changes none.
        """
        changed_views: dict[str, FeatureView] = {}
        changed_http: dict[str, HttpFeatures] = {}

        def of_view(view: FeatureView) -> FeatureView:
            if isinstance(view.third_party, HttpFeatures):
                return of_http(view.third_party).view
            if view.name not in changed_views:
                keys = {
                    key: of_ref(filled) if isinstance(filled, FeatureRef) else filled
                    for key, filled in view.request_keys.items()
                }
                same = all(keys[key] is filled for key, filled in view.request_keys.items())
                changed_view = change(view)
                changed_views[view.name] = changed_view if same else changed_view.filled(keys)
            return changed_views[view.name]

        def of_http(http: HttpFeatures) -> HttpFeatures:
            if http.name not in changed_http:
                source = http.view.source if http.history is None else change(http.view).source
                changed_http[http.name] = (
                    http
                    if source is http.view.source
                    else dataclasses.replace(http, history=source)
                )
            return changed_http[http.name]

        def of_ref(ref: FeatureRef) -> FeatureRef:
            view = of_view(ref.view)
            return ref if view is ref.view else FeatureRef(view, ref.feature)

        def of_member(member: Member) -> Member:
            if isinstance(member, FeatureView):
                return of_view(member)
            if isinstance(member, HttpFeatures):
                return of_http(member)
            if isinstance(member, FeatureRef):
                return of_ref(member)
            if isinstance(member, RequestFeature):
                inputs = {p: of_ref(ref) for p, ref in member.inputs.items()}
                same = all(inputs[p] is ref for p, ref in member.inputs.items())
                return member if same else dataclasses.replace(member, inputs=inputs)
            return member

        members = [of_member(m) for m in self.features]
        same = all(after is before for after, before in zip(members, self.features, strict=True))
        return self if same else FeatureService(self.name, members)

    def view(self, name: str) -> FeatureView:
        """The view of that name."""
        views = {view.name: view for view in self.views}
        check_reference(name, views, f"feature service {self.name!r} reads no view {name!r}")
        return views[name]

    def _read(self) -> Iterator[FeatureView]:
        for member in self.features:
            yield from _views(member)

    def _check_views(self, subject: str) -> None:
        first = {view.name: view for view in self.views_in_history}
        for view in self._read():
            if first[view.name] != view:
                raise DefinitionError(f"{subject}: two views are named {view.name!r}; rename one")

    def _check_lists(self, subject: str) -> None:
        """Refuse a column of the request that is a list to one reader and a single value to
        another.
        """
        single = [
            (f"view {view.name!r}", view.request_key(key))
            for view in self.views
            for key in view.keys
            if view.list_key is None or key != view.list_key.key
        ]
        single += [
            (f"third-party features {http.name!r}", name)
            for http in self.http_features
            for name in http.request
        ]
        single += [(f"request field {field.name!r}", field.name) for field in self.request_fields]
        single += [
            (f"request feature {function.name!r}", name)
            for function in self.request_features
            for name in function.fields
        ]
        for reader, column in single:
            if column in self.list_fields:
                raise DefinitionError(
                    f"{subject}: the column {column!r} is a list of keys, and {reader} reads it "
                    "as a single value; rename one of them"
                )


@dataclass(frozen=True, eq=False)
class Enriched(EnrichedHistory):
    """The events of `base`, each with `features` as of its own event time; made by `enrich`."""

    base: Source
    features: FeatureService

    def __str__(self) -> str:
        return f"{self.base.name}, each event with {', '.join(self.features.feature_names)}"

    @property
    def columns(self) -> frozenset[str] | None:
        """The columns of the base and the features; None where the schema of a table decides."""
        return (
            None
            if self.base.columns is None
            else self.base.columns | set(self.features.feature_names)
        )


def views_within(views: Sequence[FeatureView]) -> tuple[FeatureView, ...]:
    """These views, and those that enrich the events of their sources, to any depth."""
    by_id: dict[int, FeatureView] = {}
    for view in views:
        by_id.setdefault(id(view), view)
        for source in _chain(view.source):
            if isinstance(source.history, Enriched):
                by_id |= {id(v): v for v in source.history.features.views_within}
    return tuple(by_id.values())


def sources_of(views: Sequence[FeatureView]) -> tuple[Source, ...]:
    """The sources that views read, including the sources below an enriched one."""
    return tuple({id(source): source for view in views for source in _chain(view.source)}.values())


def _chain(source: Source) -> Iterator[Source]:
    """The source; of an enriched one, also the sources below it."""
    yield source
    while isinstance(source.history, Enriched):
        source = source.history.base
        yield source


def _views(member: Member) -> Iterator[FeatureView]:
    """The views that a member reads."""
    if isinstance(member, FeatureView):
        yield member
    elif isinstance(member, FeatureRef | HttpFeatures):
        yield member.view
    elif isinstance(member, RequestFeature):
        yield from (ref.view for ref in member.inputs.values())


def names_of(member: Member) -> tuple[str, ...]:
    """The names of its features, in order."""
    if isinstance(member, FeatureView | HttpFeatures):
        return member.feature_names
    return (member.name,)


def enrich(
    source: Source,
    name: str,
    features: Sequence[Member],
    *,
    select: Selection | None = None,
    filter: pl.Expr | None = None,
) -> Source:
    """A source of the same events, each with features as of its own event time, next to its own
    columns.

    An event asks for the features as a request would: its columns fill the keys of the views, and
    what counts is what had happened before its event time and was known by the freshness of each
    view. It does not count itself. It is known when it was, or when the last event that counted
    became known, whichever is later. A level changes none of this: it says when values are read,
    not what events say. Views over the enriched source are chained views, and it can be enriched
    again.

    Args:
        source: the source of the events.
        name: the new source's name.
        features: views (all their features), single ones, and request features over columns of the
            event. Each is a column of its full name, such as `card__mean_amount_30d`; those that
            nothing reads are not computed.
        select, filter: as for any source, over the columns of this one and the features.

    Raises:
        DefinitionError: `source` is not a Source, a view's key that the events lack, or a feature
            named like one of their columns.

    >>> import headwater as hw, polars as pl
    >>> from datetime import datetime, UTC
    >>> at = lambda hour: datetime(2024, 5, 1, hour, tzinfo=UTC)
    >>> paid = pl.DataFrame(
    ...     {
    ...         "card": ["a"] * 4,
    ...         "at": [at(8), at(9), at(10), at(11)],
    ...         "amount": [10.0, 20.0, 90.0, 30.0],
    ...     }
    ... )
    >>> payments = hw.Source("payments", history=paid, timestamp_field="at")
    >>> card = hw.FeatureView(
    ...     "card",
    ...     source=payments,
    ...     keys=["card"],
    ...     features=[hw.mean("amount")],
    ...     windows=["30d"],
    ...     freshness=hw.streaming("2s"),
    ... )
    >>> large = pl.col("amount") > 3 * pl.col("card__mean_amount_30d")
    >>> rated = hw.enrich(
    ...     payments, "rated", [card["mean_amount_30d"]], select=["card", large.alias("large")]
    ... )
    >>> view = hw.FeatureView(
    ...     "rated_card",
    ...     source=rated,
    ...     keys=["card"],
    ...     features=[hw.count(where="large")],
    ...     windows=["1d"],
    ...     freshness=hw.on_request(),
    ... )
    >>> asked = pl.DataFrame({"card": ["a"], "timestamp": [at(12)]})
    >>> hw.get_historical_features(view, asked)["rated_card__count_where_large_1d"].to_list()
    [1]
    """
    # A rule for when the base's events are known is never earlier than the event, so all that
    # counts for it was known by then: the rule holds for the enriched source too. Where a column
    # says it, the later of both is in a column of its own.
    check_name(name, "a source")
    check_type(source, Source, f"source {name!r}: source of enrich()", "a hw.Source")
    subject = f"source {name!r}, {source.name!r} enriched"
    give = (
        "a list of feature views, single features and request features; what the event itself "
        "carries is a column already"
    )
    check_list(
        features, FeatureView | FeatureRef | RequestFeature, f"{subject}: features", give, least=1
    )
    if source.changes is not None:
        raise DefinitionError(
            f"{subject}: {source.name!r} has changes={source.changes!r}, and a retracted event "
            "has no single request time for features; enrich a source of the images after a "
            "change (filter=), or aggregate this source itself"
        )
    service = FeatureService(name, features)
    if service.not_in_training:
        raise DefinitionError(
            f"{subject}: from a third party without history=, so past values are not known: "
            f"{', '.join(service.not_in_training)}; give it history="
        )
    enriched = dataclasses.replace(
        source,
        name=name,
        history=Enriched(source, service),
        select=select,
        filter=filter,
        known_at_field=None if source.known_at_field is None else known_column(name),
        id_horizon="0s",  # the base has dropped the copies already
    )
    enriched.remember_site()
    _check(enriched, subject)
    return enriched


def known_column(name: str) -> str:
    """The column with the known time of enriched events, for a base with `known_at_field`."""
    return f"{name}__known_at"


def _check(source: Source, subject: str) -> None:
    """Check names against the columns of the base, where its selection names them."""
    enriched = source.history
    assert isinstance(enriched, Enriched)
    have = enriched.base.columns
    if have is None:
        return
    for column, who in enriched.features.needed_by().items():
        if column not in have:
            raise DefinitionError(lacking(source, column, who, have))
    clash = sorted({*enriched.features.feature_names, source.known_at_field or ""} & have)
    if clash:
        raise DefinitionError(clashing(source, clash[0]))
    both = have | set(enriched.features.feature_names)
    for item in [*(source.select or ()), *([] if source.filter is None else [source.filter])]:
        for column in sorted(root_columns(item) - both):
            check_reference(
                column,
                both,
                f"{subject}: {item} uses {column!r}, which is neither a column of the events nor "
                "a feature",
            )


def lacking(source: Source, column: str, who: Sequence[str], have: frozenset[str]) -> str:
    """The error message for events without a column that a view or a request feature needs."""
    base = _base(source)
    return (
        f"source {source.name!r}: the events of source {base.name!r} have no column {column!r}, "
        f"which {', '.join(who)} needs; {nearest(column, have)}. Make it there, or fill the key "
        "from another column with view.alias(name, keys=...)"
    )


def clashing(source: Source, column: str) -> str:
    """The error message for a column of the events that is named like a feature."""
    return (
        f"source {source.name!r}: the column {column!r} of source {_base(source).name!r} is named "
        "like a feature; rename it in that source's select, so that neither shadows the other"
    )


def _base(source: Source) -> Source:
    assert isinstance(source.history, Enriched)
    return source.history.base


def over(source: Source, change: Callable[[Source], Source]) -> Source:
    """The enriched source with `change` made of its base and of the sources of its views; itself
    where that changes none.
    """
    enriched = source.history
    assert isinstance(enriched, Enriched)
    base, features = change(enriched.base), enriched.features.over(change)
    if base is enriched.base and features is enriched.features:
        return source
    return enrich(base, source.name, features.features, select=source.select, filter=source.filter)


def table_columns(source: Source, column: str) -> frozenset[str]:
    """The columns of the table at the bottom that a column of the source is made of; features are
    made of other events.
    """
    if source.select is not None and column in (
        by_name := {output_name(item): item for item in source.select}
    ):
        roots = root_columns(by_name[column])
    else:
        roots = frozenset({column})
    return _below(source, roots)


def filter_columns(source: Source) -> frozenset[str]:
    """The columns of the table at the bottom that decide which of its rows are events."""
    columns = frozenset() if source.filter is None else _below(source, root_columns(source.filter))
    return (
        columns | filter_columns(source.history.base)
        if isinstance(source.history, Enriched)
        else columns
    )


def _below(source: Source, columns: frozenset[str]) -> frozenset[str]:
    if not isinstance(source.history, Enriched):
        return columns
    base_columns = columns - set(source.history.features.feature_names)
    return frozenset().union(
        *(table_columns(source.history.base, column) for column in base_columns)
    )


def as_service(features: FeatureService | Member | Sequence[Member]) -> FeatureService:
    """The feature service for `features` as a user gave them."""
    if isinstance(features, FeatureService):
        return features
    names = [
        name
        for name in (
            [features]
            if isinstance(features, str)
            else features
            if isinstance(features, Sequence)
            else []
        )
        if isinstance(name, str)
    ]
    if names:
        view, _, feature = names[0].replace(":", "__").partition("__")
        raise UsageError(
            f"features are given by the name {names[0]!r}; give the definitions: a view, one of "
            f"its features, such as {view or 'view'}[{feature or 'count_1d'!r}], or a feature "
            "service, such as project.model('name').features"
        )
    return FeatureService(
        "features", list(features) if isinstance(features, Sequence) else [features]
    )


def check_request(service: FeatureService, columns: Sequence[str]) -> None:
    """Refuse rows that lack a column, naming who needs it."""
    if not columns and service.needed_by():
        raise DataError(
            f"rows is empty and has no columns; features of {service.name!r} need: "
            f"{listed(service.needed_by())}"
        )
    for column, who in service.needed_by().items():
        if column not in columns:
            raise DataError(
                f"the rows have no column {column!r}, which {', '.join(who)} needs; "
                f"{nearest(column, columns)}"
            )
