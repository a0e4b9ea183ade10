"""What a manifest says, and that a model which is not what it says is refused."""

import json
import pickle

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

import headwater as hw
from headwater.errors import DataError, UsageError
from headwater.models.artifact import manifest_in, open_model
from tests.backtesting.world import LEVELS, by_machine, day, world
from tests.backtesting.world import model as machine_model
from tests.models.worlds import FIELDS, imputed, model, table

UNTIL = "2024-04-01T00:00Z"


@pytest.fixture(scope="module")
def machines():
    return world(days=12, per_day=60)


@pytest.fixture
def kept(tmp_path):
    trained = hw.train(model(), as_of=UNTIL, resources=hw.Resources(threads=1))
    trained.save(tmp_path / "m")
    return tmp_path / "m"


def test_a_manifest_says_what_the_model_was_made_of(machines, tmp_path):
    of = machine_model(
        machines, members=[by_machine(machines.events), hw.RequestField("amount", float)]
    )
    trained = hw.train(of, level=LEVELS["hourly"], level_name="hourly", as_of=day(8))
    path = trained.save(tmp_path)
    said = json.loads(path.read_text())
    assert (said["model"], said["fingerprint"], said["task"]) == (
        "breaks",
        of.fingerprint,
        "binary",
    )
    assert said["features"] == ["machine__last_state", "machine__mean_state_6h", "amount"]
    assert said["dtypes"] == ["Float64", "Float64", "Float64"]
    assert said["feature_service"] == {"svc": of.features.fingerprint}
    assert said["labels"] == {"outcomes": of.labels.fingerprint}
    (view,) = said["views"].values()
    assert view["says"] == "every 1h, published 5m later"
    hour = 3_600_000_000
    assert view["freshness"] == {
        "kind": "batch",
        "every": hour,
        "at": 0,
        "timezone": "UTC",
        "delay": hour // 12,
        "wait": 0,
    }
    assert said["level"]["name"] == "hourly"
    assert said["level"]["fingerprint"] == LEVELS["hourly"].fingerprint
    assert said["level"]["predictions"] is None
    assert (said["until"], said["rows"]) == (day(8).isoformat(), trained.rows)
    assert set(said["request"]) == {"amount"}
    assert 1 <= len(said["examples"]) <= 3
    assert {"headwater", "polars", "scikit-learn"} <= set(said["versions"])
    assert manifest_in(tmp_path).metrics["training"]["auc"] > 0.5


# ---- a model that is not what its manifest says


def _change(folder, **fields):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_a_model_that_scores_otherwise_is_refused(kept):
    manifest = json.loads((kept / "manifest.json").read_text())
    for example in manifest["examples"]:
        example["prediction"] += 1e-9
    _change(
        kept, examples=manifest["examples"], versions=manifest["versions"] | {"lightgbm": "3.0"}
    )
    with pytest.raises(
        DataError,
        match=r"no longer scores as it did when it was kept: .* these libraries are not the same: lightgbm 3.0 then",
    ):
        open_model(kept, model())


def test_a_row_that_scores_otherwise_than_the_frame_is_refused(kept, monkeypatch):
    from headwater.models.serving_model import ServedModel

    one = ServedModel.one
    monkeypatch.setattr(ServedModel, "one", lambda self, values: one(self, values) + 1e-6)
    with pytest.raises(
        DataError, match=r"no longer scores as it did .* \(one row\); no library has changed"
    ):
        open_model(kept, model())


def test_a_file_that_was_changed_is_refused_before_it_is_read(tmp_path):
    hw.train(model(estimator=imputed(), fields=FIELDS[:2]), as_of=UNTIL).save(tmp_path)

    class Runs:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Runs()))
    with pytest.raises(
        DataError, match=r"is not what was kept: model.pkl has changed; train it again"
    ):
        open_model(tmp_path, allow_pickle=True)
    assert not (tmp_path / "ran").exists()
    (tmp_path / "model.pkl").unlink()
    with pytest.raises(DataError, match=r"model.pkl is gone"):
        open_model(tmp_path, allow_pickle=True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not a model manifest"),
        ("{}", "missing required field"),
        ('{"format": 1}', "missing required field"),
    ],
)
def test_a_manifest_that_cannot_be_read(kept, text, says):
    (kept / "manifest.json").write_text(text)
    with pytest.raises(DataError, match=says):
        open_model(kept)


def test_a_manifest_of_another_version(kept):
    _change(kept, format=99)
    with pytest.raises(
        DataError, match=r"it is of format 99, and this version reads 2. Train the model again"
    ):
        open_model(kept)


def test_features_in_another_order_are_refused(kept):
    with pytest.raises(
        DataError, match="the order of features differs: number 1 was 'x', and is 'shade'"
    ):
        open_model(kept, model(fields=FIELDS[::-1]))


def test_scores_that_are_no_numbers_are_not_kept(tmp_path):
    taught = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
    taught.coef_ = np.array([np.nan])
    of = model("regression", estimator=taught, fields=[hw.RequestField("noise", float)])
    with pytest.raises(DataError, match="returns scores that are not finite numbers, such as nan"):
        hw.train(of, as_of=UNTIL).save(tmp_path)


# ---- models that were trained elsewhere


@pytest.mark.parametrize("name", ["m.pkl", "m.pickle", "m.joblib"])
def test_a_file_of_python_needs_trust(tmp_path, name):
    rows = table()
    taught = LogisticRegression().fit(rows.select("noise").to_numpy(), rows["clicked"].to_numpy())
    if name.endswith("joblib"):
        joblib.dump(taught, tmp_path / name)
    else:
        (tmp_path / name).write_bytes(pickle.dumps(taught))
    with pytest.raises(
        UsageError, match=r"runs code; pass allow_pickle=True if you trust where it comes from"
    ):
        hw.operations.load_model(tmp_path / name)
    of = model(
        estimator=hw.operations.load_model(tmp_path / name, allow_pickle=True),
        fields=[hw.RequestField("noise", float)],
    )
    trained = hw.train(of, as_of=UNTIL)
    assert trained.fitted.replayed
    assert (
        trained.fitted.score(rows).tolist()
        == taught.predict_proba(rows.select("noise").to_numpy())[:, 1].tolist()
    )


@pytest.mark.parametrize("ending", ["txt", "onnx", "pkl", "joblib"])
def test_a_file_that_holds_no_model(tmp_path, ending):
    place = tmp_path / f"m.{ending}"
    with pytest.raises(DataError, match="no model at"):
        hw.operations.load_model(place, allow_pickle=True)
    place.write_bytes(b"nothing that could be a model")
    with pytest.raises(
        DataError, match=r"cannot be loaded|is not a model that|is not a whole LightGBM model"
    ):
        hw.operations.load_model(place, allow_pickle=True)
