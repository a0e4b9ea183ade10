"""The corners of the square, third parties and versions of models, as they are answered over HTTP
and in process.
"""

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime

import httpx
import polars as pl
import pytest

import headwater as hw
from headwater.models.feature_encoding import fit_encoding
from headwater.models.fit import Fitted
from tests.ingestion.world import wait_until
from tests.serving.third_party.parties import Party, hangs, says
from tests.serving.world import (
    ASKED_AT,
    MODELS,
    NOW,
    ROW,
    Sum,
    asking,
    churn,
    feed,
    filled,
    hour,
    hourly,
    item,
    recent,
    user,
)


def good(answer, status=200):
    assert answer.status_code == status, answer.text
    return answer.json()


class Doubled:
    """Twice the last input."""

    def fit(self, X, y):
        return self

    def predict(self, X):
        return 2 * X[:, -1]


def scored(store, model, level):
    """Make the predictions of a level ahead, by a model that gives twice its last feature."""
    project = hw.Project("shop", [model], levels={"ahead": level})
    variant = project.variant(model.name, "ahead")
    names = variant.level.feature_names(model)
    kind = "ranking" if isinstance(model.task, hw.Ranking) else "binary"
    fitted = Fitted(
        Doubled(), fit_encoding(pl.DataFrame({name: [1.0] for name in names})), kind, "doubled"
    )
    hw.operations.materialize_model(variant, fitted, version="ahead-1", store=store, at=NOW)
    return project


@pytest.fixture
def own(tmp_path):
    made = filled(hw.operations.open_store(f"lmdb:{tmp_path / 'online'}?size=1GB"))
    yield made
    made.close()


NUMBERS = hw.FeatureView(
    "numbers",
    source=user.source,
    keys=["user"],
    windows=["2d"],
    freshness=hourly,
    features=[hw.count(), hw.mean("amount")],
)
COUNTED = hw.Model(
    "counted",
    task="binary",
    features=hw.FeatureService("counted_v1", [NUMBERS]),
    labels=churn.labels,
    default=-1.0,
)


@pytest.mark.parametrize("otherwise", ["default", "on_request"])
def test_precomputed_then_on_request_or_the_default(own, otherwise):
    filled(own, NUMBERS)
    project = scored(
        own,
        COUNTED,
        hw.Level(predictions=hw.precomputed(hourly, keys=["user"], otherwise=otherwise)),
    )
    with asking(own, project, models={"counted": Sum()}, levels=["ahead"]) as client:
        assert good(client.get("/readyz"))
        asked = {"row": {"user": 1}, "level": "ahead", "timing": True}
        said = good(client.post("/v1/predict/counted", json=asked))
        assert (said["version"], said["level"]) == ("ahead-1", "ahead")
        assert (said["prediction"]["value"], said["prediction"]["how"]) == (2 * 28.5, "precomputed")
        assert said["prediction"]["age"] == pytest.approx(
            (datetime.fromisoformat(said["at"]) - NOW).total_seconds()
        )
        assert list(said["timing"]) == ["look up"]
        asked["row"] = {"user": 77}
        cold = good(client.post("/v1/predict/counted", json=asked))["prediction"]
        assert (cold["value"], cold["how"]) == (
            (-1.0, "default") if otherwise == "default" else (0.0, "on_request")
        )
        both = {
            "rows": [{"user": 77}, {"user": 1}, {"user": 78}],
            "level": "ahead",
            "features": True,
        }
        many = good(client.post("/v1/predict/counted", json=both))["predictions"]
        assert [one["how"] for one in many] == [cold["how"], "precomputed", cold["how"]]
        assert [one["value"] for one in many] == [cold["value"], 57.0, cold["value"]]
        assert ["features" in one for one in many] == [
            otherwise == "on_request",
            False,
            otherwise == "on_request",
        ]
        as_defined = good(client.post("/v1/predict/counted", json={"row": {"user": 1}}))[
            "prediction"
        ]
        assert (as_defined["value"], as_defined["how"]) == (12 + 28.5, "on_request")
        text = client.get("/metrics").text
        assert (
            'headwater_predictions_total{how="precomputed",route="/v1/predict/{model}"} 2.0'
            in text.replace(
                'route="/v1/predict/{model}",how="precomputed"',
                'how="precomputed",route="/v1/predict/{model}"',
            )
        )
    with hw.operations.Service(project, own, models={"counted": Sum()}) as service:
        mine = service.predict("counted", [{"user": 77}, {"user": 1}], level="ahead", features=True)
        assert [one.how for one in mine.predictions] == [cold["how"], "precomputed"]
        assert [one.features is not None for one in mine.predictions] == [
            otherwise == "on_request",
            False,
        ]


def test_without_a_default_a_cold_key_is_said(own):
    filled(own, NUMBERS)
    project = scored(
        own,
        replace(COUNTED, default=None),
        hw.Level(predictions=hw.precomputed(hourly, keys=["user"])),
    )
    with asking(own, project, models={}) as client:
        said = client.post("/v1/predict/counted", json={"row": {"user": 77}, "level": "ahead"})
        assert (
            "no prediction of model 'counted' was made for this key, and the model has no default"
            in good(said, 422)["error"]
        )
        assert (
            "no field 'user', which the precomputed prediction needs"
            in good(client.post("/v1/predict/counted", json={"row": {}, "level": "ahead"}), 422)[
                "error"
            ]
        )
        assert (
            "did you mean 'user'"
            in good(
                client.post("/v1/predict/counted", json={"row": {"usr": 1}, "level": "ahead"}), 422
            )["error"]
        )


def test_what_was_not_made_yet_is_not_ready(own):
    project = hw.Project(
        "shop",
        [COUNTED],
        levels={"ahead": hw.Level(predictions=hw.precomputed(hourly, keys=["user"]))},
    )
    with asking(own, project, models={"counted": Sum()}, levels=["ahead"]) as client:
        answer = client.post("/v1/predict/counted", json={"row": {"user": 1}, "level": "ahead"})
        assert (answer.status_code, "headwater materialize" in answer.json()["error"]) == (
            503,
            True,
        )
        assert any(
            "no predictions of model 'counted'" in why
            for why in good(client.get("/readyz"), 503)["reasons"]
        )


def test_lists_that_were_put_in_order_ahead(own):
    model = replace(feed, name="listed", features=hw.FeatureService("listed_v1", [hw.FeatureView(
        "counts", source=item.source, keys=["item"], windows=["2d"], freshness=hourly, features=[hw.count()])]))  # fmt: skip
    project = scored(own, model, hw.Level(predictions=hw.precomputed(hourly, keys=["user"])))
    with asking(own, project, models={}) as client:
        said = good(
            client.post("/v1/rank/listed", json={"row": {"user": 1}, "level": "ahead", "k": 3})
        )
        assert (said["how"], said["version"], len(said["items"])) == ("precomputed", "ahead-1", 3)
        assert said["age"] == pytest.approx(
            (datetime.fromisoformat(said["at"]) - NOW).total_seconds()
        )
        scores = [one["score"] for one in said["items"]]
        assert scores == sorted(scores, reverse=True)
        wanted = said["items"][1]["item"]
        some = good(
            client.post(
                "/v1/rank/listed",
                json={"row": {"user": 1}, "level": "ahead", "candidates": [wanted, "none"]},
            )
        )
        assert [one["item"] for one in some["items"]] == [wanted]
        cold = good(client.post("/v1/rank/listed", json={"row": {"user": 77}, "level": "ahead"}))
        assert (cold["how"], cold["items"]) == ("default", [])
        lists = client.post("/v1/predict/listed", json={"row": {"user": 1}, "level": "ahead"})
        assert "get them with rank" in good(lists, 422)["error"]


# ---------------------------------------------------------------- third parties


@pytest.fixture
def party():
    with Party().serving() as made:
        yield made


def risky(party, **more):
    ip = hw.HttpFeatures(
        "ip",
        url=f"{party.url}/risk",
        request={"address": str},
        response={"score": float},
        timeout="5s",
        retries=0,
        fallback={"score": 0.0},
    )
    labels = hw.Labels(
        "bad",
        table=pl.DataFrame({"user": [1], "address": ["a"], "asked_at": [NOW], "bad": [True]}),
        timestamp_field="asked_at", label="bad", known_after="1m",
    )  # fmt: skip
    return hw.Model(
        "risky",
        task="binary",
        features=hw.FeatureService("risky_v1", [NUMBERS, ip]),
        labels=labels,
        **more,
    )


def test_third_parties_are_asked_in_the_path_of_a_request(own, party):
    filled(own, NUMBERS)
    project = hw.Project("shop", [risky(party)])
    party.behaviour = says({"score": 0.25})
    with asking(own, project, models={"risky": Sum()}) as client:
        said = good(
            client.post("/v1/features/risky_v1", json={"row": {"user": 1, "address": "a"}})
        )["features"]
        assert (said["ip__score"]["value"], said["ip__score"]["status"]) == (0.25, "present")
        assert 0 <= said["ip__score"]["age"] < 5
        made = good(
            client.post(
                "/v1/predict/risky", json={"row": {"user": 1, "address": "b"}, "features": True}
            )
        )["prediction"]
        assert made["value"] == 12 + 28.5  # no history, so the model was trained without it
        assert made["features"]["ip__score"]["value"] == 0.25
        party.behaviour = says({}, status="500 Sorry")
        failed = good(
            client.post(
                "/v1/features/risky_v1",
                json={"rows": [{"user": 1, "address": "c"}] * 2, "compact": True},
            )
        )
        assert [failed["values"][-1], failed["statuses"][-1]] == [
            [0.0, 0.0],
            ["fallback", "fallback"],
        ]
        assert set(failed["views"]) == {"numbers", "ip"}
        text = client.get("/metrics").text
        assert 'headwater_feature_status_total{status="fallback"} 2.0' in text
        assert (
            'headwater_third_party_calls_total{outcome="answered",party="ip",service="risky_v1"} '
            "2.0"
        ) in text.replace(
            'service="risky_v1",party="ip",outcome="answered"',
            'outcome="answered",party="ip",service="risky_v1"',
        )
        refused = client.post("/v1/features/risky_v1", json={"row": {"user": 1}})
        assert (
            "no field 'address', which third-party features 'ip' needs"
            in good(refused, 422)["error"]
        )
    party.behaviour = says({"score": 0.75})
    with hw.operations.Service(project, own, models={"risky": Sum()}) as service:
        (row,) = service.features("risky_v1", {"user": 1, "address": "d"}).rows
        assert (row["ip__score"].value, row["ip__score"].status) == (0.75, "present")


def test_what_does_not_fit_into_the_latency_budget_is_cut_off(own, party):
    filled(own, NUMBERS)
    party.behaviour = hangs
    with asking(
        own, hw.Project("shop", [risky(party, latency_budget="300ms")]), models={"risky": Sum()}
    ) as client:
        begin = time.perf_counter()
        asked = {"row": {"user": 1, "address": "a"}, "features": True}
        said = good(client.post("/v1/predict/risky", json=asked))["prediction"]
        assert time.perf_counter() - begin < 2  # of 5 that the third party may take
        assert (
            said["features"]["ip__score"]["value"],
            said["features"]["ip__score"]["status"],
        ) == (0.0, "fallback")
        assert 'headwater_cut_off_total{model="risky"} 1.0' in client.get("/metrics").text


# ---------------------------------------------------------------- versions


@pytest.mark.slow
def test_versions_come_and_go_without_a_dropped_request(own, tmp_path, monkeypatch):
    registry = hw.operations.ModelRegistry(tmp_path / "models")
    first = hw.train(churn, as_of=datetime.now(UTC), seed=1)
    first.register(registry)
    seen, failed, stop = [], [], threading.Event()
    with asking(own, hw.Project("shop", [churn]), models=tmp_path / "models") as client:

        def ask():
            with httpx.Client(base_url=str(client.base_url), trust_env=False) as mine:
                while not stop.is_set():
                    answer = mine.post("/v1/predict/churn", json={"row": ROW})
                    (seen if answer.status_code == 200 else failed).append(
                        answer.json().get("version")
                    )

        asker = threading.Thread(target=ask)
        asker.start()
        try:
            wait_until(lambda: "1" in seen, "the first version")
            hw.train(churn, as_of=datetime.now(UTC), seed=2).register(registry)
            wait_until(lambda: "2" in seen, "the second")
            registry.rollback("churn")
            wait_until(lambda: seen[-1] == "1", "the first again")
            (tmp_path / "models" / "churn" / "as defined" / "2" / "model.txt").write_text("broken")
            registry.promote(2, "churn")
            wait_until(lambda: "warnings" in client.get("/readyz").json(), "what is refused")
            assert "has changed" in good(client.get("/readyz"))["warnings"][0]
            registry.rollback("churn")
            wait_until(lambda: "warnings" not in client.get("/readyz").json(), "no more of it")
            # for any fault of a version when it is loaded
            monkeypatch.setattr(hw.operations.ModelRegistry, "open", lambda *_, **__: 1 / 0)
            registry.promote(2, "churn")
            wait_until(
                lambda: "division by zero" in str(client.get("/readyz").json().get("warnings")),
                "what is refused",
            )
            monkeypatch.undo()
            registry.rollback("churn")
            wait_until(lambda: "warnings" not in client.get("/readyz").json(), "no more of it")
        finally:
            stop.set()
            asker.join(20)
    assert failed == []
    assert seen[-1] == "1"


def test_a_model_of_other_features_or_fresher_ones_is_refused(own, tmp_path):
    registry = hw.operations.ModelRegistry(tmp_path / "models")
    registry.add(
        "churn", hw.train(churn, level=hw.Level(hw.batch("1m")), as_of=datetime.now(UTC)).save
    )
    with asking(own, hw.Project("shop", [churn]), models=tmp_path / "models") as client:
        answer = client.post("/v1/predict/churn", json={"row": ROW})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert "would be served staler features than it was trained on" in answer.json()["error"]
        assert any("staler" in why for why in good(client.get("/readyz"), 503)["reasons"])
    other = replace(
        churn,
        features=hw.FeatureService("churn_v1", [user, hw.RequestField("country", str), recent]),
    )
    with asking(own, hw.Project("shop", [other]), models=tmp_path / "models") as client:
        answer = client.post("/v1/predict/churn", json={"row": {"user": 1, "country": "no"}})
        assert (answer.status_code, "ratio" in answer.json()["error"]) == (503, True)


def test_what_was_trained_may_be_served_at_once(own):
    trained = hw.train(churn, as_of=datetime.now(UTC))
    with hw.operations.Service(
        hw.Project("shop", [churn]), own, models={"churn": trained}
    ) as service:
        row = {**ROW, "asked": NOW}
        (made,) = service.predict("churn", row, features=True).predictions
        frame = pl.DataFrame({name: [one.value] for name, one in made.features.items()})
        assert made.value == pytest.approx(float(trained.fitted.score(frame)[0]), abs=1e-9)


def test_a_level_that_nothing_can_serve_is_said(own):
    project = hw.Project("shop", [churn], levels={"ceiling": hw.Level(hw.never())})
    with asking(own, project, models=MODELS) as client:
        answer = client.post("/v1/features/churn_v1", json={"row": ROW, "level": "ceiling"})
        assert "cannot be served" in good(answer, 422)["error"]


# ---------------------------------------------------------------- the request time


def at_its_time(timestamp_field="asked"):
    members = hw.FeatureService("timed_v1", [user, hour, hw.RequestField("country", str)])
    table = pl.DataFrame(
        {
            "user": [1, 2],
            "asked": [NOW, NOW],
            "other": [NOW, NOW],
            "country": ["no", "se"],
            "gone": [True, False],
        }
    )
    timed = hw.Labels(
        "gone", table=table, timestamp_field=timestamp_field, label="gone", known_after="1m"
    )
    return hw.Model("timed", task="binary", features=members, labels=timed)


MOMENT = {"user": 1, "country": "no"}


def test_a_request_may_leave_out_its_own_time(own):
    with asking(own, hw.Project("shop", [at_its_time()]), models={"timed": Sum()}) as client:
        row, rows, columns = (
            good(client.post("/v1/features/timed_v1", json=body))
            for body in (
                {"row": MOMENT},
                {"rows": [MOMENT]},
                {"columns": {name: [value] for name, value in MOMENT.items()}},
            )
        )
        assert row["features"]["hour"]["value"] == ASKED_AT.hour
        assert rows["rows"][0]["hour"]["value"] == ASKED_AT.hour
        assert columns["features"]["hour"]["values"] == [ASKED_AT.hour]
        given = {**MOMENT, "asked": "2024-05-01T07:30:00Z"}
        assert (
            good(client.post("/v1/features/timed_v1", json={"row": given}))["features"]["hour"][
                "value"
            ]
            == 7
        )
        said = good(client.post("/v1/predict/timed", json={"row": MOMENT, "features": True}))
        assert said["prediction"]["features"]["hour"]["value"] == ASKED_AT.hour
        document = good(client.get("/openapi.json"))["components"]["schemas"]
        (row,) = [
            schema
            for schema in document.values()
            if "asked" in schema.get("properties", {})
            and "items" not in schema["properties"]["asked"]
        ][:1]
        assert sorted(row["required"]) == ["country", "user"]


def test_the_time_of_a_request_in_process_is_the_one_that_is_given(own):
    with hw.operations.Service(
        hw.Project("shop", [at_its_time()]), own, models={"timed": Sum()}
    ) as service:
        early = NOW.replace(hour=3, minute=10)
        for rows in (MOMENT, [MOMENT, MOMENT]):
            said = service.features("timed_v1", rows, at=early)
            assert {row["hour"].value for row in said.rows} == {3}


@pytest.mark.parametrize(
    "models",
    [[at_its_time("other")], [at_its_time(), replace(at_its_time("other"), name="second")]],
    ids=len,
)
def test_another_time_is_not_left_out(own, models):
    with asking(
        own, hw.Project("shop", models), models={"timed": Sum(), "second": Sum()}
    ) as client:
        refused = client.post("/v1/features/timed_v1", json={"row": MOMENT})
        assert (refused.status_code, "the request has no field 'asked'" in refused.text) == (
            422,
            True,
        )
