"""Sample ratio mismatch: rare false alarms at any number of looks, and planted losses that are
seen.
"""

from __future__ import annotations

import numpy as np
import pytest

from headwater.errors import UsageError
from headwater.experiments.sample_ratio import sequential_sample_ratio_p


def _looks(
    random: np.random.Generator, treated: float, looks: int = 20, each: int = 5_000
) -> list[list[int]]:
    counts = np.cumsum(random.multinomial(each, [1 - treated, treated], looks), axis=0)
    return counts.tolist()


def test_false_alarms_are_rare_at_any_look() -> None:
    random = np.random.default_rng(1)
    alarms = sum(
        sequential_sample_ratio_p(_looks(random, 0.5), [0.5, 0.5]) < 0.01 for _ in range(500)
    )
    assert alarms <= 5


def test_a_planted_mismatch_is_seen() -> None:
    random = np.random.default_rng(2)
    assert (
        sum(sequential_sample_ratio_p(_looks(random, 0.48), [0.5, 0.5]) < 0.01 for _ in range(100))
        >= 95
    )


def test_weights_other_than_halves_are_the_plan() -> None:
    random = np.random.default_rng(3)
    assert sequential_sample_ratio_p(_looks(random, 0.1), [0.9, 0.1]) > 0.01
    assert sequential_sample_ratio_p(_looks(random, 0.1), [0.5, 0.5]) < 1e-6


def test_nothing_seen_is_no_mismatch_and_bad_input_is_refused() -> None:
    assert sequential_sample_ratio_p([], [0.5, 0.5]) == 1.0
    with pytest.raises(UsageError, match="3 counts"):
        sequential_sample_ratio_p([[1, 2, 3]], [0.5, 0.5])
    with pytest.raises(UsageError, match="sum to 1"):
        sequential_sample_ratio_p([[1, 2]], [0.5, 0.6])
