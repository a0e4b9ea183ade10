"""Block bootstrap: the draw, the intervals, and refusals."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.backtesting.intervals import ResampledMetrics, evaluate, resample_weights, too_few
from headwater.backtesting.spread import interval
from headwater.metrics import resolve

MAE = resolve(["mae"], "regression")
EVERY = resolve(None, "binary")


def binary_case(
    rows: int = 400, days: int = 20
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(7)
    y = (rng.random(rows) < 0.3).astype(float)
    scores = {
        level: (rng.random(rows) + y * lift) / (1 + lift)
        for level, lift in [("daily", 0.1), ("hourly", 0.9)]
    }
    return y, scores, rng.integers(0, days, rows)


def everything(seed: int = 0, order: np.ndarray | slice = slice(None)) -> ResampledMetrics:
    y, scores, days = binary_case()
    blocks = resample_weights(days[order], 200, seed)
    ordered = {level: score[order] for level, score in scores.items()}
    return evaluate(EVERY, y[order], ordered, blocks, {"daily": 0.5, "hourly": 0.5})


def test_a_draw_has_as_many_blocks_as_there_are() -> None:
    blocks = resample_weights([5, -3, 5, 8], 50, seed=1)
    assert blocks.index.tolist() == [1, 0, 1, 2]
    assert blocks.weights.shape == (3, 51)
    assert (blocks.weights[:, 0] == 1).all()
    assert (blocks.weights.sum(axis=0) == 3).all()
    assert len(np.unique(blocks.weights, axis=1).T) > 5


def test_the_same_seed_gives_the_same_result_and_another_does_not() -> None:
    assert np.array_equal(everything(3).replicates, everything(3).replicates)
    assert not np.array_equal(everything(3).replicates, everything(4).replicates)


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(400)))
def test_the_order_of_rows_changes_nothing(order: list[int]) -> None:
    plain, shuffled = everything(), everything(order=np.array(order))
    np.testing.assert_allclose(shuffled.values, plain.values, rtol=1e-10)
    np.testing.assert_allclose(shuffled.replicates, plain.replicates, rtol=1e-9, atol=1e-13)


def test_levels_see_the_same_resamples() -> None:
    """Hourly is exactly one better on every row, so every paired difference is one, however wide
    the intervals.
    """
    rng = np.random.default_rng(0)
    y, days = rng.normal(size=300) * 50, np.arange(300) // 10
    off = np.abs(rng.normal(size=300)) * 20 + 1
    found = evaluate(MAE, y, {"daily": y + off, "hourly": y + off - 1}, resample_weights(days, 300))
    np.testing.assert_allclose(found.replicates[0] - found.replicates[1], 1)
    assert found.replicates[0].std() > 0.2


def test_the_interval_of_a_mean_of_days_is_the_textbook_one() -> None:
    """Days of 10 equal errors: the mean of 200 draws of N(0, 1), and not that of 2000 rows."""
    effect = np.random.default_rng(2).normal(10, 1, 200)
    days = np.repeat(np.arange(200), 10)
    found = evaluate(
        MAE, np.zeros(2000), {"a": effect[days]}, resample_weights(days, 4000)
    ).estimates("a")["mae"]
    half = 1.96 * effect.std() / math.sqrt(200)
    assert found.value == pytest.approx(effect.mean())
    assert found.low == pytest.approx(effect.mean() - half, abs=0.015)
    assert found.high == pytest.approx(effect.mean() + half, abs=0.015)


@pytest.mark.parametrize(("days", "has"), [(1, False), (7, False), (8, True)])
def test_an_interval_needs_eight_blocks(days: int, has: bool) -> None:
    y = np.arange(float(days * 3))
    found = evaluate(MAE, y, {"a": y * 1.1}, resample_weights(np.arange(days * 3) % days, 100))
    low, high = found.estimates("a")["mae"].low, found.estimates("a")["mae"].high
    assert (not math.isnan(low), not math.isnan(high)) == (has, has)
    assert (found.caution == "") == has
    assert found.caution == too_few(days)


def test_a_slice_counts_only_its_own_days() -> None:
    y, scores, days = binary_case()
    blocks = resample_weights(days, 100)
    part = days < 5
    chosen = blocks.select(part)
    found = evaluate(
        resolve(["auc"], "binary"),
        y[part],
        {level: score[part] for level, score in scores.items()},
        chosen,
    )
    assert found.blocks == 5
    assert math.isnan(found.estimates("daily")["auc"].low)
    assert chosen.weights is blocks.weights


@pytest.mark.parametrize(("undefined", "has"), [(0, True), (5, True), (6, False), (100, False)])
def test_an_interval_leaves_out_a_few_undefined_resamples_and_no_more(
    undefined: int, has: bool
) -> None:
    replicates = np.append(np.arange(100.0 - undefined), np.full(undefined, np.nan))
    low, high = interval(replicates, blocks=30)
    assert math.isnan(low) != has
    assert math.isnan(high) != has
