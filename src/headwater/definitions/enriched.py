"""Enriched sources: `enrich`, changes to their bases, and the table columns behind them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from headwater.definitions.checks import check_list, check_reference, check_type
from headwater.definitions.columns import Selection, output_name, root_columns
from headwater.definitions.definition import check_name
from headwater.definitions.feature_service import Enriched, FeatureService, Member
from headwater.definitions.feature_view import FeatureRef, FeatureView
from headwater.definitions.request_feature import RequestFeature
from headwater.definitions.source import Source
from headwater.errors import DefinitionError, nearest

if TYPE_CHECKING:
    import polars as pl


def enrich(
    source: Source,
    name: str,
    features: Sequence[Member],
    *,
    select: Selection | None = None,
    filter: pl.Expr | None = None,
) -> Source:
    """A source of the same events, each with features as of its own event time, next to its own
    columns.

    An event asks for the features as a request would: its columns fill the keys of the views, and
    what counts is what had happened before its event time and was known by the freshness of each
    view. It does not count itself. It is known when it was, or when the last event that counted
    became known, whichever is later. A level changes none of this: it says when values are read,
    not what events say. Views over the enriched source are chained views, and it can be enriched
    again.

    Args:
        source: the source of the events.
        name: the new source's name.
        features: views (all their features), single ones, and request features over columns of the
            event. Each is a column of its full name, such as `card__mean_amount_30d`; those that
            nothing reads are not computed.
        select, filter: as for any source, over the columns of this one and the features.

    Raises:
        DefinitionError: `source` is not a Source, a view's key that the events lack, or a feature
            named like one of their columns.

    >>> import headwater as hw, polars as pl
    >>> from datetime import datetime, UTC
    >>> at = lambda hour: datetime(2024, 5, 1, hour, tzinfo=UTC)
    >>> paid = pl.DataFrame(
    ...     {
    ...         "card": ["a"] * 4,
    ...         "at": [at(8), at(9), at(10), at(11)],
    ...         "amount": [10.0, 20.0, 90.0, 30.0],
    ...     }
    ... )
    >>> payments = hw.Source("payments", history=paid, timestamp_field="at")
    >>> card = hw.FeatureView(
    ...     "card",
    ...     source=payments,
    ...     keys=["card"],
    ...     features=[hw.mean("amount")],
    ...     windows=["30d"],
    ...     freshness=hw.streaming("2s"),
    ... )
    >>> large = pl.col("amount") > 3 * pl.col("card__mean_amount_30d")
    >>> rated = hw.enrich(
    ...     payments, "rated", [card["mean_amount_30d"]], select=["card", large.alias("large")]
    ... )
    >>> view = hw.FeatureView(
    ...     "rated_card",
    ...     source=rated,
    ...     keys=["card"],
    ...     features=[hw.count(where="large")],
    ...     windows=["1d"],
    ...     freshness=hw.on_request(),
    ... )
    >>> asked = pl.DataFrame({"card": ["a"], "timestamp": [at(12)]})
    >>> hw.get_historical_features(view, asked)["rated_card__count_where_large_1d"].to_list()
    [1]
    """
    # A rule for when the base's events are known is never earlier than the event, so all that
    # counts for it was known by then: the rule holds for the enriched source too. Where a column
    # says it, the later of both is in a column of its own.
    check_name(name, "a source")
    check_type(source, Source, f"source {name!r}: source of enrich()", "a hw.Source")
    subject = f"source {name!r}, {source.name!r} enriched"
    give = (
        "a list of feature views, single features and request features; what the event itself "
        "carries is a column already"
    )
    check_list(
        features, FeatureView | FeatureRef | RequestFeature, f"{subject}: features", give, least=1
    )
    if source.changes is not None:
        raise DefinitionError(
            f"{subject}: {source.name!r} has changes={source.changes!r}, and a retracted event "
            "has no single request time for features; enrich a source of the images after a "
            "change (filter=), or aggregate this source itself"
        )
    service = FeatureService(name, features)
    if service.not_in_training:
        raise DefinitionError(
            f"{subject}: from a third party without history=, so past values are not known: "
            f"{', '.join(service.not_in_training)}; give it history="
        )
    enriched = dataclasses.replace(
        source,
        name=name,
        history=Enriched(source, service),
        select=select,
        filter=filter,
        known_at_field=None if source.known_at_field is None else known_column(name),
        id_horizon="0s",  # the base has dropped the copies already
    )
    enriched.remember_site()
    _check(enriched, subject)
    return enriched


def known_column(name: str) -> str:
    """The column with the known time of enriched events, for a base with `known_at_field`."""
    return f"{name}__known_at"


def _check(source: Source, subject: str) -> None:
    """Check names against the columns of the base, where its selection names them."""
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
            check_reference(
                column,
                both,
                f"{subject}: {item} uses {column!r}, which is neither a column of the events nor "
                "a feature",
            )


def lacking(source: Source, column: str, who: Sequence[str], have: frozenset[str]) -> str:
    """The error message for events that lack a column that a view or a request feature needs."""
    base = _base(source)
    return (
        f"source {source.name!r}: the events of source {base.name!r} have no column {column!r}, "
        f"which {', '.join(who)} needs; {nearest(column, have)}. Make it there, or fill the key "
        "from another column with view.alias(name, keys=...)"
    )


def clashing(source: Source, column: str) -> str:
    """The error message for a column of the events that is named like a feature."""
    return (
        f"source {source.name!r}: the column {column!r} of source {_base(source).name!r} is named "
        "like a feature; rename it in that source's select, so that neither shadows the other"
    )


def _base(source: Source) -> Source:
    assert isinstance(source.history, Enriched)
    return source.history.base


def over(source: Source, change: Callable[[Source], Source]) -> Source:
    """The enriched source with `change` made of its base and of the sources of its views; itself
    where that changes none.
    """
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
    """The columns of the table at the bottom that a column of the source is made of; features are
    made of other events.
    """
    if source.select is not None and column in (
        by_name := {output_name(item): item for item in source.select}
    ):
        roots = root_columns(by_name[column])
    else:
        roots = frozenset({column})
    return _below(source, roots)


def filter_columns(source: Source) -> frozenset[str]:
    """The columns of the table at the bottom that decide which of its rows are events."""
    columns = frozenset() if source.filter is None else _below(source, root_columns(source.filter))
    return (
        columns | filter_columns(source.history.base)
        if isinstance(source.history, Enriched)
        else columns
    )


def _below(source: Source, columns: frozenset[str]) -> frozenset[str]:
    if not isinstance(source.history, Enriched):
        return columns
    base_columns = columns - set(source.history.features.feature_names)
    return frozenset().union(
        *(table_columns(source.history.base, column) for column in base_columns)
    )
