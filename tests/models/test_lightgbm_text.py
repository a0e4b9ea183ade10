"""LightGBM's text: a kept model is the file of its digest, each kind keeps its bits, and a file that
was cut is an error.
"""

import json

import lightgbm
import numpy as np
import pytest

import headwater as hw
from headwater.errors import DataError
from headwater.models import artifact
from tests.models.worlds import model

ONE = {
    "verbose": -1,
    "num_threads": 1,
    "num_leaves": 7,
    "min_data_in_leaf": 5,
    "min_data_per_group": 5,
}


def rows():
    drawn = np.random.default_rng(0)
    X = drawn.normal(size=(300, 3))
    X[:, 2] = drawn.integers(0, 40, 300)
    X[::7, 0] = np.nan
    return X


def booster(rounds=4, y=None, categorical="auto", **rules):
    X = rows()
    y = (X[:, 1] + 3 * (X[:, 2] % 2) > 1).astype(int) if y is None else y
    return lightgbm.train(
        {**ONE, **rules}, lightgbm.Dataset(X, y, categorical_feature=categorical), rounds
    )


KINDS = {
    "binary": lambda: booster(objective="binary", categorical=[2]),
    "multiclass": lambda: booster(objective="multiclass", num_class=3, y=np.arange(300) % 3),
    "linear": lambda: booster(linear_tree=True, y=np.nan_to_num(rows()) @ np.ones(3)),
    "random forest": lambda: booster(
        boosting="rf", bagging_freq=1, bagging_fraction=0.5, objective="binary"
    ),
    "one leaf": lambda: booster(y=np.ones(300)),
    "monotone": lambda: booster(monotone_constraints=[1, 0, -1]),
    "own objective": lambda: booster(
        objective=lambda found, data: (found - data.get_label(), np.ones_like(found))
    ),
    "quantile": lambda: booster(objective="quantile", alpha=0.9),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_good_model_keeps_its_bits_and_its_text(kind, tmp_path):
    made = KINDS[kind]()
    made.save_model(tmp_path / "model.txt")
    found = hw.operations.load_model(tmp_path / "model.txt")
    assert found.predict(rows()).tobytes() == np.asarray(made.predict(rows()), np.float64).tobytes()
    assert (
        found.booster.model_to_string()
        == lightgbm.Booster(model_file=tmp_path / "model.txt").model_to_string()
    )
    (tmp_path / "windows.txt").write_bytes(
        (tmp_path / "model.txt").read_bytes().replace(b"\n", b"\r\n")
    )
    assert (
        hw.operations.load_model(tmp_path / "windows.txt").predict(rows()).tobytes()
        == found.predict(rows()).tobytes()
    )


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (lambda text: text[: len(text) // 2], "end of trees"),
        (lambda text: b"\xff\xfe" + text, "utf-8"),
        (lambda text: b"", "end of trees"),
        (lambda text: b"hello\nend of trees\n", "not a model that LightGBM reads"),
    ],
)
def test_a_file_that_is_no_whole_model_is_refused(changed, says, tmp_path):
    KINDS["binary"]().save_model(tmp_path / "model.txt")
    path = tmp_path / "model.txt"
    path.write_bytes(changed(path.read_bytes()))
    with pytest.raises(DataError, match=says):
        hw.operations.load_model(path)


@pytest.fixture(scope="module")
def trained():
    estimator = lightgbm.LGBMClassifier(n_estimators=3, num_leaves=7, n_jobs=1, verbose=-1)
    return hw.train(
        model(estimator=estimator), as_of="2024-04-01T00:00Z", resources=hw.Resources(threads=1)
    )


@pytest.mark.parametrize(
    "named", ["../../../etc/hostname", "other.txt", "model.onnx", "", "./model.txt"]
)
def test_the_digest_is_of_the_file_that_is_loaded(named, trained, tmp_path):
    trained.save(tmp_path / "kept")
    (tmp_path / "kept/other.txt").write_text("something else")
    manifest = json.loads((tmp_path / "kept/manifest.json").read_text())
    manifest["kept"] |= {"file": named}
    (tmp_path / "kept/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match=r"names .*, and lightgbm keeps a model in 'model\.txt'"):
        artifact.open_model(tmp_path / "kept")


def test_a_model_that_was_changed_under_its_digest_is_refused(trained, tmp_path):
    trained.save(tmp_path / "kept")
    path = tmp_path / "kept/model.txt"
    path.write_text(path.read_text().replace("leaf_value=", "leaf_value=1", 1))
    with pytest.raises(DataError, match=r"model\.txt has changed"):
        artifact.open_model(tmp_path / "kept")
