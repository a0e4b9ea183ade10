"""Every law of online stores, on LMDB, Redis, a cluster of three masters, PostgreSQL, and Valkey
where there is one.
"""

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.testing import stores
from tests.effort import tries
from tests.stores.conftest import STORES


@pytest.mark.parametrize("law", stores.LAWS)
@pytest.mark.parametrize("make_store", STORES, indirect=True)
def test_law(law, make_store):
    stores.LAWS[law](make_store, Random(0))


@pytest.mark.parametrize("make_store", STORES, indirect=True)
@settings(max_examples=tries(30), suppress_health_check=list(HealthCheck))
@given(random=st.randoms(use_true_random=False))
def test_any_store_is_a_map(make_store, random):
    stores.it_is_a_map(make_store, random)
