"""Clusters: one value each, nominal error from few of them on, and designs that could never
decide.
"""

from __future__ import annotations

import numpy as np
import pytest

from headwater.errors import DataError
from headwater.experiments.cluster_lift import (
    check_clusters,
    cluster_lift,
    least_p,
)


@pytest.mark.parametrize("clusters", [6, 10, 20, 40])
def test_aa_clusters_reject_at_most_at_their_level(clusters: int) -> None:
    random = np.random.default_rng(clusters)
    treated = np.arange(clusters) % 2 == 0
    rejected = 0
    for _ in range(2_000):
        base = random.poisson(1000, clusters).astype(float)
        rejected += (
            cluster_lift(base * (10 + random.standard_normal(clusters)), base, treated).p_value
            < 0.05
        )
    assert rejected / 2_000 <= 0.065  # 5 % and three standard errors; few clusters are conservative


def test_a_known_lift_is_covered() -> None:
    random = np.random.default_rng(1)
    covered = 0
    for _ in range(1_000):
        treated = random.permutation(20) < 10
        base = random.poisson(1000, 20).astype(float)
        low, high = cluster_lift(
            base * (10 + random.standard_normal(20)) * (1 + 0.1 * treated), base, treated
        ).interval()
        covered += low <= 0.1 <= high
    assert covered >= 930


def test_designs_that_can_never_decide_are_refused() -> None:
    assert least_p(6, 3) == pytest.approx(0.1)
    assert least_p(8, 4) < 0.05
    check_clusters(8, 4)
    with pytest.raises(DataError, match="could never decide"):
        check_clusters(6, 3)
    with pytest.raises(DataError, match="1 clusters"):
        cluster_lift(np.ones(4), np.ones(4), np.array([True, False, False, False]))
