"""Refusals that need the data: a source over the labels' own table must not know the label before
it is known.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from headwater.connectors import to_polars
from headwater.definitions.connectors import Connector, Frame, Table
from headwater.definitions.feature_service import Enriched, table_columns
from headwater.definitions.feature_service import filter_columns as chosen_by
from headwater.definitions.labels import Labels
from headwater.definitions.model import Model
from headwater.definitions.source import Source, output_name
from headwater.errors import LeakError
from headwater.events.read_events import collect, selected, timestamp_micros


def refuse_label_columns(model: Model) -> None:
    """Refuse a source over the labels' table that selects what the label is made of and says it is
    known earlier than the label.

    Raises:
        LeakError: naming the source, the columns and the share of rows.
    """
    labels = model.labels
    # an enriched one has no table: what it carries, its base selects, and knows no later
    for source in model.features.sources:
        if source.history is None or isinstance(source.history, Enriched) or not labels.label_roots:
            continue
        if not _same_table(source.table, labels.data):
            continue
        columns, filtered = label_columns(source, labels), filter_columns(source, labels)
        if not columns and not filtered:
            continue
        share = _known_earlier(source, labels)
        if share:
            verb, named = ("selects", columns) if columns else ("filters by", filtered)
            raise LeakError(
                f"source {source.name!r} ({source.site}) {verb} {', '.join(map(repr, named))}, "
                f"which the label {labels.label_name!r} is made of, and says it is known "
                f"{_rule(source)} - in {share:.1%} of rows before the label is known "
                f"({_label_rule(labels)}). Training would see the future: give the source the "
                "timestamp at which the column is known, or leave the column out of its "
                f"{'select' if columns else 'filter'}."
            )


def _same_table(first: Table, second: Table) -> bool:
    """Whether both name the same files, or hold the same rows; large frames are compared by content
    only if they could be equal.
    """
    if isinstance(first, Frame) and isinstance(second, Frame):
        if first.data is second.data:
            return True
        rows, other_rows = to_polars(first.data), to_polars(second.data)
        return (
            rows.schema == other_rows.schema
            and rows.height == other_rows.height
            and first == second
        )
    if isinstance(first, Connector) or isinstance(second, Connector):
        return first == second
    if isinstance(first, Frame) or isinstance(second, Frame):
        return False
    if first.is_remote or second.is_remote:
        return first == second
    return type(first) is type(second) and Path(first.path).resolve() == Path(second.path).resolve()


def label_columns(source: Source, labels: Labels) -> list[str]:
    """The columns of the source's selection that the label is made of."""
    if source.select is None:
        below = source.history.base if isinstance(source.history, Enriched) else None
        return sorted(labels.label_roots) if below is None else label_columns(below, labels)
    return sorted(
        name
        for name in map(output_name, source.select)
        if table_columns(source, name) & labels.label_roots
    )


def filter_columns(source: Source, labels: Labels) -> list[str]:
    """The columns of the source's filter that the label is made of: which rows are there tells the
    outcome as well.
    """
    return sorted(chosen_by(source) & labels.label_roots)


def _known_earlier(source: Source, labels: Labels) -> float:
    context = f"source {source.name!r}"
    events = selected(
        source.table,
        source.select,
        None,
        [c for c in (source.timestamp_field, source.known_at_field) if c],
        context,
    )
    theirs = selected(
        labels.data,
        labels.select,
        None,
        [c for c in (labels.timestamp_field, labels.known_at_field) if c],
        f"labels {labels.name!r}",
    )
    known = (
        timestamp_micros(
            source.known_at_field or source.timestamp_field,
            events.schema,
            source.timezone,
            context,
            days=True,
        )
        + source.delay
    )
    both = pl.concat(
        [
            collect(events.frame.select(known.alias("event")), context),
            collect(
                theirs.frame.select(label_known(labels, theirs.schema).alias("label")), context
            ),
        ],
        how="horizontal",
    )
    return float(
        both.select((pl.col("event") < pl.col("label").fill_null(2**62)).mean()).item() or 0.0
    )


def label_known(labels: Labels, schema: pl.Schema) -> pl.Expr:
    """When each label is known, int64 microseconds UTC; null for never."""
    context = f"labels {labels.name!r}"
    if labels.maturity is not None:
        return (
            timestamp_micros(labels.timestamp_field, schema, labels.timezone, context)
            + labels.maturity
        )
    return timestamp_micros(str(labels.known_at_field), schema, labels.timezone, context, days=True)


def _rule(source: Source) -> str:
    return (
        f"at {source.known_at_field}"
        if source.known_at_field
        else f"at {source.timestamp_field}" + (f" + {source.known_after}" if source.delay else "")
    )


def _label_rule(labels: Labels) -> str:
    return (
        f"at {labels.known_at_field}"
        if labels.known_at_field
        else f"{labels.known_after} after the request"
    )
