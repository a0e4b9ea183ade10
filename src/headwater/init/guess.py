"""Guesses about two tables, each with its evidence. Where a wrong guess would leak, nothing is
guessed: `InitAnswers` asks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl

from headwater.definitions.checks import DAY, HOUR, SECOND, micros
from headwater.errors import DataError, UsageError, nearest
from headwater.init.key_guess import ID_NAME, KeyGuess, guess_keys
from headwater.init.label_guess import LabelGuess, determining, guess_label
from headwater.init.left_out import CODE, DETERMINES, ROW_NUMBER, LeftOut, row_numbers, unread
from headwater.init.tables import AMOUNT_NAME, TableProfile, TimeColumn, usable
from headwater.init.times import EventTime, event_time, windows

CODE_NAME = re.compile(
    r"(^|_)(zip|postal|postcode|phone|sku|mcc|iban|type|class|category|status|version|year|month|weekday|hour)(_|$)|[a-z]I[dD]$",
    re.IGNORECASE,
)
NUMBERS, TEXTS = 6, 3
MANY = 1000
REPEATED = 0.9  # the different values of a text, of its rows, at most
# rows, and letters, of a column of strings that is an id under any name
_ROWS_OF_IDS, _LONGEST_ID = 100, 40
# the share of repeats that are duplicate rows, for the column to be an id; the others were changed
# on the way
SAME = 0.9
REPEATS = 0.2  # the share of rows that may repeat an id, for its column to be one


@dataclass(frozen=True)
class InitAnswers:
    """Facts that only the user knows: the request time of a prediction and when its outcome is
    known; and other options.
    """

    request_time: str = ""  # a column, or one with an offset: "scheduled_at-60m"
    known_at: str | None = None
    known_after: str | None = None
    timezone: str | None = None
    label: str | None = None
    event_time: str | None = None
    keys: Sequence[str] = ()
    request: Sequence[str] = ()


@dataclass(frozen=True)
class RequestTime:
    """A time column, and the offset of the request time from it, in microseconds."""

    timestamp: TimeColumn
    offset: int


@dataclass(frozen=True)
class EventGuesses:
    """What the source and the views are written from."""

    time: EventTime
    keys: Sequence[KeyGuess]  # () if features are over all events
    ident: tuple[str, str] | None  # the column of the event id, and the evidence
    numbers: Sequence[str]
    texts: Sequence[str]
    codes: Sequence[str]  # numbers that look like codes or identifiers, which have no mean
    windows: Sequence[str]
    span: str
    left_out: LeftOut  # other columns of the events


@dataclass(frozen=True)
class Guesses(EventGuesses):
    """All guesses that a project is written from."""

    label: LabelGuess
    request_time: RequestTime
    known: TimeColumn | None
    known_evidence: str
    # of past outcomes, longer than it takes until they are known; empty where none fits
    outcome_windows: Sequence[str]
    request: Sequence[str]
    # columns of the labels that may be known at request time; only the user knows
    offered: Sequence[str]
    leaking: Sequence[str] = field(default=())  # columns that determine the label
    labels_left_out: LeftOut = field(default_factory=dict)  # other columns of the labels


def guess_events(events: TableProfile, answers: InitAnswers) -> EventGuesses:
    """Guess sources and views without an outcome.

    Raises:
        UsageError: an unknown column; no candidate for a key or a time.
    """
    return _of_events(events, guess_keys(events, events, "", answers.keys, same=True), (), answers)


def _of_events(
    events: TableProfile, keys: Sequence[KeyGuess], left_out: Sequence[str], answers: InitAnswers
) -> EventGuesses:
    names = [k.column for k in keys]
    time_column = (
        None
        if answers.event_time is None
        else _timestamp(events, answers.event_time, "--event-time")
    )
    time = event_time(events, names, time_column, answers.timezone)
    ident = _ident(events, (*names, *events.time_columns))
    out = {*names, *left_out, *(ident or ())[:1]}
    varying = [c for c in events.numbers if c not in out and events.distinct[c] > 1]
    codes = [c for c in varying if usable(c) and is_code(events.frame[c], events.distinct[c])]
    numbering = row_numbers(events, [c for c in varying if c not in codes], time.micros)
    numbers = [c for c in varying if usable(c) and c not in {*codes, *numbering}][:NUMBERS]
    texts = [c for c in events.texts if c not in out and usable(c) and _repeats(events, c)][:TEXTS]
    left_out_by_reason = {DETERMINES: left_out, ROW_NUMBER: numbering, CODE: codes}
    used = (*names, *(ident or ())[:1], *(column.name for column in time.columns), *numbers, *texts)
    return EventGuesses(
        time=time,
        keys=keys,
        ident=ident,
        numbers=numbers,
        texts=texts,
        codes=codes,
        windows=windows(_span(time), time.period),
        span=_span_text(time),
        left_out=unread(
            events,
            used,
            {reason: columns for reason, columns in left_out_by_reason.items() if columns},
            MANY,
        ),
    )


def _repeats(table: TableProfile, text: str) -> bool:
    """Whether a column of strings has few different values, which repeat."""
    return 1 < table.distinct[text] <= min(MANY, table.rows * REPEATED)


def guess(events: TableProfile, labels: TableProfile, answers: InitAnswers) -> Guesses:
    """Guess everything that the answers do not give.

    Raises:
        UsageError: an unknown column; no candidate for a key, a time or a label.
    """
    label = guess_label(events, labels, answers.label)
    same = same_table(events, labels)
    leaking = determining(labels, label) if same else []
    keys = guess_keys(events, labels, label.name, answers.keys, same=same)
    known_of_events = _of_events(events, keys, [*leaking, *([label.name] if same else [])], answers)
    request_time = _request_time(labels, answers.request_time)
    known_column = (
        None if answers.known_at is None else _timestamp(labels, answers.known_at, "--known-at")
    )
    apart = {*(k.name for k in keys), *leaking, label.name, *(known_of_events.ident or ())[:1]}
    numbering = row_numbers(
        labels,
        [c for c in labels.numbers if c not in apart and labels.distinct[c] > 1],
        request_time.timestamp.micros,
    )
    fields = [
        c for c in (*labels.numbers, *labels.texts) if c not in {*apart, *numbering} and usable(c)
    ]
    offered = [c for c in fields if c not in answers.request and labels.distinct.get(c, 0) > 1]
    for name in answers.request:
        if name not in fields:
            raise UsageError(
                f"--request {name}: it cannot be a request field; {nearest(name, fields)}"
            )
    return Guesses(
        **vars(known_of_events),
        label=label,
        request_time=request_time,
        known=known_column,
        known_evidence=_known_evidence(request_time, known_column),
        outcome_windows=_outcome_windows(request_time, known_column, answers),
        request=list(answers.request),
        offered=offered,
        leaking=leaking,
        labels_left_out=unread(
            labels,
            (
                *apart,
                *answers.request,
                *offered,
                request_time.timestamp.name,
                *([known_column.name] if known_column else []),
            ),
            {ROW_NUMBER: numbering} if numbering else {},
            labels.rows,
        ),
    )


def _ident(events: TableProfile, others: Sequence[str]) -> tuple[str, str] | None:
    """The event id: a column whose repeated values are in duplicate rows, or nearly all of them."""
    for name, distinct in events.distinct.items():
        if name in others or not ID_NAME.search(name) or events.frame[name].null_count():
            continue
        if distinct == events.rows:
            return name, "a different value in every row"
        repeats = events.rows - distinct
        if (
            repeats <= REPEATS * events.rows
            and events.rows - events.frame.n_unique() >= SAME * repeats
        ):
            return (
                name,
                f"{repeats:,} rows are duplicates, and count once{_differing(events, name)}",
            )
    unnamed = [
        name
        for name, distinct in events.distinct.items()
        if name not in others and distinct == events.rows >= _ROWS_OF_IDS
    ]
    codes = [
        name
        for name in unnamed
        if events.frame[name].dtype == pl.String and not events.frame[name].null_count()
    ]
    longest = {name: events.frame[name].str.len_chars().max() for name in codes}
    return next(
        (
            (name, "a different value in every row")
            for name in codes
            if cast("int", longest[name]) <= _LONGEST_ID
        ),
        None,
    )


def _differing(events: TableProfile, ident: str) -> str:
    """How many of the rows that repeat an id differ from the others with it."""
    differing = events.frame.n_unique() - events.distinct[ident]
    return f"; {differing:,} of them differ otherwise, and the first counts" if differing else ""


def remarks(events: TableProfile, guesses: EventGuesses) -> list[str]:
    """Remarks about the events: duplicate rows, repeated ids, and nulls in keys and times."""
    frame, notes = events.frame, []
    if guesses.ident is None and (copies := events.rows - frame.n_unique()):
        notes.append(
            f"{copies:,} rows are duplicates, and each counts: give the source an id_field, or "
            "remove them"
        )
    elif guesses.ident is not None and (copies := events.rows - events.distinct[guesses.ident[0]]):
        ident = guesses.ident[0]
        notes.append(
            f"{copies:,} rows are duplicates by {ident}, and count once{_differing(events, ident)}"
        )
    times = [column.name for column in guesses.time.columns] if not guesses.time.computed else []
    checked = (*(key.column for key in guesses.keys), *times, *(guesses.ident or ())[:1])
    for name, distinct in events.distinct.items():
        repeats = events.rows - frame[name].null_count() - distinct
        if name not in checked and ID_NAME.search(name) and 0 < repeats <= REPEATS * events.rows:
            notes.append(
                f"{name} repeats in {repeats:,} rows that differ otherwise, so it is not an "
                "id_field; each row counts"
            )
    notes += [
        remark
        for column in (*guesses.time.columns,)
        for remark in _unparsed(column, "no feature counts")
    ]
    notes += [
        (
            f"{name} is null in {nulls:,} of {events.rows:,} rows ({nulls / events.rows:.1%}), "
            "which no feature by it counts"
        )
        for name in checked
        if (nulls := frame[name].null_count())
    ]
    by_value = [
        f"{key.evidence}; if that is wrong, give --keys"
        for key in guesses.keys
        if key.column != key.name
    ]
    return by_value + [f"{events.path}: {remark}" for remark in notes]


def label_remarks(labels: TableProfile, guesses: Guesses) -> list[str]:
    """Remarks about the labels: nulls in the columns that decide, and several rows of one key at
    one request time.
    """
    at = guesses.request_time.timestamp.values.alias("__at")
    notes = []
    copies = (
        labels.rows
        - pl.DataFrame([at, *(labels.frame[key.name] for key in guesses.keys)]).n_unique()
    )
    whole = labels.rows - labels.frame.n_unique()
    if whole:
        notes.append(f"{whole:,} rows are duplicates, and each trains and is tested: remove them")
    elif copies:
        names = " and ".join([*(key.name for key in guesses.keys), "the request time"])
        notes.append(
            f"{copies:,} rows repeat {names} of another row; each trains and is tested as a "
            "request of its own"
        )
    return [f"{labels.path}: {note}" for note in [*_null_labels(labels, guesses), *notes]]


def _null_labels(labels: TableProfile, guesses: Guesses) -> list[str]:
    """Remarks about rows that neither train nor test, and the rows that are left."""
    outcome, known_column = labels.frame[guesses.label.name], guesses.known
    columns = {guesses.label.name: (outcome, "they have no outcome")}
    columns |= {
        guesses.request_time.timestamp.name: (
            guesses.request_time.timestamp.values,
            "they have no request time",
        )
    }
    columns |= (
        {known_column.name: (known_column.values, "their outcome is never known")}
        if known_column is not None
        else {}
    )
    notes = [
        (
            f"{name} is null in {nulls:,} of {labels.rows:,} rows ({nulls / labels.rows:.1%}), "
            f"which neither train nor are tested: {why}"
        )
        for name, (values, why) in columns.items()
        if (nulls := values.null_count())
    ]
    times = [guesses.request_time.timestamp, *([known_column] if known_column else [])]
    notes += [
        remark for column in times for remark in _unparsed(column, "neither train nor are tested")
    ]
    remaining = pl.DataFrame(
        [values.alias(name) for name, (values, _) in columns.items()]
    ).drop_nulls()[guesses.label.name]
    if notes and remaining.n_unique() == 1 and outcome.n_unique() > 1:
        notes.append(
            f"all {len(remaining):,} labels that are left are {remaining[0]!r}, and a model needs "
            "two "
            "outcomes: give another --known-at, or --known-after, that the rows with the other "
            "outcome have too"
        )
    return notes


def _unparsed(time: TimeColumn, without: str) -> list[str]:
    """A remark about strings of a time column that are no such times."""
    count, example = time.unparsed
    return (
        [
            (
                f"{time.name}: {count:,} values are no times of its format, such as {example!r}; "
                f"their rows {without}"
            )
        ]
        if count
        else []
    )


def same_table(events: TableProfile, labels: TableProfile) -> bool:
    """Whether both are the same table, so that an event's row has its own label."""
    return (
        events is labels
        or Path(events.path).resolve() == Path(labels.path).resolve()
        or events.frame.equals(labels.frame)
    )


def _timestamp(table: TableProfile, name: str, flag: str) -> TimeColumn:
    if name not in table.time_columns:
        problem = "is not a time" if name in table.kinds else "is not a column"
        raise UsageError(
            f"{flag} {name}: {name!r} {problem} of {table.path}; times are: "
            f"{', '.join(table.time_columns) or 'none'}"
        )
    return table.time_columns[name]


def parse_asked(text: str, columns: Sequence[str]) -> tuple[str, int]:
    """A column and microseconds from "scheduled_at-60m".

    >>> parse_asked("scheduled_at-60m", [])
    ('scheduled_at', -3600000000)
    """
    match = None if text in columns else re.fullmatch(r"(.+?)\s*([+-])\s*(\d+\s*[a-z]+)", text)
    if match is None:
        return text, 0
    size = micros(match[3], "--request-time")
    return match[1], size if match[2] == "+" else -size


def _request_time(labels: TableProfile, text: str) -> RequestTime:
    name, offset = parse_asked(text, labels.frame.columns)
    return RequestTime(_timestamp(labels, name, "--request-time"), offset)


def _known_evidence(request_time: RequestTime, known_column: TimeColumn | None) -> str:
    if known_column is None:
        return ""
    if known_column.naive != request_time.timestamp.naive:
        return "as answered"
    after = (
        (known_column.micros - request_time.timestamp.micros - request_time.offset)
        .drop_nulls()
        .to_numpy()
    )
    if not len(after):
        raise DataError(
            f"--known-at {known_column.name}: no row has both this time and "
            f"{request_time.timestamp.name}"
        )
    early = float((after < 0).mean())
    if early > 0.5:
        raise DataError(
            f"--known-at {known_column.name}: in {early:.0%} of rows the outcome would be known "
            "before "
            "the prediction is asked for; give the column that says when it was known"
        )
    middle = float(np.median(after)) / HOUR
    return (
        f"as answered; {middle:.1f} hours after the request in the "
        f"median{f', before it in {early:.1%} of rows' if early else ''}"
    )


def is_code(series: pl.Series, distinct: int) -> bool:
    """Whether numbers are codes or identifiers, by their name or as integers of four or more
    digits, all of one length.

    >>> is_code(pl.Series("zip", [10115, 80331]), 2), is_code(pl.Series("cents", [99, 12050]), 2)
    (True, False)
    """
    if ID_NAME.search(series.name) or CODE_NAME.search(series.name):
        return True
    if not series.dtype.is_integer() or AMOUNT_NAME.search(series.name):
        return False
    lengths = series.drop_nulls().cast(pl.String).str.len_chars().unique().to_list()
    return distinct > 1 and len(lengths) == 1 and lengths[0] >= 4


def _outcome_windows(
    request_time: RequestTime, known_column: TimeColumn | None, answers: InitAnswers
) -> list[str]:
    """Windows of past outcomes: at least twice as long as it takes until they are known."""
    times = request_time.timestamp.micros.drop_nulls().to_numpy()
    if not len(times):
        return []
    if known_column is None:
        delay = micros(answers.known_after or "0s", "--known-after")
    else:
        after = (
            (known_column.micros - request_time.timestamp.micros - request_time.offset)
            .drop_nulls()
            .to_numpy()
        )
        delay = int(np.median(after)) if len(after) else 0
    span = int(times.max() - times.min())
    return [w for w in ("1d", "7d", "30d", "90d") if 2 * delay < micros(w, "a window") <= span / 2]


def _span(time: EventTime) -> int:
    times = time.micros.drop_nulls().to_numpy()
    return int(times.max() - times.min()) if len(times) else 0


def _span_text(time: EventTime) -> str:
    times = time.micros.drop_nulls().to_numpy()
    first, last = (
        f"{datetime.fromtimestamp(float(t) / SECOND, UTC):%Y-%m-%d}"
        for t in (times.min(), times.max())
    )
    return f"{_span(time) / DAY:,.1f} days, {first} to {last}"
