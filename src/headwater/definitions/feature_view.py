"""A feature view: aggregations over one source for one set of keys, at one freshness.

One feature of a view, and what of a view and its source the fingerprints of stored state and of
values are made of.

An aggregation as a value: the function, its columns, windows and parameters.

A secondary key: one value for each of the latest categories, rather than one of all events
together.

The properties of each aggregation function that definitions depend on; the file of its family has
how it is computed.
"""

from __future__ import annotations

import copy
import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from typing import ClassVar, Literal, Union

from headwater.definitions.checks import (
    Duration,
    check_choice,
    check_columns,
    check_integer,
    check_list,
    check_reference,
    check_type,
    micros,
    text,
)
from headwater.definitions.definition import Definition, Described, check_name, fingerprint_of
from headwater.definitions.freshness import Freshness, check_freshness
from headwater.definitions.list_keys import Each, ListKey
from headwater.definitions.source import (
    EnrichedHistory,
    Expectation,
    Source,
    check_expectations,
    check_slo,
    output_name,
)
from headwater.definitions.windows import Window, as_windows
from headwater.errors import DefinitionError, HeadwaterWarning
from headwater.rows import Rows

LIFETIME = Window.in_micros(None)


@dataclass(frozen=True, eq=False)
class FeatureRef(Definition):
    """One feature of a view, as `view["mean_delay_1h"]` gives it."""

    view: FeatureView
    feature: str

    @property
    def name(self) -> str:
        """`view__feature`, its name in training data and answers."""
        return f"{self.view.name}__{self.feature}"

    @property
    def is_list(self) -> bool:
        """Whether its values are lists."""
        return self.view.list_key is not None or self._gives_list

    @property
    def is_list_of_lists(self) -> bool:
        """Whether the elements of its values are lists again."""
        return self.view.list_key is not None and self._gives_list

    @property
    def _gives_list(self) -> bool:
        return next(
            f for f in self.view.outputs if f.name == self.feature
        ).aggregation.facts.gives_list


class ThirdPartyFeatures(Definition):
    """Features of a third party, as their view over recorded responses knows them. `HttpFeatures`
    is its one implementation.
    """

    name: str
    history: Source | None

    @property
    def trains(self) -> bool:
        """Whether a history supplies training values."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class FeatureView(Described):
    """Aggregations over the events of one source that share a key.

    Args:
        name: letters, digits and single underscores; feature names begin with it. Of version 2 it
            becomes `user@2`.
        source: where the events come from.
        keys: columns of the source that say whose events they are; [] for one value for all.
        features: aggregations such as `count()` and `mean("amount")`.
        freshness: how stale a value may be.
        windows: such as ["1h", "7d"]; None for all of the past. An aggregation's own `windows=`
            goes before.
        ttl: a value whose last counted event is older than this at T is null.
        hop: the step in which the tail of each window moves, instead of the rule's.
        on_stale: what to serve when a value is older than promised: "previous" (the value before),
            "null", or "refuse".
        on_incomplete: what to serve while the view's records lack events that were received:
            "null", the "value" as it is, or "refuse".
        version: 1, or more for a changed view next to the former one. `user@2` is another view
            than `user`: its features are named `user@2__count_1h`, and its state is its own.
        slo, expectations: the share of reads in 30 days within the promised age, such as 0.99; what
            served values should be.
        description, owner, tags: for people and the catalogue; nothing computed depends on them.

    Raises:
        DefinitionError: a bad name, key, window, freshness or version; two features of one name.

    >>> import polars as pl, headwater as hw
    >>> clicks = hw.Source(
    ...     "clicks", history=pl.DataFrame({"user": [1], "at": [0]}), timestamp_field="at"
    ... )
    >>> view = FeatureView(
    ...     "user",
    ...     source=clicks,
    ...     keys=["user"],
    ...     features=[hw.count()],
    ...     windows=["1h", "1d"],
    ...     freshness=hw.streaming("1s"),
    ... )
    >>> view.feature_names
    ('user__count_1h', 'user__count_1d')
    """

    name: str
    _: KW_ONLY
    source: Source
    keys: Sequence[str]
    features: Sequence[Aggregation]
    freshness: Freshness
    windows: Windows | None = None
    ttl: Duration | None = None
    hop: Duration | None = None
    on_stale: Literal["previous", "null", "refuse"] = "previous"
    on_incomplete: Literal["null", "value", "refuse"] = field(
        default="null", metadata={"fingerprint": "given"}
    )
    request_keys: Mapping[str, str | FeatureRef] = field(default_factory=dict)
    base: Union[FeatureView, None] = field(default=None, metadata={"fingerprint": False})  # noqa: UP007 (a forward reference)
    # its responses are the source
    third_party: ThirdPartyFeatures | None = field(default=None, metadata={"fingerprint": "given"})
    # the key that a list of the request fills
    list_key: ListKey | None = field(default=None, metadata={"fingerprint": "given"})
    version: int = field(default=1, metadata={"fingerprint": False})
    slo: float | None = field(default=None, metadata={"fingerprint": False})
    expectations: Sequence[Expectation] = field(
        default=(), repr=False, metadata={"fingerprint": False}
    )

    is_placed: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self.remember_site()
        check_integer(
            self.version, f"feature view {self.name!r}: version", least=1, note="such as 2"
        )
        object.__setattr__(self, "name", _versioned(self.name, self.version))
        subject = f"feature view {self.name!r}"
        self.check_description(subject)
        check_type(self.source, Source, f"{subject}: source", "a Source")
        check_freshness(self.freshness, f"{subject}: freshness")
        give = "a list of at least one aggregation, such as [hw.count()]"
        features = check_list(self.features, Aggregation, f"{subject}: features", give, least=1)
        check_choice(self.on_stale, ("previous", "null", "refuse"), f"{subject}: on_stale")
        check_choice(self.on_incomplete, ("null", "value", "refuse"), f"{subject}: on_incomplete")
        sized = (
            None
            if self.windows is None
            else as_windows(self.windows, self.hop, f"{subject}: windows")
        )
        if sized is not None and not sized:
            raise DefinitionError(
                f"{subject}: windows is empty; give at least one, or leave it out for all of the "
                "past"
            )
        for name, value in (
            ("keys", check_columns(self.keys, f"{subject}: keys")),
            ("features", features),
            ("windows", sized),
        ):
            object.__setattr__(self, name, value)
        if self.ttl is not None:
            object.__setattr__(self, "ttl", text(micros(self.ttl, f"{subject}: ttl")))
        check_slo(self.slo, self.freshness, subject)
        self._check_keys(subject)
        self._check_outputs(subject)
        object.__setattr__(
            self,
            "expectations",
            check_expectations(self.expectations, {f.name for f in self.outputs}, subject),
        )

    @cached_property
    def outputs(self) -> tuple[Feature, ...]:
        """Every feature, in the order written: aggregation by column by window."""
        return tuple(
            feature for aggregation in self.features for feature in self._expand(aggregation)
        )

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The full names `view__feature`, in the order of `outputs`."""
        return tuple(f"{self.name}__{f.name}" for f in self.outputs)

    @property
    def expires_after(self) -> int | None:
        """`ttl` in microseconds."""
        return None if self.ttl is None else micros(self.ttl, "ttl")

    @cached_property
    def tiles_fingerprint(self) -> str:
        """16 hexadecimal digits of all that shapes the stored state of this view, and of nothing
        else.

        Aliases share it. It does not change with the length of a ttl, `on_stale`, `on_incomplete`,
        the lag of a stream, names of features, or columns of the source that the view does not
        read; nor, for a streaming view, with where the history lies, since its state lives by the
        stream. Features count in their order, which stored state is laid out by.
        """
        streams = not self.freshness.scheduled
        return fingerprint_of(
            (
                self.root.name,
                # a batch view reads no stream
                reading(
                    self.source,
                    self.read_columns,
                    without_history=streams,
                    without_stream=not streams,
                ),
                self.keys,
                [state_of(f) for f in self.outputs],
                self.ttl is not None,  # then the time of the last event is kept too
                self.freshness.state if streams else self.freshness,
            )
        )

    @cached_property
    def record_group(self) -> str:
        """16 hexadecimal digits that name a group of records in an online store: the views of a
        group share one record per key.

        Streaming views of one source and the same keys share a group. A batch view has its own,
        since each cut rewrites its records.
        """
        return (
            self.tiles_fingerprint
            if self.freshness.scheduled
            else fingerprint_of(("records", self.source.name, self.keys))
        )

    def values_fingerprint(self, features: Sequence[Feature]) -> str:
        """16 hexadecimal digits of all that decides the values of these features but for how fresh
        they are, and of nothing else.

        What a model was trained on and what it is served agree where it does: the tables and
        streams behind the source may be others.
        """
        read = frozenset(self.keys).union(
            *((*f.columns, *f.aggregation.extra_columns) for f in features)
        )
        filled = {
            key: (
                filler.view.values_fingerprint(
                    [f for f in filler.view.outputs if f.name == filler.feature]
                )
                if isinstance(filler, FeatureRef)
                else filler
            )
            for key, filler in self.request_keys.items()
        }
        events = reading(self.source, read, without_history=True, without_stream=True)
        value_definition = (
            self.name,
            events,
            self.keys,
            filled,
            [(f.name, *state_of(f)) for f in features],
            self.ttl,
        )
        return fingerprint_of(
            value_definition if self.list_key is None else (*value_definition, self.list_key.key)
        )

    @property
    def read_columns(self) -> frozenset[str]:
        """The columns of the source that its keys and features are made of."""
        return frozenset(self.keys).union(*((*a.columns, *a.extra_columns) for a in self.features))

    @property
    def root(self) -> FeatureView:
        """The view that this one is an alias of, or itself: they share their events and state."""
        return self if self.base is None else self.base

    def __getitem__(self, feature: str) -> FeatureRef:
        names = [f.name for f in self.outputs]
        short = feature.removeprefix(f"{self.name}__")
        check_reference(short, names, f"feature view {self.name!r} has no feature {feature!r}")
        return FeatureRef(self, short)

    def request_key(self, key: str) -> str | FeatureRef:
        """The request's column (or the feature) that fills `key`."""
        return self.request_keys.get(key, key)

    def alias(self, name: str, keys: Mapping[str, str | FeatureRef | Each]) -> FeatureView:
        """This view in another role: `origin.alias("at_destination", keys={"origin": "dest"})`.

        Args:
            name: the alias's own name, which its features begin with; of version 2 of the view it
                becomes `name@2`.
            keys: for each key of the view that is not taken from the request's column of the same
                name, that column or a feature; of one key `each(...)` of them, a list, which makes
                lists of the features.

        Raises:
            DefinitionError: a key that the view does not have, a feature that does not fit, or two
                lists.
        """
        check_type(
            keys,
            Mapping,
            f"alias {name!r} of {self.name!r}: keys",
            "a mapping from keys to columns of the request, or to features",
        )
        filled = dict(self.request_keys)
        list_key = None if self.list_key is None or self.list_key.key in keys else self.list_key
        for key, filler in keys.items():
            subject = f"alias {name!r} of {self.name!r}: {key!r}"
            check_reference(key, self.keys, f"{subject} is not a key of it")
            reference = filler.of if isinstance(filler, Each) else filler
            if not isinstance(reference, str | FeatureRef):
                raise DefinitionError(
                    f"{subject} is filled with {reference!r}; give a request column or a feature"
                )
            if isinstance(reference, FeatureRef):
                self._check_filler(subject, reference, takes_list=isinstance(filler, Each))
            if isinstance(filler, Each):
                if list_key is not None:
                    raise DefinitionError(
                        f"{subject} is a second list, next to {list_key.key!r}; a view is looked "
                        "up by one list"
                    )
                list_key = ListKey(key, filler.max_length)
            filled[key] = reference
        check_name(name, f"an alias of {self.name!r}")
        aliased = dataclasses.replace(
            self, name=name, request_keys=filled, base=self.root, list_key=list_key
        )
        aliased.remember_site()
        return aliased

    def _check_filler(self, subject: str, reference: FeatureRef, *, takes_list: bool) -> None:
        if takes_list and (not reference.is_list or reference.is_list_of_lists):
            kind = "a list of lists" if reference.is_list else "no list"
            raise DefinitionError(
                f"{subject} is filled with each({reference.name}), which is {kind}; give a feature "
                "that "
                "is a list, such as last_n(...)"
            )
        if not takes_list and reference.view.list_key is not None:
            raise DefinitionError(
                f"{subject} is filled with {reference.name}, which is a list; look it up with "
                "hw.each(...)"
            )

    def at(self, freshness: Freshness) -> FeatureView:
        """This view, and the view that it is an alias of, at another freshness; itself where it has
        that freshness already.
        """
        if freshness == self.freshness:
            return self
        return self._but(
            freshness=freshness, base=None if self.base is None else self.base.at(freshness)
        )

    def stored_as(self, tiles: str, source: Source, first: str = "") -> FeatureView:
        """This view with the fingerprint, and the source, under which an online store keeps its
        state.

        first: the fingerprint of the first generation of its records, if this is another one.
        """
        base = None if self.base is None else self.base.stored_as(tiles, source, first)
        stored_view = self._but(source=source, base=base)
        stored_view.__dict__.update(
            tiles_fingerprint=tiles, first_generation=first or tiles, is_placed=True
        )
        if first:  # generations are different views
            stored_view.__dict__["fingerprint"] = fingerprint_of((self.fingerprint, tiles))
        return stored_view

    @cached_property
    def first_generation(self) -> str:
        """The `tiles_fingerprint` of the first generation of its records in an online store."""
        return self.tiles_fingerprint

    def filled(self, request_keys: Mapping[str, str | FeatureRef]) -> FeatureView:
        """This view with its keys filled from the same columns and features as another alias."""
        return self._but(request_keys=request_keys)

    def _but(self, **fields: object) -> FeatureView:
        """A copy with other fields. It is not checked again, since that would repeat the
        warnings.
        """
        copied = copy.copy(self)
        for name in ("fingerprint", "tiles_fingerprint", "first_generation", "record_group"):
            copied.__dict__.pop(name, None)
        for name, value in fields.items():
            object.__setattr__(copied, name, value)
        return copied

    def _expand(self, aggregation: Aggregation) -> list[Feature]:
        windows: Sequence[object] = aggregation.windows or self.windows or [LIFETIME]
        plain = aggregation.windows is None and self.windows is None
        groups: list[tuple[str, tuple[str, ...], int]]
        if aggregation.each and aggregation.columns:
            groups = [(c, (c,), 0) for c in aggregation.columns]
        elif aggregation.facts.per_column:
            groups = [(c, aggregation.columns, i) for i, c in enumerate(aggregation.columns)]
        else:
            groups = [(aggregation.label, aggregation.columns, 0)]
        expanded = []
        for label, columns, position in groups:
            where = f"where_{aggregation.where}" if aggregation.where else ""
            split = f"by_{aggregation.secondary.column}" if aggregation.secondary else ""
            stem = aggregation.name or "_".join(
                name_part
                for name_part in (aggregation.function, label, aggregation.detail, split, where)
                if name_part
            )
            if self.third_party is not None:
                stem = label
            elif aggregation.name and len(groups) > 1:
                stem = f"{aggregation.name}_{label}"
            for window in windows:
                assert isinstance(window, Window)
                expanded.append(
                    Feature(
                        stem if plain else f"{stem}_{window.suffix}",
                        aggregation,
                        columns,
                        window,
                        position,
                    )
                )
        return expanded

    def _check_keys(self, subject: str) -> None:
        if len(set(self.keys)) != len(self.keys):
            raise DefinitionError(f"{subject}: a key is repeated in {list(self.keys)}")
        for key in self.keys:
            check_reference(
                key,
                self.source.columns,
                f"{subject}: the key {key!r} is not selected by source {self.source.name!r}",
            )

    def _check_outputs(self, subject: str) -> None:
        names = [f.name for f in self.outputs]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise DefinitionError(
                f"{subject}: two features are named {twice[0]!r}; give one of them another name="
            )
        divides = [
            f.aggregation.function
            for f in self.outputs
            if f.aggregation.facts.needs_length and f.window.length is None
        ]
        if divides:
            raise DefinitionError(
                f"{subject}: {divides[0]}() divides by the length of its window, and a lifetime "
                "has none; give it windows=, such as ['1h']"
            )
        for aggregation in self.features:
            selected = (
                aggregation.extra_columns
                if aggregation.facts.queue
                else (*aggregation.columns, *aggregation.extra_columns)
            )
            for column in selected:
                says = (
                    f"{subject}: {aggregation.function}() uses {column!r}, which source "
                    f"{self.source.name!r} does not select"
                )
                check_reference(column, self.source.columns, says)
        short = sorted(
            {
                f.window.suffix
                for f in self.outputs
                if f.window.length is not None
                and f.window.length + f.window.offset <= self.source.delay
            }
        )
        if short and self.source.window_on == "timestamp":
            warnings.warn(
                f"{subject}: the window {short[0]} is not longer than the delay of source "
                f"{self.source.name!r} ({self.source.known_after}): its events leave the window "
                "before they are known. Take a longer window, or window_on='known_at'.",
                HeadwaterWarning,
                stacklevel=5,  # past the checks and the call of the class
            )


@dataclass(frozen=True)
class Feature:
    """One column of a view: one aggregation, in one window, over `columns` of the source."""

    name: str
    aggregation: Aggregation
    columns: tuple[str, ...]
    window: Window
    column: int = 0  # which of the aggregation's outputs this is

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns of the source that it is made of, including that of `where`."""
        where = self.aggregation.where
        return self.columns if where is None else (*self.columns, where)


def _versioned(name: str, version: int) -> str:
    """The name of a version of a view: `user`, `user@2`. A copy of a view has it already.

    Raises:
        DefinitionError: it is no name, or names another version.
    """
    stem, at, number = name.partition("@") if isinstance(name, str) else (name, "", "")
    check_name(stem, "a feature view")
    if at and (version == 1 or number != str(version)):
        number = number if version == 1 else str(version)
        raise DefinitionError(
            f"a feature view is named {name!r}, which says its version; give the name {stem!r} "
            f"and version={number}"
        )
    return stem if version == 1 else f"{stem}@{version}"


def reading(
    source: Source, columns: frozenset[str], *, without_history: bool, without_stream: bool
) -> object:
    """The fields of a source that decide the values of `columns`, through every base of an enriched
    source.
    """
    fields = {
        f.name: getattr(source, f.name)
        for f in dataclasses.fields(source)
        if f.metadata.get("fingerprint", True)
    }
    # so that a new optional field rebuilds nothing
    identity = {name: value for name, value in fields.items() if value is not None}
    used = columns | {
        c
        for c in (source.timestamp_field, source.known_at_field, source.id_field, source.changes)
        if c
    }
    if source.select is not None:
        identity["select"] = [item for item in source.select if output_name(item) in used]
    if without_history and not isinstance(source.history, EnrichedHistory):
        identity.pop("history", None)
    if without_stream:
        identity.pop("stream", None)
    return identity


def state_of(feature: Feature) -> tuple[object, ...]:
    """The definition of a feature's stored state, which does not include its name."""
    aggregation = feature.aggregation
    return (
        aggregation.function,
        aggregation.params,
        aggregation.where,
        aggregation.secondary,
        feature.columns,
        feature.column,
        feature.window,
    )


Windows = Sequence[Duration | Window]

Parameter = int | float | str | bool

DEFAULT_KEYS, MOST_KEYS = 100, 1000


@dataclass(frozen=True, eq=False)
class Aggregation(Definition):
    """One function over columns of a source's events, in one or more windows.

    Made by `count`, `sum`, `mean` and their like. `windows` None takes those of the view.
    """

    function: str
    columns: tuple[str, ...]
    windows: tuple[Window, ...] | None
    where: str | None
    name: str | None
    params: tuple[tuple[str, Parameter], ...] = ()
    each: bool = False  # one feature for each column, rather than one of all columns together
    label: str = ""  # the columns as they stand in a feature's name
    # the parameters that stand in a feature's name
    detail: str = field(default="", metadata={"fingerprint": False})
    secondary: SecondaryKey | None = None

    def by(self, column: str, *, max_keys: int = DEFAULT_KEYS) -> Aggregation:
        """The same function for each value of `column` on its own: a map from each value to its
        result, {} for no events.

        Its keys are those that `last_n(column, k=max_keys, distinct=True)` lists over the events
        that count, in that order: the `max_keys` latest, the latest last. What a key maps to is
        made of all its events in the window. Events where `column` is null do not count. Strings,
        integers, booleans and times can be keys.

        Raises:
            DefinitionError: a function without a state of one size, such as `top_k`; `max_keys` not
                from 1 to 1000; a second `by`.

        >>> from headwater.aggregations.moments import sum
        >>> from headwater.testing.examples import value_of
        >>> value_of(
        ...     sum("amount").by("category", max_keys=2),
        ...     category=["a", "b", "a", "c"],
        ...     amount=[1, 2, 3, 4],
        ... )
        {'a': 4, 'c': 4}
        """
        if self.secondary is not None:
            raise DefinitionError(
                f"{self.function}() is split by {self.secondary.column!r} already; make one "
                "column of both in select"
            )
        return replace(self, secondary=secondary_key(self.function, column, max_keys))

    def __str__(self) -> str:
        arguments = {
            **dict(self.params),
            "windows": self.windows and [str(w) for w in self.windows],
            "where": self.where,
            "name": self.name,
        }
        parts = [
            *map(repr, self.columns),
            *(f"{name}={value!r}" for name, value in arguments.items() if value is not None),
        ]
        return f"{self.function}({', '.join(parts)})" + (
            "" if self.secondary is None else f".by({self.secondary.column!r})"
        )

    @property
    def extra_columns(self) -> tuple[str, ...]:
        """The columns that it reads in addition to the function's: of `where=` and of the secondary
        key.
        """
        secondary = None if self.secondary is None else self.secondary.column
        return tuple(c for c in (self.where, secondary) if c is not None)

    @property
    def facts(self) -> Function:
        """The properties of the function."""
        return FUNCTIONS[self.function]

    @property
    def skips_null(self) -> bool:
        """Whether an event does not count where a column is null."""
        return bool(self.columns) and (self.each or self.facts.skips_null)

    def __post_init__(self) -> None:
        subject = f"{self.function}()"
        for column in (*self.columns, *self.extra_columns):
            check_type(
                column,
                str,
                f"{subject}: a column",
                "the name of a column; select= of the source makes one of an expression",
            )
        if self.name is not None:
            check_name(self.name, subject)
            if self.each and len(self.columns) > 1:
                raise DefinitionError(
                    f"{subject}: name={self.name!r} cannot name {len(self.columns)} features; "
                    f"write one {subject} for each column"
                )


def made(
    function: str,
    columns: tuple[str, ...],
    windows: Windows | None,
    where: str | None,
    name: str | None,
    **more: object,
) -> Aggregation:
    """An aggregation whose windows are checked; `more` are its other fields."""
    sized = None if windows is None else as_windows(windows, None, f"{function}(): windows")
    return Aggregation(function, columns, sized, where, name, **more)  # type: ignore[arg-type]


def needs(function: str, columns: tuple[str, ...], example: str) -> None:
    """Refuse a function without its column."""
    if not columns:
        raise DefinitionError(f"{function}() needs a column, such as {function}({example!r})")


def size(function: str, parameter: str, value: int) -> tuple[tuple[str, int]]:
    """A parameter of how many, checked."""
    check_integer(value, f"{function}(): {parameter}", least=1, most=100_000)
    return ((parameter, value),)


@dataclass(frozen=True)
class SecondaryKey:
    """The column that events are split by, and how many of its values an answer holds at most."""

    column: str
    max_keys: int


def secondary_key(function: str, column: str, max_keys: int) -> SecondaryKey:
    """The secondary key that `function` is split by.

    Raises:
        DefinitionError: a function that cannot be split, no column name, or `max_keys` out of
            bounds.
    """
    if not FUNCTIONS[function].splits:
        can = sorted(name for name, facts in FUNCTIONS.items() if facts.splits)
        raise DefinitionError(
            f"{function}() cannot be split by {column!r}: it has no state of one size for each "
            f"category. These can: {', '.join(can)}"
        )
    give = "the name of a column; select= of the source makes one of an expression"
    check_type(column, str, f"{function}().by(): the column", give)
    check_integer(max_keys, f"{function}().by({column!r}): max_keys", least=1, most=MOST_KEYS)
    return SecondaryKey(column, max_keys)


# "sum": int64 of integers and booleans, else float64; "list": of the same
Gives = Literal["int", "float", "same", "sum", "list"]


@dataclass(frozen=True)
class Function:
    """One function of aggregations, as far as a user's definitions depend on it.

    Args:
        name: as users write it.
        gives: the type of its values.
        splits: whether `.by()` can split it: its state is of one size for each category.
        needs_length: whether it divides by the length of its window, so that a lifetime is refused.
        skips_null: whether an event does not count where any of several columns is null; a single
            column's nulls never count.
        per_column: whether it makes a feature of each column of one row.
        queue: whether its column holds the end of each event: it need not be selected, and a null
            means that the event is open.
    """

    name: str
    gives: Gives
    splits: bool = False
    needs_length: bool = False
    skips_null: bool = False
    per_column: bool = False
    queue: bool = False

    @property
    def gives_list(self) -> bool:
        """Whether its values are lists."""
        return self.gives == "list"


FUNCTIONS: Rows[Function] = Rows(
    "functions",
    homes={
        "headwater.aggregations.moments": "count sum mean std var",
        "headwater.aggregations.min_max": "min max min_by max_by",
        "headwater.aggregations.first_last": "first last latest since_last first_n last_n",
        "headwater.aggregations.open_intervals": "open_count open_age",
        "headwater.aggregations.count_distinct": "count_distinct",
        "headwater.aggregations.approx_percentile": "approx_percentile",
        "headwater.aggregations.mode_top_k": "mode top_k collect_set",
        "headwater.aggregations.decayed": "decayed_sum decayed_mean",
        "headwater.aggregations.rate_ratio": "rate fraction ratio",
    },
)
"""By name; the file of each family has their rows."""
