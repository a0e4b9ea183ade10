"""`make_store`: opens one store of each kind, empty, on servers that last as long as the file's tests."""

import functools
import itertools

import pytest

from headwater.online_stores import open_store
from tests.online_stores.servers import BINARIES, clustered, serving

STORES = ["lmdb", "redis", "cluster", *(["valkey"] if "valkey-server" in BINARIES else [])]
_NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture(scope="module")
def valkey_url(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("valkey"), binary="valkey-server") as server:
        yield server.url


@pytest.fixture(scope="module")
def cluster_url(tmp_path_factory):
    with clustered(tmp_path_factory.mktemp("cluster")) as servers:
        yield f"redis+cluster://127.0.0.1:{servers[0].port}"


@pytest.fixture(params=STORES)
def make_store(request, tmp_path):
    if request.param == "lmdb":
        return functools.partial(open_store, f"lmdb:{tmp_path}/store?size=1GB")
    return functools.partial(open_store, f"{request.getfixturevalue(request.param + '_url')}?prefix=test{next(_NUMBERS)}")
