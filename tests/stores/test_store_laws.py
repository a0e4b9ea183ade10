"""Every law of online stores, on LMDB, Redis, a cluster of three masters, PostgreSQL, and Valkey
where there is one.
"""

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.testing import stores
from tests.stores.conftest import STORES


def _cases():
    for kind in STORES:
        name, marks = (kind, ()) if isinstance(kind, str) else (*kind.values, kind.marks)
        for law in stores.LAWS:
            waits = (name, law) == ("split", "the lease has one holder")
            yield pytest.param(name, law, marks=pytest.mark.slow if waits else marks)


@pytest.mark.parametrize(("make_store", "law"), list(_cases()), indirect=["make_store"])
def test_law(law, make_store):
    stores.LAWS[law](make_store, Random(0))


@pytest.mark.parametrize("make_store", STORES, indirect=True)
@settings(max_examples=5, suppress_health_check=list(HealthCheck))
@given(random=st.randoms(use_true_random=False))
def test_any_store_is_a_map(make_store, random):
    stores.it_is_a_map(make_store, random)
