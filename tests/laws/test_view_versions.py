"""`user@2` is another view than `user`: each has its own state and its own names, on every road;
and a view that a served model reads is not dropped.
"""

import json
import socket
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.errors import UsageError
from headwater.testing import clock

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
STREAM = {"user": pl.String, "amount": pl.Float64, "at": pl.Datetime("us", "UTC")}


class Total:
    """Predicts the sum of a row's features."""

    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.nansum(X, axis=1)


def events(folder):
    return hw.Source(
        "clicks",
        history=hw.parquet(f"{folder}/clicks.parquet"),
        timestamp_field="at",
        select=["user", "amount"],
        stream=hw.appended(f"{folder}/clicks*.jsonl", schema=STREAM),
    )


def views_of(folder, freshness=None):
    """Version 1 counts; version 2 has a feature of the same name that means something else, and
    one more.
    """
    common = {
        "source": events(folder),
        "keys": ["user"],
        "windows": ["1h", "1d"],
        "freshness": freshness or hw.batch("1h"),
    }
    return (
        hw.FeatureView("user", features=[hw.count(name="n")], **common),
        hw.FeatureView(
            "user",
            features=[hw.sum("amount", name="n"), hw.max("amount")],
            version=2,
            slo=0.9,
            **common,
        ),
    )


def model(folder, *features, name="churn", service="churn_v1", estimator=None):
    labels = hw.Labels(
        "left",
        table=hw.parquet(f"{folder}/labels.parquet"),
        timestamp_field="asked",
        label="left",
        known_after="1m",
    )
    return hw.Model(
        name,
        task="regression",
        features=hw.FeatureService(service, list(features)),
        labels=labels,
        estimator=estimator,
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two users with three events in the history; a clock that stands still at noon."""
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    ago = [NOW - timedelta(minutes=m) for m in (300, 50, 40)]
    clicks = {"user": ["ä", "ä", "b"], "amount": [4.0, 10.0, 7.0], "at": ago}
    pl.DataFrame(clicks).write_parquet(tmp_path / "clicks.parquet")
    asked = [NOW - timedelta(minutes=m) for m in range(10, 50)]
    labels = {"user": ["ä", "b"] * 20, "asked": asked, "left": [1.0, 2.0] * 20}
    pl.DataFrame(labels).write_parquet(tmp_path / "labels.parquet")
    with clock.at(NOW.isoformat()):
        yield tmp_path


BOTH = {"user__n_1h": 1, "user__n_1d": 2, "user@2__n_1h": 10.0, "user@2__n_1d": 14.0}
BOTH |= {"user@2__max_amount_1h": 10.0, "user@2__max_amount_1d": 10.0}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


# ---------------------------------------------------------------- names


def test_a_version_is_another_view_with_names_and_state_of_its_own(folder):
    one, two = views_of(folder)
    assert (one.name, two.name) == ("user", "user@2")
    assert two.feature_names[0] == "user@2__n_1h" == two["n_1h"].name
    alike = replace(one, version=2)
    assert (alike.name, replace(alike).name) == ("user@2", "user@2")
    assert alike != one
    assert alike.tiles_fingerprint != one.tiles_fingerprint
    friend = two.alias("friend", keys={"user": "other"})
    assert (friend.name, friend.feature_names[0]) == ("friend@2", "friend@2__n_1h")
    assert friend.tiles_fingerprint == two.tiles_fingerprint


# ---------------------------------------------------------------- every road


def test_two_versions_are_materialized_trained_and_served_side_by_side(folder):
    one, two = views_of(folder)
    models = [
        model(folder, one, two, estimator=Total()),
        model(folder, two, name="newer", service="newer_v1"),
    ]
    project = hw.Project("shop", models)
    hw.apply(project)
    with closing(hw.operations.open_store(f"lmdb:{folder}/store?size=100MB")) as store:
        made = hw.materialize(project, store=store)
        assert [materialized.view for materialized in made] == ["user", "user@2"]
        row = {"user": "ä"}
        online = hw.get_online_features(models[0].features, [row], store=store)
        assert online.row(0, named=True) == BOTH
        asked = pl.DataFrame({"user": ["ä"], "timestamp": [NOW]})
        offline = hw.get_historical_features(models[0].features, asked)
        assert offline.select(list(BOTH)).row(0, named=True) == BOTH
        assert not any(compared.mismatches for compared in hw.parity(project, store=store))

        training = hw.dataset(models[0], folder / "rows.parquet")
        assert set(BOTH) <= set(pl.read_parquet(training.path).columns)
        registry = hw.operations.ModelRegistry()
        for trained in models:
            hw.train(trained).register(registry)
        manifest = registry.current("newer").manifest
        assert manifest.features == list(two.feature_names)
        url = f"127.0.0.1:{free_port()}"
        options = hw.operations.ServeOptions(allow_pickle=True)
        with (
            hw.operations.serve(project, store, listen=url, options=options) as at,
            httpx.Client(base_url=at, timeout=60, trust_env=False) as http,
        ):
            answer = http.post("/v1/features/churn_v1", json={"row": row}).json()["features"]
            assert {name: feature["value"] for name, feature in answer.items()} == BOTH
            answer = http.post("/v1/predict/churn", json={"row": row, "features": True}).json()
            assert answer["prediction"]["value"] == sum(BOTH.values())
            assert set(answer["prediction"]["features"]) == set(BOTH)
            assert http.post("/v1/predict/newer", json={"row": row}).status_code == 200
            for name, value in BOTH.items():
                explained = http.get("/v1/explain", params={"feature": name, "user": "ä"}).json()
                assert (explained["feature"], explained["online"]) == (name, value)
            assert [view["view"] for view in http.get("/v1/status").json()["views"]] == [
                "user",
                "user@2",
            ]
            named = http.get("/v1/feature", params={"feature": "user@2__n_1d"}).json()
            assert named["view"] == "user@2"
            around = http.get("/v1/lineage", params={"around": "view user@2"}).json()
            assert "model churn" in {node["id"] for node in around["nodes"]}
            assert 'view="user@2"' in http.get("/metrics").text
            assert http.get("/openapi.json").status_code == 200


def test_a_stream_fills_both_versions_each_in_state_of_its_own(folder):
    one, two = views_of(folder, hw.streaming("2s"))
    project = hw.Project("shop", [model(folder, two)], views=[one])
    both = hw.FeatureService("both", [one, two])
    url = f"lmdb:{folder}/store?size=100MB"
    options = hw.operations.IngestOptions(allow_unapplied=True)
    line = {"user": "ä", "amount": 1.0, "at": (NOW - timedelta(seconds=5)).isoformat()}
    (folder / "clicks.jsonl").write_text(json.dumps(line) + "\n")
    hw.ingest(project, url, data_dir=folder / "home", once=True, options=options)
    read = hw.get_online_features(both, [{"user": "ä"}], store=url, details=True).row(0, named=True)
    assert (read["user__n_1h"], read["user@2__n_1h"]) == (2, 11.0)
    found = {view.view: view for view in hw.parity(project, store=url, data_dir=folder / "home")}
    assert set(found) == {"user", "user@2"}
    assert not any(compared.mismatches for compared in found.values())
    # only version 2 is maintained from now on
    only = hw.Project("shop", [model(folder, two)])
    with (folder / "clicks.jsonl").open("a") as more:
        more.write(json.dumps(line | {"amount": 2.0}) + "\n")
    hw.ingest(only, url, data_dir=folder / "home", once=True, options=options)
    read = hw.get_online_features(two, [{"user": "ä"}], store=url, details=True).row(0, named=True)
    assert read["user@2__n_1h"] == 13.0


# ---------------------------------------------------------------- plan and apply


def test_a_view_that_a_served_model_reads_is_not_dropped(folder):
    one, two = views_of(folder)
    first = hw.Project("shop", [model(folder, one, one.alias("friend", {}))])
    hw.apply(first)
    registry = hw.operations.ModelRegistry()
    hw.train(first.model()).register(registry)
    for lacking in (
        hw.Project("shop", [model(folder, two)]),
        hw.Project("shop", [model(folder, two, service="churn_v2")]),
    ):
        with pytest.raises(
            UsageError,
            match=r"churn as defined, version 1, is served and reads view user, which the project "
            r"does not have; keep it \(hw.Project\(\.\.\., views=\[user\]\)\) until a version of "
            "the model that does not read it is promoted",
        ):
            hw.apply(lacking, allow_destroy=True, allow_breaking=True)
        assert "  ✗ refused: churn as defined, version 1" in str(hw.plan(lacking))

    kept = hw.Project("shop", [model(folder, two)], views=[one])
    planned = hw.plan(kept)
    assert {change.name: change.action for change in planned.changes} == {
        "user@2": "added",
        "friend": "removed",
        "churn_v1": "changed",
    }
    assert (planned.protected, planned.needs_backfill) == ((), ("user@2",))
    assert planned.breaks() == []
    assert not {lint.rule for lint in planned.lints} & {"twins", "unread"}
    hw.apply(kept)
    dropping = hw.Project("shop", [model(folder, two)])
    hw.train(kept.model()).register(registry, promote=False)
    with pytest.raises(UsageError, match="version 1, is served and reads view user"):
        hw.apply(dropping, allow_destroy=True)
    registry.promote(2, "churn")
    hw.apply(dropping, allow_destroy=True)
    registry.rollback("churn")
    assert hw.plan(dropping).protected
    # a model that the project no longer has is not served by it
    assert not hw.plan(hw.Project("shop", [model(folder, two, name="newer")])).protected


def test_a_view_that_a_running_service_answers_with_is_not_dropped(folder):
    one, two = views_of(folder)
    project = hw.Project("shop", [model(folder, one)])
    registry = hw.operations.ModelRegistry()
    hw.train(project.model()).register(registry)
    kept = hw.Project("shop", [model(folder, two)], views=[one])
    with closing(hw.operations.open_store(f"lmdb:{folder}/store?size=100MB")) as store:
        hw.materialize(kept, store=store)
        with hw.operations.serve(project, store, listen=f"127.0.0.1:{free_port()}") as at:
            httpx.post(f"{at}/v1/predict/churn", json={"row": {"user": "ä"}}, trust_env=False)
            hw.train(kept.model()).register(registry)
            dropping = hw.Project("shop", [model(folder, two)])
            says = f"the service at {at} answers with churn as defined, version 1, which reads view"
            with pytest.raises(UsageError, match=says):
                hw.apply(dropping, allow_destroy=True, allow_breaking=True)
            hw.apply(kept)
        hw.apply(dropping, allow_destroy=True)


def test_a_model_of_another_version_is_not_served(folder):
    one, two = views_of(folder)
    hw.train(model(folder, one, estimator=Total())).register(hw.operations.ModelRegistry())
    project = hw.Project("shop", [model(folder, two, estimator=Total())], views=[one])
    with closing(hw.operations.open_store(f"lmdb:{folder}/store?size=100MB")) as store:
        hw.materialize(project, store=store)
        with (
            hw.operations.Service(project, store, allow_pickle=True) as service,
            pytest.raises(hw.errors.ModelError, match="it reads 'user__n_1h', which is not served"),
        ):
            service.predict("churn", {"user": "ä"})
