"""Payments of one card, and views over them."""

from datetime import UTC, datetime, timedelta

import polars as pl

import headwater as hw

NOON = datetime(2024, 3, 10, 12, tzinfo=UTC)


def at(minutes):
    return NOON + timedelta(minutes=minutes)


def payments_of(rows, known=False, **rules):
    """Payments of one card: (minute, amount), or (minute, minute known, amount)."""
    frame = pl.DataFrame(
        [
            {"card": "a", "at": at(r[0]), "amount": float(r[-1])}
            | ({"known": at(r[1])} if known else {})
            for r in rows
        ],
        schema_overrides={"at": pl.Datetime("us", "UTC"), "known": pl.Datetime("us", "UTC")},
    )
    return hw.Source(
        "payments",
        history=frame,
        timestamp_field="at",
        known_at_field="known" if known else None,
        **rules,
    )


def by_card(source, *features, freshness=None, name="card", windows=("1h",), **rules):
    return hw.FeatureView(
        name,
        source=source,
        keys=["card"],
        features=features or [hw.mean("amount")],
        windows=windows,
        freshness=freshness or hw.on_request(),
        **rules,
    )


def asked(*minutes, **columns):
    schema = {"card": pl.String, "timestamp": pl.Datetime("us", "UTC")}
    return pl.DataFrame(
        {"card": ["a"] * len(minutes), "timestamp": [at(m) for m in minutes], **columns},
        schema_overrides=schema,
    )


def listed(source, *columns, at=60, freshness=None):
    """What the enriched events say, oldest first."""
    view = by_card(
        source,
        *(hw.last_n(c, k=99) for c in columns),
        name="seen",
        windows=["1d"],
        freshness=freshness,
    )
    found = hw.get_historical_features(view, asked(at)).row(0)[2:]
    return found[0] if len(columns) == 1 else found
