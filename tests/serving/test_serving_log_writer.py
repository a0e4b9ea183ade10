"""The records of answers and of their outcomes: the serving log, posted outcomes, and training on
both.
"""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.journal import serving_log_files
from tests.serving.world import NOW, PROJECT, ROW, asking, churn


def good(answer, status=200):
    assert answer.status_code == status, answer.text
    return answer.json()


def rows_of(folder, **which):
    return serving_log_files.read(serving_log_files.segments(folder, **which)).collect()


def test_what_was_answered_is_what_is_kept(store, tmp_path):
    with (
        hw.operations.ServedLog(tmp_path) as served,
        asking(store, serving_log=served, data_dir=tmp_path) as client,
    ):
        asked = {"X-Request-Id": "r1"}
        one = good(
            client.post("/v1/predict/churn", json={"row": ROW, "features": True}, headers=asked)
        )
        many = good(
            client.post(
                "/v1/predict/churn",
                json={"rows": [ROW, {**ROW, "user": 77}]},
                headers={"X-Request-Id": "r2"},
            )
        )
        features = good(
            client.post("/v1/features/churn_v1", json={"row": ROW}, headers={"X-Request-Id": "r3"})
        )
        ranked = good(
            client.post(
                "/v1/rank/feed", json={"row": {"user": 1}, "k": 2}, headers={"X-Request-Id": "r4"}
            )
        )
        client.post("/v1/predict/churn", json={"row": {}})
        assert served.flush()
    kept = rows_of(tmp_path, model="churn").sort("headwater_request", "headwater_row")
    assert kept["headwater_request"].to_list() == ["r1", "r2", "r2"]
    assert kept["headwater_prediction"].to_list() == [
        one["prediction"]["value"],
        *(p["value"] for p in many["predictions"]),
    ]
    assert kept["headwater_how"].to_list() == ["on_request"] * 3
    assert kept["headwater_version"].to_list() == ["sum-1"] * 3
    for name, feature in one["prediction"]["features"].items():
        assert (kept[name][0], kept[f"{name}__status"][0]) == (feature["value"], feature["status"])
    assert kept["user__count_2d__status"][2] == "missing"
    assert kept["headwater_latency_us"].min() > 0
    mine = rows_of(tmp_path, service="churn_v1")
    assert [mine[name][0] for name in features["features"]] == [
        f["value"] for f in features["features"].values()
    ]
    list_ = rows_of(tmp_path, model="feed").sort("headwater_row")
    assert list_["item"].to_list() == [one["item"] for one in ranked["items"]]
    assert list_["headwater_prediction"].to_list() == [one["score"] for one in ranked["items"]]
    asked_for = hw.operations.OnlineFeatures(PROJECT.model("feed").features, store).rows(
        {"user": [1, 1], "item": list_["item"].to_list()}
    )
    assert (
        list_["item__count_2d"].to_list()
        == asked_for.values[
            list(PROJECT.model("feed").features.feature_names).index("item__count_2d")
        ]
    )


def test_a_model_is_trained_on_what_was_served(store, tmp_path):
    begin = datetime.now(UTC)
    with (
        hw.operations.ServedLog(tmp_path) as served,
        asking(store, serving_log=served, data_dir=tmp_path) as client,
    ):
        for n in range(40):
            good(
                client.post(
                    "/v1/predict/churn",
                    json={"row": {**ROW, "user": n % 5, "amount": n + 1.0}},
                    headers={"X-Request-Id": f"r{n}"},
                )
            )
        posted = [{"request_id": f"r{n}", "outcome": n % 3 == 0} for n in range(40)]
        said = good(client.post("/v1/outcomes/left", json=posted))
        assert (said["accepted"], said["refused"]) == (40, [])
        assert good(client.post("/v1/outcomes/left", json=posted[0]))["accepted"] == 1
    rows = hw.dataset(
        churn,
        tmp_path / "rows.parquet",
        as_of=datetime.now(UTC) + timedelta(seconds=1),
        from_log=tmp_path,
    )
    frame = pl.read_parquet(tmp_path / "rows.parquet")
    assert frame.height == 40
    assert sorted(frame["ratio"].to_list()) == sorted(
        hw.operations.OnlineFeatures(churn.features, store)
        .row({**ROW, "user": n % 5, "amount": n + 1.0, "asked": NOW})
        .values[3]
        for n in range(40)
    )
    assert rows is not None
    known = hw.operations.outcomes(tmp_path, churn.labels)
    assert known.height == 40
    assert known["headwater_posted_at"].min() >= begin


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ([], 422, "0 outcomes"),
        ({"request_id": "r"}, 422, "it has no 'outcome'"),
        ({"request": "r", "outcome": True}, 422, "did you mean 'request_id'"),
        ([{"request_id": "r", "outcome": True}, {"request_id": "s"}], 200, "it has no 'outcome'"),
        ({"request_id": {"deep": 1}}, 422, "got `object`"),
        ("x", 422, "Expected `object | array`"),
    ],
)
def test_bad_outcomes_are_said_one_by_one(store, tmp_path, body, status, says):
    with asking(store, data_dir=tmp_path) as client:
        assert says in client.post("/v1/outcomes/left", json=body).text
        assert client.post("/v1/outcomes/left", json=body).status_code == status
        assert (
            "did you mean 'left'" in good(client.post("/v1/outcomes/lefd", json=body), 404)["error"]
        )


def test_a_full_disk_costs_the_outcome_and_not_the_service(store, tmp_path):
    (tmp_path / "outcomes").write_text("in the way of the folder")
    with asking(store, data_dir=tmp_path) as client:
        answer = client.post("/v1/outcomes/left", json={"request_id": "r", "outcome": True})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert client.get("/readyz").status_code == 200


def test_a_log_that_cannot_be_written_costs_no_answer(store, tmp_path):
    (tmp_path / "served").write_text("in the way of the folder")
    with hw.operations.ServedLog(tmp_path) as served:
        with asking(store, serving_log=served) as client:
            assert good(client.post("/v1/predict/churn", json={"row": ROW}))
            served.flush(5)
            assert good(client.post("/v1/predict/churn", json={"row": ROW}))
            assert (
                'headwater_served_log_entries_total{outcome="taken"} 2.0'
                in client.get("/metrics").text
            )
            served.flush(5)
        assert served.counts().error is not None


def test_numbers_of_the_served_log(store, tmp_path):
    with (
        hw.operations.ServedLog(tmp_path, sample=0) as none,
        asking(store, serving_log=none) as client,
    ):
        good(client.post("/v1/predict/churn", json={"row": ROW}))
        assert (
            'headwater_served_log_entries_total{outcome="taken"} 0.0' in client.get("/metrics").text
        )
