"""Backups are restored into stores that are not there yet, on every kind of server."""

from contextlib import closing

import pytest

import headwater as hw
from headwater.errors import NoStoreError, StoreError
from headwater.stores.backup import check_restorable, restore
from headwater.stores.keyspace import RECORD
from headwater.testing.stores import record

HELD = {b"o1": b"1", RECORD + b"k": record(1)}


@pytest.mark.parametrize(
    "make_store",
    ["lmdb", "redis", "cluster", "postgres", pytest.param("ministack", marks=pytest.mark.slow)],
    indirect=True,
)
def test_a_backup_is_restored_where_no_store_is_yet(make_store, tmp_path):
    (url,) = make_store.args
    before = url.replace("prefix=", "prefix=before-").replace("/store", "/before")
    with closing(hw.operations.open_store(before)) as store:
        store.commit(HELD, {})
        store.backup(tmp_path / "backup")
    check_restorable(tmp_path / "backup", url)
    with pytest.raises(NoStoreError, match="there is no"):
        hw.operations.open_store(url, readonly=True)
    restore(tmp_path / "backup", url)
    with closing(hw.operations.open_store(url, readonly=True)) as store:
        assert store.get(list(HELD)) == list(HELD.values())
    with pytest.raises(StoreError, match="is not empty"):
        check_restorable(tmp_path / "backup", url)
