"""Events of a source: select its columns, decide which rows count, when each happened and when it
became known.

Reading a table as a source or labels define it, with every check that only data can answer.

Predicates on the columns of a table as they lie, so that files and row groups without an event
in reach are not read.

They let through all rows that can matter and a few more; exact timestamps decide afterwards. A file
records the least and the greatest value of a column in that column's own type, so a limit is
written in its unit and zone. Rows whose value is null pass, since they are counted; a file that
holds one is read.

Ties: several rows with one id and one known time; one of them counts.

Which one is decided by the event time and every column that the source declares, in the order of
their names, never by the columns that a view or a call reads. Reading reads no more than it needs:
the other columns are read only where rows that tie differ in what was read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import polars as pl
from polars.exceptions import ColumnNotFoundError, PolarsError

from headwater import settings
from headwater.connectors import scan, to_polars
from headwater.definitions.checks import DAY, micros
from headwater.definitions.connectors import ArrowFrame, Frame, Table, as_table, check_frame
from headwater.definitions.source import Selection, Source, output_name, root_columns
from headwater.errors import DataError, LeakError, nearest, read_error
from headwater.kernel.arrays import I64, LASTS, Bool
from headwater.kernel.sorting import accepted, perhaps_repeated, versions

BEFORE = "__before"

REMOVED_AT = "__removed_at"

_DUPLICATES = ("duplicate events", "of these, duplicates that differ from the first")

_NO_CHANGES = ("retractions of nothing", "images that change nothing")


@dataclass
class Notes:
    """Counts of a read: the rows left out, by reason, and the events read.

    keyed, joined: by source and keys, how many rows had a key, and how many of these any event of
    it; unlike: an example of both sides.
    """

    left_out: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    keyed: Counter[str] = field(default_factory=Counter)
    joined: Counter[str] = field(default_factory=Counter)
    unlike: dict[str, str] = field(default_factory=dict)

    def leave_out(self, reason: str, rows: int) -> None:
        """Count rows once, however many views read them."""
        self.left_out[reason] = max(self.left_out[reason], rows)

    @property
    def unusable(self) -> dict[str, int]:
        """The number of rows left out that nothing can be computed from; duplicates and images
        without a change are not among them.
        """
        return {
            reason: rows
            for reason, rows in self.left_out.items()
            if rows and not reason.endswith((*_DUPLICATES, *_NO_CHANGES))
        }


@dataclass(frozen=True)
class Reach:
    """Which events can matter: times in [first, last), known by `known`, all in microseconds;
    `first` None without bound.
    """

    first: int | None
    last: int
    known: int


@dataclass(frozen=True)
class Scan:
    """The rows of a source, not yet read: the keys, the columns, TIME, KNOWN (where a column says),
    IDENT and BEFORE (where declared).

    within: which rows are in reach. Where rows have ids, the frame holds all of them, since a copy
    may lie out of reach or say another key; else only those in reach. near: the same rows and
    perhaps a few more, with one column: quick to count. whole: the rows with the columns that
    decide ties too, where rows have ids. held: all rows of a frame in memory.
    """

    source: Source
    frame: pl.LazyFrame
    within: pl.Expr
    near: pl.LazyFrame
    subject: str
    whole: pl.LazyFrame | None = None
    held: pl.LazyFrame | None = None

    def rows(self) -> pl.DataFrame:
        """The rows of `frame`; of a frame in memory also rows far from every requested key, and
        unchanged columns are not copied.

        Raises:
            DataError: the source cannot be read.
        """
        if self.held is None:
            return collect(self.frame, self.subject)
        rows = collect(self.held, self.subject, held=True)
        return (
            rows
            if self.source.id_field is not None
            else _only(rows, rows.select(self.within).to_series())
        )

    def counting(self, rows: pl.DataFrame, notes: Notes) -> pl.DataFrame:
        """The rows that count; the given rows include every row that shares an id with one of them.

        Of a source with `changes`, one row a version: an image far outside the reach may correct
        one inside, and one that takes an event back needs no time.
        """
        if self.source.changes is not None:
            rows = _timed(rows, self.source, notes, [KNOWN])
            rows = _versions(self._resolved(rows), self.source, notes)
        rows = _timed(rows, self.source, notes)
        if self.source.id_field is None:
            return rows
        if self.source.changes is None:
            rows, counts = _without_copies(self._resolved(rows), self.source, notes)
            return _only(rows, rows.select(self.within).to_series() & counts)
        return _only(rows, rows.select(self.within).to_series())

    def _resolved(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, Bool, TieCandidates | None]:
        """The rows, which of them may share an id, and these compared: where rows that tie differ,
        with all columns that decide which one counts.
        """
        suspects = _compared(rows, self.source)
        if suspects[1] is None or self.whole is None:
            return rows, *suspects
        ids = suspects[1].unresolved
        if not ids.len():
            return rows, *suspects
        contested = pl.col(IDENT).is_in(ids.implode())
        again = collect(self.whole.filter(contested), self.subject)
        again = _timed(
            again,
            self.source,
            Notes(),
            [KNOWN] if self.source.changes is not None else [TIME, KNOWN],
        )
        rows = pl.concat([rows.filter(~contested), again], how="diagonal_relaxed")
        return rows, *_compared(rows, self.source)


def scan_events(
    source: Source,
    keys: Sequence[str],
    columns: Sequence[str],
    reach: Reach,
    request_keys: Sequence[pl.DataFrame],
) -> Scan:
    """The rows of a source that requests with the keys `request_keys` can reach.

    Raises:
        DataError: a column that is missing or of a wrong dtype, an event without an id, or an image
            not said to be before or after.
        LeakError: a table without `select` that holds timestamps later than its rows are said to be
            known.
    """
    subject = called(source)
    chosen = _chosen(source, keys, columns)
    time = timestamp_micros(
        source.timestamp_field, chosen.schema, source.timezone, subject, days=True
    )
    known_at = (
        None
        if source.known_at_field is None
        else timestamp_micros(
            source.known_at_field, chosen.schema, source.timezone, subject, days=True
        )
    )
    if source.select is None:
        refuse_later_timestamps(source, chosen, time, known_at, subject)
    at = time
    # a row without an event time is not an event, here as everywhere
    if source.window_on == "known_at":
        at = time + source.delay if known_at is None else pl.when(time.is_not_null()).then(known_at)
    wanted = [_in_zone(name, source, chosen.schema) for name in dict.fromkeys([*keys, *columns])]
    wanted += [at.alias(TIME)]
    if known_at is not None:
        wanted.append(known_at.alias(KNOWN))
    if source.id_field is not None:
        column(source.id_field, chosen.schema, subject)
        wanted.append(pl.col(source.id_field).alias(IDENT))
    if source.changes is not None:
        wanted.append(flag(source.changes, chosen.schema, subject).alias(BEFORE))
    ties = (
        []
        if source.id_field is None
        else tie_columns(source, chosen.schema, time, [*keys, *columns])
    )
    within = pl.col(TIME).is_null() | (pl.col(TIME) < reach.last)
    if reach.first is not None:
        within &= pl.col(TIME).is_null() | (pl.col(TIME) >= reach.first)
    # events that no row may know change nothing, not even the order in which late ones are added
    if known_at is not None:
        knowable = pl.col(KNOWN).is_null() | (pl.col(KNOWN) <= reach.known)
        within &= knowable
    near, held = chosen.frame, chosen.frame.select(wanted)
    if source.id_field is None:
        near = near.filter(
            _pruned(source, chosen.schema, reach, key_range(keys, chosen.schema, request_keys))
        )
    frame, whole = near.select(wanted), near.select([*wanted, *ties]) if ties else None
    if source.changes is not None:
        frame, whole = frame.filter(knowable), None if whole is None else whole.filter(knowable)
    elif source.id_field is None:
        frame = frame.filter(within)
    in_memory = isinstance(source.table, Frame) and source.changes is None
    return Scan(
        source,
        frame,
        within,
        near.select(source.timestamp_field),
        subject,
        whole,
        held if in_memory else None,
    )


def _pruned(source: Source, schema: pl.Schema, reach: Reach, near: pl.Expr | None) -> pl.Expr:
    """A filter that file statistics can decide: times and, for one integer key, its range. Rows
    without a time pass.
    """
    by_known = source.window_on == "known_at"
    at = (
        source.known_at_field
        if by_known and source.known_at_field is not None
        else source.timestamp_field
    )
    late = source.delay if by_known else 0
    time_columns = [c for c in (source.timestamp_field, source.known_at_field) if c is not None]
    pruned = about(
        at,
        _timestamp_type(schema, at),
        None if reach.first is None else reach.first - late,
        reach.last - late,
    )
    if source.known_at_field is not None:
        pruned &= about(
            source.known_at_field, _timestamp_type(schema, source.known_at_field), None, reach.known
        )
    return (
        pruned
        if near is None
        else pruned & pl.any_horizontal(near, *(pl.col(c).is_null() for c in time_columns))
    )


def _timestamp_type(schema: pl.Schema, name: str) -> pl.Datetime | pl.Date:
    dtype = schema[name]
    assert isinstance(dtype, pl.Datetime | pl.Date)  # `timestamp_micros` has refused the others
    return dtype


def timeless(source: Source) -> dict[str, str]:
    """Why a row cannot count, by the column that is null: KNOWN, then TIME, which may follow from
    it.
    """
    skipped = (
        ""
        if source.timezone is None
        else f", or a local time that the clocks of {source.timezone} skip"
    )
    return {
        KNOWN: f"source {source.name}: no {source.known_at_field}{skipped}, so never known",
        TIME: f"source {source.name}: no {source.timestamp_field}{skipped}",
    }


def uncertain(source: Source) -> pl.Expr:
    """Whether a row has no time, or no known time: it counts nothing, and is counted."""
    missing = pl.col(TIME).is_null()
    return missing if source.known_at_field is None else missing | pl.col(KNOWN).is_null()


def read_events(
    source: Source,
    keys: Sequence[str],
    columns: Sequence[str],
    reach: Reach,
    request_keys: Sequence[pl.DataFrame],
    notes: Notes,
) -> pl.DataFrame:
    """The events that requests with the keys `request_keys` can reach: the columns of a `Scan`, and
    REMOVED_AT where events can be taken back.

    Each column lies in one chunk.

    Raises:
        DataError: a column that is missing or of a wrong dtype, an event without an id, or an image
            not said to be before or after.
        LeakError: a table without `select` that holds timestamps later than its rows are said to be
            known.
    """
    scan = scan_events(source, keys, columns, reach, request_keys)
    events = scan.counting(scan.rows(), notes)
    notes.events[source.name] += events.height
    return contiguous(events)


def no_events(
    source: Source, keys: Sequence[str], columns: Sequence[str], request_schema: pl.Schema
) -> pl.DataFrame:
    """An empty frame in the shape of `read_events`: no row is read, only the schema, where the
    source has a history.

    Raises:
        DataError: a column that is missing.
    """
    dtypes: dict[str, pl.DataType] = dict.fromkeys(columns, pl.Float64()) | {
        key: request_schema[key] for key in keys
    }
    if source.history is not None:
        chosen = _chosen(source, keys, columns)
        dtypes = dict(
            chosen.frame.select(
                _in_zone(name, source, chosen.schema) for name in dtypes
            ).collect_schema()
        )
    return pl.DataFrame(schema={**dtypes, TIME: pl.Int64()})


def called(source: Source) -> str:
    """The name of the source in errors."""
    return f"source {source.name!r}" + (f" ({source.site})" if source.site else "")


def arrived(
    source: Source,
    keys: Sequence[str],
    columns: Sequence[str],
    also: Sequence[str],
    *,
    known: bool = False,
) -> pl.LazyFrame:
    """The rows of a source's table that pass its filter: keys, columns, TIME, IDENT (where
    declared) and `also`, columns of the table.

    Invalid values of a row are left to the caller; windows use the event time. `known`: with KNOWN,
    by the source's rule, and BEFORE where events can be taken back.

    Raises:
        DataError: a column that is missing or of a wrong dtype.
    """
    chosen = _chosen(source, keys, columns, also)
    wanted = [_in_zone(name, source, chosen.schema) for name in dict.fromkeys([*keys, *columns])]
    time = timestamp_micros(
        source.timestamp_field, chosen.schema, source.timezone, called(source), days=True
    )
    wanted.append(time.alias(TIME))
    if source.id_field is not None:
        column(source.id_field, chosen.schema, called(source))
        wanted.append(pl.col(source.id_field).alias(IDENT))
    if known:
        field = source.known_at_field
        named = (
            None
            if field is None
            else timestamp_micros(field, chosen.schema, source.timezone, called(source), days=True)
        )
        wanted.append((time + source.delay if named is None else named).alias(KNOWN))
        if source.changes is not None:
            wanted.append(flag(source.changes, chosen.schema, called(source)).alias(BEFORE))
    return chosen.frame.select(*wanted, *also)


def _chosen(
    source: Source, keys: Sequence[str], columns: Sequence[str], also: Sequence[str] = ()
) -> Selected:
    """The source's table as selected, with every requested column (the selection may leave out the
    column of an `until`).
    """
    subject = called(source)
    source_columns = [
        c
        for c in (source.timestamp_field, source.known_at_field, source.id_field, source.changes)
        if c
    ]
    until = [c for c in columns if source.columns is not None and c not in source.columns]
    chosen = selected(
        source.table, source.select, source.filter, [*source_columns, *until, *also], subject
    )
    for name in (*keys, *columns):
        column(name, chosen.schema, subject)
    return chosen


def _in_zone(name: str, source: Source, schema: pl.Schema) -> pl.Expr:
    """The column; a naive timestamp in the zone that the source declares, as its event time is."""
    dtype = schema[name]
    naive = isinstance(dtype, pl.Datetime) and dtype.time_zone is None
    if not naive or source.timezone is None:
        return pl.col(name)
    return pl.col(name).dt.replace_time_zone(
        source.timezone, ambiguous="earliest", non_existent="null"
    )


def refuse_later_timestamps(
    source: Source, chosen: Selected, time: pl.Expr, known_at: pl.Expr | None, subject: str
) -> None:
    """Refuse a whole table as a source where other timestamps in it come after its rows are said to
    be known.
    """
    others = [
        n
        for n, d in chosen.schema.items()
        if isinstance(d, pl.Datetime) and n not in (source.timestamp_field, source.known_at_field)
    ]
    if not others:
        return
    by = time + source.delay if known_at is None else known_at
    zone = source.timezone or "UTC"
    parts = [
        (timestamp_micros(n, chosen.schema, zone, subject) > by).mean().alias(n) for n in others
    ]
    shares = collect(chosen.frame.select(parts), subject, streaming=True).row(0, named=True)
    later = {n: s for n, s in shares.items() if s}
    if later:
        named = ", ".join(f"{n!r} (in {s:.1%} of rows)" for n, s in later.items())
        stamp = source.known_at_field or source.timestamp_field
        if source.known_after != "0s":
            stamp = f"{stamp} + {source.known_after}"
        raise LeakError(
            f"{subject} takes every column of its table, and these timestamps come later than a "
            f"row is known ({stamp}): {named}. What such a row says of those times would leak "
            "into training data. Name "
            "with select= the columns known at the event time; two times of one table are two "
            "sources."
        )


def flag(name: str, schema: pl.Schema, subject: str) -> pl.Expr:
    """The column that says whether an image is the one before a change."""
    dtype = column(name, schema, subject)
    if dtype != pl.Boolean:
        raise DataError(
            f"{subject}: the changes column {name!r} is {dtype}; it takes booleans, true for the "
            "image before a change: make one in select, such as (pl.col('op') == "
            "'delete').alias('is_before')"
        )
    return pl.col(name)


TIME = "__time"

KNOWN = "__known"


def _timed(
    events: pl.DataFrame, source: Source, notes: Notes, names: Sequence[str] = (TIME, KNOWN)
) -> pl.DataFrame:
    """Without the rows that no time or known time can be read of; counted."""
    for name, reason in timeless(source).items():
        if name in names and name in events.columns and events[name].null_count():
            notes.leave_out(reason, events[name].null_count())
            events = events.filter(pl.col(name).is_not_null())
    return events


def _without_copies(
    resolved: tuple[pl.DataFrame, Bool, TieCandidates | None], source: Source, notes: Notes
) -> tuple[pl.DataFrame, pl.Series]:
    """The events, copies among them, and which of them are accepted; the others are counted."""
    events, suspect, ties = resolved
    if ties is None:
        return events, pl.Series(~suspect)  # none is
    keep, conflicts = accepted(
        ties.ident,
        ties.known,
        ties.tie_order,
        ties.content,
        micros(source.id_horizon, "id_horizon"),
    )
    for reason, rows in zip(_DUPLICATES, (len(keep) - int(keep.sum()), conflicts), strict=True):
        if rows:
            notes.leave_out(f"source {source.name}: {reason}", rows)
    suspect[suspect] = ~keep
    return _without_ties(events), pl.Series(~suspect)


def _only(rows: pl.DataFrame, counts: pl.Series) -> pl.DataFrame:
    """The rows that count; without a copy where they are contiguous, as the rows in reach of a log
    are.
    """
    number = int(counts.sum())
    first = int(counts.arg_max() or 0)
    return rows.slice(first, number) if counts.slice(first, number).all() else rows.filter(counts)


def _versions(
    resolved: tuple[pl.DataFrame, Bool, TieCandidates | None], source: Source, notes: Notes
) -> pl.DataFrame:
    """The versions that images state, each with REMOVED_AT. Images that take back or change nothing
    are counted.
    """
    images, suspect, ties = resolved
    before = images[BEFORE].to_numpy()
    keep, removed_at, of_nothing = (
        ~before,
        np.full(images.height, LASTS),
        int((before & ~suspect).sum()),
    )
    if ties is not None:
        keep[suspect], removed_at[suspect], more = versions(
            ties.ident, ties.known, before[suspect], ties.tie_order, ties.content, ties.exact
        )
        of_nothing += more
    for reason, rows in zip(_NO_CHANGES, (of_nothing, int((~before & ~keep).sum())), strict=True):
        if rows:
            notes.leave_out(f"source {source.name}: {reason}", rows)
    return (
        _without_ties(images)
        .drop(BEFORE)
        .with_columns(pl.Series(REMOVED_AT, removed_at))
        .filter(pl.Series(keep))
    )


def _without_ties(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.drop([name for name in rows.columns if name.startswith(TIE)])


def _compared(rows: pl.DataFrame, source: Source) -> tuple[Bool, TieCandidates | None]:
    """Whether each row may share its id with another, bool (n), and the rows that may, compared;
    None where none does.

    Raises:
        DataError: a row without an id, or that is not said to be an image before or after a change.
    """
    if rows[IDENT].null_count():
        raise DataError(
            f"source {source.name!r}: {rows[IDENT].null_count()} rows have no "
            f"{source.id_field!r}, which should identify each event; filter them out"
            + (", or leave id_field out" if source.changes is None else "")
        )
    if source.changes is not None and rows[BEFORE].null_count():
        raise DataError(
            f"source {source.name!r}: {rows[BEFORE].null_count()} rows do not say whether they "
            f"are images before or after a change: {source.changes!r} is null. Fill it in the "
            "source's select, or filter them out"
        )
    suspect = perhaps_repeated(rows[IDENT].hash().to_numpy(), settings.threads())
    suspect_rows = rows.filter(pl.Series(suspect))
    if not suspect_rows.height:
        return suspect, None
    if source.changes is None:
        return suspect, compared(suspect_rows, source)
    return suspect, compared(
        suspect_rows.drop(BEFORE), source, before=suspect_rows[BEFORE].to_numpy()
    )


IDENT = "__id"

ROW = "headwater_row"
"""The position of a row in the table that it was read from; it is not data."""


@dataclass(frozen=True)
class Selected:
    """A table after filter and select; the schema is of the selected columns, `raw` that of the
    table.
    """

    frame: pl.LazyFrame
    schema: pl.Schema
    raw: pl.Schema


def selected(
    table: Table,
    select: Selection | None,
    keep: pl.Expr | None,
    required: Collection[str],
    subject: str,
) -> Selected:
    """The table filtered and selected; `required` columns are kept in addition to the selection,
    where the table has them.

    Raises:
        DataError: a column that the table does not have, with the nearest name.
    """
    frame = scan(table)
    raw = frame.collect_schema()
    for item in select or ():
        _check_columns(root_columns(item), raw, f"{subject}: select")
    if keep is not None:
        _check_columns(root_columns(keep), raw, f"{subject}: filter")
        frame = frame.filter(keep)
    if select is not None:
        selected_names = {output_name(item) for item in select}
        frame = frame.select(
            [pl.col(item) if isinstance(item, str) else item for item in select]
            + [pl.col(c) for c in dict.fromkeys(required) if c not in selected_names and c in raw]
        )
    try:
        schema = frame.collect_schema()
    except (OSError, PolarsError) as error:
        raise DataError(f"{subject}: {read_error(error)}") from error
    return Selected(frame, schema, raw)


def column(name: str, schema: pl.Schema, subject: str) -> pl.DataType:
    """The dtype of a column, or an error with the nearest name."""
    if name not in schema:
        raise DataError(f"{subject}: no column {name!r}; {nearest(name, schema)}")
    return schema[name]


def timestamp_micros(
    name: str,
    schema: pl.Schema,
    timezone: str | None,
    subject: str,
    *,
    days: bool = False,
    from_call: bool = False,
) -> pl.Expr:
    """A timestamp column as int64 microseconds UTC.

    days: whether it may be a Date: a day is known at its end, its last microsecond in `timezone`.
    from_call: whether the table is an argument of a call, and not of a definition with `select=`;
    the errors say what to do there.

    Raises:
        DataError: it is missing, not a timestamp, or naive without a `timezone`.
    """
    dtype = column(name, schema, subject)
    described = f"{subject}: the timestamp {name!r}"
    select, place_text = (
        ("rows.with_columns(...)", "in this call")
        if from_call
        else ("select", "where it is defined")
    )
    if dtype == pl.String:
        raise DataError(
            f"{described} is text; parse it in {select}, such as "
            f"pl.col({name!r}).str.to_datetime('%Y-%m-%d %H:%M:%S'), and give timezone= "
            f"{place_text}, "
            "the zone of the clock that it was read from. A local time declared as UTC lets the "
            "future leak"
        )
    if dtype.is_integer() or dtype.is_float():
        raise DataError(
            f"{described} is a number of unknown unit; say which in {select}, such as "
            f"pl.from_epoch({name!r}, time_unit='ms').dt.replace_time_zone('UTC')"
        )
    if dtype == pl.Date and not days:
        raise DataError(
            f"{described} is a date without a time of day, and features differ within a day; say "
            f"in {select} at which time of that day the prediction was asked for, such as at "
            f"9:00: pl.col({name!r}).dt.combine(pl.time(9)). An event on a date needs no time of "
            "day: a source takes the date as it is, known at the end of its day"
        )
    if dtype == pl.Date and timezone is None:
        raise DataError(
            f"{described} is a date, known at the end of that day, and nothing says in which "
            f"zone; give timezone= {place_text}, the zone whose days they are, such as "
            "'Europe/Oslo' "
            "or 'UTC'"
        )
    if dtype == pl.Date and timezone is not None:
        return _end_of_day(name, timezone)
    if not isinstance(dtype, pl.Datetime):
        raise DataError(f"{described} is {dtype}; a timestamp is a Datetime with a time zone")
    timestamp = pl.col(name).dt.cast_time_unit("us")
    if dtype.time_zone is None:
        if timezone is None:
            raise DataError(
                f"{described} has no time zone; give timezone= {place_text}, the zone of the clock "
                "that it was read from, such as 'Europe/Oslo' or 'UTC'. A local time declared as "
                "UTC lets the future leak"
            )
        timestamp = timestamp.dt.replace_time_zone(
            timezone, ambiguous="earliest", non_existent="null"
        )
    return timestamp.dt.convert_time_zone("UTC").dt.epoch("us")


def _end_of_day(name: str, timezone: str) -> pl.Expr:
    """The last microsecond before the clocks of a zone show the next day; where they skip midnight,
    before what they show instead.
    """
    midnight = pl.col(name).cast(pl.Datetime("us")) + pl.duration(days=1)
    skipped = [pl.duration(minutes=minutes) for minutes in (0, 30, 60, 24 * 60)]
    shown = [
        (midnight + more).dt.replace_time_zone(timezone, ambiguous="earliest", non_existent="null")
        for more in skipped
    ]
    return pl.coalesce(shown).dt.convert_time_zone("UTC").dt.epoch("us") - 1


def collect(
    frame: pl.LazyFrame, subject: str, *, streaming: bool = False, held: bool = False
) -> pl.DataFrame:
    """The rows, or an error that names what was being read.

    streaming: of many rows come few, so never hold them all. held: they are in memory already, so
    that polars need not cut them into chunks for its threads; columns that are not changed are not
    copied.
    """
    try:
        return frame.collect(engine="streaming" if streaming else "in-memory" if held else "auto")
    except ColumnNotFoundError as error:
        raise DataError(f"{subject}: {error}") from error
    except (OSError, PolarsError) as error:
        # polars' own errors, and those of the system and of object stores
        raise DataError(f"{subject} cannot be read: {read_error(error)}") from error


def contiguous(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows with each column in one chunk, so that numpy sees it without a copy; `frame` is
    empty afterwards.

    Column by column, so that no two copies of everything are held.

    >>> contiguous(pl.concat([pl.DataFrame({"a": [1]}), pl.DataFrame({"a": [2]})])).n_chunks()
    1
    """
    return pl.DataFrame([frame.drop_in_place(name).rechunk() for name in frame.columns])


def _check_columns(names: Collection[str], schema: pl.Schema, subject: str) -> None:
    for name in sorted(names):
        column(name, schema, subject)


_MOST = 2**63 - 1


def about(name: str, dtype: pl.Datetime | pl.Date, low: int | None, high: int) -> pl.Expr:
    """Where a timestamp lies in [low, high), microseconds UTC, or nearly so, or is null.

    A naive timestamp may be of any zone: up to a day off; the end of a date up to two.
    """
    if isinstance(dtype, pl.Date):
        day, far = pl.col(name).to_physical(), _MOST // DAY
        near = day <= min(high // DAY + 1, far)
        return (near if low is None else near & (day >= max(low // DAY - 3, -far))) | day.is_null()
    off = DAY if dtype.time_zone is None else 0
    time = pl.col(name)
    near = time <= _in_unit(high + off, dtype, 1)
    if low is not None:
        near &= time >= _in_unit(low - off, dtype, -1)
    return near | time.is_null()


def key_range(
    keys: Sequence[str], schema: pl.Schema, request_keys: Sequence[pl.DataFrame]
) -> pl.Expr | None:
    """Where the one integer key lies between the least and the greatest asked for; None where keys
    are of another kind.
    """
    if len(keys) != 1 or not schema[keys[0]].is_integer():
        return None
    request_columns = [
        a[keys[0]]
        for a in request_keys
        if a.schema[keys[0]].is_integer() and a[keys[0]].null_count() < a.height
    ]
    if not request_columns or len(request_columns) < len(request_keys):
        return None
    ends = [(w.min(), w.max()) for w in request_columns]
    return pl.col(keys[0]).is_between(min(e[0] for e in ends), max(e[1] for e in ends))  # type: ignore[type-var]


def _in_unit(timestamp: int, dtype: pl.Datetime, beyond: int) -> pl.Expr:
    """A time as a literal of this type, moved by the least step of a coarser unit."""
    number = (
        timestamp // 1000 + beyond
        if dtype.time_unit == "ms"
        else (timestamp + beyond) * (1000 if dtype.time_unit == "ns" else 1)
    )
    return pl.lit(max(-_MOST, min(number, _MOST)), dtype=pl.Int64).cast(dtype)


TIE = "__tie"
"""True for rows that carry every column that decides a tie, each under a name that begins with this
one.
"""


def declared(source: Source, table: Collection[str]) -> list[str]:
    """The sorted columns whose values decide ties: the columns that `select` names, or all of the
    table's; without the source's own.
    """
    special_columns = {
        source.timestamp_field,
        source.known_at_field,
        source.id_field,
        source.changes,
        ROW,
    }
    return sorted(set(table if source.columns is None else source.columns) - special_columns)


def tie_columns(
    source: Source, schema: pl.Schema, time: pl.Expr, read: Collection[str]
) -> list[pl.Expr]:
    """The columns that decide ties, for rows of this schema: the event time, the declared columns,
    then other columns that are read.
    """
    names = declared(source, schema)
    names += sorted(set(read) - {*names, ROW})
    order = [time, *(_comparable(name, schema[name]) for name in names)]
    return [
        pl.lit(value=True).alias(TIE),
        *(column.alias(f"{TIE}_{position:05}") for position, column in enumerate(order)),
    ]


@dataclass(frozen=True)
class TieCandidates:
    """Rows that may share ids, encoded to be compared.

    events: the rows, with IDENT, TIME, and KNOWN where a column says.
    ident: int64 (n), a number for each id. known: int64 (n), microseconds.
    content: int64 (n), a hash of the columns that are read. stated: bool (n), which rows state
    something: all but images before a change.
    """

    events: pl.DataFrame
    ident: I64
    known: I64
    content: I64
    stated: Bool

    @cached_property
    def contested(self) -> Bool:
        """Rows that tie with a row of other content, bool (n): it matters which of them counts."""
        contested = np.zeros(len(self.ident), np.bool_)
        rows = np.flatnonzero(self.stated)
        both = self.ident[rows].astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) ^ self.known[
            rows
        ].astype(np.uint64)
        rows = rows[perhaps_repeated(both)]  # mostly few are left
        if len(rows):
            statements = pl.DataFrame(
                {
                    "ident": self.ident[rows],
                    "known": self.known[rows],
                    "content": self.content[rows],
                }
            )
            contested[rows] = (
                statements.select(pl.col("content").n_unique().over("ident", "known") > 1)
                .to_series()
                .to_numpy()
            )
        return contested

    @property
    def unresolved(self) -> pl.Series:
        """The ids of contested rows without the columns that decide ties."""
        if not self.contested.any():
            return self.events[IDENT].clear()
        lacking = pl.Series(self.contested)
        if TIE in self.events.columns:
            lacking &= self.events[TIE].is_null()
        return self.events[IDENT].filter(lacking).unique()

    @cached_property
    def tie_order(self) -> I64:
        """The order, int64 (n), of contested rows among the rows they tie with: by the deciding
        columns, nulls (and NaN) first.
        """
        places = np.zeros(len(self.ident), np.int64)
        rows = np.flatnonzero(self.contested)
        if len(rows):
            order = _deciding(self.events)[rows].with_columns(pl.Series("__row", rows))
            by = [name for name in order.columns if name != "__row"]
            places[order.sort(by, nulls_last=False, maintain_order=True)["__row"].to_numpy()] = (
                np.arange(len(rows))
            )
        return places

    @cached_property
    def exact(self) -> I64:
        """A hash, int64 (n), of the columns that decide ties, where rows carry them; else of the
        columns that are read.
        """
        if TIE not in self.events.columns:
            return self.content
        whole = _hashed(_deciding(self.events))
        return np.where(self.events[TIE].fill_null(value=False).to_numpy(), whole, self.content)


def compared(
    events: pl.DataFrame,
    source: Source,
    *,
    before: Bool | None = None,
    read: Sequence[str] | None = None,
) -> TieCandidates:
    """Rows to be compared.

    Args:
        events: with IDENT, TIME, KNOWN where a column says, and what `tie_columns` gives where it
            was read.
        source: whose.
        before: bool (n), which rows are images before a change; None is none.
        read: the columns that say whether two rows differ; None is all but IDENT, KNOWN and what
            decides ties.
    """
    ident = events[IDENT].rank("dense").cast(pl.Int64) - 1
    known_at = events[KNOWN] if KNOWN in events.columns else events[TIME] + source.delay
    names = (
        [c for c in events.columns if c not in (KNOWN, IDENT) and not c.startswith(TIE)]
        if read is None
        else [TIME, *read]
    )
    content = events.select(_comparable(name, events.schema[name]) for name in names)
    stated = np.ones(events.height, np.bool_) if before is None else ~before
    return TieCandidates(events, ident.to_numpy(), known_at.to_numpy(), _hashed(content), stated)


def _deciding(events: pl.DataFrame) -> pl.DataFrame:
    """The columns that decide ties, most important first."""
    ties = [c for c in events.columns if c.startswith(f"{TIE}_")]
    if ties:
        return events.select(sorted(ties))
    names = [TIME, *sorted(c for c in events.columns if c not in (TIME, KNOWN, IDENT))]
    return events.select(_comparable(name, events.schema[name]) for name in names)


def _comparable(name: str, dtype: pl.DataType) -> pl.Expr:
    """A column in a form that has an order: NaN as null, categories as strings, nested values as
    JSON.
    """
    if dtype.is_float():
        return pl.col(name).fill_nan(None)
    if dtype in (pl.Categorical, pl.Enum):
        return pl.col(name).cast(pl.String)
    return pl.struct(name).struct.json_encode().alias(name) if dtype.is_nested() else pl.col(name)


def _hashed(rows: pl.DataFrame) -> I64:
    return rows.hash_rows(seed=0).reinterpret(signed=True).to_numpy()


def as_frame(rows: object, context: str) -> pl.DataFrame:
    """Rows that a call is given, in memory.

    Raises:
        DefinitionError: they are no table, or a frame of Spark.
        DataError: the files cannot be read.
    """
    check_frame(rows, context)
    return (
        to_polars(rows)
        if isinstance(rows, ArrowFrame)
        else collect(scan(as_table(rows, context)), context)
    )
