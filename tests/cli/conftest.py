"""Small tables, a project over them, and the command line as a user starts it."""

import shutil
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
import polars as pl
import pytest

from tests.warm_commands import run_command

START = datetime(2024, 1, 1, tzinfo=UTC)

PROJECT = """
import polars as pl
import headwater as hw

events = hw.Source("events", history=hw.parquet("events.parquet"), timestamp_field="at", select=["user_id", "amount"])
view = hw.FeatureView("user", source=events, keys=["user_id"], windows=["1d", "7d"], features=[hw.count(), hw.mean("amount")], freshness=hw.batch("1d"))
labels = hw.Labels("outcomes", table=hw.parquet("labels.parquet"), timestamp_field="asked", label="churned", known_after="1d")
model = hw.Model("churn", task="binary", features=hw.FeatureService("churn_v1", [view]), labels=labels)
parts = {"small users": pl.col("user_id") < "u20"}
project = hw.Project("shop", [model], levels={"daily": hw.Level(hw.batch("1d")), "instant": hw.Level(hw.on_request())})
"""


def tables(rows=3000, users=40, seed=0):
    """Events of users over 60 days, and labels that depend on what a user did in the last day."""
    random = np.random.default_rng(seed)
    at = np.sort(random.uniform(0, 60 * 86400, rows))
    who = random.integers(0, users, rows)
    amount = random.exponential(10, rows).round(2)
    events = pl.DataFrame(
        {
            "event_id": [f"e{i}" for i in range(rows)],
            "user_id": [f"u{i:02}" for i in who],
            "amount": amount,
            "country": random.choice(["no", "se", "dk"], rows),
            "at": [START + timedelta(seconds=s) for s in at],
        },
        schema_overrides={"at": pl.Datetime("us", "UTC")},
    )
    asked = np.sort(random.uniform(5 * 86400, 59 * 86400, rows // 2))
    asker = random.integers(0, users + 1, rows // 2)  # one user has no event
    recent = np.array(
        [
            ((who == w) & (at < t) & (at > t - 86400)).sum()
            for w, t in zip(asker, asked, strict=True)
        ]
    )
    labels = pl.DataFrame(
        {
            "user_id": [f"u{i:02}" for i in asker],
            "asked": [START + timedelta(seconds=s) for s in asked],
            "settled": [START + timedelta(seconds=s + 7200) for s in asked],
            "churned": (random.uniform(0, 1, rows // 2) < 0.1 + 0.2 * recent).astype(int),
        },
        schema_overrides={"asked": pl.Datetime("us", "UTC"), "settled": pl.Datetime("us", "UTC")},
    )
    return events, labels


@pytest.fixture
def folder(tmp_path):
    """A folder with events.parquet, labels.parquet and features.py."""
    events, labels = tables()
    events.write_parquet(tmp_path / "events.parquet")
    labels.write_parquet(tmp_path / "labels.parquet")
    (tmp_path / "features.py").write_text(PROJECT, encoding="utf-8")
    return tmp_path


@pytest.fixture
def run(tmp_path):
    """Run `headwater ARGUMENTS` in the test's folder."""

    def call(*arguments):
        return run_command(arguments, tmp_path)

    return call


@pytest.fixture(scope="session")
def whole_shop(tmp_path_factory):
    """What makes a project with everything that a command may show, which tests only copy."""
    from tests.cli.terminal_project import make_project

    return cache(lambda *, more: make_project(tmp_path_factory.mktemp("whole_shop"), more=more))


@pytest.fixture
def shop(whole_shop, tmp_path, request):
    """A copy of it, which a command may change; that of slow tests has runs and versions of more
    levels.
    """
    more = request.node.get_closest_marker("slow") is not None
    return shutil.copytree(whole_shop(more=more), tmp_path / "shop")
