"""Every law of online stores, on LMDB, Redis, a cluster of three masters, and Valkey where there is one."""

import pytest

from headwater.testing import stores


@pytest.mark.parametrize("law", stores.LAWS)
def test_law(law, make_store):
    stores.LAWS[law](make_store)
