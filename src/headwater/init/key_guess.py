"""The keys: columns that say which events belong to a row of the labels, by name or by values that
both tables share.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from headwater.errors import DataError, UsageError, listed, nearest
from headwater.init.tables import AMOUNT_NAME, TableProfile, unnesting

ID_NAME = re.compile(
    r"(^|_)(id|uuid|guid|key|code|no|nr|number|user|customer|account|device|item|product|store|driver)$",
    re.IGNORECASE,
)
_WHOSE = re.compile(
    r"^[a-z]?id$|^uid$|" + ID_NAME.pattern + r"|client|member|card|merchant|person", re.IGNORECASE
)
JOINS, JOINS_BY_VALUE, KEYS = 0.05, 0.5, 4
NOTHING = ("none",)  # --keys none: features over all events


@dataclass(frozen=True)
class KeyGuess:
    """A key: its name in the labels and in requests, its column in the events, and the evidence."""

    name: str
    column: str
    evidence: str


def guess_keys(
    events: TableProfile,
    labels: TableProfile,
    label: str,
    pairs_given: Sequence[str],
    *,
    same: bool,
) -> list[KeyGuess]:
    """The keys: those given (`name`, or `column of the labels=column of the events`), else columns
    of one name that identify whose events a row has, else columns of different names that share
    most of their values.

    Raises:
        UsageError: an unknown column, or nothing that could be a key.
        DataError: a column that is given has no value.
    """
    if tuple(pairs_given) == NOTHING:
        return []
    if pairs_given:
        return [_guess_of_pair(events, labels, pair) for pair in pairs_given]
    shared = [
        c
        for c in labels.frame.columns
        if c in events.distinct and c not in labels.time_columns and c != label
    ]
    accepted, refused = [], []
    for name in shared:
        event_values, label_values = events.frame[name], labels.frame[name]
        if not _alike(event_values, label_values):
            continue
        if not (
            event_values.dtype == pl.String
            or ID_NAME.search(name)
            or (not same and _joins_every_row(event_values, label_values))
        ):
            continue
        share, per_value = _joined(events, name, label_values)
        guess = KeyGuess(
            name,
            name,
            f"{name} joins {share:.1%} of labels; {events.distinct[name]:,} values with "
            f"{per_value:.1f} events each",
        )
        if share >= JOINS and per_value >= 1.05 and events.distinct[name] > 1:
            accepted.append(guess)
        else:
            refused.append(
                f"{name} has no value in {events.path}"
                if not events.distinct[name]
                else guess.evidence
            )
    if not accepted and not same:
        accepted = _by_values(events, labels, label)
    if not accepted:
        both = (
            f"columns of both are {', '.join(shared)}"
            if shared
            else "they have no column of one name"
        )
        details = "; ".join(refused) or f"{both}, and {_shared_values(events, labels, label)}"
        raise UsageError(
            f"no column of {labels.path} identifies whose events in {events.path} belong to a "
            f"row: {details}. Name columns with --keys, such as --keys user_id, or --keys "
            "customer=uid where labels say customer and events uid; --keys none takes features "
            "over all events"
        )
    return sorted(accepted, key=lambda guess: -events.distinct[guess.column])[:KEYS]


def _guess_of_pair(events: TableProfile, labels: TableProfile, pair: str) -> KeyGuess:
    name, _, column = (part.strip() for part in pair.partition("="))
    column = column or name
    for table, wanted in ((labels, name), (events, column)):
        if wanted not in table.distinct:
            nested = [c for c, kind in table.kinds.items() if kind == "nested"]
            hint = (
                f"; {', '.join(nested)} hold nested values: {unnesting(table, nested)}"
                if nested
                else ""
            )
            raise UsageError(
                f"--keys {pair}: {wanted!r} is not a column of {table.path}; "
                f"{nearest(wanted, table.distinct)}{hint}"
            )
        if not table.distinct[wanted]:
            raise DataError(f"--keys {pair}: {wanted} has no value in {table.path}")
    if (events.frame[column].dtype == pl.String) != (labels.frame[name].dtype == pl.String):
        raise UsageError(
            f"--keys {pair}: {name} is {labels.frame[name].dtype} in {labels.path}, and {column} "
            f"is {events.frame[column].dtype} in {events.path}; write both with one type"
        )
    share, per_value = _joined(events, column, labels.frame[name])
    is_in = "" if column == name else f" is {column} of the events, and"
    return KeyGuess(
        name,
        column,
        f"{name}{is_in} joins {share:.1%} of labels; {events.distinct[column]:,} values with "
        f"{per_value:.1f} events each",
    )


def _by_values(events: TableProfile, labels: TableProfile, label: str) -> list[KeyGuess]:
    """Columns of different names that hold the same values: of each column of the labels, the one
    that joins most of its rows.

    Small integers are the same in any column, so of integers both names have to be those of an
    identifier, or of one thing.
    """
    guesses = []
    for name, (share, per_value, column) in _best_pairs(events, labels, label, named=True).items():
        if share >= JOINS_BY_VALUE and per_value >= 1.05 and events.distinct[column] > 1:
            evidence = (
                f"{name} of {labels.path} is {column} of {events.path}, by their values: it joins "
                f"{share:.1%} of labels; {events.distinct[column]:,} values with {per_value:.1f} "
                "events each"
            )
            guesses.append(KeyGuess(name, column, evidence))
    return guesses


def _best_pairs(
    events: TableProfile, labels: TableProfile, label: str, *, named: bool
) -> dict[str, tuple[float, float, str]]:
    """By column of the labels: the column of the events that joins most rows, with what `_joined`
    gives.

    named: of integers, only columns whose names are those of identifiers, or of one thing.
    """
    best = {}
    for name in labels.distinct:
        if labels.kinds[name] == "time" or name == label or labels.distinct[name] < 2:
            continue
        label_values = labels.frame[name]
        pairs = [
            c
            for c in events.distinct
            if events.kinds[c] != "time" and _alike(events.frame[c], label_values)
        ]
        if named and label_values.dtype != pl.String:
            pairs = [
                c
                for c in pairs
                if (_WHOSE.search(c) and _WHOSE.search(name)) or _thing(c) == _thing(name) != ""
            ]
        best[name] = max(
            ((*_joined(events, c, label_values), c) for c in pairs), default=(0.0, 0.0, "")
        )
    return best


def _thing(name: str) -> str:
    """What a column names, without the ending of an identifier: machine of machine_id and
    Machine.
    """
    return re.sub(r"_?(id|key|code|no|nr|number|uuid)$", "", name.lower())


def _shared_values(events: TableProfile, labels: TableProfile, label: str) -> str:
    """The problem with the columns that share their values, if any do."""
    pairs = _best_pairs(events, labels, label, named=False)
    alike = [
        f"{name} and {column}"
        for name, (share, per_value, column) in pairs.items()
        if share >= JOINS_BY_VALUE and per_value >= 1.05
    ]
    if not alike:
        return "no two columns share their values"
    return (
        f"of {listed(alike)} the values are alike, but not the names, and small integers are "
        "alike in any columns"
    )


def _alike(event_values: pl.Series, label_values: pl.Series) -> bool:
    """Whether values of two columns can be equal, and neither is an amount or a flag."""
    plain = not (
        event_values.dtype.is_float()
        or event_values.dtype == pl.Boolean
        or event_values.dtype.is_nested()
        or label_values.dtype.is_float()
    )
    return (
        plain
        and label_values.dtype != pl.Boolean
        and (event_values.dtype == pl.String) == (label_values.dtype == pl.String)
    )


def _joined(events: TableProfile, column: str, label_values: pl.Series) -> tuple[float, float]:
    """The share of the labels' rows that have an event, and the events of a value."""
    share = float(
        label_values.cast(pl.String)
        .is_in(events.words(column))
        .fill_null(value=False)
        .to_numpy()
        .mean()
    )
    return share, events.rows / max(events.distinct[column], 1)


def _joins_every_row(event_values: pl.Series, label_values: pl.Series) -> bool:
    """Whether a column of integers is a key by its values: every row of the labels has one of the
    events', and it is not an amount.
    """
    if not (
        event_values.dtype.is_integer() and label_values.dtype.is_integer()
    ) or AMOUNT_NAME.search(event_values.name):
        return False
    return bool(label_values.is_in(event_values.unique().implode()).fill_null(value=False).all())
