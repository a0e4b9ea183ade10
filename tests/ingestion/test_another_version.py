"""A store that another version of headwater has written meanwhile: a running process stops."""

import pytest

import headwater as hw
from headwater.errors import StoreError
from headwater.stores import keyspace
from headwater.stores.keyspace import scoped
from tests.flow import clock, home, micros, project_of  # noqa: F401 (fixtures)
from tests.ingestion.test_shared_records import KEYS, History, store, view  # noqa: F401 (fixtures)
from tests.stores.conftest import make_store, split_places  # noqa: F401 (fixtures)

PROJECT = project_of(*map(view, "abc"))


def test_a_running_process_stops_where_another_version_wrote(store, tmp_path, clock):
    mine = scoped(store, PROJECT.name, write=True)
    history = History(mine, tmp_path / "data", clock)
    history.ingest("a", "b")
    history.send(1, 2, 1)
    served = hw.operations.OnlineFeatures(hw.FeatureService("s", [view("a")]), mine)
    asked = {"key": 1}, micros(history.second)
    assert served.row(asked[0], t=asked[1]).values == [2, sum(history.sent[1])]
    store.commit({keyspace.FORMAT_KEY: b"4"}, {})
    kept = (keyspace.RECORD, keyspace.OFFSET, keyspace.PROGRESS)
    before = [sorted(store.scan(prefix)) for prefix in kept]
    refused = (
        r"has format b'4' now, and this process reads b'3': .* Start this process with that version"
    )
    with pytest.raises(StoreError, match=refused):
        history.send(1)
    assert [sorted(store.scan(prefix)) for prefix in kept] == before
    served._readers[0]._until = 0.0  # a second later
    for read in (
        lambda: served.row(asked[0], t=asked[1]),
        lambda: served.rows({"key": KEYS}, t=asked[1]),
    ):
        with pytest.raises(StoreError, match=refused):
            read()
