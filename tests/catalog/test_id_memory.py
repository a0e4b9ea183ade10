"""What ids need in memory, as a plan says it: rate of the history x id_horizon x 32 bytes; and
refusals above `memory=`.
"""

import json
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.errors import UsageError
from tests.cli.test_calls import fails
from tests.warm_commands import run_command

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


FORMS = {
    "a filter": (
        {"filter": pl.col("amount") > 0.5, "history": events(3_602, amount=[1.0, 0.0] * 1_801)},
        5,
    ),
    "events without a time": (
        {
            "history": pl.concat(
                [events(), events(50).with_columns(at=None)], how="vertical_relaxed"
            )
        },
        10,
    ),
    "a known_at_field": ({"known_at_field": "at"}, 10),
    "a naive time": (
        {
            "timezone": "Europe/Oslo",
            "history": events().with_columns(pl.col("at").dt.replace_time_zone(None)),
        },
        10,
    ),
    "integer ids": (
        {
            "history": events().with_columns(pl.col("id").cast(pl.Int64)),
            "stream": hw.push(schema=SCHEMA | {"id": int}),
        },
        10,
    ),
}


@pytest.mark.parametrize(("form", "rate"), FORMS.values(), ids=FORMS)
def test_the_rate_is_that_of_the_events_that_count(form, rate, tmp_path):
    assert planned(tmp_path, source(**form)).id_bytes["payments"] == pytest.approx(
        86_400 * rate * 32, rel=2e-3
    )


def test_the_rate_of_files_is_that_of_frames(tmp_path):
    events().write_parquet(tmp_path / "events.parquet")
    from_files = planned(tmp_path, source(history=hw.parquet(tmp_path / "events.parquet")))
    assert from_files.id_bytes == planned(tmp_path, source()).id_bytes


UNKNOWN = {
    "no history": ({"history": None}, "It has no history"),
    "an empty history": ({"history": events(0)}, "no two events of different times"),
    "one time": ({"history": events(5, seconds=0)}, "no two events of different times"),
    "a missing file": ({"history": hw.parquet("missing.parquet")}, "Its history cannot be read"),
}


@pytest.mark.parametrize(("form", "why"), UNKNOWN.values(), ids=UNKNOWN)
def test_without_a_rate_the_plan_says_what_a_thousand_events_need(form, why, tmp_path):
    made = planned(tmp_path, source(**form), memory="1MB")
    assert dict(made.id_bytes) == {}
    assert (
        "each id needs 32 bytes of memory for 1d (id_horizon): 2.76GB at 1,000 events/s"
        in made.ids["payments"]
    )
    assert why in made.ids["payments"]
    assert not [lint for lint in made.lints if lint.rule == "id-memory"]


def test_nothing_is_said_of_sources_that_keep_no_ids_in_memory(tmp_path):
    images = events().with_columns(before=pl.lit(value=False), known="at")
    changing = source(
        changes="before",
        known_at_field="known",
        history=images,
        stream=hw.push(schema=SCHEMA | {"before": bool, "known": datetime}),
    )
    for made in (
        planned(tmp_path, changing),
        planned(tmp_path, source(id_field=None)),
        planned(tmp_path, source(), freshness=hw.batch("1d")),
    ):
        assert dict(made.ids) == {}


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


PROJECT = """
from datetime import datetime

import headwater as hw

stream = hw.push(schema={"id": str, "user_id": str, "amount": float, "at": datetime})
clicks = hw.Source("clicks", history=hw.parquet("ids.parquet"), stream=stream, timestamp_field="at", id_field="id")
recent = hw.FeatureView(
    "recent", source=clicks, keys=["user_id"], windows=["1h"], features=[hw.count()], freshness=hw.streaming("2s")
)
labels = hw.Labels("left", table=hw.parquet("ids.parquet"), timestamp_field="at", label="amount", known_after="1h")
model = hw.Model("m", task="regression", features=hw.FeatureService("s", [recent]), labels=labels)
project = hw.Project("shop", [model])
"""


def test_the_limit_comes_from_the_flag_the_variable_or_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    (tmp_path / "features.py").write_text(PROJECT, encoding="utf-8")
    events().with_columns(pl.lit("u").alias("user_id")).write_parquet(tmp_path / "ids.parquet")

    def refused(*more):
        done = run_command(["plan", "--json", *more], tmp_path)
        assert done.returncode == 0, done.stderr
        return [
            lint["rule"]
            for lint in json.loads(done.stdout)["lints"]
            if lint["severity"] == "refused"
        ]

    assert refused() == refused("--memory", "1GB") == []
    assert refused("--memory", "20MB") == ["id-memory"]
    checked = run_command(["plan", "--check", "--memory", "20MB"], tmp_path)
    assert checked.returncode == 1
    assert "1 would be refused" in checked.stderr
    assert "refused: source clicks: ids need 27.7MB of memory, and memory is 20MB" in " ".join(
        checked.stdout.split()
    )
    assert fails(
        run_command(["plan", "--memory", "20"], tmp_path),
        2,
        "memory is '20'; give a number and a unit",
    )
    (tmp_path / "headwater.toml").write_text('[plan]\nmemory = "20MB"\n', encoding="utf-8")
    assert refused() == ["id-memory"]
    monkeypatch.setenv("HEADWATER_PLAN_MEMORY", "1GB")
    assert refused() == []
