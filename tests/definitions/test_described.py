"""Descriptions, owners and tags of definitions."""

import dataclasses

import polars as pl
import pytest

import headwater as hw

_EVENTS = pl.DataFrame({"user": [1], "at": [0]})
_SOURCE = hw.Source("visits", history=_EVENTS, timestamp_field="at", timezone="UTC")
_VIEW = hw.FeatureView(
    "user",
    source=_SOURCE,
    keys=["user"],
    features=[hw.count()],
    windows=["1d"],
    freshness=hw.batch("1h"),
)
_SERVICE = hw.FeatureService("all_users", [_VIEW])
_LABELS = hw.Labels(
    "clicked",
    table=pl.DataFrame({"user": [1], "at": [0], "y": [1]}),
    timestamp_field="at",
    label="y",
    known_after="1h",
    timezone="UTC",
)
_MODEL = hw.Model("clicks", features=_SERVICE, labels=_LABELS, task="binary")


@pytest.mark.parametrize(
    "plain", [_SOURCE, _VIEW, _SERVICE, _MODEL], ids=lambda d: type(d).__name__
)
def test_a_description_changes_no_fingerprint(plain):
    described = dataclasses.replace(
        plain, description="what it is", owner="growth", tags=["pii", "beta"]
    )
    assert (described.description, described.owner, described.tags) == (
        "what it is",
        "growth",
        ("pii", "beta"),
    )
    assert described.fingerprint == plain.fingerprint
    assert getattr(described, "tiles_fingerprint", None) == getattr(
        plain, "tiles_fingerprint", None
    )
    assert repr(described) == repr(plain)
