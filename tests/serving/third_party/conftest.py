"""A third party for a test, and features that ask it."""

import pytest

import headwater as hw
from tests.serving.third_party.parties import Party


@pytest.fixture
def party():
    with Party().serving() as made:
        yield made


@pytest.fixture
def ip(party):
    """HttpFeatures `ip` of the party: the score of an address."""

    def make(**more):
        given = {
            "url": f"{party.url}/risk",
            "request": {"ip_address": str},
            "response": {"score": float},
            "timeout": "2s",
        } | more
        return hw.HttpFeatures(given.pop("name", "ip"), **given)

    return make
