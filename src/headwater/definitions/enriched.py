"""Enriched sources: how they are made, changed, and seen through to the tables below."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from headwater.definitions.base import check_name
from headwater.definitions.columns import Selection, output_name, root_columns
from headwater.definitions.feature_service import FeatureService, Member
from headwater.definitions.feature_view import FeatureRef, FeatureView
from headwater.definitions.request_feature import RequestFeature
from headwater.definitions.source import Enriched, Source
from headwater.errors import DefinitionError, nearest

if TYPE_CHECKING:
    import polars as pl


def enrich(base: Source, name: str, features: Sequence[Member], *, select: Selection | None, filter: pl.Expr | None) -> Source:
    """`Source.enriched`.

    Where the base says by a rule when events are known, that is no earlier than the event, so all that counts for it was known
    by then: the rule holds for the enriched source too. Where a column says it, the later of both stands in a column of its own.
    """
    check_name(name, "a source")
    what = f"source {name!r}, {base.name!r} enriched"
    if isinstance(features, str | FeatureView | FeatureRef) or not isinstance(features, Sequence) or not features:
        raise DefinitionError(f"{what}: features is {features!r}; give a list of feature views, single features and request features")
    if base.changes is not None:
        raise DefinitionError(
            f"{what}: {base.name!r} has changes={base.changes!r}, and an event that is taken back has no one time at which to ask for features; "
            "enrich a source of the images after a change (filter=), or aggregate this one itself"
        )
    for member in features:
        if not isinstance(member, FeatureView | FeatureRef | RequestFeature):
            raise DefinitionError(
                f"{what}: features holds {member!r}; give feature views, single features and request features. What the event itself "
                "carries is a column already"
            )
    service = FeatureService(name, features)
    if service.not_in_training:
        raise DefinitionError(
            f"{what}: a third party says {', '.join(service.not_in_training)}, and has no history=; nothing says what it was for past events"
        )
    made = dataclasses.replace(
        base,
        name=name,
        history=Enriched(base, service),
        select=select,
        filter=filter,
        known_at_field=None if base.known_at_field is None else known_column(name),
        id_horizon="0s",  # the base has dropped the copies already
    )
    made.remember_site()
    _check(made, what)
    return made


def known_column(name: str) -> str:
    """Where it stands when the events of an enriched source are known, if a column of its base says when the base's are."""
    return f"{name}__known_at"


def _check(source: Source, what: str) -> None:
    """Refuse what only the columns of the base can reveal, where its selection names them."""
    enriched = source.history
    assert isinstance(enriched, Enriched)
    have = enriched.base.columns
    if have is None:
        return
    for column, who in enriched.features.needed_by().items():
        if column not in have:
            raise DefinitionError(lacking(source, column, who, have))
    clash = sorted({*enriched.features.feature_names, source.known_at_field or ""} & have)
    if clash:
        raise DefinitionError(clashing(source, clash[0]))
    both = have | set(enriched.features.feature_names)
    for item in [*(source.select or ()), *([] if source.filter is None else [source.filter])]:
        for column in sorted(root_columns(item) - both):
            raise DefinitionError(
                f"{what}: {item} uses {column!r}, which is neither a column of the events nor a feature; {nearest(column, both)}"
            )


def lacking(source: Source, column: str, who: Sequence[str], have: frozenset[str]) -> str:
    """What is wrong where the events lack a column that a view or a request feature needs."""
    base = _base(source)
    return (
        f"source {source.name!r}: the events of source {base.name!r} have no column {column!r}, which {', '.join(who)} needs; "
        f"{nearest(column, have)}. Make it there, or fill the key from another column with view.alias(name, keys=...)"
    )


def clashing(source: Source, column: str) -> str:
    """What is wrong where a column of the events is named like a feature."""
    return (
        f"source {source.name!r}: the column {column!r} of source {_base(source).name!r} is named like a feature; rename it in that source's "
        "select, so that neither shadows the other"
    )


def _base(source: Source) -> Source:
    assert isinstance(source.history, Enriched)
    return source.history.base


def over(source: Source, change: Callable[[Source], Source]) -> Source:
    """The enriched source with `change` made of its base and of the sources of its views; itself where that changes none."""
    enriched = source.history
    assert isinstance(enriched, Enriched)
    base, features = change(enriched.base), enriched.features.over(change)
    if base is enriched.base and features is enriched.features:
        return source
    return enrich(base, source.name, features.features, select=source.select, filter=source.filter)


def bottom_of(source: Source) -> Source:
    """The source that has the events in a table: itself, or the base of the bases."""
    return bottom_of(source.history.base) if isinstance(source.history, Enriched) else source


def table_columns(source: Source, column: str) -> frozenset[str]:
    """The columns of the table at the bottom that a column of the source is made of; features are made of other events."""
    if source.select is not None and column in (made := {output_name(item): item for item in source.select}):
        roots = root_columns(made[column])
    else:
        roots = frozenset({column})
    return _below(source, roots)


def filter_columns(source: Source) -> frozenset[str]:
    """The columns of the table at the bottom that decide which of its rows are events."""
    own = frozenset() if source.filter is None else _below(source, root_columns(source.filter))
    return own | filter_columns(source.history.base) if isinstance(source.history, Enriched) else own


def _below(source: Source, columns: frozenset[str]) -> frozenset[str]:
    if not isinstance(source.history, Enriched):
        return columns
    mine = columns - set(source.history.features.feature_names)
    return frozenset().union(*(table_columns(source.history.base, column) for column in mine))
