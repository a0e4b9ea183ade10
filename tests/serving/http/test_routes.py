"""What each route answers, by a real server; and that the service in process says the same."""

import json
import re
from datetime import datetime

import pytest

import headwater as hw
from headwater.jobs.materialize import materialize_view
from tests.serving.world import (
    NOW,
    ROW,
    Lines,
    Sum,
    asking,
    churn,
    filled,
)

NAMES = list(churn.features.feature_names)


def good(answer, status=200):
    assert answer.status_code == status, answer.text
    return answer.json()


def values(features):
    return [feature["value"] for feature in features.values()]


# ---------------------------------------------------------------- features


def test_one_row_has_a_value_a_status_an_age_and_both_times_for_each_feature(client):
    said = good(client.post("/v1/features/churn_v1", json={"row": ROW}))
    assert (said["service"], said["level"], list(said["features"])) == ("churn_v1", None, NAMES)
    assert values(said["features"]) == [12, 28.5, "i1", 12.5 / 28.5, 10, "no"]
    first, at = said["features"]["user__count_2d"], datetime.fromisoformat(said["at"])
    assert (first["status"], first["stale"]) == ("present", False)
    assert datetime.fromisoformat(first["T"]) == datetime.fromisoformat(first["K"]) == NOW
    assert first["age"] == pytest.approx((at - NOW).total_seconds())
    own = said["features"]["hour"]
    assert (own["age"], own["stale"], datetime.fromisoformat(own["T"])) == (0, False, at)


# ---------------------------------------------------------------- predictions


def test_features_that_are_too_old_give_the_default(store):
    old = hw.FeatureView(
        "old", source=churn.features.views[0].source, keys=["user"], windows=["2d"], freshness=hw.batch("1h", at="00:30"),
        features=[hw.count()], on_stale="refuse",
    )  # fmt: skip
    past = int((NOW.timestamp() - 6 * 3600) * 1e6)
    materialize_view(old, store, past)
    service = hw.FeatureService("old_v1", [old])
    models = [
        hw.Model(name, task="binary", features=service, labels=churn.labels, default=d)
        for name, d in (("with", 0.25), ("without", None))
    ]
    with asking(
        store, hw.Project("shop", models), models={"with": Sum(), "without": Sum()}
    ) as client:
        said = good(client.post("/v1/predict/with", json={"row": {"user": 1}}))["prediction"]
        assert said == {"value": 0.25, "how": "default", "age": 0}
        assert [
            one["how"]
            for one in good(client.post("/v1/predict/with", json={"rows": [{"user": 1}] * 2}))[
                "predictions"
            ]
        ] == ["default"] * 2
        refused = client.post("/v1/predict/without", json={"row": {"user": 1}})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert "on_stale='refuse'" in refused.json()["error"]
        assert client.post("/v1/features/old_v1", json={"row": {"user": 1}}).status_code == 503


# ---------------------------------------------------------------- rankings


def test_candidates_are_put_in_order(client, service):
    items = ["i0", "i1", "i2", "nothing"]
    said = good(
        client.post(
            "/v1/rank/feed", json={"row": {"user": 1, "request": "r"}, "candidates": items, "k": 3}
        )
    )
    scores = {
        one: good(client.post("/v1/predict/feed", json={"row": {"user": 1, "item": one}}))[
            "prediction"
        ]["value"]
        for one in items
    }
    best = sorted(items, key=lambda one: -scores[one])[:3]
    assert [one["item"] for one in said["items"]] == best
    assert [one["score"] for one in said["items"]] == pytest.approx([scores[one] for one in best])
    assert (said["candidates"], said["how"], said["version"]) == (4, "on_request", "sum-1")
    mine = service.rank("feed", {"user": 1}, candidates=items, k=3)
    assert [one.item for one in mine.items] == best


def test_candidates_may_be_objects_and_must_be_alike(client):
    asked = {"row": {"user": 1}, "candidates": [{"item": "i0"}, {"item": "i1"}]}
    assert good(client.post("/v1/rank/feed", json=asked))["candidates"] == 2
    asked["candidates"].append("i2")
    assert (
        "candidate 2 has the fields none"
        in good(client.post("/v1/rank/feed", json=asked), 422)["error"]
    )
    asked["candidates"] = [{"item": "i0", "pric": 1}]
    assert "'pric'" in good(client.post("/v1/rank/feed", json=asked), 422)["error"]


# ---------------------------------------------------------------- explain, health, numbers, description


@pytest.mark.parametrize(
    "at",
    ["1000-01-01T00:00:00Z", "1969-12-31T23:59:59.999999Z", "9000-12-31T23:59:59.999999-23:59"],
)
def test_explain_answers_far_from_now(client, at):
    said = good(
        client.get("/v1/explain", params={"feature": "user__count_2d", "user": "1", "at": at})
    )
    assert said["offline"] == 0


def test_health_is_not_readiness(client, tmp_path):
    assert good(client.get("/healthz")) == {"status": "ok"}
    assert good(client.get("/readyz")) == {"status": "ready"}
    empty = hw.operations.open_store(f"lmdb:{tmp_path / 'empty'}?size=1GB")
    with asking(empty, models={}) as unready:
        assert unready.get("/healthz").status_code == 200
        answer = unready.get("/readyz")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        reasons = " ".join(answer.json()["reasons"])
        assert "'user' is not in the online store" in reasons
        assert "model 'churn' has no fitted model" in reasons
        refused = unready.post("/v1/features/churn_v1", json={"row": ROW})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert "headwater materialize" in refused.json()["error"]
        filled(empty)
        assert good(unready.post("/v1/features/churn_v1", json={"row": ROW}))
        assert good(unready.post("/v1/predict/churn", json={"row": ROW}), 503)["error"].startswith(
            "model 'churn' has no fitted model"
        )
    empty.close()


def test_a_line_a_request_and_none_of_what_was_asked(store):
    lines = Lines()
    with asking(store, log=lines, log_sample=0.5) as client:
        for n in range(4):
            client.post(
                "/v1/features/churn_v1", json={"row": ROW}, headers={"X-Request-Id": f"mine-{n}"}
            )
        bad = client.post(
            "/v1/features/churn_v1",
            json={"row": {**ROW, "user": "secret-key"}},
            headers={"X-Request-Id": "no way"},
        )
    said = [json.loads(line) for line in lines.text.splitlines()]
    assert [one["id"] for one in said] == ["mine-1", "mine-3", bad.headers["x-request-id"]]
    assert bad.headers["x-request-id"] != "no way"
    assert said[0] | {"at": 0, "ms": 0} == {
        "at": 0, "id": "mine-1", "route": "/v1/features/{service}", "name": "churn_v1", "status": 200, "ms": 0, "rows": 1,
    }  # fmt: skip
    assert said[2]["status"] == 422
    assert "secret-key" not in lines.text
    assert "12.5" not in lines.text


def test_the_page_needs_nothing_from_elsewhere(client):
    answer = client.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert not re.findall(r"""(?:src|href)\s*=|https?://|@import""", answer.text)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
