"""Precomputed predictions, in every store: a lookup equals a backtest of the same request."""

from contextlib import closing
from datetime import UTC, datetime, timedelta
from random import Random

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeRegressor

import headwater as hw
from headwater import clock
from headwater.backtesting.levels import level_rows
from headwater.definitions.project import backtest_only
from headwater.events.read_events import Notes
from headwater.jobs import precompute
from headwater.models.fit import fit
from headwater.stores import keyspace
from headwater.training.label_rows import read_labels
from tests.effort import LONG
from tests.stores.conftest import make_store, split_places  # noqa: F401 (fixtures)

BASE = datetime(2024, 3, 30, tzinfo=UTC)  # in Berlin, the clock goes forward a day later
HOURS = 60


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))


def at(hours):
    return BASE + timedelta(microseconds=round(hours * 3.6e9))


def world(random, keys):
    """Events of users and shops over `HOURS` hours, known up to two hours late, some of them twice;
    and requests of known and new ones.
    """
    n = 300
    hours = sorted(random.uniform(0, HOURS) for _ in range(n))
    exact = [round(h) if random.random() < 0.1 else h for h in hours]  # on a cut to the microsecond
    events = pl.DataFrame(
        {
            "id": [random.randrange(n) for _ in range(n)],
            "user": [random.randrange(2 + int(h)) for h in exact],
            "shop": [f"s{random.randrange(1 + int(h / 4))}" for h in exact],
            "amount": [random.choice([0.5, 1.0, 3.0, 100.0]) for _ in range(n)],
            "at": [at(h) for h in exact],
            "known": [at(h + random.choice([0, 0, 0.3, 2])) for h in exact],
        },
        schema_overrides={"at": pl.Datetime("us", "UTC"), "known": pl.Datetime("us", "UTC")},
    )
    asked = sorted(random.uniform(4, HOURS) for _ in range(50 if LONG else 25))
    rows = pl.DataFrame(
        {
            "user": [
                None if random.random() < 0.05 else random.randrange(HOURS + 9) for _ in asked
            ],
            "shop": [f"s{random.randrange(18)}" for _ in asked],
            "fee": [random.random() for _ in asked],
            "asked": [at(h) for h in asked],
            "paid": [random.random() for _ in asked],
        },
        schema_overrides={"asked": pl.Datetime("us", "UTC")},
    )
    rules = {
        "history": events,
        "timestamp_field": "at",
        "known_at_field": "known",
        "stream": hw.push(at_least_once=True),
    }
    if random.random() < 0.4:
        rules |= {"id_field": "id", "id_horizon": "3h"}
    source = hw.Source("events", **rules)
    fresh = random.choice(
        [
            hw.batch("1h"),
            hw.batch("1h", delay="30m"),
            hw.batch("6h", delay="3h"),
            hw.streaming("20m"),
            hw.on_request(),
        ]
    )
    make = [hw.count(), hw.sum("amount"), hw.last("amount")]
    user = hw.FeatureView(
        "user", source=source, keys=["user"], features=make, windows=["6h", "2d"], freshness=fresh
    )
    shop = hw.FeatureView(
        "shop", source=source, keys=["shop"], features=make[:2], windows=["1d"], freshness=fresh
    )
    pair = hw.FeatureView(
        "pair",
        source=source,
        keys=["user", "shop"],
        features=make[:1],
        windows=["1d"],
        freshness=fresh,
    )
    every = hw.FeatureView(
        "every", source=source, keys=[], features=make[:1], windows=["6h"], freshness=fresh
    )

    @hw.request_feature
    def share(mine: int = user["count_2d"], others: int = every["count_6h"]) -> float:
        return mine / (1 + others)

    views = (
        [user, every]
        if keys == ["user"]
        else [pair, every]
        if random.random() < 0.3
        else [user, shop, pair, every]
    )
    members = [*views, hw.RequestField("fee", float), *([share] if user in views else [])]
    labels = hw.Labels("paid", table=rows, timestamp_field="asked", label="paid", known_after="1h")
    # what it says of a row depends on no other row, to the bit
    estimator = DecisionTreeRegressor(random_state=0)
    return hw.Model(
        "pays",
        task="regression",
        features=hw.FeatureService("svc", members),
        labels=labels,
        estimator=estimator,
    ), rows


CUTS = [
    hw.batch("1h"),
    hw.batch("1h", delay="30m", wait="10m"),
    hw.batch("6h", at="02:00", timezone="Europe/Berlin", delay="2h"),
    hw.batch("1d", timezone="Europe/Berlin", delay="4h", wait="4h"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    "seed", [pytest.param(n, marks=() if n < 1 else pytest.mark.long) for n in range(5)]
)
def test_what_is_looked_up_is_what_a_backtest_gives(seed, make_store, monkeypatch):
    """Requests in turn, each after the job of its cut: the same fitted model, the same score, and
    none where a backtest has none.
    """
    monkeypatch.setattr(precompute, "_ROWS", 25)
    random = Random(seed)
    keys = random.choice([["user"], ["user", "shop"]])
    model, rows = world(random, keys)
    fresh = random.choice([None, hw.batch("1h"), hw.batch("6h", delay="1h"), hw.streaming("1h")])
    levels = [
        hw.Level(fresh, hw.precomputed(CUTS[seed % 4], keys=keys, otherwise=other))
        for other in ("on_request", "default")
    ]
    level = levels[
        backtest_only(hw.operations.ModelVariant("ahead", model, levels[0])) is not None or seed % 2
    ]
    ahead = level.predictions
    requests = read_labels(model.labels)
    found = level_rows(
        model, requests, {"": level, "now": hw.Level(level.features)}, Notes(), hw.Resources()
    )
    rest = hw.Level(level.features, hw.precomputed(ahead.freshness, keys=keys))
    known = level_rows(model, requests, {"": rest}, Notes(), hw.Resources())[""].answered
    assert found[""].answered.all() if ahead.on_request else (found[""].answered == known).all()
    fitted = fit(
        model,
        found[""].frame.filter(found[""].answered),
        rows["paid"].to_numpy()[found[""].answered],
    )
    expected = fitted.score(found[""].frame)
    variant = hw.operations.ModelVariant("ahead", model, level)
    assert level.feature_names(model) == tuple(found[""].frame.columns)
    with closing(make_store()) as store:
        reader = hw.operations.PrecomputedReader(variant, store)
        said, cuts = [], []
        for row in range(rows.height):
            t = int(requests.t[row])
            job = precompute.PrecomputeJob(
                variant,
                fitted,
                "1",
                store,
                resources=hw.Resources(memory=random.choice([None, "4GB"])),
            )
            cuts.append(job.run(t).cut)
            request = {key: rows[key][row] for key in keys}
            one, many = (
                reader.one(request, t),
                reader.many({key: [value] for key, value in request.items()}, 1, t),
            )
            assert (many.values[0], many.how[0], many.cut, many.age, many.stale) == one
            said.append(one)
    assert [one.how == "precomputed" for one in said] == known.tolist()
    # to the bit
    assert [one.value for one in said if one.value is not None] == expected[known].tolist()
    assert {one.how for one, k in zip(said, known, strict=True) if not k} <= {ahead.otherwise}
    assert not any(one.stale for one in said)
    assert len({cut.T for cut in cuts}) > 2
    assert known.sum() > 0


@pytest.mark.slow
def test_only_records_of_a_cut_are_kept(make_store):
    """A key that is not scored any more has no score in the next cut, and no record after the one
    that follows.
    """
    events = pl.DataFrame({"user": [1, 2], "amount": [1.0, 2.0], "at": [at(0.5), at(10.5)]})
    source = hw.Source("events", history=events, timestamp_field="at")
    view = hw.FeatureView(
        "user", source=source, keys=["user"], features=[hw.sum("amount")], freshness=hw.on_request()
    )
    labels = hw.Labels(
        "paid",
        table=events.with_columns(at=at(20)),
        timestamp_field="at",
        label="amount",
        known_after="1h",
    )
    model = hw.Model(
        "pays",
        task="regression",
        features=hw.FeatureService("svc", [view]),
        labels=labels,
        estimator=LinearRegression(),
    )
    variant = hw.operations.ModelVariant(
        "ahead", model, hw.Level(predictions=hw.precomputed(hw.batch("1h"), keys=["user"]))
    )
    fitted = fit(model, pl.DataFrame({"user__sum_amount": [0.0, 1.0]}), np.array([0.0, 1.0]))
    with closing(make_store()) as store:
        reader = hw.operations.PrecomputedReader(variant, store)
        for hour, known in ((1, {1: 1.0}), (2, {1: 1.0}), (11, {2: 2.0}), (12, {2: 2.0})):
            made = hw.operations.materialize_model(
                variant, fitted, store=store, at=at(hour), keys=hw.operations.ActiveKeys("3h")
            )
            found = {user: reader.one({"user": user}, clock.micros(at(hour))) for user in (1, 2, 3)}
            assert {
                user: round(one.value, 9) for user, one in found.items() if one.value is not None
            } == known
            assert (made.cut.keys, made.skipped) == (1, 1 if hour > 10 else 0)
        # of one key, for two cuts
        assert len(list(store.scan(keyspace.records(precompute.fingerprint(variant))))) == 2
