"""A store of another format is refused, and left as it is."""

import os
from contextlib import closing

import pytest

import headwater as hw
from headwater.errors import StoreError
from headwater.stores.keyspace import FORMAT, FORMAT_KEY, OFFSET

SERVERS = [
    pytest.param(kind, marks=pytest.mark.services) for kind in ("redis", "cluster", "postgres")
]


@pytest.mark.parametrize("kind", ["lmdb", *SERVERS])
def test_a_store_of_another_format_is_refused_and_left_as_it_is(request, tmp_path, kind):
    url = f"lmdb:{tmp_path}/store"
    if kind != "lmdb":
        url = f"{request.getfixturevalue(kind + '_url')}?prefix=formats{os.urandom(4).hex()}"
    with closing(hw.operations.open_store(url)) as store:
        assert store.get([FORMAT_KEY]) == [FORMAT]
        store.commit({FORMAT_KEY: b"2", OFFSET + b"p": b"7"}, {})
    for readonly in (False, True):
        with pytest.raises(
            StoreError,
            match=r"has format b'2', and this version of headwater reads b'3'; use the version that wrote it, or re",
        ):
            hw.operations.open_store(url, readonly=readonly)
