"""Backups are restored into stores that are not there yet, on every kind of server."""

from contextlib import closing

import pytest

import headwater as hw
from headwater.errors import NoStoreError
from headwater.testing.stores import RECORD, record
from tests.stores.commands import restore

HELD = {b"o1": b"1", RECORD + b"k": record(1)}


@pytest.mark.parametrize(
    "make_store",
    [
        "lmdb",
        *(
            pytest.param(kind, marks=pytest.mark.services)
            for kind in ("redis", "cluster", "postgres")
        ),
    ],
    indirect=True,
)
def test_a_backup_is_restored_where_no_store_is_yet(make_store, tmp_path):
    (url,) = make_store.args
    before = url.replace("prefix=", "prefix=before-").replace("/store", "/before")
    with closing(hw.operations.open_store(before)) as store:
        store.commit(HELD, {})
        store.backup(tmp_path / "backup")
    with pytest.raises(NoStoreError, match="there is no"):
        hw.operations.open_store(url, readonly=True)
    assert restore(tmp_path / "backup", url)[0] == 0
    with closing(hw.operations.open_store(url, readonly=True)) as store:
        assert store.get(list(HELD)) == list(HELD.values())
    code, said = restore(tmp_path / "backup", url)
    assert code == 1
    assert "is not empty" in said
