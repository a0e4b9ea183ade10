"""What another order would have earned, from lists in random order: unbiased, and its interval holds the truth."""

import math

import numpy as np
import pytest

from headwater.errors import DataError
from headwater.experiments.explored_rankings import OrderedPlaces

CHANCES = np.array([0.6, 0.4, 0.2, 0.1, 0.1, 0.05])
PLACES = np.array([1.0, 0.5])


def explored(rng, lists):
    """Lists of two of six items at random; (reward, item, place, list)."""
    items = rng.permuted(np.tile(np.arange(6), (lists, 1)), axis=1)[:, :2]
    of = np.repeat(np.arange(lists), 2)
    user = np.repeat(rng.random(lists) < 0.5, 2)
    place = np.tile([0, 1], lists)
    item = items.ravel()
    chance = CHANCES[item] * PLACES[place] * np.where(user, 1.2, 0.8)
    return (rng.random(2 * lists) < chance).astype(float), item, place, of


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["ips", "snips", "dr"])
def test_estimates_are_unbiased_and_intervals_hold_the_truth(estimator):
    """The other order shows items 3 and 0: of 300 logs, the interval holds the truth in 95 % within
    three standard errors of that share.
    """
    rng = np.random.default_rng(11)
    truth = (CHANCES[3] * PLACES[0] + CHANCES[0] * PLACES[1]) / 2
    values, held = [], 0
    for _ in range(300):
        reward, item, place, of = explored(rng, 1_500)
        same = item == np.array([3, 0])[place]
        found = OrderedPlaces(reward, same, np.full(len(reward), 6), of, place).value(estimator)
        low, high = found.interval()
        values.append(found.value)
        held += low <= truth <= high
    assert abs(np.mean(values) - truth) < 3 * np.std(values) / math.sqrt(300)
    assert held / 300 > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 300)


def test_too_few_matches_are_refused():
    reward, item, place, of = explored(np.random.default_rng(1), 100)
    with pytest.raises(DataError, match="effective rows"):
        OrderedPlaces(reward, item == np.array([3, 0])[place], np.full(200, 6), of).value()
