"""Guesses about two tables, each with its evidence. Facts whose wrong guess would leak are not guessed: they are in `InitAnswers`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from headwater.definitions.durations import DAY, HOUR, SECOND, micros
from headwater.errors import DataError, UsageError, nearest
from headwater.init.tables import TableProfile, TimeColumn, usable
from headwater.init.times import EventTime, event_time, windows

LABEL_NAME = re.compile(r"label|target|outcome|^y$|^(is|has|was)_|late|fraud|churn|convert|click", re.IGNORECASE)
ID_NAME = re.compile(r"(^|_)(id|uuid|guid|key|code|no|nr|number|user|customer|account|device|item|product|store|driver)$", re.IGNORECASE)
CODE_NAME = re.compile(
    r"(^|_)(zip|postal|postcode|phone|sku|mcc|iban|type|class|category|status|version|year|month|weekday|hour)(_|$)|[a-z]I[dD]$",
    re.IGNORECASE,
)
AMOUNT_NAME = re.compile(r"amount|price|cost|qty|quantity|count|total|sum|age|score|value|size|seats|rate|num|len", re.IGNORECASE)
JOINS, MANY, KEYS, NUMBERS, TEXTS = 0.05, 1000, 4, 6, 3
REPEATS = 0.2  # the share of rows that may repeat an id, for its column to be one


@dataclass(frozen=True)
class InitAnswers:
    """Facts that only the user knows: the request time of a prediction and when its outcome is known; and other options."""

    request_time: str  # a column, or one with an offset: "scheduled_at-60m"
    known_at: str | None = None
    known_after: str | None = None
    timezone: str | None = None
    label: str | None = None
    event_time: str | None = None
    keys: Sequence[str] = ()
    request: Sequence[str] = ()


@dataclass(frozen=True)
class Guess:
    """A guessed column, and the evidence for it."""

    name: str
    evidence: str


@dataclass(frozen=True)
class RequestTime:
    """A time column, and the offset of the request time from it, in microseconds."""

    timestamp: TimeColumn
    offset: int


@dataclass(frozen=True)
class Guesses:
    """All guesses that the file is written from."""

    time: EventTime
    keys: Sequence[Guess]
    label: Guess
    task: str
    request_time: RequestTime
    known: TimeColumn | None
    known_evidence: str
    ident: Guess | None
    numbers: Sequence[str]
    texts: Sequence[str]
    codes: Sequence[str]  # numbers that look like codes or identifiers, which have no mean
    windows: Sequence[str]
    outcome_windows: Sequence[str]  # of past outcomes, longer than it takes until they are known; empty where none fits
    span: str
    request: Sequence[str]
    offered: Sequence[str]  # columns of the labels that may be known at request time; only the user knows
    leaking: Sequence[str] = field(default=())  # columns that determine the label


def guess(events: TableProfile, labels: TableProfile, answers: InitAnswers) -> Guesses:
    """Guess everything that the answers do not give.

    Raises:
        UsageError: an unknown column; no candidate for a key, a time or a label.
    """
    label, task = _label(events, labels, answers)
    same = same_table(events, labels)
    leaking = _label_made(labels, label.name) if same else []
    keys = _keys(events, labels, label.name, answers)
    names = [k.name for k in keys]
    given = None if answers.event_time is None else _timestamp(events, answers.event_time, "--event-time")
    time = event_time(events, names, given, answers.timezone)
    ident = _ident(events, (*names, *events.time_columns))
    out = {*names, *leaking, *([ident.name] if ident else []), *([label.name] if same else [])}
    varying = [c for c in events.numbers() if c not in out and usable(c) and events.distinct[c] > 1]
    codes = [c for c in varying if is_code(events.frame[c], events.distinct[c])]
    numbers = [c for c in varying if c not in codes][:NUMBERS]
    texts = [c for c in events.texts() if c not in out and usable(c) and 1 < events.distinct[c] <= MANY][:TEXTS]
    span = _span(time)
    request_time = _asked(labels, answers.request_time)
    known = None if answers.known_at is None else _timestamp(labels, answers.known_at, "--known-at")
    fields = [
        c
        for c in (*labels.numbers(), *labels.texts())
        if c not in (*names, *leaking, label.name, *([ident.name] if ident else [])) and usable(c)
    ]
    for name in answers.request:
        if name not in fields:
            raise UsageError(f"--request {name}: it cannot be a request field; {nearest(name, fields)}")
    return Guesses(
        time=time,
        keys=keys,
        label=label,
        task=task,
        request_time=request_time,
        known=known,
        known_evidence=_known_evidence(request_time, known),
        ident=ident,
        numbers=numbers,
        texts=texts,
        codes=codes,
        windows=windows(span, time.period),
        outcome_windows=_outcome_windows(request_time, known, answers),
        span=_span_text(time),
        request=list(answers.request),
        offered=[c for c in fields if c not in answers.request and labels.distinct.get(c, 0) > 1],
        leaking=leaking,
    )


def _ident(events: TableProfile, others: Sequence[str]) -> Guess | None:
    """The event id: a column whose repeated values are in duplicate rows."""
    for name, distinct in events.distinct.items():
        if name in others or not ID_NAME.search(name) or events.frame[name].null_count():
            continue
        if distinct == events.rows:
            return Guess(name, "a different value in every row")
        repeats = events.rows - distinct
        if repeats <= REPEATS * events.rows and events.frame.n_unique() == distinct:
            return Guess(name, f"{repeats:,} rows are duplicates, and count once")
    return None


def remarks(events: TableProfile, guesses: Guesses) -> list[str]:
    """Remarks about the events: duplicate rows, repeated ids, and nulls in keys and times."""
    frame, notes = events.frame, []
    if guesses.ident is None and (copies := events.rows - frame.n_unique()):
        notes.append(f"{copies:,} rows are duplicates, and each counts: give the source an id_field, or remove them")
    elif guesses.ident is not None and (copies := events.rows - events.distinct[guesses.ident.name]):
        notes.append(f"{copies:,} rows are duplicates by {guesses.ident.name}, and count once")
    times = [column.name for column in guesses.time.columns] if not guesses.time.computed else []
    known = (*(key.name for key in guesses.keys), *times, *([guesses.ident.name] if guesses.ident else []))
    for name, distinct in events.distinct.items():
        repeats = events.rows - frame[name].null_count() - distinct
        if name not in known and ID_NAME.search(name) and 0 < repeats <= REPEATS * events.rows:
            notes.append(f"{name} repeats in {repeats:,} rows that differ otherwise, so it is not an id_field; each row counts")
    notes += [
        f"{name} is null in {nulls:,} of {events.rows:,} rows ({nulls / events.rows:.1%}), which no feature by it counts"
        for name in known
        if (nulls := frame[name].null_count())
    ]
    return [f"{events.path}: {remark}" for remark in notes]


def label_remarks(labels: TableProfile, guesses: Guesses) -> list[str]:
    """Remarks about the labels: several rows of one key at one request time, and ids that repeat."""
    at = guesses.request_time.timestamp.values.alias("__at")
    notes = []
    copies = labels.rows - pl.DataFrame([at, *(labels.frame[key.name] for key in guesses.keys)]).n_unique()
    whole = labels.rows - labels.frame.n_unique()
    if whole:
        notes.append(f"{whole:,} rows are duplicates, and each trains and is tested: remove them")
    elif copies:
        names = ", ".join(key.name for key in guesses.keys)
        notes.append(
            f"{copies:,} rows repeat {names} and the request time of another row; each trains and is tested as a request of its own"
        )
    return [f"{labels.path}: {note}" for note in notes]


def same_table(events: TableProfile, labels: TableProfile) -> bool:
    """Whether both are the same table, so that an event's row has its own label."""
    return Path(events.path).resolve() == Path(labels.path).resolve() or events.frame.equals(labels.frame)


def _timestamp(table: TableProfile, name: str, flag: str) -> TimeColumn:
    if name not in table.time_columns:
        problem = "is not a time" if name in table.frame.columns else "is not a column"
        raise UsageError(f"{flag} {name}: {name!r} {problem} of {table.path}; times are: {', '.join(table.time_columns) or 'none'}")
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


def _asked(labels: TableProfile, text: str) -> RequestTime:
    name, offset = parse_asked(text, labels.frame.columns)
    return RequestTime(_timestamp(labels, name, "--request-time"), offset)


def _known_evidence(request_time: RequestTime, known: TimeColumn | None) -> str:
    if known is None:
        return ""
    if known.naive != request_time.timestamp.naive:
        return "as answered"
    after = (known.micros - request_time.timestamp.micros - request_time.offset).drop_nulls().to_numpy()
    if not len(after):
        raise DataError(f"--known-at {known.name}: no row has both this time and {request_time.timestamp.name}")
    early = float((after < 0).mean())
    if early > 0.5:
        raise DataError(
            f"--known-at {known.name}: in {early:.0%} of rows the outcome would be known before the prediction is asked for; "
            "give the column that says when it was known"
        )
    middle = float(np.median(after)) / HOUR
    return f"as answered; {middle:.1f} hours after the request in the median{f', before it in {early:.1%} of rows' if early else ''}"


def _label(events: TableProfile, labels: TableProfile, answers: InitAnswers) -> tuple[Guess, str]:
    numbers = labels.numbers()
    if answers.label is not None and answers.label not in numbers:
        problem = (
            "is not a number or a boolean" if answers.label in labels.frame.columns else f"is not there; {nearest(answers.label, numbers)}"
        )
        raise UsageError(f"--label {answers.label}: the column {problem}")
    own = [c for c in numbers if not ID_NAME.search(c) and labels.distinct[c] > 1]
    if not own and answers.label is None:
        raise UsageError(
            f"{labels.path} has no column that could be a label: one of numbers or booleans with more than one value; name one with --label"
        )

    def score(name: str) -> tuple[bool, bool, bool]:
        return LABEL_NAME.search(name) is not None, _binary(labels, name), name not in events.frame.columns

    best = answers.label or max(reversed(own), key=score)
    values = labels.frame[best].drop_nulls().cast(pl.Float64).to_numpy()
    missing = labels.frame[best].null_count()
    blank = f"; {missing:,} rows have none and are left out" if missing else ""
    others = [c for c in own if c != best and answers.label is None]
    also = f"; it could also be {', '.join(others[:4])}: --label" if others else ""
    if _binary(labels, best):
        return Guess(best, f"0 or 1; {values.mean():.1%} are 1{blank}{also}"), "binary"
    return Guess(best, f"numbers from {values.min():g} to {values.max():g}{blank}{also}"), "regression"


def _binary(table: TableProfile, name: str) -> bool:
    series = table.frame[name].drop_nulls()
    return table.distinct[name] == 2 and set(series.unique().cast(pl.Float64).to_list()) == {0.0, 1.0}


def _keys(events: TableProfile, labels: TableProfile, label: str, answers: InitAnswers) -> list[Guess]:
    shared = [
        c
        for c in labels.frame.columns
        if c in events.frame.columns and c not in labels.time_columns and c != label and c in events.distinct
    ]
    for name in answers.keys:
        if name not in shared:
            raise UsageError(f"--keys {name}: not a column of both tables; {nearest(name, shared)}")
    guesses, refused, same = [], [], same_table(events, labels)
    for name in answers.keys or shared:
        mine, other = events.frame[name], labels.frame[name]
        alike = (mine.dtype == pl.String) == (other.dtype == pl.String) and not (mine.dtype.is_float() or mine.dtype == pl.Boolean)
        identifies = mine.dtype == pl.String or ID_NAME.search(name) is not None or (not same and _joins_every_row(mine, other, name))
        if not answers.keys and not (alike and identifies):
            continue
        share = float(other.cast(pl.String).is_in(mine.cast(pl.String).unique().implode()).fill_null(value=False).to_numpy().mean())
        each = events.rows / max(events.distinct[name], 1)
        evidence = f"{name} joins {share:.1%} of labels; {events.distinct[name]:,} values with {each:.1f} events each"
        if answers.keys or (share >= JOINS and each >= 1.05 and events.distinct[name] > 1):
            guesses.append(Guess(name, evidence))
        else:
            refused.append(evidence)
    if not guesses:
        details = f": {'; '.join(refused)}" if refused else f": shared columns are {', '.join(shared) or 'none'}"
        raise UsageError(
            f"no column of {labels.path} identifies whose events in {events.path} belong to a row{details}. "
            "Give them the same name in both tables, or name columns with --keys"
        )
    return sorted(guesses, key=lambda g: -events.distinct[g.name])[:KEYS]


def _joins_every_row(mine: pl.Series, other: pl.Series, name: str) -> bool:
    """Whether a column of integers is a key by its values: every row of the labels has one of the events', and it is no amount."""
    if not (mine.dtype.is_integer() and other.dtype.is_integer()) or AMOUNT_NAME.search(name):
        return False
    return bool(other.is_in(mine.unique().implode()).fill_null(value=False).all())


def is_code(series: pl.Series, distinct: int) -> bool:
    """Whether numbers are codes or identifiers, by their name or as integers of four or more digits, all of one length.

    >>> is_code(pl.Series("zip", [10115, 80331]), 2), is_code(pl.Series("cents", [99, 12050]), 2)
    (True, False)
    """
    if ID_NAME.search(series.name) or CODE_NAME.search(series.name):
        return True
    if not series.dtype.is_integer() or AMOUNT_NAME.search(series.name):
        return False
    lengths = series.drop_nulls().cast(pl.String).str.len_chars().unique().to_list()
    return distinct > 1 and len(lengths) == 1 and lengths[0] >= 4


def _outcome_windows(request_time: RequestTime, known: TimeColumn | None, answers: InitAnswers) -> list[str]:
    """Windows of past outcomes: at least twice as long as it takes until they are known."""
    times = request_time.timestamp.micros.drop_nulls().to_numpy()
    if not len(times):
        return []
    if known is None:
        delay = micros(answers.known_after or "0s", "--known-after")
    else:
        after = (known.micros - request_time.timestamp.micros - request_time.offset).drop_nulls().to_numpy()
        delay = int(np.median(after)) if len(after) else 0
    span = int(times.max() - times.min())
    return [w for w in ("1d", "7d", "30d", "90d") if 2 * delay < micros(w, "a window") <= span / 2]


def _label_made(table: TableProfile, label: str) -> list[str]:
    """Columns that determine the label: a threshold splits it, each value has one outcome, or it is a multiple."""
    rows = table.frame.filter(pl.col(label).is_not_null()).with_columns(pl.col(label).cast(pl.Float64))
    return [c for c in (*table.numbers(), *table.texts()) if c != label and _tells(rows.filter(pl.col(c).is_not_null()), c, label)]


def _tells(rows: pl.DataFrame, column: str, label: str) -> bool:
    outcomes = rows[label].n_unique()
    if outcomes < 2:
        return False
    if outcomes > 2:
        if not rows[column].dtype.is_numeric():
            return False
        same = rows.select(pl.corr(column, label)).item()
        return same is not None and abs(same) > 0.999
    if rows[column].dtype == pl.String or not rows[column].dtype.is_numeric():
        values = rows[column].n_unique()
        return values * 2 < rows.height and rows.select(column, label).n_unique() == values
    (low, high) = (group[column] for group in rows.partition_by(label, maintain_order=True))
    return bool(low.max() < high.min() or high.max() < low.min())  # type: ignore[operator]


def _span(time: EventTime) -> int:
    times = time.micros.drop_nulls().to_numpy()
    return int(times.max() - times.min()) if len(times) else 0


def _span_text(time: EventTime) -> str:
    times = time.micros.drop_nulls().to_numpy()
    first, last = (f"{datetime.fromtimestamp(float(t) / SECOND, UTC):%Y-%m-%d}" for t in (times.min(), times.max()))
    return f"{_span(time) / DAY:,.1f} days, {first} to {last}"
