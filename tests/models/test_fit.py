"""How features become numbers, which estimator is fitted on them, and how a fitted model is
kept.
"""

import datetime as dt
import json
import sys

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline

import headwater as hw
from headwater.definitions.model import TASKS
from headwater.errors import DataError, LeakError, UsageError
from headwater.models.artifact import load, save
from headwater.models.estimators import default_estimator, fresh_copy, is_fitted, narrow
from headwater.models.feature_encoding import fit_encoding
from headwater.models.fit import check_classes, fit
from headwater.training import train as training
from headwater.training.train import training_set
from tests.backtesting.world import LEVELS, by_machine, day, labels, logistic, model, world

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


def test_a_list_is_no_number():
    frame = pl.DataFrame({"x": [[1, 2], []]})
    with pytest.raises(
        DataError,
        match=r"the feature 'x' is List\(Int64\); a model takes numbers, booleans, times, strings and lists",
    ):
        fit_encoding(frame).transform(frame)


def test_a_text_that_training_did_not_see_is_missing():
    encoding = fit_encoding(pl.DataFrame({"n": [1.0, 2.0, 3.0], "x": ["no", "se", "no"]}))
    assert (encoding.categorical, encoding.categories) == ([1], {"x": ["no", "se"]})
    found = encoding.transform(pl.DataFrame({"x": ["se", "dk", "no", None], "n": [1, 2, 3, 4]}))
    np.testing.assert_array_equal(found, [[1, 1], [2, NAN], [3, 0], [4, NAN]])


def test_categories_do_not_depend_on_the_order_of_rows():
    frame = pl.DataFrame({"x": list("abcabcdd")})
    assert fit_encoding(frame) == fit_encoding(frame.reverse()) == fit_encoding(frame.sort("x"))


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


@pytest.fixture
def slim(monkeypatch):
    """An image on which LightGBM does not load. Few rows: scikit-learn's threads wait long for one
    another where others run.
    """
    monkeypatch.setitem(sys.modules, "lightgbm", None)


@pytest.mark.parametrize("categories", [3, 254, 300])
def test_the_default_estimator_learns_from_texts(categories):
    frame, y = _texts(4000 if categories > 3 else 1200, categories)
    fitted = _of(None, frame, y)
    assert fitted.description.startswith("LightGBM ")
    assert ((fitted.score(frame) > 0.5) == (y == 1)).mean() > (0.99 if categories == 3 else 0.5)


@pytest.mark.parametrize("categories", [3, 300])  # scikit-learn refuses more than 255 categories
def test_without_lightgbm_scikit_learn_takes_its_place(slim, categories):
    frame, y = _texts(400, categories)
    fitted = _of(None, frame, y)
    assert fitted.description.startswith(
        "scikit-learn HistGradientBoosting (LightGBM does not load: "
    )
    assert ((fitted.score(frame) > 0.5) == (y == 1)).mean() > (0.99 if categories == 3 else 0.5)
    assert fitted.estimator.categorical_features == ([0] if categories == 3 else None)


def test_a_histogram_of_ones_own_is_told_of_texts_too():
    frame, y = _texts()
    assert _of(
        HistGradientBoostingClassifier(max_iter=10), frame, y
    ).estimator.categorical_features == [0]
    chosen = HistGradientBoostingClassifier(categorical_features=[1])
    assert fresh_copy(chosen, fit_encoding(frame), seed=0).categorical_features == [1]
    assert narrow(fit_encoding(_texts(4000, 300)[0])) == []


def test_regression_without_lightgbm(slim):
    frame, y = _texts(400)
    fitted = _of(None, frame, y * 100, "regression")
    assert np.abs(fitted.score(frame) - y * 100).mean() < 5


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


def test_an_estimator_without_probabilities_scores_by_its_decisions():
    frame, y = _texts()
    fitted = _of(RidgeClassifier(), frame, y)
    score = fitted.score(frame)
    assert len(np.unique(score)) > 3
    assert (
        score.tolist()
        == fitted.estimator.decision_function(fitted.encoding.transform(frame)).tolist()
    )
    assert not fitted.in_units_of_label


def test_open_seeds_are_filled_and_chosen_ones_kept():
    empty = fit_encoding(pl.DataFrame({"x": [1.0]}))
    pipeline = make_pipeline(LogisticRegression(), RandomForestClassifier(random_state=7))
    made = fresh_copy(pipeline, empty, seed=3)
    assert (made[0].random_state, made[1].random_state) == (3, 7)
    assert pipeline[0].random_state is None


class Plain:
    """Not of scikit-learn's kind: it has fit and predict, and no parameters to copy."""

    def fit(self, X, y):
        self.mean_ = float(np.mean(y))
        return self

    def predict(self, X):
        return np.full(len(X), self.mean_)


def test_an_estimator_that_only_fits_and_predicts():
    frame, y = _texts()
    given = Plain()
    fitted = _of(given, frame, y, "regression")
    assert fitted.score(frame).tolist() == [y.mean()] * frame.height
    assert not hasattr(given, "mean_")
    assert not fitted.replayed
    taught = Plain().fit(None, [5.0])
    assert _of(taught, frame.select("noise"), y, "regression").replayed


@pytest.mark.parametrize("make", [LogisticRegression, Plain, logistic])
def test_whether_an_estimator_is_fitted(make):
    given, x, y = make(), np.arange(8.0).reshape(-1, 1), np.array([0, 1] * 4)
    assert not is_fitted(given)
    assert is_fitted(given.fit(x, y))


def test_columns_in_another_order_are_refused():
    frame, y = _texts()
    taught = LogisticRegression().fit(frame.select(two="noise", one="noise").to_numpy(), y)
    taught.feature_names_in_ = np.array(["two", "one"])  # as a frame with names would have left it
    with pytest.raises(
        DataError,
        match=r"it takes the columns \['two', 'one'\], and the features are \['one', 'two'\]",
    ):
        _of(taught, frame.select(one="noise", two="noise"), y)


def test_no_rows_score_nothing():
    frame, y = _texts()
    assert _of(None, frame, y).score(frame.clear()).tolist() == []


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([], "rows: there are no labels; both outcomes are needed"),
        (
            [0, 0],
            (
                "rows: all 2 labels are 0; both outcomes are needed. Check the label, the filter "
                "and the split"
            ),
        ),
        ([1], "rows: all 1 labels are 1"),
        (
            [0, 1, 2],
            (
                "rows: a binary label is 0 or 1, and 2 is among them; make one in the labels' "
                "select, or set task='regression'"
            ),
        ),
        ([0, 1, 0.5], "and 0.5 is among them"),
        ([-1, 1], "and -1 is among them"),
    ],
)
def test_labels_that_are_no_two_classes(values, says):
    with pytest.raises(DataError) as error:
        check_classes(np.array(values, float), "rows")
    assert says in str(error.value)


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


@pytest.mark.parametrize(
    ("until", "error", "says"),
    [
        (day(-5), DataError, "labels 'outcomes': no outcome was known by 2024-02-28T00:00:00"),
        ("2024-02-28T00:00Z", DataError, "no outcome was known by 2024-02-28T00:00:00"),
        (day(5).replace(tzinfo=None), UsageError, "as_of is .*, which has no time zone"),
        ("soon", UsageError, "as_of is 'soon'; give a timestamp as ISO 8601"),
    ],
)
def test_a_training_set_of_nothing(made, until, error, says):
    for use in (hw.train, training_set):
        with pytest.raises(error, match=says):
            use(model(made), as_of=until)


def test_the_clock_says_until_when_where_nobody_does(made, monkeypatch):
    ticks = iter([day(6), day(9)])
    monkeypatch.setattr(training.clock, "now", lambda: next(ticks))
    trained = hw.train(model(made))
    assert trained.until == day(6)
    assert trained.rows == made.rows.filter(pl.col("known") <= day(6)).height


def test_training_does_not_depend_on_the_order_of_the_table(made, texts):
    frame = training_set(texts, as_of=day(8)).features
    shuffled = made.rows.sample(fraction=1.0, shuffle=True, seed=1)
    other = hw.Model("breaks", task="binary", features=texts.features, labels=labels(shuffled))
    one, two = (hw.train(of, as_of=day(8)).fitted for of in (texts, other))
    assert one.encoding == two.encoding
    assert one.score(frame).tobytes() == two.score(frame).tobytes()


def test_labels_of_one_class_do_not_train(made):
    of = model(made)
    with pytest.raises(DataError, match=r"training rows: all \d+ labels are 1"):
        hw.train(
            hw.Model(
                "m", task="binary", features=of.features, labels=labels(made.rows.filter("bad"))
            )
        )


def test_training_refuses_a_leak(made):
    source = hw.Source("rows", history=made.rows, timestamp_field="asked", select=["user", "bad"])
    view = hw.FeatureView(
        "user", source=source, keys=["user"], features=[hw.mean("bad")], freshness=hw.on_request()
    )
    with pytest.raises(LeakError, match="selects 'bad', which the label 'bad' is made of"):
        hw.train(model(made, members=[view]))


# ---- the store


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


def test_a_loaded_booster_is_fitted_and_not_trained_again(made, tmp_path):
    hw.train(model(made, estimator=None), as_of=day(8)).save(tmp_path)
    booster = load(tmp_path, model(made)).estimator
    assert is_fitted(booster)
    with pytest.raises(
        UsageError,
        match=(
            "LightGbmClasses: a loaded model is not trained again; give an estimator that is not "
            "fitted"
        ),
    ):
        booster.fit(None, None)


def test_what_cannot_be_loaded(made, tmp_path):
    of = model(made)
    with pytest.raises(
        DataError, match=r"no model at .*: manifest.json is missing; run headwater train"
    ):
        load(tmp_path, of)
    hw.train(of, as_of=day(8)).save(tmp_path)
    with pytest.raises(
        UsageError, match="is pickled, and loading a pickle runs code; pass allow_pickle=True"
    ):
        load(tmp_path, of)
    other = model(made, members=[by_machine(made.events), hw.RequestField("user", int)])
    with pytest.raises(
        DataError,
        match=r"it reads 'amount', which is not served \(known: .*\); 'user' is served, and it does not know it",
    ):
        load(tmp_path, other, allow_pickle=True)


def test_saving_again_leaves_one_model(made, tmp_path):
    of, frame = model(made), training_set(model(made)).features
    for estimator in (None, "logistic"):
        trained = hw.train(model(made, estimator=estimator), as_of=day(8))
        save(trained.fitted, tmp_path, {})
    assert (
        load(tmp_path, of, allow_pickle=True).score(frame).tobytes()
        == trained.fitted.score(frame).tobytes()
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["manifest.json", "model.pkl"]


def test_the_default_estimator_says_what_it_is():
    _, said = default_estimator(
        TASKS["binary"], fit_encoding(pl.DataFrame({"x": [1.0]})), seed=0, threads=1
    )
    assert said.endswith("80 trees of 48 leaves")
