"""Places for laws: a folder and a store each."""

import itertools

import pytest

from tests.laws.shop import Place

_NUMBERS = itertools.count()
_SERVERS = {"redis": "redis_url", "postgres": "postgres_url"}


@pytest.fixture(params=["lmdb", *(pytest.param(name, marks=pytest.mark.services) for name in _SERVERS)])
def places(request, tmp_path):
    """Makes places, each with a store of its own."""
    server = None if request.param == "lmdb" else request.getfixturevalue(_SERVERS[request.param])

    def place():
        folder = tmp_path / f"place{next(_NUMBERS)}"
        folder.mkdir()
        return Place(folder, f"lmdb:{folder}/store?size=64MB" if server is None else f"{server}?prefix=law{next(_NUMBERS)}")

    return place
