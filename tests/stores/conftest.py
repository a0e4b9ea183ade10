"""`make_store`: opens one store of each kind, empty, on the servers of a run
(tests/conftest.py).
"""

import contextlib
import functools
import itertools
import urllib.request

import pytest

import headwater as hw
from headwater.stores.dynamodb import dynamodb_store
from headwater.stores.dynamodb.dynamodb_store import create_table
from headwater.testing import split_store
from headwater.testing.split_store import open_split
from tests.effort import LONG
from tests.stores.emulators import CREDENTIALS, DYNAMODB, emulating
from tests.stores.servers import BINARIES

STORES = [
    "lmdb",
    "redis",
    "cluster",
    "postgres",
    "split",
    *(["valkey"] if "valkey-server" in BINARIES else []),
]
_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def ministack_address(tmp_path_factory):
    with emulating("ministack", tmp_path_factory.mktemp("ministack")) as address:
        yield address


@pytest.fixture(scope="session")
def moto_address(tmp_path_factory):
    with emulating("moto", tmp_path_factory.mktemp("moto")) as address:
        yield address


@pytest.fixture
def dynamodb_url(request, monkeypatch):
    """Makes the URL of a store on an emulator, whose table is there, by its kind and a prefix.
    moto, which copies what it holds, forgets it afterwards.
    """
    used = set()

    def make(kind, prefix):
        for name, value in CREDENTIALS.items():
            monkeypatch.setenv(name, value)
        emulator, _, elsewhere = kind.partition("_and_")
        state = (
            f"&state={request.getfixturevalue('postgres_url')}%3Fprefix={prefix}"
            if elsewhere
            else ""
        )
        address = request.getfixturevalue(f"{emulator}_address")
        used.add((emulator, address))
        url = f"dynamodb://table-of-{prefix}?region=eu-west-1&endpoint={address}&timeout=60s&prefix={prefix}{state}"
        create_table(url)
        return url

    yield make
    for emulator, address in used:
        if emulator == "moto":
            urllib.request.urlopen(
                urllib.request.Request(f"{address}/moto-api/reset", method="POST")
            ).close()


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
    if request.param in DYNAMODB:
        return functools.partial(
            hw.operations.open_store,
            request.getfixturevalue("dynamodb_url")(request.param, f"test{next(_NUMBERS)}"),
        )
    return functools.partial(
        hw.operations.open_store,
        f"{request.getfixturevalue(request.param + '_url')}?prefix=test{next(_NUMBERS)}",
    )


@pytest.fixture(params=["cluster", "split", *(DYNAMODB if LONG else [])])
def opening(request, tmp_path, monkeypatch):
    """Opens stores: the same one again and again, or another one by its name."""
    # so that a commit of few records takes several transactions
    monkeypatch.setattr(dynamodb_store, "ACTIONS", 10)
    monkeypatch.setattr(dynamodb_store, "LANES", 3)
    prefix, places = f"half{next(_NUMBERS)}", {}
    with contextlib.ExitStack() as stack:

        def opened(name=""):
            if request.param == "cluster":
                store = hw.operations.open_store(
                    f"{request.getfixturevalue('cluster_url')}?prefix={prefix}{name}"
                )
            elif request.param in DYNAMODB:
                store = hw.operations.open_store(
                    request.getfixturevalue("dynamodb_url")(request.param, prefix + name)
                )
            else:
                if name not in places:
                    places[name] = stack.enter_context(
                        split_store.serving(tmp_path / f"split{name}")
                    )
                store = open_split(places[name])
            return stack.enter_context(contextlib.closing(store))

        yield opened
