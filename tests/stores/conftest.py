"""`make_store`: opens one store of each kind, empty, on the servers of a run
(tests/conftest.py).
"""

import contextlib
import functools
import itertools

import pytest

import headwater as hw
from tests.stores import split_store
from tests.stores.servers import BINARIES
from tests.stores.split_store import open_split

_SERVERS = ["redis", "cluster", "postgres", *(["valkey"] if "valkey-server" in BINARIES else [])]
STORES = [
    "lmdb",
    "split",
    *(pytest.param(server, marks=pytest.mark.services) for server in _SERVERS),
]
_NUMBERS = itertools.count()


@pytest.fixture
def split_places(tmp_path):
    """Where the processes of a table and a state answer, which are empty."""
    with split_store.serving(tmp_path) as places:
        yield places


@pytest.fixture(params=STORES)
def make_store(request, tmp_path):
    if request.param == "split":
        return functools.partial(open_split, request.getfixturevalue("split_places"))
    if request.param == "lmdb":
        return functools.partial(hw.operations.open_store, f"lmdb:{tmp_path}/store?size=1GB")
    return functools.partial(
        hw.operations.open_store,
        f"{request.getfixturevalue(request.param + '_url')}?prefix=test{next(_NUMBERS)}",
    )


@pytest.fixture(params=["split", pytest.param("cluster", marks=pytest.mark.services)])
def opening(request, tmp_path):
    """Opens stores: the same one again and again, or another one by its name."""
    prefix, places = f"half{next(_NUMBERS)}", {}
    with contextlib.ExitStack() as stack:

        def opened(name=""):
            if request.param == "cluster":
                store = hw.operations.open_store(
                    f"{request.getfixturevalue('cluster_url')}?prefix={prefix}{name}"
                )
            else:
                if name not in places:
                    places[name] = stack.enter_context(
                        split_store.serving(tmp_path / f"split{name}")
                    )
                store = open_split(places[name])
            return stack.enter_context(contextlib.closing(store))

        yield opened
