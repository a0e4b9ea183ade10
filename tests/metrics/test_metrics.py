"""Metrics against scikit-learn and against naive recomputation on the expanded rows of each
resample.
"""

import math
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from headwater.backtesting.intervals import resample_weights
from headwater.errors import DataError
from headwater.metrics import (
    Blocks,
    Metric,
    ScoredRows,
    curves,
    operating_threshold,
    resolve,
)
from headwater.metrics.metric import Floats

BINARY = [metric.name for metric in resolve(None, "binary")]
REGRESSION = [metric.name for metric in resolve(None, "regression")]
THRESHOLD = 0.5


def cumulative(y: Floats, score: Floats, values: Floats, share: float) -> float:
    """Expected sum of `values` over the top share, ties in random order: give each row its tie's
    mean, interpolate.
    """
    even = np.array([values[score == one].mean() for one in score])
    order = np.argsort(-score, kind="stable")
    return float(
        np.interp(share * len(y), np.arange(len(y) + 1), np.append(0, np.cumsum(even[order])))
    )


def naive_calibration(y: Floats, score: Floats) -> float:
    gaps = np.diff([cumulative(y, score, score - y, edge / 10) for edge in range(11)])
    return float(np.abs(gaps).sum() / len(y))


NAIVE: dict[str, Callable[[Floats, Floats], float]] = {
    "precision": lambda y, s: sk.precision_score(y, s >= THRESHOLD, zero_division=np.nan),
    "recall": lambda y, s: sk.recall_score(y, s >= THRESHOLD, zero_division=np.nan),
    "precision@10%": lambda y, s: cumulative(y, s, y, 0.1) / (0.1 * len(y)),
    "recall@10%": lambda y, s: cumulative(y, s, y, 0.1) / y.sum() if y.any() else np.nan,
    "precision@33%": lambda y, s: cumulative(y, s, y, 0.33) / (0.33 * len(y)),
    "auc": lambda y, s: sk.roc_auc_score(y, s) if 0 < y.sum() < len(y) else np.nan,
    "average_precision": lambda y, s: sk.average_precision_score(y, s) if y.any() else np.nan,
    "log_loss": lambda y, s: sk.log_loss(y, s, labels=[0, 1]),
    "brier": sk.brier_score_loss,
    "calibration": naive_calibration,
    "mae": sk.mean_absolute_error,
    "rmse": sk.root_mean_squared_error,
    "wape": lambda y, s: np.abs(y - s).sum() / np.abs(y).sum() if y.any() else np.nan,
}


def metric(name: str) -> Metric:
    return resolve([name], "regression" if name in REGRESSION else "binary")[0]


def compute(name: str, y: Floats, score: Floats, blocks: Blocks | None = None) -> Floats:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = ScoredRows("level", y, score, blocks or Blocks.whole(len(y)), THRESHOLD)
        return metric(name).compute(rows)


def random_rows(
    name: str, seed: int, rows: int, distinct: int
) -> tuple[Floats, Floats, np.ndarray]:
    rng = np.random.default_rng(seed)
    score = rng.integers(0, distinct + 1, rows) / distinct
    y = (
        rng.normal(size=rows)
        if name in REGRESSION
        else (rng.random(rows) < score * 0.6).astype(float)
    )
    return y, score, rng.integers(0, 9, rows)


@pytest.mark.parametrize("distinct", [3, 20, 10**9])
@pytest.mark.parametrize("name", NAIVE)
def test_every_resample_equals_naive_recomputation(name: str, distinct: int) -> None:
    y, score, days = random_rows(name, seed=distinct, rows=700, distinct=distinct)
    blocks = resample_weights(days, 12, seed=1)
    found = compute(name, y, score, blocks)
    for draw, value in enumerate(found):
        times = blocks.weights[blocks.index, draw].astype(int)
        expected = NAIVE[name](np.repeat(y, times), np.repeat(score, times))
        assert value == pytest.approx(expected, rel=1e-10, nan_ok=True)


@pytest.mark.slow
def test_ties_wider_than_a_segment_and_more_resamples_than_a_tile() -> None:
    rng = np.random.default_rng(5)
    y = (rng.random(3000) < 0.2).astype(float)
    score = np.where(np.arange(3000) < 1500, 0.25, rng.random(3000))
    blocks = resample_weights(rng.integers(0, 9, 3000), 300, seed=1)
    for name in ("precision@10%", "calibration", "auc", "average_precision"):
        found = compute(name, y, score, blocks)
        for draw in (0, 1, 127, 128, 300):
            times = blocks.weights[blocks.index, draw].astype(int)
            assert found[draw] == pytest.approx(
                NAIVE[name](np.repeat(y, times), np.repeat(score, times)), rel=1e-10
            )


def test_calibration_bins_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    score = rng.random(500)
    y = (rng.random(500) < score**2).astype(float)
    observed, predicted = calibration_curve(y, score, n_bins=10, strategy="quantile")
    assert compute("calibration", y, score)[0] == pytest.approx(np.abs(observed - predicted).mean())
    drawn = curves(y, score)
    assert drawn.observed == pytest.approx(observed)
    assert drawn.predicted == pytest.approx(predicted)


@pytest.mark.parametrize(
    ("name", "y", "score", "expected"),
    [
        ("auc", [1, 0], [0.5, 0.5], 0.5),
        ("auc", [1, 1, 0], [0.9, 0.5, 0.5], 0.75),
        ("average_precision", [1, 0, 1, 0], [0.8, 0.8, 0.3, 0.1], 7 / 12),
        ("precision@50%", [1, 0, 0, 0], [0.5, 0.5, 0.5, 0.5], 0.25),  # a tie counts in proportion
        ("precision@50%", [1, 0, 0], [0.9, 0.5, 0.1], 1 / 1.5),  # one row and a half
        ("recall@50%", [1, 0, 1, 0], [0.5, 0.5, 0.5, 0.5], 0.5),
        ("precision", [1, 0, 1], [0.5, 0.6, 0.4], 0.5),  # a score at the threshold is flagged
        ("recall", [1, 0, 1], [0.5, 0.6, 0.4], 0.5),
        # a constant right on average is calibrated
        ("calibration", [1, 0, 0, 0] * 5, [0.25] * 20, 0.0),
        ("calibration", [1, 0, 0, 0] * 5, [0.35] * 20, 0.1),
        ("brier", [1, 0], [0.75, 0.25], 0.0625),
        ("log_loss", [1, 0], [0.5, 0.5], math.log(2)),
        ("log_loss", [1], [0.0], -math.log(np.finfo(float).eps)),  # sure and wrong: not infinite
        ("wape", [0, 4], [1, 4], 0.25),
        ("rmse", [0, 0], [3, 4], math.sqrt(12.5)),
    ],
)
def test_planted_values(name: str, y: list[float], score: list[float], expected: float) -> None:
    assert compute(name, np.array(y, float), np.array(score, float))[0] == pytest.approx(expected)


@pytest.mark.parametrize("name", BINARY + REGRESSION)
def test_no_rows_give_nan(name: str) -> None:
    blocks = resample_weights(np.zeros(0, int), 3)
    assert np.isnan(compute(name, np.zeros(0), np.zeros(0), blocks)).all()
    assert np.isnan(compute(name, np.zeros(0), np.zeros(0))).all()


@pytest.mark.parametrize(
    ("name", "y", "undefined"),
    [
        ("auc", 0.0, True),
        ("auc", 1.0, True),
        ("average_precision", 0.0, True),
        ("average_precision", 1.0, False),
        ("recall", 0.0, True),
        ("recall@10%", 0.0, True),
        ("precision@10%", 0.0, False),
        ("log_loss", 0.0, False),
        ("calibration", 0.0, False),
        ("wape", 0.0, True),
    ],
)
def test_one_class_gives_nan_where_the_metric_is_undefined(
    name: str, y: float, undefined: bool
) -> None:
    assert math.isnan(compute(name, np.full(30, y), np.linspace(0, 1, 30))[0]) == undefined


rows_with_ties = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 8), st.integers(0, 3)), min_size=1, max_size=40
).map(
    lambda found: (
        np.array(found)[:, 0].astype(float),
        np.array(found)[:, 1] / 8,
        np.array(found)[:, 2],
    )
)


@settings(max_examples=10, deadline=None)
@given(rows_with_ties, st.integers(0, 99))
def test_laws(rows: tuple[Floats, Floats, np.ndarray], seed: int) -> None:
    y, score, days = rows
    shuffle = np.random.default_rng(seed).permutation(len(y))
    for name in NAIVE:
        plain = compute(name, y, score)[0]
        drawn = compute(name, y, score, resample_weights(days, 4, seed=3))
        ones = Blocks(np.unique(days, return_inverse=True)[1], np.ones((len(set(days)), 2)))
        again = compute(
            name, y[shuffle], score[shuffle], resample_weights(days[shuffle], 4, seed=3)
        )
        assert compute(name, y, score, ones) == pytest.approx(
            [plain, plain], rel=1e-12, nan_ok=True
        )
        assert drawn[0] == pytest.approx(plain, rel=1e-12, nan_ok=True)
        assert again == pytest.approx(drawn, rel=1e-9, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("name", ["log_loss", "brier", "calibration"])
def test_scores_that_are_no_probabilities_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="from 0 to 1"):
        compute(name, np.array([0.0, 1.0]), np.array([-1.0, 2.0]))


@settings(max_examples=10, deadline=None)
@given(rows_with_ties)
def test_the_operating_threshold_maximises_f1(rows: tuple[Floats, Floats, np.ndarray]) -> None:
    y, score, _ = rows
    if not y.any():
        assert operating_threshold(y, score) == math.inf
        return
    f1 = {cut: sk.f1_score(y, score >= cut) for cut in np.unique(score)}
    best = max(f1.values())
    assert operating_threshold(y, score) == max(
        cut for cut, value in f1.items() if value == pytest.approx(best)
    )


def test_the_operating_threshold_does_not_part_a_tie() -> None:
    """Flagging only the first of the rows at 0.5 would be perfect, but no threshold does that."""
    score = np.array([0.9, *[0.5] * 8])
    assert operating_threshold(np.array([1.0, 1.0, *[0.0] * 7]), score) == 0.9


def test_curves_stay_short_and_lie_on_the_curve_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    score = rng.integers(0, 5000, 20_000) / 5000
    y = (rng.random(20_000) < score**2).astype(float)
    found = curves(y, score)
    precision, recall, _ = sk.precision_recall_curve(y, score)
    known = {(round(p, 9), round(r, 9)) for p, r in zip(precision, recall, strict=True)}
    assert {
        (round(p, 9), round(r, 9)) for p, r in zip(found.precision, found.recall, strict=True)
    } <= known
    assert 150 <= len(found.recall) <= 200
    assert found.recall[-1] == 1
    assert list(found.recall) == sorted(found.recall)
    assert len(found.predicted) == len(found.observed) == 10
    assert list(found.predicted) == sorted(found.predicted)
