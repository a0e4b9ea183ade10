"""A source: the events that features are made of, and when each became known."""

from __future__ import annotations

import dataclasses
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Literal

from headwater.definitions.base import Definition, check_name
from headwater.definitions.columns import Selection, check_selection, output_name
from headwater.definitions.connectors import ArrowFrame, Table, as_table
from headwater.definitions.durations import Duration, check_timezone, micros, text
from headwater.errors import DefinitionError

if TYPE_CHECKING:
    import polars as pl

_DAY = "1d"


@dataclass(frozen=True, eq=False)
class Source(Definition):
    """Events with an event time, and the rule for when each became known.

    Args:
        name: letters, digits and single underscores.
        timestamp_field: the column (of the table, or made by `select`) with the event time; tz-aware, unless `timezone` is given.
        history: `parquet(path)`, `csv(path)`, or any frame with an Arrow interface.
        select: what is known at the event time: column names and row-wise polars expressions. None takes every column, and is
            refused where the table has timestamps later than the event is known at.
        filter: a row-wise polars expression over the table's columns; rows where it is not true are left out.
        known_at_field: the column with the time from which the event could be read.
        known_after: how long after its event time an event can be read, where no column says.
        window_on: "timestamp", or "known_at" to place events in windows by when they became known.
        id_field: the column that identifies an event; a copy known less than `id_horizon` after an accepted one is dropped.
        id_horizon: see `id_field`.
        changes: the column of booleans that makes rows images of events that change, told apart by `id_field`: true for the image
            before a change, which takes the event back from its known time on (alone, it deletes it), false for the image after,
            which states the event anew. `filter` looks at each image alone. Needs `id_field` and `known_at_field`.
        timezone: the IANA zone of naive timestamps.

    Raises:
        DefinitionError: a bad name, duration, selection or time zone; `changes` without what it needs.

    >>> import polars as pl
    >>> clicks = Source("clicks", history=pl.DataFrame({"user": [1], "at": [0]}), timestamp_field="at", known_after="60m")
    >>> clicks.known_after
    '1h'
    """

    name: str
    _: KW_ONLY
    timestamp_field: str
    history: Table | ArrowFrame | None = None
    select: Selection | None = None
    filter: pl.Expr | None = None
    known_at_field: str | None = None
    known_after: Duration = "0s"
    window_on: Literal["timestamp", "known_at"] = "timestamp"
    id_field: str | None = None
    id_horizon: Duration = _DAY
    changes: str | None = None
    timezone: str | None = None

    def __post_init__(self) -> None:
        self.remember_site()
        check_name(self.name, "a source")
        what = f"source {self.name!r}"
        if not isinstance(self.timestamp_field, str):
            raise DefinitionError(f"{what}: timestamp_field is {self.timestamp_field!r}; give the name of the column with the event time")
        if self.history is not None:
            object.__setattr__(self, "history", as_table(self.history, f"{what}: history"))
        if self.window_on not in ("timestamp", "known_at"):
            raise DefinitionError(f"{what}: window_on is {self.window_on!r}; give 'timestamp' or 'known_at'")
        check_known(self.known_at_field, self.known_after, what)
        check_timezone(self.timezone, what)
        check_selection(self.select, self.filter, what)
        for name in ("known_after", "id_horizon"):
            object.__setattr__(self, name, text(micros(getattr(self, name), f"{what}: {name}")))
        self._check_changes(what)
        if self.select is not None:
            object.__setattr__(self, "select", tuple(self.select))

    @property
    def delay(self) -> int:
        """`known_after` in microseconds."""
        return micros(self.known_after, "known_after")

    @property
    def table(self) -> Table:
        """The history, or an error that says it is missing."""
        if self.history is None:
            raise DefinitionError(
                f"source {self.name!r} has no history: give history=hw.parquet(path) or a frame, so that it can be read offline"
            )
        return as_table(self.history, "history")

    @property
    def columns(self) -> frozenset[str] | None:
        """The columns that features can use, where `select` names them; None where the table's schema decides."""
        if self.select is None:
            return None
        own = {self.timestamp_field, *(c for c in (self.known_at_field, self.id_field, self.changes) if c)}
        return frozenset(output_name(item) for item in self.select) | own

    def known_within(self, delay: Duration) -> Source:
        """This source, had its events been known `delay` after their event time."""
        return dataclasses.replace(self, known_at_field=None, known_after=delay)

    def _check_changes(self, what: str) -> None:
        if self.changes is None:
            return
        if not isinstance(self.changes, str):
            raise DefinitionError(
                f"{what}: changes is {self.changes!r}; give the name of the column that is true for the image before a change"
            )
        if self.id_field is None:
            raise DefinitionError(f"{what}: changes={self.changes!r} needs id_field=, the column that says which event an image is of")
        if self.known_at_field is None:
            raise DefinitionError(
                f"{what}: changes={self.changes!r} needs known_at_field=, the column that says when each image became known; by a rule, a "
                "correction would be known with what it corrects"
            )
        if self.window_on == "known_at":
            raise DefinitionError(
                f"{what}: with changes={self.changes!r}, window_on='known_at' would move an event to the time of its correction; leave "
                "window_on out, or give timestamp_field the column that you mean"
            )
        if self.id_horizon != _DAY:
            raise DefinitionError(f"{what}: with changes={self.changes!r}, an id means the same event for ever; leave id_horizon out")


def check_known(field: str | None, after: Duration, what: str) -> None:
    """Refuse a rule for known_at that says two things."""
    if field is not None and micros(after, f"{what}: known_after"):
        raise DefinitionError(f"{what}: known_at_field and known_after both say when a row is known; give one of them")
