"""A replay shows at each step what training says was known by then, and nothing of what came
later.
"""

from random import Random

import polars as pl
import pytest

import headwater as hw
from headwater.errors import UsageError
from headwater.testing import clock
from headwater.testing.naive import agree, evaluate
from tests.flow import at, frame, home, micros, project_of, store, view_of  # noqa: F401 (fixtures)

HOUR = 3600


def history(seed=0, count=300):
    """Events of four keys over three hours; some are known late, some before they happen, some come
    twice.
    """
    random = Random(seed)
    rows, known, ids, passes = [], [], [], []
    for n in range(count):
        second = round(random.uniform(0, 3 * HOUR), 3)
        rows.append((random.randrange(4), second, random.choice([1.0, 2.5, 1e9, None])))
        known.append(at(max(0.0, second + random.choice([0, 0, 0, 1, 300, 4000, -500]))))
        ids.append(n if random.random() < 0.8 else max(0, n - 3))
        passes.append(random.random() < 0.9)
    return frame(rows, known=known, id=ids, passes=passes)


SOURCES = {
    "plain": {"select": ["key", "amount"]},
    "late": {"known_at_field": "known", "select": ["key", "amount"]},
    "known after": {"known_after": "90s", "select": ["key", "amount"]},
    "known after, ids": {
        "known_after": "90s",
        "id_field": "id",
        "id_horizon": "2d",
        "select": ["key", "amount"],
    },
    "filter and ids": {
        "known_at_field": "known",
        "id_field": "id",
        "id_horizon": "2d",
        "filter": pl.col("passes"),
        "select": ["key", "amount"],
    },
    "by known time": {
        "known_at_field": "known",
        "window_on": "known_at",
        "select": ["key", "amount"],
    },
}


def live(events, kind, name="view", **more):
    features = [hw.count(), hw.sum("amount"), hw.last_n("amount", k=3)]
    return view_of(
        events,
        freshness=hw.streaming("2s"),
        features=features,
        windows=["1h", "10m"],
        source=SOURCES[kind],
        name=name,
        **more,
    )


def at_once(view, moments):
    """What training says for every key at every moment."""
    asked = pl.DataFrame(
        {
            "key": [k for _ in moments for k in range(5)],
            "timestamp": [m for m in moments for _ in range(5)],
        }
    )
    level = hw.Level(hw.on_request())
    return hw.get_historical_features(view, asked, level=level, statuses=True)


@pytest.mark.parametrize(
    "kind", ["plain", "late", "known after", "known after, ids", "filter and ids"]
)
@pytest.mark.parametrize("step", [pytest.param("7m", marks=pytest.mark.slow), "1h", "1d"])
def test_every_step_is_what_training_says(kind, step, store):
    view = live(history(), kind)
    moments, found = [], []
    for now in hw.operations.replay(
        [view], store, start=at(HOUR / 2), end=at(3 * HOUR + 4000), step=step
    ):
        asked = [{"key": key} for key in range(5)]
        moments.append(now.timestamp)
        found.append(
            hw.get_online_features(view, asked, store=store, at=now.timestamp, details=True)
        )
    expected = at_once(view, moments)
    online = pl.concat(found)
    for name in view.feature_names:
        assert online[f"{name}__status"].to_list() == expected[f"{name}__status"].to_list(), name
        rows = [
            {"key": k, "timestamp": t}
            for k, t in zip(expected["key"], expected["timestamp"], strict=True)
        ]
        passing = history().filter("passes") if "filter" in kind else history()
        answers = evaluate(view, passing.to_dicts(), rows, freshness=hw.on_request())
        for value, answer in zip(online[name].to_list(), answers, strict=True):
            assert agree(answer[name], value), name
    assert not online["view__count_1h__stale"].any()
    assert moments[-1] == at(3 * HOUR + 4000)


def test_what_was_known_before_the_start_and_happens_after_it(store):
    events = frame([(1, 100, 1.0), (1, 200, 2.0)], known=[at(-10), at(-10)])
    view = live(events, "late")
    steps = [
        hw.get_online_features(view, [{"key": 1}], store=store, at=now.timestamp)["view__count_1h"][
            0
        ]
        for now in hw.operations.replay([view], store, start=at(0), end=at(300), step="100s")
    ]
    assert steps == [0, 1, 2]  # at T itself an event has not happened


def test_speed_paces_the_clock(store):
    with clock.at(at(0), skips=True) as wall:
        seen = [
            (now.now, wall.moved())
            for now in hw.operations.replay(
                [live(history(), "plain")], store, start=at(0), end=at(7200), step="40m", speed=60
            )
        ]
    assert [t for t, _ in seen] == [micros(s) for s in (2400, 4800, 7200)]
    # what a step took is no part of its pause
    assert [moved for _, moved in seen] == pytest.approx([40, 80, 120], abs=20)


def test_the_clock_stops_where_it_is_told(store):
    view, stops = live(history(), "late"), [at(HOUR + 1), at(HOUR + 90), at(1.5 * HOUR)]
    seen = []
    for now in hw.operations.replay([view], store, start=at(HOUR), end=at(2 * HOUR), step=stops):
        seen.append(now.timestamp)
        found = hw.get_online_features(
            view, [{"key": k} for k in range(5)], store=store, at=now.timestamp
        )
        assert (
            found["view__count_1h"].to_list()
            == at_once(view, [now.timestamp])["view__count_1h"].to_list()
        )
    assert seen == [*stops, at(2 * HOUR)]


def test_the_archive_of_a_replay_is_what_was_played(store, tmp_path):
    view = live(history(), "filter and ids")
    for _ in hw.operations.replay(
        [view], store, start=at(HOUR), end=at(4 * HOUR), step="10m", data_dir=tmp_path
    ):
        pass
    kept = pl.concat(
        [pl.read_parquet(p) for p in sorted((tmp_path / "archive").rglob("*.parquet"))]
    )
    played = (
        history()
        .filter((pl.col("known") > at(HOUR)) | (pl.col("at") >= at(HOUR)), "passes")
        .unique("id")
    )
    assert set(kept["id"]) <= set(played["id"])
    (found,) = hw.parity(project_of(view), store=store, data_dir=tmp_path, at=at(4 * HOUR))
    assert found.mismatches == []


def test_views_that_cannot_be_replayed(store):
    events = history()
    batch = view_of(events, freshness=hw.batch("1h"))
    with pytest.raises(UsageError, match="is not streaming"):
        next(hw.operations.replay([batch], store, start=at(0), end=at(1)))
    view = live(events, "plain")
    for _ in hw.operations.replay([view], store, start=at(0), end=at(60)):
        pass
    with pytest.raises(UsageError, match="in the online store already"):
        next(hw.operations.replay([view], store, start=at(0), end=at(60)))
