"""A source: the events that features are made of, and when each became known."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Literal

from headwater.definitions.checks import check_choice, check_text
from headwater.definitions.columns import Selection, check_selection, output_name
from headwater.definitions.connectors import Table, as_table
from headwater.definitions.definition import Definition, check_name
from headwater.definitions.described import Described
from headwater.definitions.durations import Duration, check_timezone, micros, text
from headwater.definitions.expectation import Expect, Expectation, check_expectations
from headwater.definitions.streams import KafkaTopic, Stream, check_stream
from headwater.errors import DefinitionError

if TYPE_CHECKING:
    import polars as pl

    from headwater.definitions.connectors import TableLike

_DAY = "1d"


class _StoredName(str):
    """A name that a store keeps a source by, which no definition can have."""

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
            isinstance(each, Expect) and each.on_violation == "reject" for each in self.expectations
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


def check_known(field: str | None, after: Duration, subject: str) -> None:
    """Refuse a rule for known_at that says two things."""
    if field is not None and micros(after, f"{subject}: known_after"):
        raise DefinitionError(
            f"{subject}: known_at_field and known_after both say when a row is known; give one of "
            "them"
        )
