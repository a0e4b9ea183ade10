"""A source: the events that features are made of, and when each became known.

Who writes what an online store keeps of a source's stream: one process at a time, or each
partition's own writer.

Selections from a table, for sources and labels: column names and row-wise polars expressions.

What the values of a source or a view are expected to be. Nothing that is computed depends on it,
so adding one rebuilds nothing.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from headwater.definitions.checks import (
    Duration,
    check,
    check_choice,
    check_integer,
    check_list,
    check_number,
    check_reference,
    check_text,
    check_timezone,
    check_type,
    is_number,
    micros,
    text,
)
from headwater.definitions.connectors import KafkaTopic, Stream, Table, as_table, check_stream
from headwater.definitions.definition import Definition, Described, check_name, is_expr
from headwater.errors import DefinitionError

if TYPE_CHECKING:
    import polars as pl

    from headwater.definitions.connectors import TableLike
    from headwater.definitions.freshness import Freshness

_DAY = "1d"


class _StoredName(str):
    """The name of a source in a store; no definition can have it."""

    __slots__ = ()


class _NotDeclared(str):
    """The `known_after` of a source that does not give any."""

    __slots__ = ()


_AT_ONCE = _NotDeclared("0s")


class EnrichedHistory(Definition):
    """A history that is computed: the events of the source `base`, each with features. `Enriched`
    is its one implementation.
    """

    base: Source

    @property
    def columns(self) -> frozenset[str] | None:
        """The columns of the base and the features; None where the schema of a table decides."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Source(Described):
    """Events with an event time, and the rule for when each became known.

    Args:
        name: at most 100 letters, digits and single underscores.
        timestamp_field: the column (of the table, or made by `select`) with the event time;
            tz-aware, unless `timezone` is given.
        history: `parquet(path)`, `csv(path)`, a path or URL, a lazy frame of polars (collected
            once), or any frame with an Arrow interface; `enrich` puts computed events here.
        stream: where the same events come from as they happen: `kafka(topic)`, `push()` or
            `appended(path)`, with a `schema` of their own without a history. Feature values do not
            depend on it, so the fingerprint does not either.
        select: the columns known at the event time: column names and row-wise polars expressions.
            None takes every column, and is refused where the table has timestamps later than the
            event is known at.
        filter: a row-wise polars expression over the table's columns; rows where it is not true are
            left out.
        known_at_field: the column with the time from which the event could be read.
        known_after: how long after its event time an event can be read, where no column says. Give
            it where timestamps were rounded down (a table of daily totals: "1d" or more), and "0s"
            where whole hours or days are exact.
        window_on: "timestamp", or "known_at" to place events in windows by when they became known.
        id_field: the column that identifies an event; a copy known less than `id_horizon` after an
            accepted one is dropped.
        id_horizon: see `id_field`.
        changes: the column of booleans that makes each row a change image of the event with its
            `id_field`: true for the image before a change, which takes the event back from its
            known time on (alone, it deletes it), false for the image after, which replaces the
            event. `filter` looks at each image alone. Needs `id_field` and `known_at_field`.
        writers: who writes what an online store keeps of the stream. None: one process at a time
            where events have an `id_field`, so that ids are exact; else each partition of a Kafka
            topic has a writer of its own, in any process of the consumer group. "one": one process
            in any case. "partition": a writer for each partition although events have ids, which
            promises that equal ids share a partition. Other streams than Kafka, `changes` and LMDB
            have one writer in any case.
        timezone: the IANA zone of naive timestamps, and of the days of a time that is a Date: it is
            the last microsecond of its day.
        expectations: of its events: `Expect` and `ExpectRows`. Ingestion checks each event;
            `backtest`, `dataset` and `materialize` check the history.
        description, owner, tags: for people and the catalogue; nothing computed depends on them.

    Raises:
        DefinitionError: a bad name, duration, selection or time zone; `changes` without what it
            needs.

    >>> import polars as pl
    >>> clicks = Source(
    ...     "clicks",
    ...     history=pl.DataFrame({"user": [1], "at": [0]}),
    ...     timestamp_field="at",
    ...     known_after="60m",
    ... )
    >>> clicks.known_after
    '1h'
    """

    name: str
    _: KW_ONLY
    timestamp_field: str
    history: TableLike | EnrichedHistory | None = None
    stream: Stream | None = dataclasses.field(default=None, metadata={"fingerprint": False})
    select: Selection | None = None
    filter: pl.Expr | None = None
    known_at_field: str | None = None
    known_after: Duration = _AT_ONCE
    window_on: Literal["timestamp", "known_at"] = "timestamp"
    id_field: str | None = None
    id_horizon: Duration = _DAY
    changes: str | None = None
    writers: Literal["one", "partition"] | None = dataclasses.field(
        default=None, metadata={"fingerprint": False}
    )
    timezone: str | None = None
    expectations: Sequence[Expectation] = dataclasses.field(
        default=(), repr=False, metadata={"fingerprint": False}
    )

    def __post_init__(self) -> None:
        self.remember_site()
        if not isinstance(self.name, _StoredName):
            check_name(self.name, "a source")
        subject = f"source {self.name!r}"
        self.check_description(subject)
        check_text(
            self.timestamp_field,
            f"{subject}: timestamp_field",
            "the name of the column with the event time",
        )
        if self.history is not None and not isinstance(self.history, EnrichedHistory):
            object.__setattr__(self, "history", as_table(self.history, f"{subject}: history"))
        if self.stream is not None:
            check_stream(self.stream, subject, has_history=self.history is not None)
        check_choice(self.window_on, ("timestamp", "known_at"), f"{subject}: window_on")
        for name, column in (("known_at_field", self.known_at_field), ("id_field", self.id_field)):
            if column is not None:
                check_text(column, f"{subject}: {name}", "the name of a column, or leave it out")
        check_known(self.known_at_field, self.known_after, subject)
        check_timezone(self.timezone, subject)
        check_selection(self.select, self.filter, subject)
        for name in ("known_after", "id_horizon"):
            if not isinstance(getattr(self, name), _NotDeclared):
                object.__setattr__(
                    self, name, text(micros(getattr(self, name), f"{subject}: {name}"))
                )
        self._check_changes(subject)
        self._check_writers(subject)
        if self.select is not None:
            object.__setattr__(self, "select", tuple(self.select))
        object.__setattr__(
            self, "expectations", check_expectations(self.expectations, self.columns, subject)
        )
        if self.changes is not None and any(
            isinstance(expectation, Expect) and expectation.on_violation == "reject"
            for expectation in self.expectations
        ):
            raise DefinitionError(
                f"{subject}: with changes={self.changes!r}, an event whose change is rejected "
                "would keep its old values; leave on_violation='reject' out"
            )

    @property
    def delay(self) -> int:
        """`known_after` in microseconds."""
        return micros(self.known_after, "known_after")

    @property
    def known_after_declared(self) -> bool:
        """Whether the definition gives `known_after`; without it, an event counts as known at its
        timestamp.
        """
        return not isinstance(self.known_after, _NotDeclared)

    @property
    def table(self) -> Table:
        """The history, or an error that says it is missing."""
        if self.history is None:
            raise DefinitionError(
                f"source {self.name!r} has no history: give history=hw.parquet(path) or a frame, "
                "so that it can be read offline"
            )
        assert not isinstance(self.history, EnrichedHistory), (
            "training.enrichment makes a table of it before it is read"
        )
        return as_table(self.history, "history")

    @property
    def columns(self) -> frozenset[str] | None:
        """The columns that features can use, where `select` names them; None where the table's
        schema decides.
        """
        selected = self.history.columns if isinstance(self.history, EnrichedHistory) else None
        if self.select is not None:
            selected = frozenset(output_name(item) for item in self.select)
        always = {
            self.timestamp_field,
            *(c for c in (self.known_at_field, self.id_field, self.changes) if c),
        }
        return None if selected is None else selected | always

    def stored_as(self, name: str) -> Source:
        """This source, renamed to its name in an online store."""
        stored_source = copy.copy(self)
        stored_source.__dict__.pop("fingerprint", None)
        object.__setattr__(stored_source, "name", _StoredName(name))
        return stored_source

    def known_within(self, delay: Duration) -> Source:
        """This source, had its events been known `delay` after their event time."""
        return dataclasses.replace(self, known_at_field=None, known_after=delay)

    def _check_writers(self, subject: str) -> None:
        if self.writers is not None:
            check_choice(self.writers, ("one", "partition"), f"{subject}: writers")
        if self.writers != "partition":
            return
        if self.changes is not None:
            raise DefinitionError(
                f"{subject}: writers='partition' lets partitions be written apart, and with "
                f"changes={self.changes!r} an image may change an event of another partition; "
                "leave writers out"
            )
        if self.stream is not None and not isinstance(self.stream, KafkaTopic):
            raise DefinitionError(
                f"{subject}: writers='partition' is for a Kafka topic, and the stream is "
                f"{self.stream}; leave writers out"
            )

    def _check_changes(self, subject: str) -> None:
        if self.changes is None:
            return
        check_text(
            self.changes,
            f"{subject}: changes",
            "the name of the column that is true for the image before a change",
        )
        if self.id_field is None:
            raise DefinitionError(
                f"{subject}: changes={self.changes!r} needs id_field=, the column that says which "
                "event an image is of"
            )
        if self.known_at_field is None:
            raise DefinitionError(
                f"{subject}: changes={self.changes!r} needs known_at_field=, the column that says "
                "when each image became known; by a rule, a correction would be known with what "
                "it corrects"
            )
        if self.window_on == "known_at":
            raise DefinitionError(
                f"{subject}: with changes={self.changes!r}, window_on='known_at' would move an "
                "event to the time of its correction; leave window_on out, or give "
                "timestamp_field the column that you mean"
            )
        if self.id_horizon != _DAY:
            raise DefinitionError(
                f"{subject}: with changes={self.changes!r}, an id means the same event for ever; "
                "leave id_horizon out"
            )


def bottom_of(source: Source) -> Source:
    """The source that has the events in a table: itself, or the base of the bases."""
    return bottom_of(source.history.base) if isinstance(source.history, EnrichedHistory) else source


def check_known(field: str | None, after: Duration, subject: str) -> None:
    """Refuse a rule for known_at that says two things."""
    if field is not None and micros(after, f"{subject}: known_after"):
        raise DefinitionError(
            f"{subject}: known_at_field and known_after both say when a row is known; give one of "
            "them"
        )


def has_one_writer(source: Source, *, multi_process: bool) -> bool:
    """Whether one process at a time writes all of a source's stream; else each partition of its
    consumer group has a writer.

    multi_process: whether several processes may write to the store at the same time.

    >>> import headwater as hw
    >>> topic = hw.kafka("payments", schema={"id": int, "at": hw.definitions.connectors.datetime})
    >>> def ask(**more):
    ...     return has_one_writer(
    ...         hw.Source("payments", stream=topic, timestamp_field="at", **more),
    ...         multi_process=True,
    ...     )
    >>> ask(), ask(id_field="id"), ask(id_field="id", writers="partition"), ask(writers="one")
    (False, True, False, True)
    """
    if not multi_process or not isinstance(source.stream, KafkaTopic):
        return True
    return source.writers == "one" or (source.id_field is not None and source.writers is None)


def producers_rule(source: Source) -> str | None:
    """The rule for the producers of a stream where each of its partitions has its own writer; None
    where there is none.

    >>> import headwater as hw
    >>> topic = hw.kafka("payments", schema={"id": int, "at": hw.definitions.connectors.datetime})
    >>> print(producers_rule(hw.Source("payments", stream=topic, timestamp_field="at", id_field="id", writers="partition")))
    equal 'id' must share a partition, as writers='partition' promises, or copies count twice. Produce records with 'id', or a column \
that it determines, as their key; or leave writers out, and one process writes all partitions
    """  # noqa: E501 (output as it is printed)
    if source.id_field is None or source.writers != "partition":
        return None
    return (
        f"equal {source.id_field!r} must share a partition, as writers='partition' promises, or "
        f"copies count twice. Produce records with {source.id_field!r}, or a column that it "
        "determines, as their key; or leave writers out, and one process writes all partitions"
    )


def other_writers(source: Source, *, one_writer: bool) -> str:
    """Why a source's stream cannot be resumed after other writers: where one process wrote, no
    partition has its own state.

    one_writer: whether one process is to write it now.
    """
    now, then = (
        ("one process", "each partition's own writer")
        if one_writer
        else ("each partition's own writer", "one process")
    )
    return (
        f"source {source.name!r} is written by {now} with this definition "
        f"(writers={source.writers!r}, id_field={source.id_field!r}, changes={source.changes!r}), "
        f"and by {then} before"
    )


def steps_to_rewrite(source: Source, *, one_writer: bool, multi_process: bool) -> str:
    """The steps where other writers wrote a source's stream; parameters as of `has_one_writer` and
    `other_writers`.
    """
    can_keep = not one_writer or (
        source.changes is None and isinstance(source.stream, KafkaTopic) and multi_process
    )
    keep = (
        (
            f"Give it writers={'partition' if one_writer else 'one'!r}, and it goes on as it was "
            "written; or build"
        )
        if can_keep
        else "Build"
    )
    return (
        f"{keep} its state again: give the source another name, or ingest into a store with "
        "another prefix= or database, and serve from there once its views are filled"
    )


Selection = Sequence["str | pl.Expr"]

DTYPES: Mapping[type, str] = {
    float: "float",
    int: "int",
    str: "str",
    bool: "bool",
    datetime: "datetime",
}
"""The types of a request's fields and of third-party columns, and their names."""


def check_selection(select: Selection | None, keep: pl.Expr | None, subject: str) -> None:
    """Refuse items other than names and expressions, repeated names, and expressions that are not
    row-wise.
    """
    give = "a list of column names and polars expressions"
    seen: set[str] = set()
    for item in () if select is None else check_list(select, object, f"{subject}: select", give):
        check(
            isinstance(item, str) or is_expr(item),
            item,
            f"{subject}: an item of select",
            "a column name or a polars expression",
        )
        if is_expr(item):
            _check_row_wise(item, f"{subject}: select")
        name = output_name(item)
        if name in seen:
            raise DefinitionError(
                f"{subject}: select gives the column {name!r} twice; rename one with .alias(...)"
            )
        seen.add(name)
    if keep is not None:
        check(
            is_expr(keep),
            keep,
            f"{subject}: filter",
            "a polars expression, such as pl.col('amount') > 0",
        )
        _check_row_wise(keep, f"{subject}: filter")


def check_dtype(dtype: object, subject: str) -> None:
    """Refuse anything but the types of `DTYPES`."""
    if not isinstance(dtype, type) or dtype not in DTYPES:
        raise DefinitionError(
            f"{subject} has the type {dtype!r}; give float, int, str, bool or datetime"
        )


def output_name(item: str | pl.Expr) -> str:
    """The column that an item of a selection makes."""
    return item if isinstance(item, str) else item.meta.output_name()


def root_columns(item: str | pl.Expr) -> frozenset[str]:
    """The columns of the table that an item of a selection is made of."""
    return frozenset({item}) if isinstance(item, str) else frozenset(item.meta.root_names())


def _check_row_wise(expression: pl.Expr, subject: str) -> None:
    from polars.exceptions import PolarsError  # loaded already: there is an expression

    try:
        row_wise = _is_row_wise(expression)
    except PolarsError as error:
        raise DefinitionError(
            f"{subject}: polars cannot tell whether {expression} is row-wise ({error}); name each "
            "column on its own, and use polars' own functions"
        ) from error
    if not row_wise:
        raise DefinitionError(
            f"{subject}: {expression} is not row-wise: its value on one row depends on other "
            "rows, which a stream does not have; write it with the row's own columns, and what "
            "spans rows as a feature with a window"
        )


def _is_row_wise(expression: pl.Expr) -> bool:
    """Whether no part of it looks beyond its row; polars' own check sees only the outermost
    function.
    """
    return expression.meta.is_row_separable() and all(map(_is_row_wise, expression.meta.pop()))


Bounds = tuple[float | None, float | None]


@dataclass(frozen=True, eq=False)
class Expect(Definition):
    """An expectation of a column of a source, or of a feature of a view.

    Args:
        column: of the source as it is selected; of a view the feature's name, such as
            "mean_amount_1h".
        in_range: the least and the greatest value, both allowed; None is without bound. Null is in
            range.
        accepted_values: the values that are allowed; null is too.
        not_null: whether null is refused.
        max_null_share: the share of nulls that a day may have.
        distinct: the least and the greatest number of distinct values of a day; None is without
            bound.
        on_violation: "warn" counts an event that breaks it; "reject" makes it a dead letter, where
            it is pushed or read from a stream.

    Raises:
        DefinitionError: nothing is expected, bounds in the wrong order, or "reject" of what only a
            whole day can break.

    >>> Expect("amount", in_range=(0, 10_000), not_null=True).describe()
    'amount: in_range (0, 10000), not_null'
    """

    column: str
    _: KW_ONLY
    in_range: Bounds | None = None
    accepted_values: Sequence[object] | None = None
    not_null: bool = False
    max_null_share: float | None = None
    distinct: Bounds | None = None
    on_violation: Literal["warn", "reject"] = "warn"

    def __post_init__(self) -> None:
        subject = f"the expectation of {self.column!r}"
        check_text(self.column, "an expectation: column", "the name of a column")
        for name in ("in_range", "distinct"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _bounds(getattr(self, name), f"{subject}: {name}"))
        if self.accepted_values is not None:
            accepted = check_list(
                self.accepted_values,
                object,
                f"{subject}: accepted_values",
                "a list of at least one value",
                least=1,
            )
            object.__setattr__(self, "accepted_values", accepted)
        check_type(self.not_null, bool, f"{subject}: not_null", "True or False")
        if self.max_null_share is not None:
            check_number(
                self.max_null_share,
                f"{subject}: max_null_share",
                "a share",
                least=0,
                below=1,
                note="such as 0.02",
            )
        check_choice(self.on_violation, ("warn", "reject"), f"{subject}: on_violation")
        of_day = [
            name for name in ("max_null_share", "distinct") if getattr(self, name) is not None
        ]
        if (
            not of_day
            and self.in_range is None
            and self.accepted_values is None
            and not self.not_null
        ):
            raise DefinitionError(
                f"{subject} expects nothing; give in_range=, accepted_values=, not_null=True, "
                "max_null_share= or distinct="
            )
        if of_day and self.on_violation == "reject":
            raise DefinitionError(
                f"{subject}: {of_day[0]} is of a whole day, and an event alone cannot break it; "
                "leave on_violation='reject' out"
            )

    def describe(self) -> str:
        """The expectation in words, as results and metrics name it."""
        parts = [
            f"{name} {_text(getattr(self, name))}"
            for name in ("in_range", "accepted_values")
            if getattr(self, name) is not None
        ]
        parts += ["not_null"] if self.not_null else []
        parts += [
            f"{name} {_text(getattr(self, name))}"
            for name in ("max_null_share", "distinct")
            if getattr(self, name) is not None
        ]
        return f"{self.column}: {', '.join(parts)}"


@dataclass(frozen=True, eq=False)
class ExpectRows(Definition):
    """An expectation of the number of events of a source, or of reads of a view, on each day (UTC).

    Args:
        at_least, at_most: the bounds, both allowed; None is without bound.

    >>> ExpectRows(at_least=1000).describe()
    'rows a day: at least 1000'
    """

    _: KW_ONLY
    at_least: int | None = None
    at_most: int | None = None

    def __post_init__(self) -> None:
        if self.at_least is None and self.at_most is None:
            raise DefinitionError("ExpectRows expects nothing; give at_least= or at_most=")
        for name in ("at_least", "at_most"):
            if getattr(self, name) is not None:
                check_integer(getattr(self, name), f"ExpectRows: {name}", least=0)
        _bounds((self.at_least, self.at_most), "ExpectRows: (at_least, at_most)")

    def describe(self) -> str:
        """The expectation in words."""
        bounds = [
            f"{name.replace('_', ' ')} {value}"
            for name in ("at_least", "at_most")
            if (value := getattr(self, name)) is not None
        ]
        return f"rows a day: {', '.join(bounds)}"


Expectation = Expect | ExpectRows


def check_expectations(
    expectations: Sequence[Expectation], columns: Collection[str] | None, subject: str
) -> tuple[Expectation, ...]:
    """The expectations as a tuple. columns: the existing ones; None where a table decides.

    Raises:
        DefinitionError: not a list of expectations, or of a column that there is not.
    """
    checked = check_list(
        expectations,
        Expectation,
        f"{subject}: expectations",
        "a list of hw.Expect(...) and hw.ExpectRows(...)",
    )
    for expectation in checked:
        if isinstance(expectation, Expect):
            check_reference(
                expectation.column,
                columns,
                f"{subject}: an expectation is of {expectation.column!r}, which it does not have",
            )
    return checked


def check_slo(slo: float | None, freshness: Freshness, subject: str) -> None:
    """Refuse an objective that is not a share, or of a view whose values are not stored."""
    if slo is None:
        return
    check_number(slo, f"{subject}: slo", "a share of reads", above=0, below=1, note="such as 0.99")
    if not freshness.stored:
        raise DefinitionError(
            f"{subject}: slo={slo} is of stored values, and {freshness} stores none; leave it out"
        )


def _bounds(bounds: object, name: str) -> Bounds:
    """Two bounds, at least one of them given."""
    give = "two numbers, the lower bound first; one of them may be None, such as (0, None)"
    pair = bounds if isinstance(bounds, tuple | list) and len(bounds) == 2 else (None, None)
    known = [bound for bound in pair if bound is not None]
    check(known and all(map(is_number, known)) and known == sorted(known), bounds, name, give)
    low, high = pair
    return low, high


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return f"({', '.join('none' if part is None else str(part) for part in value)})"
    return str(value)
