"""Requests during an experiment: the arm of each unit is served, logged once, and never changes."""

from collections import Counter

import polars as pl
import pytest

import headwater as hw
from headwater.errors import UsageError
from headwater.journal.exposure_log import read_exposures, read_interleaved
from headwater.journal.serving_log import ServedLog
from headwater.models.experiment_store import FrozenArm
from tests.serving.experiment_world import (
    DAY,
    T,
    both_levels,
    expected,
    plan,
    serving,
    started,
    until,
)
from tests.serving.world import ASKED_AT, MODELS, PROJECT, ROW

LIST_ARMS = (
    FrozenArm("hourly", "feed", "as defined", 0.5),
    FrozenArm("nightly", "feed", "nightly", 0.5),
)
LEVELS = {"hourly": None, "nightly": "nightly"}


@pytest.fixture(scope="module")
def levels(tmp_path_factory):
    made = both_levels(
        hw.operations.open_store(f"lmdb:{tmp_path_factory.mktemp('arms') / 'online'}?size=1GB")
    )
    yield made
    made.close()


def row(user):
    return {**ROW, "user": user}


def good(response):
    assert response.status_code == 200, response.text
    return response.json()


def predict(client, user, **more):
    return good(client.post("/v1/predict/churn", json={"row": row(user), **more}))


def logged(data_dir, count, experiment="fresh"):
    until(lambda: read_exposures(data_dir, experiment).height >= count)
    return read_exposures(data_dir, experiment)


def test_each_unit_gets_its_arm_and_is_logged(tmp_path, levels):
    store = started(tmp_path / "models")
    with serving(levels, tmp_path, store) as client:
        for user in range(100):
            answer = predict(client, user)
            assert answer["experiment"] == "fresh"
            assert answer["arm"] == expected(store, user)
            assert answer["level"] == LEVELS[answer["arm"]]
            assert "arms" not in answer
            assert "flag" not in answer
        frame = logged(tmp_path, 100)
    assert frame.height == 100
    assert frame["unit"].sort().to_list() == sorted(map(str, range(100)))
    assert all(
        arm == expected(store, unit) for unit, arm in frame.select("unit", "arm").iter_rows()
    )
    assert set(frame["level"]) == {"as defined", "nightly"}
    assert set(
        frame.select("propensity", "override", "flag", "source", "model", "model_version").rows()
    ) == {(0.5, False, "", "served", "churn", "sum-1")}
    assert frame["score"].null_count() == frame["age"].null_count() == 0
    assert dict(frame.group_by("arm").agg(pl.col("promised_age").first()).iter_rows()) == {
        "hourly": 3600.0,
        "nightly": 86400.0,
    }
    assert not frame["fallback"].any()


def test_rows_of_one_request_have_arms_of_their_own(tmp_path, levels):
    store = started(tmp_path / "models", enrolled=(0.6,))
    with serving(levels, tmp_path, store) as client:
        users = list(range(40))
        answer = good(
            client.post(
                "/v1/predict/churn", json={"rows": [row(user) for user in users], "features": True}
            )
        )
        arms = [expected(store, user) for user in users]
        assert set(arms) == {None, "hourly", "nightly"}
        assert answer["arms"] == [
            None if arm is None else {"experiment": "fresh", "arm": arm} for arm in arms
        ]
        for user, prediction, arm in zip(users, answer["predictions"], arms, strict=True):
            alone = (
                predict(client, user, level=LEVELS[arm] if arm else None, features=True)
                if arm == "nightly"
                else None
            )
            if alone is not None:
                assert prediction["value"] == alone["prediction"]["value"]
                assert prediction["features"].keys() == alone["prediction"]["features"].keys()
        columns = {name: [row(user)[name] for user in users] for name in ROW}
        assert (
            good(client.post("/v1/predict/churn", json={"columns": columns}))["arms"]
            == answer["arms"]
        )
        frame = logged(tmp_path, 2 * sum(arm is not None for arm in arms)).filter(
            ~pl.col("override")
        )
    counts = Counter(frame["unit"])
    assert counts == {
        str(user): 2 for user, arm in zip(users, arms, strict=True) if arm is not None
    }


def test_units_that_do_not_take_part_get_the_default(tmp_path, levels):
    store = started(
        tmp_path / "models", enrolled=(0.3,), holdout=0.2, layer="prices", span=(0.0, 0.5)
    )
    with serving(levels, tmp_path, store) as client:
        for user in range(60):
            answer = predict(client, user)
            assert answer.get("arm") == expected(store, user)
            if expected(store, user) is None:
                assert answer.keys() == {"model", "version", "level", "at", "prediction"}
                assert answer["level"] is None
        inside = sum(expected(store, user) is not None for user in range(60))
        assert 0 < inside < 30
        assert logged(tmp_path, inside).height == inside


def test_a_row_without_its_unit_gets_the_default_and_is_counted(tmp_path, levels):
    with serving(levels, tmp_path, started(tmp_path / "models")) as client:
        assert "arm" not in predict(client, None)
        predict(client, 1)
        assert logged(tmp_path, 1).height == 1
        assert (
            'headwater_experiment_rows_total{experiment="fresh",outcome="no unit"} 1.0'
            in client.get("/metrics").text
        )


def test_a_level_or_an_arm_by_wish_is_marked(tmp_path, levels):
    with serving(levels, tmp_path, started(tmp_path / "models")) as client:
        assert predict(client, 3, level="nightly")["level"] == "nightly"
        answer = predict(client, 3, arm="hourly")
        assert (answer["level"], answer["arm"]) == (None, "hourly")
        refused = client.post("/v1/predict/churn", json={"row": row(3), "arm": "weekly"})
        assert refused.status_code == 422
        assert "allowed: hourly, nightly" in refused.json()["error"]
        frame = logged(tmp_path, 2)
    assert sorted(frame.select("arm", "override").rows()) == [("hourly", True), ("nightly", True)]


def test_an_arm_by_wish_needs_the_scope_admin(tmp_path, levels):
    from headwater.serving.http.auth import TokenFile

    tokens = TokenFile(tmp_path / "tokens.json")
    secrets = {scope: tokens.add(scope, [scope]) for scope in ("predict", "admin")}
    with serving(levels, tmp_path, started(tmp_path / "models"), tokens=tokens.path) as client:
        for scope, status in (("predict", 403), ("admin", 200)):
            headers = {"authorization": f"Bearer {secrets[scope]}"}
            body = {"row": row(3), "arm": "hourly"}
            assert (
                client.post("/v1/predict/churn", json=body, headers=headers).status_code == status
            )
            assert (
                client.post(
                    "/v1/predict/churn", json={**body, "arm": None}, headers=headers
                ).status_code
                == 200
            )


def test_an_error_is_no_exposure(tmp_path, levels):
    with serving(levels, tmp_path, started(tmp_path / "models")) as client:
        bad = {name: value for name, value in row(3).items() if name != "amount"}
        assert client.post("/v1/predict/churn", json={"row": bad}).status_code == 422
        predict(client, 4)
        assert logged(tmp_path, 1)["unit"].to_list() == ["4"]


def test_start_stage_and_stop_without_a_restart(tmp_path, levels):
    store = started(tmp_path / "models", experiment="other", arms=LIST_ARMS)
    with serving(levels, tmp_path, store) as client:
        assert "arm" not in predict(client, 1)
        own = plan(enrolled=(0.1, 1.0))
        store.start(own, own.start, "test")
        inside = next(user for user in range(1000) if expected(store, user) is None)
        until(lambda: any("arm" in predict(client, user) for user in range(40)))
        arms = {user: predict(client, user).get("arm") for user in range(60)}
        store.enrol("fresh", 1.0, T - 1, "test")
        until(lambda: "arm" in predict(client, inside))
        after = {user: predict(client, user).get("arm") for user in range(60)}
        assert None not in after.values()
        assert all(after[user] == arm for user, arm in arms.items() if arm is not None)
        store.stop("fresh", T - 1, "test", "enough")
        until(lambda: "arm" not in predict(client, inside))


def test_the_planned_end(tmp_path, levels):
    with serving(levels, tmp_path, started(tmp_path / "models", duration=DAY)) as client:
        assert "arm" not in predict(client, 1)


def test_an_arm_that_cannot_be_served_leaves_the_default(tmp_path, levels):
    arms = (
        FrozenArm("hourly", "churn", "as defined", 0.5),
        FrozenArm("weekly", "churn", "never there", 0.5),
    )
    with serving(levels, tmp_path, started(tmp_path / "models", arms=arms)) as client:
        assert "arm" not in predict(client, 1)
        assert any(
            "experiment 'fresh' is not served" in why
            for why in client.get("/readyz").json()["warnings"]
        )


def test_rankings(tmp_path, levels):
    store = started(tmp_path / "models", arms=LIST_ARMS)
    with serving(levels, tmp_path, store) as client:
        for user in range(5):
            answer = good(client.post("/v1/rank/feed", json={"row": {"user": user}, "k": 3}))
            assert answer["arm"] == expected(store, user)
            assert answer["level"] == LEVELS[answer["arm"]]
        frame = logged(tmp_path, 5)
    assert frame["score"].null_count() == 5
    assert frame["unit"].sort().to_list() == list("01234")


def test_interleaved_lists(tmp_path, levels):
    store = started(tmp_path / "models", arms=LIST_ARMS, kind="interleaving")
    with (
        ServedLog(tmp_path) as log,
        serving(levels, tmp_path, store, serving_log=log) as client,
    ):
        shown = {}
        for user in range(5):
            answer = good(
                client.post(
                    "/v1/rank/feed",
                    json={
                        "row": {"user": user},
                        "candidates": ["i0", "i1", "i2", "i4"],
                        "k": 4,
                        "features": True,
                    },
                )
            )
            assert (answer["experiment"], answer["arm"]) == ("fresh", "interleaved")
            assert all(item["features"] for item in answer["items"])
            shown[str(user)] = [item["item"] for item in answer["items"]]
        logged(tmp_path, 5)
    frame = read_interleaved(tmp_path, "fresh")
    assert {
        unit[0]: items["item"].to_list()
        for unit, items in frame.group_by("unit", maintain_order=True)
    } == shown
    assert set(frame["team"]) == {0, 1}
    served = hw.operations.served(tmp_path, model="feed").collect()
    assert sorted(served["headwater_arm"].unique()) == ["team 0", "team 1"]
    assert served.height == frame.height


def test_shadow_serves_the_control(tmp_path, levels):
    with serving(levels, tmp_path, started(tmp_path / "models", kind="shadow")) as client:
        answers = [predict(client, user) for user in range(10)]
        assert {(answer["arm"], answer["flag"], answer["level"]) for answer in answers} == {
            ("hourly", "shadow", None)
        }
        assert set(logged(tmp_path, 10)["flag"]) == {"shadow"}


def test_switchback_and_cluster(tmp_path, levels):
    hour = 3_600_000_000
    store = started(
        tmp_path / "a",
        kind="switchback",
        columns={"region": "country"},
        settings={"length": 7 * hour, "washout": hour, "random_bounds": False},
    )
    with serving(levels, tmp_path, store) as client:
        for country in ("no", "se", "Zoë/ü"):
            answer = good(
                client.post("/v1/predict/churn", json={"row": {**row(1), "country": country}})
            )
            assert answer["arm"] == expected(store, 1, country)
        assert "arm" not in good(
            client.post("/v1/predict/churn", json={"row": {**row(1), "country": None}})
        )
        frame = logged(tmp_path, 3)
    assert sorted(frame["cluster"]) == ["Zoë/ü", "no", "se"]
    assert set(frame["bucket"]) == {DAY // (7 * hour)}
    store = started(
        tmp_path / "b",
        experiment="towns",
        kind="cluster",
        columns={"cluster": "country"},
        clusters={"no": "nightly"},
    )
    with serving(levels, tmp_path, store) as client:
        arms = {
            c: good(client.post("/v1/predict/churn", json={"row": {**row(1), "country": c}}))["arm"]
            for c in ("no", "se")
        }
        assert arms == {"no": "nightly", "se": expected(store, 1, "se", name="towns")}


def test_in_process(tmp_path, levels):
    store, at = started(tmp_path / "models"), ASKED_AT
    given = {**row(1), "asked": at}
    with hw.operations.Service(
        PROJECT, levels, models=MODELS, data_dir=tmp_path, experiments=store
    ) as service:
        one = service.predict("churn", given, at=at)
        assert (one.experiment, one.arm, one.arms) == ("fresh", expected(store, 1), None)
        several = service.predict("churn", [{**given, "user": user} for user in range(6)], at=at)
        assert several.arms == [
            {"experiment": "fresh", "arm": expected(store, user)} for user in range(6)
        ]
        assert several.predictions[1].value == one.predictions[0].value
        assert service.predict("churn", given, at=at, arm="nightly").level == "nightly"
        with pytest.raises(UsageError, match="allowed: hourly, nightly"):
            service.predict("churn", given, at=at, arm="x")
        assert service.rank("feed", {"user": 1}, at=at).experiment is None
    frame = read_exposures(tmp_path, "fresh")
    assert frame.height == 8
    assert frame["request"].n_unique() == 3


def test_without_an_experiment_nothing_is_opened(tmp_path, levels):
    with hw.operations.Service(PROJECT, levels, models=MODELS, data_dir=tmp_path) as service:
        assert (
            service.predict("churn", {**row(1), "asked": ASKED_AT}, at=ASKED_AT).experiment is None
        )
        with pytest.raises(UsageError, match="no experiment runs"):
            service.predict("churn", {**row(1), "asked": ASKED_AT}, at=ASKED_AT, arm="x")
    assert not (tmp_path / "exposures").exists()
