"""One feature of a view, and what of a view and its source the fingerprints of stored state and of
values are made of.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from headwater.definitions.aggregate import Aggregation
from headwater.definitions.columns import output_name
from headwater.definitions.source import EnrichedHistory, Source
from headwater.definitions.windows import Window


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
        """The columns of the source that it is made of, that of `where` included."""
        where = self.aggregation.where
        return self.columns if where is None else (*self.columns, where)


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
