"""A store of another format is refused, and left as it is; a running process whose store another
version writes stops.
"""

import os
from contextlib import closing

import pytest

import headwater as hw
from headwater.errors import StoreError
from headwater.testing.stores import FORMAT_KEY, OFFSET, RECORD
from tests.laws import shop
from tests.waiting import until

KINDS = [
    "lmdb",
    *(pytest.param(kind, marks=pytest.mark.services) for kind in ("redis", "cluster", "postgres")),
]


@pytest.fixture(params=KINDS)
def url(request, tmp_path):
    if request.param == "lmdb":
        return f"lmdb:{tmp_path}/store?size=100MB"
    return f"{request.getfixturevalue(request.param + '_url')}?prefix=formats{os.urandom(4).hex()}"


def test_a_store_of_another_format_is_refused_and_left_as_it_is(url):
    with closing(hw.operations.open_store(url)) as store:
        assert store.get([FORMAT_KEY]) == [b"3"]
        store.commit({FORMAT_KEY: b"2", OFFSET + b"p": b"7"}, {})
    for readonly in (False, True):
        with pytest.raises(
            StoreError,
            match=r"has format b'2', and this version of headwater reads b'3'; use the version that wrote it, or re",
        ):
            hw.operations.open_store(url, readonly=readonly)


def test_a_running_process_stops_where_another_version_wrote(url, tmp_path):
    place = shop.Place(tmp_path, url)
    project, (view,) = shop.shop(place)
    shop.append(place, shop.visits(0, 12, since=place.since))
    before = []

    def another_version(*_):
        if not before:
            store.commit({FORMAT_KEY: b"4"}, {})
            before.extend(list(store.scan(kind)) for kind in (RECORD, OFFSET))

    options = hw.operations.IngestOptions(allow_unapplied=True, on_commit=another_version)
    how = {"data_dir": place.home, "once": True, "listen": None, "options": options}
    refused = (
        r"has format b'4' now, and this process reads b'3': .* Start this process with that version"
    )
    with closing(hw.operations.open_store(url)) as store:
        with pytest.raises(StoreError, match=refused):
            hw.ingest(project, store, limits=shop.LIMITS, **how)
        assert [list(store.scan(kind)) for kind in (RECORD, OFFSET)] == before
        assert before[0]
        store.commit({FORMAT_KEY: b"3"}, {})
        served = hw.operations.OnlineFeatures(hw.FeatureService("s", [view]), store)
        assert served.row({"user": shop.USERS[0]}).values[0] > 0
        store.commit({FORMAT_KEY: b"4"}, {})

        with pytest.raises(StoreError, match=refused):  # a server looks once a second
            until(lambda: not served.row({"user": shop.USERS[0]}))
        with pytest.raises(StoreError, match=refused):
            served.rows({"user": shop.USERS})
