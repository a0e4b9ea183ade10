"""Levels of a project next to its own definitions: planned, materialized, ingested, served, and
named as for backtests only.
"""

import polars as pl
import pytest

import headwater as hw
from headwater.definitions.project import backtest_only, served, stored
from headwater.errors import UsageError
from tests.flow import Flow, at, frame, home, store, streaming_view, view_of  # noqa: F401 (fixtures)

HOURLY, MINUTELY = hw.batch("1h"), hw.batch("1m")
EVENTS = frame([(1, 10, 1.0), (1, 4000, 2.0), (2, 5000, 4.0), (2, 7210, 8.0)], friend=[2, 2, 1, 1])


def project_at(levels, *views, features=None, predictions=None):
    labels = hw.Labels(
        "labels",
        table=frame([(1, 10, 1.0)]),
        timestamp_field="at",
        label="amount",
        known_after="1h",
    )
    service = hw.FeatureService("service", features or list(views))
    return hw.Project(
        "project",
        [
            hw.Model(
                "model", task="regression", features=service, labels=labels, predictions=predictions
            )
        ],
        levels,
    )


def roles():
    """A view, the same for the friend that its last event names, and a function of that."""
    source = hw.Source("events", history=EVENTS, timestamp_field="at")
    user = hw.FeatureView(
        "user",
        source=source,
        keys=["key"],
        features=[hw.count(), hw.last("friend")],
        windows=["1d"],
        freshness=HOURLY,
    )
    friend = user.alias("friend", keys={"key": user["last_friend_1d"]})

    @hw.request_feature
    def twice(count: int = friend["count_1d"]) -> int:
        return 2 * count

    return user, friend, [twice, user["count_1d"]]


# ---------------------------------------------------------------- definitions


def test_a_level_changes_every_view_and_no_name():
    features = roles()[2]
    model = project_at({}, features=features).models[0]
    service = hw.Level(MINUTELY).service(model)
    assert service.feature_names == model.features.feature_names
    sites = {view.name: view.site for view in model.features.views}
    for view in (
        *service.views,
        service.features[0].inputs["count"].view,
        service.views[1].request_keys["key"].view,
    ):
        assert view.freshness == view.root.freshness == MINUTELY
        assert view.site == sites[view.name]
    assert hw.Level().service(model) is model.features


def test_a_level_says_on_request_where_the_model_says_precomputed():
    ahead = hw.precomputed(HOURLY, keys=["key"])
    model = project_at({}, view_of(EVENTS, freshness=HOURLY), predictions=ahead).models[0]
    assert hw.Level().precomputed(model) == ahead
    assert hw.Level(predictions=hw.on_request()).precomputed(model) is None
    assert hw.Level() != hw.Level(predictions=hw.on_request())


# ---------------------------------------------------------------- serving


VIEW = view_of(EVENTS, freshness=HOURLY)
STREAMED = streaming_view()
ENRICHED = hw.FeatureView(
    "rich",
    source=hw.enrich(VIEW.source, "told", [VIEW]),
    keys=["key"],
    features=[hw.count()],
    windows=["1h"],
    freshness=HOURLY,
)


@pytest.mark.parametrize(
    ("view", "level", "says"),
    [
        (VIEW, hw.Level(MINUTELY), None),
        (STREAMED, hw.Level(hw.streaming("1m")), None),
        (VIEW, hw.Level(hw.on_request()), "cannot be queried for one key"),
        (VIEW, hw.Level(hw.measured(["1s"])), "measured"),
        (VIEW, hw.Level(hw.never()), "never"),
        (
            VIEW,
            hw.Level(hw.streaming("2s")),
            "view view would be streaming, and source events has no stream",
        ),
        (STREAMED, hw.Level(HOURLY), "view view would be batch, and source events has no history"),
        (ENRICHED, hw.Level(hw.streaming("2s")), "its source told is enriched"),
        (VIEW, hw.Level(known_after={VIEW.source: "1m"}), "known_after of events"),
        (VIEW, hw.Level(predictions=hw.precomputed(HOURLY, keys=["key"])), None),
        # the job reads the history
        (VIEW, hw.Level(hw.on_request(), predictions=hw.precomputed(HOURLY, keys=["key"])), None),
        (
            VIEW,
            hw.Level(
                hw.on_request(),
                predictions=hw.precomputed(HOURLY, keys=["key"], otherwise="on_request"),
            ),
            "cannot be queried",
        ),
        (
            VIEW,
            hw.Level(hw.measured(["1s"]), predictions=hw.precomputed(HOURLY, keys=["key"])),
            "is for backtests only",
        ),
        (
            VIEW,
            hw.Level(predictions=hw.precomputed(hw.streaming("1m"), keys=["key"])),
            "a job computes them at cuts",
        ),
    ],
)
def test_what_only_a_backtest_can_replay(view, level, says):
    project = project_at({"other": level}, view)
    why = backtest_only(project.variants[1])
    assert (why is None) == (says is None)
    assert says is None or says in why
    assert [variant.name for variant in served(project)] == ["as defined"] + ["other"] * (
        says is None
    )
    assert next(one.name for one in stored(project)) == view.name


def test_what_is_kept_is_kept_once():
    user, friend, features = roles()
    ahead = hw.precomputed(HOURLY, keys=["key"])
    levels = {
        "same": hw.Level(HOURLY),
        "minute": hw.Level(MINUTELY),
        "too": hw.Level({user: MINUTELY}),
        "friend": hw.Level({friend: hw.batch("1d")}),
        "ahead": hw.Level(hw.batch("5m"), predictions=ahead),
        "ahead or now": hw.Level(
            hw.batch("10m"),
            predictions=hw.precomputed(HOURLY, keys=["key"], otherwise="on_request"),
        ),
        "never": hw.Level(hw.never()),
    }
    found = {one.name: one for one in stored(project_at(levels, features=features))}
    assert list(found) == ["user", "user@minute", "user@friend", "user@ahead or now"]
    assert found["user"].levels == ("as defined", "same", "friend")
    assert found["user@minute"].levels == ("minute", "too")
    assert len({one.view.tiles_fingerprint for one in found.values()}) == 4


def test_streams_that_lag_differently_are_kept_once():
    found = stored(project_at({"slow": hw.Level(hw.streaming("1h"))}, STREAMED))
    assert [(one.name, one.view.freshness) for one in found] == [("view", hw.streaming("2s"))]


# ---------------------------------------------------------------- pipelines


@pytest.mark.slow
def test_each_level_is_materialized_served_and_told_of(store):
    features = roles()[2]
    levels = {"minute": hw.Level(MINUTELY), "instant": hw.Level(hw.on_request())}
    project = project_at(levels, features=features)
    made = hw.materialize(project, store=store, at=at(7265))
    assert [(m.view, m.events) for m in made] == [("user", 3), ("user@minute", 4)]
    assert [m.view for m in hw.materialize(project, ["user@minute"], store=store, at=at(7265))] == [
        "user@minute"
    ]
    assert [m.view for m in hw.materialize(project, ["user"], store=store, at=at(7265))] == [
        "user",
        "user@minute",
    ]
    rows = pl.DataFrame({"key": [1, 2]})
    asked = rows.with_columns(pl.lit(at(7290)).alias("timestamp"))
    model = project.models[0]
    for level in (hw.Level(), levels["minute"]):
        online = hw.get_online_features(level.service(model), rows, store=store, at=at(7290))
        offline = hw.get_historical_features(model.features, asked, level=level)
        assert online.equals(offline.select(online.columns))
    assert online["user__count_1d"].to_list() == [2, 2]
    found = {v.view: v.state for v in hw.status(project, store=store, at=at(7330)).views}
    assert found == {"user": "current", "user@minute": "stale"}
    parities = hw.parity(project, store=store, at=at(7290))
    assert [(p.view, len(p.mismatches)) for p in parities] == [("user", 0), ("user@minute", 0)]
    assert hw.operations.forget(project, ["user@minute"], store=store) == {"user@minute": 2}
    with pytest.raises(UsageError, match="no batch view 'user@minut'; did you mean 'user@minute'"):
        hw.materialize(project, ["user@minut"], store=store)


def test_a_level_of_streams_is_ingested_beside_what_is_defined(store, tmp_path):
    """The view is batch as defined, and streaming at a level: the stream's tiles are its own."""
    view = streaming_view(
        freshness=HOURLY, source={"history": EVENTS.select("key", "amount", "at")}
    )
    project = project_at({"live": hw.Level(hw.streaming("2s"))}, view)
    found = [
        one.view
        for one in stored(project)
        if isinstance(one.view.freshness, type(hw.streaming("2s")))
    ]
    assert [one.name for one in stored(project)] == ["view", "view@live"]
    Flow(found, store, tmp_path).send([{"key": 1, "amount": 5.0, "at": 7220}], 7221)
    hw.materialize(project, store=store, at=at(7230))
    service = project.variant("model", "live").service
    live, daily = (
        hw.get_online_features(of, [{"key": 1}], store=store, at=at(7230), details=True)
        for of in (service, project.models[0].features)
    )
    assert (live["view__sum_amount_1h"][0], daily["view__sum_amount_1h"][0]) == (5.0, 2.0)


def test_a_plan_names_what_levels_add_and_what_is_for_backtests_only(tmp_path):
    place = str(tmp_path / "catalog.sqlite")
    view = view_of(EVENTS, freshness=HOURLY)
    project = project_at(
        {
            "minute": hw.Level(MINUTELY),
            "instant": hw.Level(hw.on_request()),
            "same": hw.Level(HOURLY),
        },
        view,
    )
    plan = hw.plan(project, place)
    assert [c.name for c in plan.changes if c.kind == "view"] == ["view", "view@minute"]
    assert [c.name for c in plan.changes if c.kind == "level"] == ["instant", "minute", "same"]
    assert plan.needs_backfill == ("view", "view@minute")
    assert list(plan.backtest_only) == ["instant"]
    assert "level instant is for backtests only: view view: on_request() would read" in str(plan)
    hw.apply(project, place)
    assert hw.plan(project, place).changes == ()
    later = hw.plan(project_at({"minute": hw.Level(hw.batch("5m"))}, view), place)
    assert {(c.kind, c.name, c.action, c.needs_backfill) for c in later.changes} == {
        ("view", "view@minute", "changed", True),
        ("level", "minute", "changed", False),
        ("level", "instant", "removed", False),
        ("level", "same", "removed", False),
    }
    assert not later.breaking
