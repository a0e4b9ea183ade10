"""Batch views: from the very moment of a cut on its values are read, one reader asked again and
again, as training has them.
"""

import random
from contextlib import closing
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.errors import HeadwaterError
from headwater.testing import clock
from tests.laws.streams import TIME, project

NOON = datetime(2024, 3, 30, 12, tzinfo=UTC)
USERS = ["a", "b", "never"]


def view(freshness, **more):
    """A view of visits that came every few minutes for days, also in the future."""
    chance = random.Random(1)
    at = [
        NOON
        + timedelta(
            minutes=chance.randint(-6000, 6000), microseconds=chance.choice([0, 1, 500_000])
        )
        for _ in range(3000)
    ]
    table = pl.DataFrame(
        {"user": [chance.choice("ab") for _ in at], "n": range(3000), "at": at},
        schema_overrides={"at": TIME},
    )
    source = hw.Source("visits", history=table, timestamp_field="at")
    features = [hw.count(), hw.sum("n"), hw.last("n")]
    return hw.FeatureView(
        "user",
        source=source,
        keys=["user"],
        features=features,
        windows=["1d"],
        freshness=freshness,
        **more,
    )


SCHEDULES = {
    "each hour": (hw.batch("1h"), timedelta(hours=1)),
    "each hour, late": (hw.batch("1h", delay="20m", at="00:10"), timedelta(hours=1)),
    "each quarter": (hw.batch("15m"), timedelta(minutes=15)),
    "each day where the clock is put forward": (
        hw.batch("1d", at="02:30", timezone="Europe/Oslo"),
        timedelta(days=1),
    ),
}


@pytest.mark.parametrize(("schedule", "every"), SCHEDULES.values(), ids=SCHEDULES)
def test_a_cut_is_read_from_its_moment_on(schedule, every, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    made, url = view(schedule), f"lmdb:{tmp_path}/store?size=64MB"
    frame, seen = pl.DataFrame({"user": USERS}), set()
    with clock.at(NOON + timedelta(days=9)), closing(hw.operations.open_store(url)) as store:
        hw.materialize(project([made]), store=store, at=NOON)
        reader = hw.operations.OnlineFeatures(hw.FeatureService("s", [made]), store)
        start, cuts = NOON, []
        # the moment of the next cut, to the microsecond, is where training changes
        for _ in range(3):
            low, high = start, start + every * 2
            while high - low > timedelta(microseconds=1):
                middle = low + (high - low) // 2
                low, high = (
                    (middle, high)
                    if of_training(made, frame, middle) == of_training(made, frame, start)
                    else (low, middle)
                )
            cuts.append(high)
            start = high
        for cut in cuts:
            earlier = of_training(made, frame, cut - timedelta(microseconds=1))
            assert read(reader, frame, cut - every / 2) == earlier
            assert read(reader, frame, cut - timedelta(microseconds=1)) == earlier
            hw.materialize(project([made]), store=store, at=cut)
            for later in (0, 1, 10**6, 60 * 10**6, 200 * 10**6):
                at = cut + timedelta(microseconds=later)
                assert read(reader, frame, at) == of_training(made, frame, cut), at
                assert read(reader, frame, at - timedelta(microseconds=later + 1)) == earlier, at
            seen.add(str(earlier))
    assert len(seen) == 3


def test_a_correction_that_is_known_at_a_cut_is_in_it(tmp_path, monkeypatch):
    """To the microsecond: what replaces a row, and what withdraws it, is known at the cut, before
    it, or after it.
    """
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    rows = []
    for number, late in enumerate((-1, 0, 1)):
        user, at, known = (
            "abc"[number],
            NOON - timedelta(hours=1),
            NOON + timedelta(microseconds=late),
        )
        rows.append({"id": f"replaced{number}", "user": user, "n": 1, "before": False, "known": at})
        rows.append(
            {"id": f"replaced{number}", "user": user, "n": 1, "before": True, "known": known}
        )
        rows.append(
            {"id": f"replaced{number}", "user": user, "n": 100, "before": False, "known": known}
        )
        rows.append(
            {"id": f"withdrawn{number}", "user": user, "n": 10_000, "before": False, "known": at}
        )
        rows.append(
            {"id": f"withdrawn{number}", "user": user, "n": 10_000, "before": True, "known": known}
        )
    table = pl.DataFrame(
        [{**row, "at": NOON - timedelta(hours=1)} for row in rows],
        schema_overrides={"at": TIME, "known": TIME},
    )
    source = hw.Source(
        "visits",
        history=table,
        timestamp_field="at",
        id_field="id",
        known_at_field="known",
        changes="before",
        select=["user", "n"],
    )
    features = [hw.count(), hw.sum("n")]
    made = hw.FeatureView(
        "user",
        source=source,
        keys=["user"],
        features=features,
        windows=["1d"],
        freshness=hw.batch("1h"),
    )
    frame = pl.DataFrame({"user": ["a", "b", "c"]})
    with (
        clock.at(NOON + timedelta(days=9)),
        closing(hw.operations.open_store(f"lmdb:{tmp_path}/store?size=64MB")) as store,
    ):
        hw.materialize(project([made]), store=store, at=NOON)
        reader = hw.operations.OnlineFeatures(hw.FeatureService("s", [made]), store)
        found = read(reader, frame, NOON)
        assert found == of_training(made, frame, NOON) == [(1, 100), (1, 100), (2, 10_001)]
        hw.materialize(project([made]), store=store, at=NOON + timedelta(hours=1))
        assert read(reader, frame, NOON + timedelta(hours=1)) == [(1, 100)] * 3


def of_training(made, frame, at):
    found = hw.get_historical_features(
        made, frame.with_columns(pl.lit(at).cast(TIME).alias("asked")), timestamp_field="asked"
    )
    return found.select(made.feature_names).rows()


def read(reader, frame, at):
    return reader.read(frame, at=at).select(reader.names).rows()


@pytest.mark.parametrize("on_stale", ["previous", "null", "refuse"])
def test_a_cut_that_is_late_is_told(on_stale, tmp_path, monkeypatch):
    """Until the job ran, values are those of the cut before, marked, or none, or the request is
    refused.
    """
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    made, url = view(hw.batch("1h"), on_stale=on_stale), f"lmdb:{tmp_path}/store?size=64MB"
    frame = pl.DataFrame({"user": USERS})
    with clock.at(NOON + timedelta(days=9)), closing(hw.operations.open_store(url)) as store:
        hw.materialize(project([made]), store=store, at=NOON)
        before = hw.get_online_features(
            made, frame, store=store, at=NOON + timedelta(minutes=59), details=True
        )
        assert before["user__count_1d__status"].to_list() == ["present", "present", "missing"]
        late = NOON + timedelta(hours=1, minutes=1)
        if on_stale == "refuse":
            with pytest.raises(HeadwaterError, match="older than it promises"):
                hw.get_online_features(made, frame, store=store, at=late, details=True)
        else:
            found = hw.get_online_features(made, frame, store=store, at=late, details=True)
            names = list(made.feature_names)
            assert found.select(names).rows() == (
                before.select(names).rows() if on_stale == "previous" else [(None,) * 3] * 3
            )
            assert (set(found["user__count_1d__status"].to_list()) == {"fallback"}) is (
                on_stale == "null"
            )
            assert (
                all(found["user__count_1d__stale"]) is (on_stale == "previous")
                or on_stale == "null"
            )
        hw.materialize(project([made]), store=store, at=late)
        found = hw.get_online_features(made, frame, store=store, at=late, details=True)
        assert found.select(made.feature_names).rows() == of_training(made, frame, late)
