"""Metrics of classes, lists, quantiles, cards and money, and a user's own, against naive
recomputation on each resample.
"""

import math

import numpy as np
import polars as pl
import pytest
from sklearn import metrics as sk

import headwater as hw
from headwater.backtesting.intervals import evaluate, resample_weights
from headwater.metrics import Blocks, RowContext, ScoredRows, resolve
from headwater.metrics.error_costs import cheapest_threshold, cost_metric, read_costs

CLASSES = 3


def expanded(blocks, draw, *arrays):
    """The rows of one resample, a row drawn n times n times."""
    times = blocks.weights[blocks.index, draw].astype(int)
    return [np.repeat(array, times, axis=0) for array in arrays]


# ---- several classes


def _ovr(y, p):
    known = [
        sk.roc_auc_score(y == c, p[:, c]) for c in range(CLASSES) if 0 < (y == c).sum() < len(y)
    ]
    return np.mean(known) if known else np.nan


def _f1(y, p):
    said = p.argmax(axis=1)
    there = [c for c in range(CLASSES) if (y == c).any() or (said == c).any()]
    return sk.f1_score(y, said, labels=there, average="macro", zero_division=0)


@pytest.mark.parametrize(
    ("name", "naive"),
    [
        ("log_loss", lambda y, p: sk.log_loss(y, p, labels=range(CLASSES))),
        ("accuracy", lambda y, p: sk.accuracy_score(y, p.argmax(axis=1))),
        ("macro_f1", _f1),
        ("auc_ovr", _ovr),
    ],
)
def test_metrics_of_classes(name, naive):
    rng = np.random.default_rng(3)
    # the last class is missing from some resamples
    y = rng.choice(3, 300, p=[0.7, 0.28, 0.02]).astype(float)
    p = rng.dirichlet([1, 1, 1], 300)
    p[np.arange(300), y.astype(int)] += 0.4
    p /= p.sum(axis=1, keepdims=True)
    blocks = resample_weights(rng.integers(0, 9, 300), 12, seed=1)
    found = resolve([name], "multiclass")[0].compute(ScoredRows("a", y, p, blocks))
    for draw, value in enumerate(found):
        assert value == pytest.approx(naive(*expanded(blocks, draw, y, p)), rel=1e-9, nan_ok=True)


# ---- lists


def _list_value(name, k, y, place):
    if not (y > 0).any():
        return None
    found = (y > 0) & (place <= k)
    if name == "hit_rate":
        return float(found.any())
    if name == "recall":
        return found.sum() / (y > 0).sum()
    if name == "mrr":
        return max((1 / p for p in place[found]), default=0.0)
    gain = sum(y[i] / math.log2(1 + place[i]) for i in range(len(y)) if place[i] <= k)
    return gain / sum(v / math.log2(1 + i) for i, v in enumerate(sorted(y, reverse=True)[:k], 1))


@pytest.mark.parametrize("k", [1, 3, 10])
@pytest.mark.parametrize("name", ["ndcg", "hit_rate", "recall", "mrr"])
def test_metrics_of_lists(name, k):
    rng = np.random.default_rng(4)
    lists, length = 120, 6
    groups = np.repeat(np.arange(lists), length)
    place = np.concatenate([rng.permutation(12)[:length] + 1.0 for _ in range(lists)])
    place[rng.random(len(place)) < 0.3] = np.inf  # no candidate
    y = rng.choice([0.0, 1, 2], len(place), p=[0.75, 0.2, 0.05])
    day = rng.integers(0, 9, lists)
    order = rng.permutation(len(place))  # rows of a list need not stand together
    groups, place, y = groups[order], place[order], y[order]
    blocks = resample_weights(day[groups], 8, seed=1)
    found = resolve([f"{name}@{k}"], "ranking")[0].compute(
        ScoredRows("a", y, place, blocks, context=RowContext(groups))
    )
    by_list = {g: _list_value(name, k, y[groups == g], place[groups == g]) for g in range(lists)}
    for draw, value in enumerate(found):
        times = {g: blocks.weights[blocks.index[groups == g][0], draw] for g in range(lists)}
        known = [g for g in range(lists) if by_list[g] is not None]
        expected = sum(times[g] * by_list[g] for g in known) / sum(times[g] for g in known)
        assert value == pytest.approx(expected)


def test_ndcg_is_that_of_scikit_learn_where_all_is_ranked():
    rng = np.random.default_rng(5)
    relevance, score = rng.integers(0, 3, (40, 7)).astype(float), rng.random((40, 7))
    place = (-score).argsort(axis=1).argsort(axis=1) + 1.0
    rows = ScoredRows(
        "a",
        relevance.ravel(),
        place.ravel(),
        Blocks.whole(280),
        context=RowContext(np.repeat(np.arange(40), 7)),
    )
    some = relevance.any(axis=1)
    found = resolve(["ndcg@5"], "ranking")[0].compute(rows)[0]
    assert found == pytest.approx(sk.ndcg_score(relevance[some], score[some], k=5))


# ---- regression


@pytest.mark.parametrize(
    ("name", "naive"),
    [
        ("mape", lambda y, s: np.mean(np.abs(y - s)[y != 0] / np.abs(y)[y != 0])),
        ("pinball@0.9", lambda y, s: sk.mean_pinball_loss(y, s, alpha=0.9)),
        ("pinball@.25", lambda y, s: sk.mean_pinball_loss(y, s, alpha=0.25)),
    ],
)
def test_metrics_of_values(name, naive):
    rng = np.random.default_rng(6)
    y, score = rng.integers(-3, 9, 200).astype(float), rng.normal(2, 3, 200)
    blocks = resample_weights(rng.integers(0, 9, 200), 8, seed=1)
    found = resolve([name], "regression")[0].compute(ScoredRows("a", y, score, blocks))
    for draw, value in enumerate(found):
        assert value == pytest.approx(naive(*expanded(blocks, draw, y, score)))


# ---- cards


def _card_precision(day, card, y, score, k, drop):
    """As the handbook's own function goes about it."""
    frame, caught, found = pl.DataFrame({"day": day, "card": card, "y": y, "score": score}), [], []
    for of_day in np.unique(day):
        rows = frame.filter(pl.col("day") == of_day, ~pl.col("card").is_in(caught))
        top = (
            rows.group_by("card")
            .agg(pl.col("score").max(), pl.col("y").max())
            .sort(["score", "card"], descending=[True, False])
            .head(k)
        )
        hit = top.filter(pl.col("y") > 0)["card"].to_list()
        found.append(len(hit) / k)
        caught += hit if drop else []
    return found


@pytest.mark.parametrize("drop", [True, False])
def test_card_precision_is_that_of_the_handbook(drop):
    rng = np.random.default_rng(8)
    day, card = (
        np.sort(rng.integers(0, 9, 600)),
        np.array([f"c{c:03}" for c in rng.integers(0, 120, 600)]),
    )
    score = rng.integers(0, 40, 600) / 40
    y = (rng.random(600) < score * 0.5) * 1.0
    blocks = resample_weights(day, 20, seed=2)
    rows = ScoredRows("a", y, score, blocks, context=RowContext(columns={"card": card}))
    found = hw.evaluation.card_precision(10, card="card", drop_caught=drop).compute(rows)
    daily = np.array(_card_precision(day, card, y, score, 10, drop))
    assert found[0] == pytest.approx(daily.mean())
    assert found[1:] == pytest.approx(daily @ blocks.weights[:, 1:] / 9)
    if drop:
        assert found[0] < np.mean(_card_precision(day, card, y, score, 10, drop=False))


# ---- money


def test_the_cheapest_threshold_costs_least_of_all():
    rng = np.random.default_rng(9)
    for _ in range(30):
        score, y = rng.integers(0, 12, 40) / 12, (rng.random(40) < 0.3) * 1.0
        flagged, passed = np.where(y > 0, 0, 5.0), np.where(y > 0, rng.integers(1, 30, 40), 0.0)
        cost = {
            cut: np.where(score >= cut, flagged, passed).sum()
            for cut in (*np.unique(score), math.inf)
        }
        assert cost[cheapest_threshold(score, flagged, passed)] == min(cost.values())


def test_the_cost_is_per_thousand_requests():
    frame = pl.DataFrame({"amount": [100.0, 200, 300, 400]})
    costs = read_costs(
        {"false_positive": 5, "false_negative": pl.col("amount") * 0.5, "true_positive": 1}, frame
    )
    y = np.array([1.0, 1, 0, 0])
    context = RowContext(columns=costs.columns(y))
    scores = {"a": [0.9, 0.1, 0.9, 0.1]}
    found = evaluate(
        [cost_metric()], y, scores, Blocks.whole(4), cheapest={"a": 0.5}, context=context
    )
    assert found.values[0, 0] == pytest.approx(1000 * (1 + 100 + 5 + 0) / 4)
    assert costs.describes["false_positive"] == "5"
