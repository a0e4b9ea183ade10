"""A row scores the same alone as in a frame, in every format, after it was kept and loaded, and
from many threads concurrently.
"""

import datetime as dt
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skl2onnx import to_onnx
from sklearn.linear_model import LogisticRegression

import headwater as hw
from headwater.errors import DataError
from headwater.models.artifact import open_model
from headwater.models.feature_encoding import fit_encoding
from headwater.models.formats.lightgbm import fast
from headwater.models.row_encoding import RowEncoding
from tests.models.worlds import FIELDS, KINDS, RANKING, imputed, model, table

# MLflow's own
pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning"
)

UNTIL = "2024-04-01T00:00Z"
NUMBERS = [hw.RequestField("x", float), hw.RequestField("noise", float)]
AT = dt.datetime(2024, 5, 1, 8, 30, 0, 123456, tzinfo=dt.UTC)


# ---- one row as numbers

EVERY = {
    "number": pl.Series([1, None, -7], dtype=pl.Int64),
    "large": pl.Series([2**60 + 1, None, -(2**62)], dtype=pl.Int64),
    "real": pl.Series([0.1, None, float("nan")]),
    "flag": pl.Series([True, None, False]),
    "text": pl.Series(["no", "se", None]),
    "time": pl.Series(
        [AT, None, dt.datetime(1960, 1, 1, tzinfo=dt.UTC)], dtype=pl.Datetime("us", "UTC")
    ),
    "day": pl.Series([AT.date(), None, dt.date(1960, 1, 1)]),
    "span": pl.Series([dt.timedelta(seconds=-1.5), None, dt.timedelta(days=400)]),
    "texts": pl.Series([["a", "b", "a"], None, []], dtype=pl.List(pl.String)),
    "nothing": pl.Series([None, None, None]),
}


def test_one_row_is_encoded_as_a_frame_is():
    frame = pl.DataFrame(EVERY)
    encoding = fit_encoding(frame)
    one = RowEncoding(encoding)
    found = np.array([one(row) for row in frame.iter_rows()])
    assert found.tobytes() == np.ascontiguousarray(encoding.transform(frame)).tobytes()
    assert encoding.inputs == (*list(EVERY)[:8], "texts=a", "texts=b", "nothing")


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("number", "3"),
        ("real", AT),
        ("text", 3),
        ("texts", "a"),
        ("texts", 3),
        ("time", 3.0),
        ("day", AT),
        ("span", 5),
    ],
)
def test_a_value_of_another_type_is_named(kind, value):
    one = RowEncoding(fit_encoding(pl.DataFrame({"first": [1.0] * 3, kind: EVERY[kind]})))
    with pytest.raises(
        DataError, match=f"the feature '{kind}' is .* which is of another type than in training"
    ):
        one([1.0, value])


# ---- every format


def _onnx(estimator, folder, *, zipmap=False):
    x = table().select("x", "noise").fill_null(0).to_numpy().astype(np.float32)
    y = {"predict_proba": table()["kind"].to_numpy(), "": table()["cost"].to_numpy()}[
        "predict_proba" if hasattr(estimator, "predict_proba") else ""
    ]
    fitted = estimator.fit(x, np.searchsorted(sorted(KINDS), y) if y.dtype == object else y)
    options = {"zipmap": zipmap} if hasattr(estimator, "predict_proba") else None
    (folder / "model.onnx").write_bytes(to_onnx(fitted, x[:1], options=options).SerializeToString())
    return hw.operations.load_model(folder / "model.onnx")


def _named_onnx(folder):
    """One input for each feature, a text among them."""
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    rows = table().with_columns(pl.col("x").fill_null(0))
    made = make_pipeline(
        ColumnTransformer(
            [
                ("n", "passthrough", ["x", "noise"]),
                ("t", OneHotEncoder(handle_unknown="ignore"), ["shade"]),
            ]
        ),
        LogisticRegression(),
    )
    made.fit(rows.select("x", "noise", "shade").to_pandas(), rows["clicked"].to_numpy())
    inputs = [
        ("x", FloatTensorType([None, 1])),
        ("noise", FloatTensorType([None, 1])),
        ("shade", StringTensorType([None, 1])),
    ]
    (folder / "named.onnx").write_bytes(
        to_onnx(made, initial_types=inputs, options={"zipmap": False}).SerializeToString()
    )
    return hw.operations.load_model(folder / "named.onnx")


MADE = {
    "lightgbm binary": lambda _: (model(), FIELDS),
    "lightgbm regression": lambda _: (model("regression"), FIELDS),
    "lightgbm multiclass": lambda _: (model("multiclass"), FIELDS),
    "lightgbm ranking": lambda _: (model(RANKING), FIELDS),
    "lightgbm of lists": lambda _: (model(fields=[*FIELDS, _seen]), [*FIELDS, _seen]),
    "pickle binary": lambda _: (model(estimator=imputed()), FIELDS),
    "pickle multiclass": lambda _: (model("multiclass", estimator=imputed()), FIELDS),
    "onnx multiclass": lambda folder: (
        model("multiclass", estimator=_onnx(LogisticRegression(), folder), fields=NUMBERS),
        NUMBERS,
    ),
    "onnx by names": lambda folder: (model(estimator=_named_onnx(folder)), FIELDS),
}


@hw.request_feature
def length(shade: str) -> int:
    return len(shade)


_seen = length


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    @cache
    def make(name):
        folder = tmp_path_factory.mktemp("model")
        of, fields = MADE[name](folder)
        if name.startswith(("mlflow", "onnx")):  # their estimators take no missing values
            rows = table().with_columns(pl.col("x").fill_null(0))
            of = model(of.task, estimator=of.estimator, fields=fields, rows=rows)
        trained = hw.train(of, as_of=UNTIL, resources=hw.Resources(threads=1))
        kept = folder / "version"
        trained.save(kept)
        return trained, open_model(kept, of, allow_pickle=True)

    return make


_number = st.one_of(
    st.none(),
    st.floats(-1e6, 1e6),
    st.sampled_from([0.0, -0.0, 1e300, float("inf"), float("nan"), 5]),
)
_text = st.one_of(st.none(), st.sampled_from(["dark", "mid", "light", "unseen", ""]))
_gapless = st.floats(-1e6, 1e6)


@pytest.mark.slow
@pytest.mark.parametrize("name", MADE)
@given(data=st.data())
def test_a_row_scores_as_in_a_frame(served, name, data):
    _, kept = served(name)
    columns = kept.fitted.encoding.columns
    gaps = name.startswith("lightgbm")
    number = _number if gaps else _gapless
    texts = _text if gaps else st.sampled_from(["dark", "mid", "light", "unseen"])
    kinds = dict(zip(columns, kept.fitted.encoding.kinds, strict=True))
    rows = data.draw(
        st.lists(
            st.tuples(*(texts if kinds[c] == "text" else number for c in columns)),
            min_size=1,
            max_size=9,
        )
    )
    frame = pl.DataFrame(
        {
            c: pl.Series(v, strict=False)
            for c, v in zip(columns, zip(*rows, strict=True), strict=True)
        }
    )
    together = kept.score(frame)
    alone = np.array([kept.one(row) for row in rows])
    assert together.shape == alone.shape
    assert (np.abs(together - alone) <= 1e-12 * np.maximum(1, np.abs(alone))).all()


@pytest.mark.parametrize(
    "name",
    [
        "lightgbm binary",
        "onnx by names",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("lightgbm multiclass", "pickle multiclass", "onnx multiclass")
        ),
    ],
)
def test_threads_do_not_disturb_each_other(served, name):
    _, kept = served(name)
    frame = table().with_columns(pl.col("x").fill_null(0)).select(kept.fitted.encoding.columns)
    rows = list(frame.head(400 if name.startswith("lightgbm") else 40).iter_rows())
    expected = [kept.one(row) for row in rows]
    turns = [rows[i:] + rows[:i] for i in range(8)]  # no two threads at the same row
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda turn: [kept.one(row) for row in turn], turns))
    finally:
        sys.setswitchinterval(before)
    assert found == [expected[i:] + expected[:i] for i in range(8)]


# ---- LightGBM's own way for one row


def _booster(name, served):
    return served(name)[1].fitted.estimator.booster


@pytest.mark.parametrize("name", ["lightgbm binary", "lightgbm multiclass", "lightgbm ranking"])
def test_the_fast_way_is_there_and_agrees_to_the_bit(served, name):
    from array import array

    booster = _booster(name, served)
    row = fast(booster)
    assert row is not None
    drawn = np.random.default_rng(1).normal(0, 3, (200, booster.num_feature()))
    drawn[np.random.default_rng(2).random(drawn.shape) < 0.2] = np.nan
    expected = np.asarray(booster.predict(drawn)).reshape(200, -1)
    assert np.array([row(array("d", values)) for values in drawn]).tobytes() == expected.tobytes()
