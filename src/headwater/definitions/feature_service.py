"""A feature service: the features that one model reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from headwater.definitions.checks import check_list, check_reference
from headwater.definitions.definition import check_name
from headwater.definitions.described import Described
from headwater.definitions.feature import Feature
from headwater.definitions.feature_view import FeatureRef, FeatureView
from headwater.definitions.http_features import HttpFeatures
from headwater.definitions.request_feature import RequestFeature, RequestField
from headwater.definitions.source import EnrichedHistory, Source
from headwater.errors import DefinitionError

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
        """Every view that is read, those that only feed a request feature or a key included;
        feeding views first.

        Views over the history of third-party features are not included, since they are not read
        online: see `views_in_history`.
        """
        return tuple(view for view in self.views_in_history if view.third_party is None)

    @cached_property
    def http_features(self) -> tuple[HttpFeatures, ...]:
        """All that a third party is asked for, those that only feed a request feature or a key
        included.
        """
        return tuple(
            view.third_party
            for view in self.views_in_history
            if isinstance(view.third_party, HttpFeatures)
        )

    @cached_property
    def views_in_history(self) -> tuple[FeatureView, ...]:
        """`views`, and those over the history of third-party features; feeding views first."""
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
        """Every view that is read, and those that the events of their sources are enriched with, to
        any depth.
        """
        return self._within(self.views)

    def _within(self, views: Sequence[FeatureView]) -> tuple[FeatureView, ...]:
        by_id: dict[int, FeatureView] = {}
        for view in views:
            by_id.setdefault(id(view), view)
            for source in _chain(view.source):
                if isinstance(source.history, Enriched):
                    by_id |= {id(v): v for v in source.history.features.views_within}
        return tuple(by_id.values())

    @cached_property
    def sources(self) -> tuple[Source, ...]:
        """Every source that is read, those below an enriched one included."""
        read = [
            view
            for view in self.views_in_history
            if view.third_party is None or view.third_party.history is not None
        ]
        return sources_of(self._within(read))

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
        """For each column that a request must carry, who needs it."""
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
        """The columns of a request that hold lists of keys, and the longest list that each may
        hold.
        """
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
        """The features without training values: those of third parties without a history, and
        request features computed from them.
        """
        kept = {id(member) for member in self._kept}
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
        if not self._kept:
            raise DefinitionError(
                f"feature service {self.name!r}: no feature can be trained on: all come from "
                "third parties without history=. Serve it with --log-third-party, and give the "
                "recorded responses as history=, or add other features"
            )
        return FeatureService(self.name, self._kept)

    @cached_property
    def _kept(self) -> list[Member]:
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
        """The service with `change` made of the source of every view that is read; itself where
        that changes none.
        """

        def of_view(view: FeatureView) -> FeatureView:
            source = change(view.source)
            return view if source is view.source else dataclasses.replace(view, source=source)

        return self.changed(of_view)

    def changed(self, change: Callable[[FeatureView], FeatureView]) -> FeatureService:
        """The service with `change` made of every view that is read, whose name and features it
        keeps; itself where that changes none.
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


def sources_of(views: Sequence[FeatureView]) -> tuple[Source, ...]:
    """The sources that views read, those below an enriched one included."""
    return tuple({id(source): source for view in views for source in _chain(view.source)}.values())


def _chain(source: Source) -> Iterator[Source]:
    """The source, and where it is enriched, those below it."""
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
