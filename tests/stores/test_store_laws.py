"""Every law of online stores, on LMDB, Redis, a cluster of three masters, PostgreSQL, DynamoDB, and
Valkey where there is one.
"""

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headwater.testing import stores
from tests.effort import LONG, tries
from tests.stores.conftest import STORES
from tests.stores.emulators import DYNAMODB

QUICK = {
    "what is put is got",
    "nothing is written unless all is expected",
    "a newer format is refused",
    "records never go back",
}
ON_MINISTACK = {*QUICK, "records are kept too", "scans rise", "reopening keeps all"}
"""Emulators are slow: in all but the longest form ministack is held to these laws, and the others
to the quick ones.
"""


def cases():
    for kind in (*STORES, *(DYNAMODB if LONG else DYNAMODB[:3])):
        for law in stores.LAWS:
            if (kind, law) == ("moto", "scans are read in pages"):
                # moto copies a table of 5,000 items at each transaction, which takes minutes; the
                # other emulator has the law
                continue
            emulated = kind in DYNAMODB
            if (
                emulated
                and not LONG
                and law not in (ON_MINISTACK if kind == "ministack" else QUICK)
            ):
                continue
            quick = not emulated or (kind == "ministack" and law in QUICK)
            marks = (
                [pytest.mark.smoke]
                if (kind, law) == ("ministack", "what is put is got")
                else []
                if quick
                else [pytest.mark.slow]
            )
            yield pytest.param(law, kind, id=f"{kind}-{law}", marks=marks)


@pytest.mark.parametrize(("law", "make_store"), list(cases()), indirect=["make_store"])
def test_law(law, make_store):
    stores.LAWS[law](make_store, Random(0))


@pytest.mark.parametrize("make_store", [*STORES, *(DYNAMODB if LONG else [])], indirect=True)
@settings(max_examples=tries(30), suppress_health_check=list(HealthCheck))
@given(random=st.randoms(use_true_random=False))
def test_any_store_is_a_map(make_store, random):
    stores.it_is_a_map(make_store, random)
