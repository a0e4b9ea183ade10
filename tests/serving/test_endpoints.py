"""The corners of the square, third parties and versions of models, as they are answered over HTTP
and in process.
"""

from dataclasses import replace
from datetime import UTC, datetime

import polars as pl
import pytest

import headwater as hw
from headwater.models.feature_encoding import fit_encoding
from headwater.models.fit import Fitted
from tests.serving.third_party.parties import Party, hangs
from tests.serving.world import (
    NOW,
    ROW,
    Sum,
    asking,
    churn,
    filled,
    hourly,
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


def test_what_does_not_fit_into_the_latency_budget_is_cut_off(own, party):
    filled(own, NUMBERS)
    party.behaviour = hangs
    with asking(
        own, hw.Project("shop", [risky(party, latency_budget="300ms")]), models={"risky": Sum()}
    ) as client:
        asked = {"row": {"user": 1, "address": "a"}, "features": True}
        said = good(client.post("/v1/predict/risky", json=asked))["prediction"]
        assert (
            said["features"]["ip__score"]["value"],
            said["features"]["ip__score"]["status"],
        ) == (0.0, "fallback")
        assert 'headwater_cut_off_total{model="risky"} 1.0' in client.get("/metrics").text


# ---------------------------------------------------------------- versions


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
