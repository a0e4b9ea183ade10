"""Materialized values equal those of training, for every aggregation, at cuts of every kind."""

from random import Random

import pytest

from headwater.testing import cases
from headwater.testing.materialization_laws import cuts_are_naive
from tests.flow import home, store  # noqa: F401 (fixtures)

AGGREGATIONS = cases.aggregations()

# cases have windows shorter than a delay
pytestmark = pytest.mark.filterwarnings("ignore:feature view 'view\\d*'")


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", range(len(AGGREGATIONS)), ids=lambda n: f"{n}-{AGGREGATIONS[n].function}"
)
def test_cuts_are_naive(number, store):
    cuts_are_naive(AGGREGATIONS[number], Random(number), store)


@pytest.mark.parametrize("seed", range(10))
def test_cuts_of_any_freshness_are_naive(seed, store):
    random = Random(1000 + seed)
    cuts_are_naive(random.choice(AGGREGATIONS), random, store)
