"""Requests during an experiment: the arm of each unit is served, logged once, and never changes."""

import pytest

import headwater as hw
from headwater.journal.exposure_log import read_exposures
from headwater.models.experiment_store import FrozenArm
from tests.serving.experiment_world import (
    DAY,
    T,
    both_levels,
    expected,
    plan,
    serving,
    started,
)
from tests.serving.world import ROW
from tests.waiting import until

LIST_ARMS = (
    FrozenArm("hourly", "feed", "as defined", 0.5),
    FrozenArm("nightly", "feed", "nightly", 0.5),
)


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


def test_shadow_serves_the_control(tmp_path, levels):
    with serving(levels, tmp_path, started(tmp_path / "models", kind="shadow")) as client:
        answers = [predict(client, user) for user in range(10)]
        assert {(answer["arm"], answer["flag"], answer["level"]) for answer in answers} == {
            ("hourly", "shadow", None)
        }
        assert set(logged(tmp_path, 10)["flag"]) == {"shadow"}
