"""What decides which records of a stream become events, and rows that were kept under other rules
than today's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

import polars as pl

from headwater.definitions.definition import fingerprint_of
from headwater.ingestion.archive import KNOWN_AT, SEQUENCE
from headwater.ingestion.sources.stream_reader import needed_columns
from headwater.ingestion.validate import AT, OFFSET, PARTITION, Acceptance

_POSITION = (PARTITION, OFFSET, AT, KNOWN_AT, SEQUENCE)


def rules_of(acceptance: Acceptance) -> dict[str, str]:
    """The parts of the rules, most as digests: the columns and their types, the select, filter,
    ids, and keys of views.
    """
    source = acceptance.source
    columns = needed(acceptance)
    own = (
        source.timestamp_field,
        source.known_at_field,
        source.changes,
        source.timezone,
        source.window_on,
    )
    stream = source.stream
    parts = {
        "types": [
            {name: str(dtype) for name, dtype in columns.items()},
            getattr(stream, "format", ""),
            getattr(stream, "timestamps", ""),
        ],
        "select": [source.select, own],
        "filter": source.filter,
        "ids": [source.id_field, source.id_horizon if source.id_field else None],
    }
    digests = {name: fingerprint_of(rule) for name, rule in parts.items()}
    return {**digests, "keys": json.dumps(sorted({tuple(view.keys) for view in acceptance.views}))}


def changed_of(old: Mapping[str, str], new: Mapping[str, str]) -> set[str]:
    """Which parts of the rules may accept records that were not accepted before."""
    changed = {name for name in new if old.get(name) != new[name]}
    keys = [json.loads(rules.get("keys", "[]")) for rules in (new, old)]
    return changed - {"keys"} if all(view_keys in keys[1] for view_keys in keys[0]) else changed


def needed(acceptance: Acceptance) -> Mapping[str, pl.DataType]:
    """The columns of the stream that events are made of."""
    read = frozenset().union(*(view.read_columns for view in acceptance.views))
    names = set(
        needed_columns(acceptance.source, sorted(read) if acceptance.source.select is None else ())
    )
    return {name: dtype for name, dtype in acceptance.schema.items() if name in names}


def conformed(frame: pl.LazyFrame, acceptance: Acceptance, *also: str) -> pl.LazyFrame:
    """Rows of an archive, or the like, with the columns and types that the stream has today; and
    `also` these columns.
    """
    had = frame.collect_schema()
    columns = [_cast(name, had.get(name), dtype) for name, dtype in acceptance.schema.items()]
    return frame.select(*columns, *(name for name in (*_POSITION, *also) if name in had))


def altered(frames: Iterable[pl.LazyFrame], acceptance: Acceptance) -> bool:
    """Whether `conformed` cannot give what decoding would: a column that events are made of was not
    kept, or its type was another.
    """
    columns = needed(acceptance)
    return any(
        not _is_exact(schema.get(name), dtype)
        for schema in (frame.collect_schema() for frame in frames)
        for name, dtype in columns.items()
    )


def _cast(name: str, had: pl.DataType | None, dtype: pl.DataType) -> pl.Expr:
    if had is None:
        return pl.lit(None, dtype).alias(name)
    return pl.col(name) if had == dtype else pl.col(name).cast(dtype, strict=False)


def _is_exact(had: pl.DataType | None, dtype: pl.DataType) -> bool:
    """Whether values of one type are, cast, what a record would have been decoded to as the
    other.
    """
    if had is None or had == dtype:
        return had is not None
    if had.is_integer() and dtype.is_integer():
        mine, theirs = (
            int(str(width).removeprefix("U").removeprefix("Int")) for width in (had, dtype)
        )
        if had.is_signed_integer() == dtype.is_signed_integer():
            return mine <= theirs
        return dtype.is_signed_integer() and mine < theirs
    if had.is_integer() or had == pl.Float32:
        return dtype == pl.Float64
    return False
