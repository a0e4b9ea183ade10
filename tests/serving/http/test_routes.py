"""What each route answers, by a real server; and that the service in process says the same."""

import ast
import json
import re
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import httpx
import msgspec
import polars as pl
import pytest

import headwater as hw
from headwater import clock
from headwater.errors import UsageError
from headwater.jobs.materialize import materialize_view
from headwater.serving.http import openapi
from headwater.serving.http.response_schema import FeatureValue
from headwater.serving.http.route import Body, Content, Query
from headwater.stores import keyspace
from tests.ingestion.world import wait_until
from tests.serving.world import (
    ASKED_AT,
    MODELS,
    NOW,
    PROJECT,
    ROW,
    Lines,
    Sum,
    asking,
    churn,
    clicks,
    filled,
    free_port,
    watched,
)

NAMES = list(churn.features.feature_names)
ASKED = {**ROW, "asked": datetime(2024, 5, 1, 10, 30, tzinfo=UTC)}


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


def test_unknown_keys_are_missing(client):
    said = good(
        client.post("/v1/features/churn_v1", json={"row": {**ROW, "user": 77, "country": None}})
    )["features"]
    assert [(f["value"], f["status"]) for f in said.values()] == [
        (0, "missing"), (None, "missing"), (None, "missing"), (None, "empty"), (10, "present"), (None, "empty"),
    ]  # fmt: skip


@pytest.mark.parametrize("count", [2, 100], ids=["few", "many"])
def test_rows_and_columns_say_the_same_as_one_at_a_time(client, count):
    rows = [{**ROW, "user": n % 7, "amount": n + 0.5} for n in range(count)]
    single = [
        values(good(client.post("/v1/features/churn_v1", json={"row": row}))["features"])
        for row in rows[:10]
    ]
    by_row = good(client.post("/v1/features/churn_v1", json={"rows": rows}))
    assert [values(row) for row in by_row["rows"][:10]] == single
    assert len(by_row["rows"]) == count
    columns = {name: [row[name] for row in rows] for name in ROW}
    by_column = good(client.post("/v1/features/churn_v1", json={"columns": columns}))["features"]
    assert (
        list(map(list, zip(*[f["values"] for f in by_column.values()], strict=True)))[:10] == single
    )
    statuses = [[row[name]["status"] for row in by_row["rows"]] for name in NAMES]
    assert [f["statuses"] for f in by_column.values()] == statuses
    compact = good(client.post("/v1/features/churn_v1", json={"rows": rows, "compact": True}))
    assert list(map(list, zip(*compact["values"], strict=True)))[:10] == single
    assert compact["statuses"] == statuses


def test_the_compact_form_says_what_the_full_one_does(client):
    full = good(client.post("/v1/features/churn_v1", json={"row": ROW}))
    said = good(client.post("/v1/features/churn_v1", json={"row": ROW, "compact": True}))
    assert said["names"] == NAMES
    assert said["values"] == values(full["features"])
    assert said["statuses"] == [f["status"] for f in full["features"].values()]
    (view,) = said["views"].values()
    assert list(said["views"]) == ["user"]
    assert (view["T"], view["K"], view["stale"]) == (
        int(NOW.timestamp() * 1e6),
        int(NOW.timestamp() * 1e6),
        False,
    )
    assert view["age"] == pytest.approx((said["at"] - view["K"]) / 1e6)


def test_a_day_is_a_text(client):
    said = good(
        client.post(
            "/v1/features/plain_v1", json={"row": {"user": 1, "day": "2024-05-01", "amount": 2}}
        )
    )["features"]
    assert said["day__count_2d"]["value"] == 30
    assert said["brittle"]["value"] == 0.5


def test_the_service_in_process_says_what_http_does(client, service):
    over_http = good(client.post("/v1/features/churn_v1", json={"row": ROW}))
    at = over_http["at"]
    (mine,) = msgspec.to_builtins(service.features("churn_v1", ASKED, at=at))["rows"]
    theirs = msgspec.to_builtins(msgspec.convert(over_http["features"], dict[str, FeatureValue]))
    assert mine == theirs
    many = msgspec.to_builtins(service.features("churn_v1", [ASKED, {**ASKED, "user": 3}], at=at))
    assert many["rows"][0] == mine
    assert many["rows"][1] != mine


# ---------------------------------------------------------------- predictions


def test_a_prediction_says_its_version_how_it_was_made_and_how_old_it_is(client, service):
    said = good(client.post("/v1/predict/churn", json={"row": ROW}))
    expected = 12 + 28.5 + 12.5 / 28.5 + 10
    assert (said["model"], said["version"], said["level"]) == ("churn", "sum-1", None)
    assert said["prediction"]["value"] == pytest.approx(expected)
    assert said["prediction"]["how"] == "on_request"
    assert said["prediction"]["age"] == pytest.approx(
        (datetime.fromisoformat(said["at"]) - NOW).total_seconds()
    )
    assert said.keys() == {"model", "version", "level", "at", "prediction"}
    mine = service.predict("churn", ASKED, at=said["at"])
    assert [mine.version, mine.predictions[0].value, mine.predictions[0].age] == [
        "sum-1", said["prediction"]["value"], said["prediction"]["age"],
    ]  # fmt: skip


@pytest.mark.parametrize("count", [3, 100], ids=["few", "many"])
def test_predictions_of_many_are_those_of_each(client, count):
    rows = [{**ROW, "user": n % 7, "amount": n + 0.5} for n in range(count)]
    each = [
        good(client.post("/v1/predict/churn", json={"row": row}))["prediction"]["value"]
        for row in rows[:10]
    ]
    said = good(client.post("/v1/predict/churn", json={"rows": rows}))
    assert [one["value"] for one in said["predictions"][:10]] == pytest.approx(each, abs=1e-9)
    assert len(said["predictions"]) == count
    columns = {name: [row[name] for row in rows] for name in ROW}
    again = good(client.post("/v1/predict/churn", json={"columns": columns}))
    assert [one["value"] for one in again["predictions"]] == [
        one["value"] for one in said["predictions"]
    ]


def test_an_answer_can_show_features_and_where_the_time_went(client):
    said = good(
        client.post("/v1/predict/churn", json={"row": ROW, "features": True, "timing": True})
    )
    assert list(said["prediction"]["features"]) == NAMES
    assert said["prediction"]["features"]["user__count_2d"]["status"] == "present"
    assert said["timing"].keys() >= {"read", "score"}
    assert all(0 <= ms < 1000 for ms in said["timing"].values())
    several = good(
        client.post(
            "/v1/predict/churn", json={"rows": [ROW, {**ROW, "user": 77}], "features": True}
        )
    )["predictions"]
    assert [one["features"]["user__count_2d"]["value"] for one in several] == [12, 0]


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


def test_candidates_are_retrieved(client, service):
    said = good(
        client.post(
            "/v1/rank/feed", json={"row": {"user": 1}, "k": 10, "features": True, "timing": True}
        )
    )
    recent = service.store
    proposed = {one["item"] for one in said["items"]}
    lists = hw.get_online_features(
        list(PROJECT.model("feed").task.candidates), [{"user": 1}], store=recent, at=ASKED_AT
    ).row(0)
    assert proposed == {item for found in lists for item in found}
    assert said["candidates"] == len(proposed)
    assert "retrieve" in said["timing"]
    assert said["items"][0]["features"]["user__count_2d"]["value"] == 12
    cold = good(client.post("/v1/rank/feed", json={"row": {"user": 77}}))
    assert cold["candidates"] == 3  # the popular ones


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


def test_equal_scores_stay_in_the_order_of_the_candidates(client):
    said = good(
        client.post("/v1/rank/feed", json={"row": {"user": 1}, "candidates": ["x", "z", "y"]})
    )
    assert [one["item"] for one in said["items"]] == ["x", "z", "y"]


# ---------------------------------------------------------------- levels


def test_a_level_is_served_beside_what_is_defined(store, tmp_path):
    made = filled(hw.operations.open_store(f"lmdb:{tmp_path / 'online'}?size=1GB"))
    for view in PROJECT.variant("churn", "nightly").service.views:
        filled(made, view)
    with asking(made, levels=["nightly"]) as client:
        as_defined = good(client.post("/v1/features/churn_v1", json={"row": ROW}))
        nightly = good(client.post("/v1/features/churn_v1", json={"row": ROW, "level": "nightly"}))
        assert nightly["level"] == "nightly"
        midnight = NOW.replace(hour=0)
        assert datetime.fromisoformat(nightly["features"]["user__count_2d"]["T"]) == midnight
        assert datetime.fromisoformat(as_defined["features"]["user__count_2d"]["T"]) == NOW
        assert (
            good(client.post("/v1/predict/churn", json={"row": ROW, "level": "nightly"}))["level"]
            == "nightly"
        )
        reasons = good(client.get("/readyz"), 503)["reasons"]
        # which were not made at that level
        assert any("'item'" in why or "'day'" in why for why in reasons)
    made.close()


# ---------------------------------------------------------------- events


def test_events_reach_the_process_that_ingests(tmp_path):
    made = hw.operations.open_store(f"lmdb:{tmp_path / 'online'}?size=1GB")
    project = hw.Project("clicked", [watched])
    stop, port = threading.Event(), free_port()
    ingesting = threading.Thread(
        target=lambda: hw.ingest(
            project,
            made,
            data_dir=tmp_path,
            listen=f"127.0.0.1:{port}",
            stop=stop,
            options=hw.operations.IngestOptions(allow_unapplied=True),
        )
    )
    with asking(made, project, now=clock.now_micros) as client:
        early = client.post("/v1/events/clicks", json={"user": 1, "at": NOW.isoformat()})
        assert (early.status_code, early.headers["retry-after"]) == (503, "5")
        assert "headwater ingest" in early.json()["error"]
        ingesting.start()
        try:
            wait_until(lambda: client.get("/readyz").status_code == 200, "readiness")
            wait_until(lambda: made.get([keyspace.receiver("clicks")[0]])[0], "the receiver")
            now = datetime.now(UTC).isoformat()
            taken = client.post(
                "/v1/events/clicks",
                json=[{"user": 1, "at": now}, {"user": "x"}],
                headers={"Idempotency-Key": "k"},
            )
            assert (taken.status_code, taken.json()["accepted"], len(taken.json()["refused"])) == (
                200,
                1,
                1,
            )
            again = client.post(
                "/v1/events/clicks",
                json=[{"user": 1, "at": now}, {"user": "x"}],
                headers={"Idempotency-Key": "k"},
            )
            assert (again.json()["accepted"], again.json()["copies"]) == (0, 1)
            said = good(client.post("/v1/features/watched_v1", json={"row": {"user": 1}}))[
                "features"
            ]["live__count_1h"]
            assert (said["value"], said["status"], said["stale"]) == (1, "present", False)
            assert good(client.post("/v1/events/click", json={}), 404)["error"].endswith(
                f"did you mean '{clicks.name}'?"
            )
        finally:
            stop.set()
            ingesting.join(20)
    made.close()


# ---------------------------------------------------------------- explain, health, numbers, description


def test_explain_says_which_events_count(client):
    said = good(
        client.get("/v1/explain", params={"feature": "user__count_2d", "user": "1", "events": "3"})
    )
    assert (said["online"], said["offline"], said["status"], len(said["events"])) == (
        12,
        12,
        "present",
        3,
    )


@pytest.mark.parametrize(
    "at",
    ["1000-01-01T00:00:00Z", "1969-12-31T23:59:59.999999Z", "9000-12-31T23:59:59.999999-23:59"],
)
def test_explain_answers_far_from_now(client, at):
    said = good(
        client.get("/v1/explain", params={"feature": "user__count_2d", "user": "1", "at": at})
    )
    assert said["offline"] == 0


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({}, "name a feature"),
        ({"feature": "user__cont_2d", "user": "1"}, "did you mean 'user__count_2d'"),
        ({"feature": "user__count_2d", "usr": "1"}, "did you mean 'user'"),
        ({"feature": "user__count_2d"}, "no value for 'user'"),
        ({"feature": "user__count_2d", "user": "x"}, "'x' is not"),
        ({"feature": "user__count_2d", "user": "1", "at": "yesterday"}, "yesterday"),
        (
            {"feature": "user__count_2d", "user": "1", "at": "9999-12-31T23:59:59.999999Z"},
            "give a timestamp of the years 1000 to 9000",
        ),
        (
            {"feature": "user__count_2d", "user": "1", "at": "0001-01-01T00:00:00Z"},
            "give a timestamp of the years 1000 to 9000",
        ),
        (
            {"feature": "user__count_2d", "user": "1", "at": "0001-01-01T00:00:00+14:00"},
            "give a timestamp of the years 1000 to 9000",
        ),
        ({"feature": "user__count_2d", "user": "1", "events": "-1"}, "integer"),
    ],
)
def test_explain_refuses(client, asked, says):
    assert says in good(client.get("/v1/explain", params=asked), 422)["error"]


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


def test_numbers_say_what_was_answered(store):
    with asking(store) as client:
        for _ in range(3):
            client.post("/v1/predict/churn", json={"row": {**ROW, "user": 77}})
        client.post("/v1/predict/churn", json={"row": {}})
        client.get("/nowhere")
        text = client.get("/metrics").text
    for line in (
        'headwater_requests_total{route="/v1/predict/{model}",status="200"} 3.0',
        'headwater_requests_total{route="/v1/predict/{model}",status="422"} 1.0',
        'headwater_requests_total{route="",status="404"} 1.0',
        'headwater_request_rows_total{route="/v1/predict/{model}"} 3.0',
        'headwater_predictions_total{how="on_request",route="/v1/predict/{model}"} 3.0',
        'headwater_feature_status_total{status="missing"} 9.0',
        'headwater_request_seconds_count{route="/v1/predict/{model}"} 4.0',
        'headwater_stage_seconds_count{route="/v1/predict/{model}",stage="score"} 3.0',
    ):
        assert (
            line in text
            or re.sub(r"\{(how=\"[^\"]*\"),(route=\"[^\"]*\")\}", r"{\2,\1}", line) in text
        ), line


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


def test_a_request_id_comes_back(client):
    answer = client.post(
        "/v1/features/churn_v1", json={"row": ROW}, headers={"X-Request-Id": "a/b:c-1"}
    )
    assert answer.headers["x-request-id"] == "a/b:c-1"
    first, second = (client.get("/healthz").headers["x-request-id"] for _ in range(2))
    assert first != second
    assert client.get("/nowhere").json()["request_id"]


def test_the_page_needs_nothing_from_elsewhere(client):
    answer = client.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert not re.findall(r"""(?:src|href)\s*=|https?://|@import""", answer.text)
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_the_description_names_what_can_be_asked(client):
    said = good(client.get("/openapi.json"))
    assert said["openapi"] == "3.1.0"
    assert {
        "/v1/features/churn_v1",
        "/v1/features/feed_v1",
        "/v1/predict/churn",
        "/v1/rank/feed",
        "/healthz",
    } <= said["paths"].keys()
    assert "/v1/rank/churn" not in said["paths"]
    body = said["paths"]["/v1/features/churn_v1"]["post"]["requestBody"]["content"][
        "application/json"
    ]["schema"]
    one, row = (
        said["components"]["schemas"][name] for name in ("FeaturesRequest_churn_v1_row", "churn_v1")
    )
    assert body["oneOf"][0]["$ref"].endswith("/FeaturesRequest_churn_v1_row")
    assert (one["required"], one["properties"]["row"]["$ref"].rpartition("/")[2]) == (
        ["row"],
        "churn_v1",
    )
    assert sorted(row["required"]) == sorted(ROW)
    assert [kind["type"] for kind in row["properties"]["user"]["anyOf"]] == ["integer", "null"]
    assert row["properties"]["asked"]["anyOf"] == [
        {"type": "string", "format": "date-time"},
        {"type": "null"},
    ]


# ---------------------------------------------------------------- a model that was trained


def test_a_trained_model_is_served_from_its_folder(store, tmp_path):
    hw.train(churn, as_of=datetime.now(UTC)).save(tmp_path / "churn")
    with asking(store, hw.Project("shop", [churn]), models=tmp_path) as client:
        said = good(client.post("/v1/predict/churn", json={"row": ROW, "features": True}))
        fitted = hw.operations.Service(PROJECT, store, models=tmp_path).scorer(churn, None)
        frame = pl.DataFrame(
            {name: [f["value"]] for name, f in said["prediction"]["features"].items()}
        )
        assert said["prediction"]["value"] == pytest.approx(float(fitted.score(frame)[0]), abs=1e-9)
        assert said["version"] == fitted.version
        assert 0 < said["prediction"]["value"] < 1


def test_a_taken_address_is_an_error(client, store):
    port = httpx.URL(client.base_url).port
    with (
        pytest.raises(UsageError, match="cannot listen"),
        hw.operations.serve(PROJECT, store, listen=f"127.0.0.1:{port}", models=MODELS),
    ):
        pass


def test_the_description_compares_no_route():
    """The properties of a route are in its row of the table, so that another route needs no line in
    openapi.py.
    """
    tree = ast.parse(Path(openapi.__file__).read_text(encoding="utf-8"))
    special = {"name", "path", "request", "response", "body", "content", "query"}
    compared = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        and any(
            isinstance(side, ast.Attribute)
            and side.attr in special
            and ast.unparse(side.value) == "route"
            for side in (node.left, *node.comparators)
        )
    ]
    assert [
        line for line in compared if line not in ("route.response is None", "route.request is None")
    ] == []
    assert set(openapi.BODIES) == set(get_args(Body))
    assert set(openapi.CONTENTS) == set(get_args(Content))
    assert set(openapi.PARAMETERS) == set(get_args(Query))
