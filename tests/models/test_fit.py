"""How features become numbers, which estimator is fitted on them, and how a fitted model is
kept.
"""

import datetime as dt
import json

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

import headwater as hw
from headwater.errors import DataError, LeakError
from headwater.models.artifact import load
from headwater.models.feature_encoding import fit_encoding
from headwater.models.fit import fit
from headwater.training.train import training_set
from tests.backtesting.world import LEVELS, by_machine, day, labels, model, world

AT = dt.datetime(1970, 1, 2, tzinfo=dt.UTC)
NAN = float("nan")


@pytest.fixture(scope="module")
def made():
    return world(days=12, per_day=60)


@pytest.fixture(scope="module")
def texts(made):
    """The default estimator on a text, a time and numbers."""
    members = [
        by_machine(made.events, features=[hw.last("state", "mood", "at")]),
        hw.RequestField("machine", str),
    ]
    return model(made, estimator=None, members=members)


# ---- encoding


@pytest.mark.parametrize(
    ("values", "dtype", "numbers"),
    [
        ([1, None, 3], pl.Int64, [1, NAN, 3]),
        ([1.5, None, NAN], pl.Float64, [1.5, NAN, NAN]),
        ([True, None, False], pl.Boolean, [1, NAN, 0]),
        ([None, None, None], pl.Null, [NAN] * 3),
        ([AT, None, AT], pl.Datetime("us", "UTC"), [86400, NAN, 86400]),
        ([AT, None, AT], pl.Datetime("ms", "UTC"), [86400, NAN, 86400]),
        ([AT.date(), None, AT.date()], pl.Date, [86400, NAN, 86400]),
        ([dt.timedelta(minutes=1), None, dt.timedelta(0)], pl.Duration("ms"), [60, NAN, 0]),
        (["b", "a", "b"], pl.String, [0, 1, 0]),
        (["b", "a", None], pl.String, [1, 0, NAN]),  # equally frequent: by the text
        (["b", "a", "b"], pl.Categorical, [0, 1, 0]),
        (["b", "a", "b"], pl.Enum(["z", "b", "a"]), [0, 1, 0]),
        ([None, None, None], pl.String, [NAN] * 3),
        ([], pl.String, []),
    ],
)
def test_every_kind_of_feature_becomes_a_number(values, dtype, numbers):
    frame = pl.DataFrame({"x": pl.Series(values, dtype=dtype)})
    found = fit_encoding(frame).transform(frame)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found[:, 0], np.array(numbers, float))


def test_a_text_that_training_did_not_see_is_missing():
    encoding = fit_encoding(pl.DataFrame({"n": [1.0, 2.0, 3.0], "x": ["no", "se", "no"]}))
    assert (encoding.categorical, encoding.categories) == ([1], {"x": ["no", "se"]})
    found = encoding.transform(pl.DataFrame({"x": ["se", "dk", "no", None], "n": [1, 2, 3, 4]}))
    np.testing.assert_array_equal(found, [[1, 1], [2, NAN], [3, 0], [4, NAN]])


# ---- estimators


def _texts(n=1200, categories=3, seed=0):
    """A text that says all and a number that says nothing."""
    rng = np.random.default_rng(seed)
    code = rng.permutation(np.arange(n) % categories)
    frame = pl.DataFrame({"x": [f"c{c:04}" for c in code], "noise": rng.random(n)})
    return frame, (code % 2).astype(float)


def _of(estimator, frame, label, task="binary", **more):
    fields = [
        hw.RequestField(name, str if frame.schema[name] == pl.String else float)
        for name in frame.columns
    ]
    rows = pl.DataFrame({"asked": [AT], "bad": [True], "cost": [0.0], "known": [AT]})
    outcome = labels(rows, "bad" if task == "binary" else "cost")
    of = hw.Model(
        "m", task=task, features=hw.FeatureService("s", fields), labels=outcome, estimator=estimator
    )
    return fit(of, frame, label, **({"threads": 1} | more))


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_the_default_estimator_is_the_same_whatever_the_threads(task):
    frame, y = _texts()
    one, two = (_of(None, frame, y, task, threads=n).score(frame) for n in (1, 2))
    assert one.tobytes() == two.tobytes()
    assert len(one) == frame.height


def test_the_seed_is_that_of_the_default_estimator():
    frame, y = _texts()
    noisy = np.where(np.arange(len(y)) % 3 == 0, 1 - y, y)
    assert (
        _of(None, frame, noisy, seed=1).score(frame).tobytes()
        != _of(None, frame, noisy, seed=2).score(frame).tobytes()
    )


def test_columns_in_another_order_are_refused():
    frame, y = _texts()
    taught = LogisticRegression().fit(frame.select(two="noise", one="noise").to_numpy(), y)
    taught.feature_names_in_ = np.array(["two", "one"])  # as a frame with names would have left it
    with pytest.raises(
        DataError,
        match=r"it takes the columns \['two', 'one'\], and the features are \['one', 'two'\]",
    ):
        _of(taught, frame.select(one="noise", two="noise"), y)


# ---- training sets


def test_a_training_set_holds_what_was_known_by_then(made):
    of = model(made)
    until = made.rows["known"].sort()[300]
    found = training_set(of, as_of=until)
    known = made.rows.filter(pl.col("known") <= until)
    assert known.height == 301
    assert found.frame["asked"].equals(known["asked"])
    assert found.left_out == {"outcome not known by then": made.rows.height - known.height}
    assert found.frame.columns[-1] == "bad"
    assert found.frame["bad"].to_list() == known["bad"].cast(float).to_list()
    assert training_set(of, as_of=until.isoformat()).features.equals(found.features)
    expected = hw.get_historical_features(of.features, labels(known), level=hw.Level())
    assert found.features.equals(expected.select(found.features.columns))


def test_training_does_not_depend_on_the_order_of_the_table(made, texts):
    frame = training_set(texts, as_of=day(8)).features
    shuffled = made.rows.sample(fraction=1.0, shuffle=True, seed=1)
    other = hw.Model("breaks", task="binary", features=texts.features, labels=labels(shuffled))
    one, two = (hw.train(of, as_of=day(8)).fitted for of in (texts, other))
    assert one.encoding == two.encoding
    assert one.score(frame).tobytes() == two.score(frame).tobytes()


def test_training_refuses_a_leak(made):
    source = hw.Source("rows", history=made.rows, timestamp_field="asked", select=["user", "bad"])
    view = hw.FeatureView(
        "user", source=source, keys=["user"], features=[hw.mean("bad")], freshness=hw.on_request()
    )
    with pytest.raises(LeakError, match="selects 'bad', which the label 'bad' is made of"):
        hw.train(model(made, members=[view]))


# ---- the store


class Plain:
    """Not of scikit-learn's kind: it has fit and predict, and no parameters to copy."""

    def fit(self, X, y):
        self.mean_ = float(np.mean(y))
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


@pytest.mark.parametrize("task", ["binary", "regression"])
@pytest.mark.parametrize("kind", ["lightgbm", "pickle"])
def test_a_kept_model_scores_the_same(made, texts, tmp_path, task, kind):
    members = (
        list(texts.features.features)
        if kind == "lightgbm"
        else [by_machine(made.events), hw.RequestField("machine", str)]
    )
    estimator = (
        None
        if kind == "lightgbm"
        else (HistGradientBoostingClassifier(max_iter=10) if task == "binary" else Plain())
    )
    of = model(made, task=task, estimator=estimator, members=members)
    trained = hw.train(of, level=LEVELS["hourly"], as_of=day(8))
    manifest = json.loads(trained.save(tmp_path / "models" / "breaks").read_text())
    assert manifest["kept"]["format"] == kind
    assert manifest["features"] == list(of.features.feature_names)
    assert (manifest["rows"], manifest["until"]) == (trained.rows, "2024-03-12T00:00:00+00:00")
    assert manifest["fingerprint"] == of.fingerprint
    assert {"headwater", "lightgbm", "polars"} <= set(manifest["versions"])
    frame = training_set(of, level=LEVELS["instant"]).features
    again = load(tmp_path / "models" / "breaks", of, allow_pickle=kind == "pickle")
    assert again.score(frame).tobytes() == trained.fitted.score(frame).tobytes()
    assert again.encoding == trained.fitted.encoding
