"""How long an A/B test of the recommended level runs, by what the backtest counted."""

from __future__ import annotations

import math

from headwater.reports import recommendation_words as words
from headwater.reports.recommending import days_tested
from headwater.results.backtest_result import BacktestResult
from headwater.results.recommendation_result import Recommendation

_DRIFT = 1.96 + 0.84  # standard errors that are found in 80 of 100 tests, at 5 % for both sides
_LEAST = 2  # weeks: days of the week differ, and one week is not a sample of weeks


def experiment_weeks(result: BacktestResult, recommendation: Recommendation) -> int | None:
    """Weeks of an A/B test of two equal arms that finds the gain of the first sentence in 80 of 100
    tests; at least two.

    Rows are taken as independent; `headwater experiment plan` computes the length from units and
    their history. None where the sentence counts nothing, or the days of the test are not known.

    Source: the two-sample z test for proportions without pooling, Fleiss, Levin, Paik (2003),
    Statistical Methods for Rates and Proportions, section 4.
    """
    metric = words.practical_metric(result, recommendation.level, recommendation.baseline)
    values = {
        level.name: level.metrics[metric].value
        for level in result.levels
        if metric in level.metrics
    }
    was, becomes, days = (
        values.get(recommendation.baseline, math.nan),
        values.get(recommendation.level, math.nan),
        days_tested(result),
    )
    share = _share(metric)
    if (
        words.counts(result, metric, recommendation) is None
        or share is None
        or not days > 0
        or was == becomes
    ):
        return None
    # of each arm
    needed = (_DRIFT / (becomes - was)) ** 2 * (was * (1 - was) + becomes * (1 - becomes))
    each_day = share * result.split.test_rows / days / 2
    return max(_LEAST, math.ceil(needed / each_day / 7))


def _share(metric: str) -> float | None:
    """The share of the rows that a metric counts; None where its name does not say it.

    >>> _share("precision@10%"), _share("accuracy"), _share("auc")
    (0.1, 1.0, None)
    """
    name, _, at = metric.partition("@")
    if name == "precision" and at.endswith("%"):
        return float(at[:-1]) / 100
    return 1.0 if name in ("accuracy", "hit_rate") else None
