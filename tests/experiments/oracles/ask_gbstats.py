"""What gbstats makes of sums: JSON lines in, JSON lines out. Runs in an environment of its own, see
scripts/oracles.sh.
"""

import json
import sys
from dataclasses import replace

from gbstats.frequentist.tests import (
    FrequentistConfig,
    SequentialConfig,
    SequentialTwoSidedTTest,
    TwoSidedTTest,
)
from gbstats.models.statistics import (
    ProportionStatistic,
    RatioStatistic,
    RegressionAdjustedStatistic,
    SampleMeanStatistic,
    compute_theta,
)


def statistic(kind, arm):
    value = SampleMeanStatistic(n=arm["n"], sum=arm["sum"], sum_squares=arm["squares"])
    if kind == "proportion":
        return ProportionStatistic(n=arm["n"], sum=arm["sum"])
    if kind == "mean":
        return value
    other = SampleMeanStatistic(n=arm["n"], sum=arm["other_sum"], sum_squares=arm["other_squares"])
    if kind == "ratio":
        return RatioStatistic(
            n=arm["n"], m_statistic=value, d_statistic=other, m_d_sum_of_products=arm["products"]
        )
    return RegressionAdjustedStatistic(
        n=arm["n"],
        post_statistic=value,
        pre_statistic=other,
        post_pre_sum_of_products=arm["products"],
        theta=0,
    )


for line in sys.stdin:
    asked = json.loads(line)
    arms = [statistic(asked["kind"], arm) for arm in asked["arms"]]
    if asked["kind"] == "cuped":
        theta = compute_theta(*arms)
        arms = [replace(arm, theta=theta) for arm in arms]
    fixed = TwoSidedTTest(*arms, FrequentistConfig(difference_type="relative"))
    absolute = TwoSidedTTest(*arms, FrequentistConfig(difference_type="absolute"))
    sequential = SequentialTwoSidedTTest(*arms, SequentialConfig(difference_type="relative"))
    low, high = sequential.confidence_interval
    answer = {
        "lift": fixed.point_estimate,
        "se": fixed.variance**0.5,
        "difference": absolute.point_estimate,
        "variances": [arm.variance / arm.n for arm in arms],
        "half_width": (high - low) / 2,
    }
    print(json.dumps(answer))
