"""What ids need in memory, as a plan says it: rate of the history x id_horizon x 32 bytes; and
refusals above `memory=`.
"""

import json
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.errors import UsageError

SCHEMA = {"key": int, "amount": float, "id": str, "at": datetime}


def events(count=3_601, seconds=360, **more):
    """Ten events a second where nothing else is given."""
    begin = datetime(2024, 5, 1, tzinfo=UTC)
    times = [begin + timedelta(seconds=seconds * n / max(count - 1, 1)) for n in range(count)]
    columns = {
        "key": [1] * count,
        "amount": [1.0] * count,
        "id": [str(n) for n in range(count)],
        "at": times,
    }
    return pl.DataFrame(columns | more, schema_overrides={"at": pl.Datetime("us", "UTC")})


def source(name="payments", **more):
    rules = {
        "history": events(),
        "stream": hw.push(schema=SCHEMA),
        "timestamp_field": "at",
        "id_field": "id",
    }
    return hw.Source(
        name, **{name: value for name, value in (rules | more).items() if value is not None}
    )


def project(*sources, freshness=None):
    fresh = freshness or hw.streaming("2s")
    views = [
        hw.FeatureView(
            s.name, source=s, keys=["key"], features=[hw.count()], windows=["1h"], freshness=fresh
        )
        for s in sources
    ]
    labels = hw.Labels(
        "labels", table=events(10), timestamp_field="at", label="amount", known_after="1h"
    )
    return hw.Project(
        "shop",
        [hw.Model("m", task="regression", features=hw.FeatureService("s", views), labels=labels)],
    )


def planned(tmp_path, *sources, freshness=None, **more):
    return hw.plan(project(*sources, freshness=freshness), tmp_path / "catalog.sqlite", **more)


def test_a_plan_says_what_ids_need(tmp_path):
    made = planned(tmp_path, source(), source("clicks", id_horizon="2h"))
    assert set(made.id_bytes) == set(made.ids) == {"payments", "clicks"}
    assert abs(made.id_bytes["payments"] / (86_400 * 10 * 32) - 1) < 1e-3
    assert abs(made.id_bytes["clicks"] / (7_200 * 10 * 32) - 1) < 1e-3
    assert (
        "source payments: its ids need 27.7MB of memory: 10 events/s in its history x 1d "
        "(id_horizon) x 32 bytes"
    ) in str(made)
    assert "source clicks: its ids need 2.3MB of memory" in str(made)
    assert json.loads(json.dumps(made.to_dict()))["id_bytes"] == dict(made.id_bytes)


def test_more_than_the_memory_is_refused_for_all_sources_together(tmp_path):
    both = source(), source("clicks")
    for memory in ("60MB", 60_000_000, None):
        assert not planned(tmp_path, *both, memory=memory).refused
    refused = planned(tmp_path, *both, memory="50MB")
    (lint,) = refused.refused
    assert str(lint) == (
        "source payments, clicks: ids need 55.3MB of memory (payments 27.7MB, clicks 27.7MB), and "
        "memory is 50MB. Give a shorter id_horizon, or ingest with more memory [id-memory]"
    )
    with pytest.raises(UsageError, match="memory is 'much'; give a number and a unit"):
        planned(tmp_path, source(id_field=None), memory="much")
