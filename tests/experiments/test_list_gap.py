"""Served lists next to another order: how many change, and a metric only where outcomes permit
it.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.backtesting.delivered_rows import DeliveredRows
from headwater.experiments.list_gap import list_gap
from headwater.reports import replay_words
from tests.serving.world import feed

HOUR = 3_600_000_000


def served(
    groups: list[int], place: list[int], y: list[float], known: list[bool] | None = None
) -> DeliveredRows:
    count = len(groups)
    return DeliveredRows(
        np.arange(count) * 20 * HOUR,
        np.ones(count, np.bool_) if known is None else np.array(known),
        np.array(y),
        np.array(place, float),
        np.zeros(count, np.bool_),
        pl.Series(["1"] * count),
        pl.DataFrame({"user": [str(group) for group in groups]}),
        Counter(),
        groups=np.array(groups),
    )


def model(outcomes: str | None) -> hw.Model:
    return hw.Model(
        "feed", task=feed.task, features=feed.features, labels=feed.labels, outcomes=outcomes
    )


LISTS = served([0, 0, 0, 1, 1, 2], [1, 2, 3, 1, 2, 1], [0, 1, 0, 1, 0, 1])
OTHER = np.array([0.1, 0.9, 0.5, 0.8, 0.2, 0.3])
"""The first list begins with another item, the second stays; the third has one item, and cannot
change.
"""


def test_orders_are_compared_list_by_list_and_the_metric_is_of_the_shown_items() -> None:
    gap = list_gap(model("independent"), hw.Evaluation(headline="mrr@10"), LISTS, OTHER)
    assert gap.lists is not None
    assert (gap.lists.lists, gap.lists.first_changed, gap.lists.order_changed) == (2, 0.5, 0.5)
    assert gap.lists.mean_shift == pytest.approx((4 / 3 + 0) / 2)
    assert gap.metric is not None
    assert (gap.metric.served, gap.metric.other) == pytest.approx(((0.5 + 1 + 1) / 3, 1.0))
    assert (
        "of 2 lists, 50 % would have begun with another of the shown items"
        in replay_words.lists(gap.lists)
    )


def test_equal_scores_keep_the_served_order() -> None:
    gap = list_gap(model("independent"), None, LISTS, np.zeros(6))
    assert gap.lists is not None
    assert gap.lists.order_changed == 0


@pytest.mark.parametrize(
    ("outcomes", "why"), [("caused", "logged action propensities"), (None, "does not declare")]
)
def test_outcomes_that_cannot_judge_say_why(outcomes: str | None, why: str) -> None:
    gap = list_gap(model(outcomes), None, LISTS, OTHER)
    assert gap.metric is None
    assert gap.lists is not None
    assert any(why in note for note in gap.notes)


def test_lists_without_every_score_or_outcome_do_not_count() -> None:
    gap = list_gap(
        model("independent"),
        hw.Evaluation(headline="mrr@10"),
        LISTS,
        np.where(np.arange(6) == 1, np.nan, OTHER),
    )
    assert gap.lists is not None
    assert gap.lists.lists == 1
    assert any("1 of 3 lists have an item without a score" in note for note in gap.notes)
    known = [True, False, True, True, True, True]
    part = list_gap(
        model("independent"),
        hw.Evaluation(headline="mrr@10"),
        served([0, 0, 0, 1, 1, 2], [1, 2, 3, 1, 2, 1], [0, 1, 0, 1, 0, 1], known),
        OTHER,
    )
    assert part.metric is not None
    assert part.metric.rows == 3
    alone = list_gap(
        model("independent"), None, served([0, 1], [1, 1], [1, 0]), np.array([0.1, 0.2])
    )
    assert alone.lists is not None
    assert alone.lists.lists == 0
    assert math.isnan(alone.lists.order_changed)
    assert "no list of two items or more" in replay_words.lists(alone.lists)
