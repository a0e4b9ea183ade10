"""Materialized values equal those of training, for every aggregation, at cuts of every kind."""

from random import Random

import pytest

from headwater.engine.local import local_engine
from headwater.testing import cases
from headwater.testing.materialization_laws import cuts_are_naive
from tests.flow import home, store  # noqa: F401 (fixtures)

AGGREGATIONS = cases.aggregations()

# cases have windows shorter than a delay
pytestmark = pytest.mark.filterwarnings("ignore:feature view 'view\\d*'")


@pytest.fixture(autouse=True)
def _large_events(monkeypatch):
    """So that a handful of events needs several buckets of a megabyte."""
    monkeypatch.setattr(local_engine, "EVENT_BYTES", 300_000)


@pytest.mark.slow
@pytest.mark.parametrize(
    "number", range(len(AGGREGATIONS)), ids=lambda n: f"{n}-{AGGREGATIONS[n].function}"
)
def test_cuts_are_naive(number, store):
    cuts_are_naive(AGGREGATIONS[number], Random(number), store, memories=[None, None, "1MB"])


@pytest.mark.parametrize("seed", range(10))
def test_cuts_of_any_freshness_are_naive(seed, store):
    random = Random(1000 + seed)
    cuts_are_naive(random.choice(AGGREGATIONS), random, store, memories=[None, "1MB"])
