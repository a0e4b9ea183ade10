"""A day replayed: at the served level it is what was served; at others, and with failures, what the
definitions say.
"""

import datetime as dt

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.models.registry import ModelRegistry
from tests.backtesting.delivery_world import LIVE
from tests.cli.conftest import run  # noqa: F401 (a fixture)
from tests.experiments.replayed_world import AFTER, DAY
from tests.experiments.replayed_world import served as played


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replayed")
    return folder, played(folder)


def options(folder, **more):
    store = f"lmdb:{folder / 'online'}?size=1GB"
    return hw.experiments.ReplayOptions(
        data_dir=folder, **{"at": AFTER, "models": folder / "models", "store": store, **more}
    )


def replayed(served, day=DAY, **more):
    folder, known = served
    return hw.experiments.replay_day(known, day, options=options(folder), **more).result


def test_at_the_served_level_nothing_changes(served):
    found = replayed(served)
    assert (found.requests, found.with_outcome) == (80, 80)
    assert found.gap.changed == 0
    assert found.gap.flips.flipped == 0
    assert found.gap.metric.gap.value == 0
    assert found.gap.money.served == found.gap.money.other
    assert found.served.version == found.replayed.version == "1"
    assert found.served.how == found.replayed.how == {"on_request": 80}
    assert found.replayed.faults == found.served.faults
    assert abs(found.served.age_p50 - found.replayed.age_p50) < 2.1
    assert found.served.latency_p50 > 0
    assert found.replayed.latency_p50 > 0


def test_at_another_level_features_are_as_old_as_it_says(served):
    """The scores are those of the daily model on daily features, computed of the tables as a
    training row is.
    """
    folder, known = served
    found = replayed(served, level="daily")
    assert found.gap.changed > 0.5
    assert found.replayed.age_p50 > 6 * 3600 > found.served.age_p50
    assert found.gap.metric.other < found.gap.metric.served
    assert 0 < found.gap.flips.flipped <= 16
    cells = found.gap.flips
    assert (
        sum(cell.rows for cell in (cells.both, cells.served_only, cells.other_only, cells.neither))
        == 80
    )
    assert found.gap.money.other_level_a_day == 1.0
    assert "no interval: one interval needs 8 days" in found.gap.metric.note
    model, level = known.models[0], known.named_levels["daily"]
    start = LIVE + dt.timedelta(days=1)
    asked = pl.read_parquet(folder / "requests.parquet").filter(
        pl.col("asked").is_between(start, start + dt.timedelta(days=1), closed="left")
    )
    rows = hw.get_historical_features(
        model.features, asked.select("user", "machine", "amount", timestamp="asked"), level=level
    )
    scores = ModelRegistry(folder / "models").open(model, "daily").score(rows)
    order, worst = np.argsort(-scores, kind="stable"), round(0.1 * 80)
    assert set(asked["bad"].to_numpy()[order[:worst]]) <= {True, False}
    expected = int(asked["bad"].to_numpy()[scores >= scores[order[worst - 1]]].sum())
    assert cells.both.positive + cells.other_only.positive == expected


@pytest.mark.parametrize("name", ["machine", "readings"], ids=["view", "source"])
def test_what_fails_stays_as_it_was_at_midnight(served, name):
    found = replayed(served, fail=[name])
    assert found.replayed.faults["machine: older than promised"] == 80
    assert found.replayed.age_p95 > 15 * 3600
    assert found.gap.metric.other < found.gap.metric.served
    assert f"with {name} failing" in found.first_line
