"""DynamoDB in trouble: processes that die between any two requests, lost state, large records."""

import contextlib
import itertools
import re
from datetime import UTC, datetime

import pytest

import headwater as hw
from headwater.aws import AwsClient
from headwater.errors import FencedError, LostError, StoreError
from headwater.stores.dynamodb import dynamodb_state as gates
from headwater.stores.dynamodb import dynamodb_state as state
from headwater.stores.dynamodb import dynamodb_store
from headwater.testing.stores import OFFSET, RECORD, number, record
from tests.effort import LONG
from tests.ingestion.batches import Frame, check, rows, source, view
from tests.ingestion.test_commit_batch import commit as commit_batch
from tests.stores.servers import Proxy
from tests.stores.steps import Dead

_NUMBERS = itertools.count()
OWN = OFFSET + b"p"
READS = {
    "describe_table",
    "describe_time_to_live",
    "batch_get_item",
    "transact_get_items",
    "query",
    "scan",
    "get_item",
}


@pytest.fixture(params=["ministack", *(["moto"] if LONG else [])])
def url(request):
    return request.getfixturevalue("dynamodb_url")(request.param, f"faults{next(_NUMBERS)}")


@pytest.fixture
def opened(url):
    """Opens the store again and again, or that of another URL."""
    with contextlib.ExitStack() as stack:

        def make(other=None, **options):
            return stack.enter_context(
                contextlib.closing(hw.operations.open_store(other or url, **options))
            )

        yield make


@pytest.fixture
def deadly(monkeypatch):
    """Lets the process die at a request that writes, by its number from now on; -1 for none."""
    place = {"at": -1, "count": 0}
    call = AwsClient.call

    def calling(self, operation, request, **options):
        if operation not in READS and place["at"] >= 0:
            if place["count"] >= place["at"]:
                raise Dead
            place["count"] += 1
        return call(self, operation, request, **options)

    monkeypatch.setattr(AwsClient, "call", calling)

    def die(at):
        place.update(at=at, count=0)

    return die


SMALL = {b"o1": b"new", b"o2": b"N" * 20_000, b"o3": None}
LARGE = {b"o1": b"new", b"o2": b"N" * 20_000, b"o3": None} | {
    b"a%d" % n: b"%d" % n for n in range(30)
}
BEFORE = {b"o1": b"old", b"o2": b"O" * 20_000, b"o3": b"P" * 20_000}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(SMALL, id="in one transaction"),
        pytest.param(LARGE, id="behind gates", marks=pytest.mark.slow),
    ],
)
def test_a_commit_of_the_state_that_is_killed_at_any_request(
    changes, opened, url, deadly, monkeypatch
):
    """It is made as a whole or not at all, the next one is made, and what it left behind is
    swept.
    """
    monkeypatch.setattr(state, "_KEYS", 20)
    monkeypatch.setattr(gates, "_ABANDONED", 0.05)
    monkeypatch.setattr(gates, "GATES", 2)
    monkeypatch.setattr(state, "GATES", 2)
    after = {key: value for key, value in (BEFORE | changes).items() if value is not None}
    made = set()
    for at in itertools.count():
        there = url.replace("prefix=", f"prefix=at{at}-")
        store = opened(there)
        store.state.commit(BEFORE, {})
        deadly(at)
        died = True
        try:
            store.state.commit(changes, {b"o1": b"old"})
            died = False
        except Dead:
            pass
        deadly(-1)
        other = opened(there)
        held = dict(other.scan(b"o")) | dict(other.scan(b"a"))
        assert held in (BEFORE, after), f"killed at request {at}"
        assert other.get(list(after)) == [held.get(key) for key in after]
        made.add(held == after)
        other.state.commit({b"o1": b"next"}, {b"o1": held[b"o1"]})
        assert dict(other.scan(b"o")) | dict(other.scan(b"a")) == held | {b"o1": b"next"}
        swept(other, monkeypatch)
        if not died:
            break
    assert made == {True, False}
    assert at > 2


def test_a_reader_that_saw_a_commit_decided_goes_on_after_it(opened, deadly, monkeypatch):
    """It reads the commit's values from its log; then another process finishes it, and the log is
    gone.
    """
    monkeypatch.setattr(state, "_KEYS", 20)
    monkeypatch.setattr(gates, "_ABANDONED", 0.05)
    changes = {b"a%d" % n: b"%d" % n for n in range(60)}
    opened().state.commit({b"a1": b"old", b"b": b"1"}, {})
    reader = opened(readonly=True)
    assert dict(reader.scan(b"a")) == {b"a1": b"old"}
    for at in itertools.count(1):
        deadly(at)
        with pytest.raises(Dead):
            opened().state.commit(changes, {})
        deadly(-1)
        if dict(reader.scan(b"a")) == changes:  # decided, and not written
            break
        opened().state.commit({b"b": b"1"}, {})  # gives up what was not decided
    stored = {
        dynamodb_store.key_of(item)[1]
        for item in reader.table._items.all(reader.state._prefix + b"S")
    }
    assert len(stored & changes.keys()) < 60
    opened().state.commit({b"a0": b"next"}, {})
    assert dict(reader.scan(b"a")) == changes | {b"a0": b"next"}


def swept(store, monkeypatch):
    """The remains of large values: those that keys refer to."""
    with monkeypatch.context() as patch:
        patch.setattr("headwater.stores.dynamodb.dynamodb_state._BLOB_ABANDONED", -10_000_000)
        store.state._blobs.sweep()
    held = [value for _, value in store.state.scan(b"") if len(value) > 16_384]
    begin = store.state._prefix
    assert len(list(store.table._items.all(begin + b"B"))) == len(held)
    assert list(store.table._items.all(begin + b"T")) == []


@pytest.mark.slow
def test_a_batch_of_spark_that_is_killed_at_any_request_counts_once(
    url, deadly, tmp_path, monkeypatch
):
    """It comes again, with its rows in another order, as often as Spark likes."""
    for at in itertools.count(step=1 if LONG else 3):
        there = url.replace("prefix=", f"prefix=batch{at}-")
        monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / f"home{at}"))
        commit_batch(there, 0, Frame(rows(0, 40)))
        deadly(at)
        died = True
        try:
            commit_batch(there, 1, Frame(rows(30, 40)))
            died = False
        except Dead:
            pass
        deadly(-1)
        for _ in range(2):
            commit_batch(there, 1, Frame(rows(30, 40).reverse()))
        commit_batch(there, 2, Frame(rows(70, 10)))
        check(there, view(source()), rows(0, 80))
        if not died:
            break
    assert at > 5


def test_a_state_that_is_lost_is_refused(opened, url):
    store = opened()
    store.mend(OWN)
    store.commit({OWN: number(1), RECORD + b"k": record(1)}, {OWN: None})
    items = store.table._items
    items.drop_all([dynamodb_store.key_of(item) for item in items.all(store.state._prefix + b"S")])
    with pytest.raises(
        LostError, match=r"records of another state of ingestion.*rebuild it from the archive"
    ):
        opened()


def test_a_table_that_is_lost_is_refused(opened):
    store = opened()
    store.mend(OWN)
    store.commit({OWN: number(1), RECORD + b"k": record(1)}, {OWN: None})
    items = store.table._items
    items.drop_all([dynamodb_store.key_of(item) for item in items.all(store.state._prefix + b"L")])
    for _ in range(2):
        with pytest.raises(LostError, match=r"has lost records of commits.*store rewind"):
            opened().mend(OWN)
    assert opened().reconcile()
    new = opened()
    new.mend(OWN)
    assert not list(new.scan(RECORD))
    new.commit({OWN: number(2), RECORD + b"k": record(2)}, {OWN: number(1)})
    assert dict(new.scan(RECORD)) == {RECORD + b"k": record(2)}


def test_a_record_that_is_too_large_is_refused_before_its_commit_is_decided(opened):
    store = opened()
    store.mend(OWN)
    store.commit({OWN: number(1), RECORD + b"k" * 20: record(1)}, {OWN: None})
    with pytest.raises(
        StoreError,
        match=r"record of the key 'k+' has 420,016 bytes, and an item of DynamoDB takes 407,552.*fewer windows",
    ):
        store.commit(
            {OWN: number(2), RECORD + b"k" * 20: record(2, bytes(420_000))}, {OWN: number(1)}
        )
    named = RECORD + b"groupkey" + "Zoë".encode() + b"\0log-1"
    with pytest.raises(
        StoreError,
        match=r"source 'visits', partition 'log-1': the record of the key 'Zoë' has 420,016 bytes",
    ):
        store.commit(
            {OFFSET + b"visits\0log-1": number(1), named: record(1, bytes(420_000))},
            {OFFSET + b"visits\0log-1": None},
        )
    store.commit({OWN: number(2), RECORD + b"k" * 20: record(2, bytes(400_000))}, {OWN: number(1)})
    assert opened().get([OWN, RECORD + b"k" * 20]) == [number(2), record(2, bytes(400_000))]


@pytest.mark.parametrize(("partitions", "size"), [(150, 10), (9, 390_000)])
def test_a_key_of_more_partitions_than_a_transaction_takes_is_compacted(partitions, size, opened):
    """By the number of its records, and by their bytes with those that are expected."""
    store = opened()
    before = {RECORD + b"k" * 20 + b"\0%d" % n: record(1, b"b" * size) for n in range(partitions)}
    after = {key: record(1, b"a" * size) for key in before}
    store.commit(before, {})
    store.commit(after, before)
    assert dict(store.scan(RECORD)) == after
    with pytest.raises(FencedError):
        store.commit(before, before)


def test_two_writers_of_one_partition(opened):
    first, second = opened(), opened()
    first.mend(OWN)
    first.commit({OWN: number(1), RECORD + b"k": record(1)}, {OWN: None})
    second.mend(OWN)
    with pytest.raises(FencedError):
        first.commit({OWN: number(2), RECORD + b"k": record(2, b"first")}, {OWN: number(1)})
    second.commit({OWN: number(2), RECORD + b"k": record(2, b"second")}, {OWN: number(1)})
    assert first.get([RECORD + b"k"]) == [record(2, b"second")]


def test_the_servers_clock_is_known(opened):
    store = opened()
    assert abs(store.server_time() / 1e6 - datetime.now(UTC).timestamp()) < 60


def test_a_write_whose_answer_is_lost_is_made_once(opened, dynamodb_url):
    """It is sent again, and neither a lease nor a change of records takes its first call for
    another process.
    """
    url = dynamodb_url("ministack", f"faults{next(_NUMBERS)}")
    port = re.search(r"127\.0\.0\.1:(\d+)", url).group(1)
    with contextlib.closing(Proxy(int(port))) as proxy:
        store, other = opened(url.replace(port, str(proxy.port))), opened(url)
        store.mend(OWN)
        store.commit({OWN: number(1), RECORD + b"k": record(1)}, {OWN: None})
        proxy.cut_at = b"TransactWriteItems"
        with (
            store.lease("ingest", wait=0),
            pytest.raises(StoreError, match="another process holds"),
            other.lease("ingest", wait=0),
        ):
            pass
        assert proxy.cut_at is None
        for changed, held in ((record(1, b"less"), record(1)), (None, record(1, b"less"))):
            proxy.cut_at = b"TransactWriteItems"
            store.commit({RECORD + b"k": changed}, {RECORD + b"k": held})
            assert proxy.cut_at is None
            assert other.get([RECORD + b"k"]) == [changed]
