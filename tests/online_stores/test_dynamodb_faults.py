"""DynamoDB in trouble: processes that die between any two requests, lost state, large records, throttling, and what is refused."""

import contextlib
import itertools
import sys
from datetime import UTC, datetime

import pytest

import headwater as hw
from headwater.aws import AwsClient
from headwater.errors import FencedError, LostError, MissingExtraError, StoreError, UsageError
from headwater.online_stores.dynamodb import dynamodb_gates as gates
from headwater.online_stores.dynamodb import dynamodb_state as state
from headwater.online_stores.dynamodb import dynamodb_table
from headwater.online_stores.keyspace import OFFSET, RECORD, number
from headwater.testing.stores import record
from tests.effort import LONG
from tests.online_stores.steps import Dead

_NUMBERS = itertools.count()
OWN = OFFSET + b"p"
READS = {"describe_table", "batch_get_item", "transact_get_items", "query", "scan", "get_item"}


@pytest.fixture(params=["ministack", *(["moto"] if LONG else [])])
def url(request):
    return request.getfixturevalue("dynamodb_url")(request.param, f"faults{next(_NUMBERS)}")


@pytest.fixture
def opened(url):
    """Opens the store again and again, or that of another URL."""
    with contextlib.ExitStack() as stack:

        def make(other=None, **options):
            return stack.enter_context(contextlib.closing(hw.operations.open_store(other or url, **options)))

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
LARGE = {b"o1": b"new", b"o2": b"N" * 20_000, b"o3": None} | {b"a%d" % n: b"%d" % n for n in range(30)}
BEFORE = {b"o1": b"old", b"o2": b"O" * 20_000, b"o3": b"P" * 20_000}


@pytest.mark.parametrize(
    "changes", [pytest.param(SMALL, id="in one transaction"), pytest.param(LARGE, id="behind gates", marks=pytest.mark.slow)]
)
def test_a_commit_of_the_state_that_is_killed_at_any_request(changes, opened, url, deadly, monkeypatch):
    """It is made as a whole or not at all, the next one is made, and what it left behind is swept."""
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
    """It reads the commit's values from its log; then another process finishes it, and the log is gone."""
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
    stored = {dynamodb_table.key_of(item)[1] for item in reader.table._items.all(reader.state._prefix + b"S")}
    assert len(stored & changes.keys()) < 60
    opened().state.commit({b"a0": b"next"}, {})
    assert dict(reader.scan(b"a")) == changes | {b"a0": b"next"}


def swept(store, monkeypatch):
    """What is left of large values: those that keys refer to."""
    with monkeypatch.context() as patch:
        patch.setattr("headwater.online_stores.dynamodb.dynamodb_blobs._ABANDONED", -10_000_000)
        store.state._blobs.sweep()
    held = [value for _, value in store.state.scan(b"") if len(value) > 16_384]
    begin = store.state._prefix
    assert len(list(store.table._items.all(begin + b"B"))) == len(held)
    assert list(store.table._items.all(begin + b"T")) == []


def test_a_state_that_is_lost_is_refused(opened, url):
    store = opened()
    store.mend(OWN)
    store.commit({OWN: number(1), RECORD + b"k": record(1)}, {OWN: None})
    items = store.table._items
    items.drop_all([dynamodb_table.key_of(item) for item in items.all(store.state._prefix + b"S")])
    with pytest.raises(LostError, match=r"records of another state of ingestion.*rebuild it from the archive"):
        opened()


def test_a_table_that_is_lost_is_refused(opened):
    store = opened()
    store.mend(OWN)
    store.commit({OWN: number(1), RECORD + b"k": record(1)}, {OWN: None})
    items = store.table._items
    items.drop_all([dynamodb_table.key_of(item) for item in items.all(store.state._prefix + b"L")])
    for _ in range(2):
        with pytest.raises(LostError, match=r"has lost records of commits.*rebuild it"):
            opened().mend(OWN)


def test_a_record_that_is_too_large_is_refused_before_its_commit_is_decided(opened):
    store = opened()
    store.mend(OWN)
    store.commit({OWN: number(1), RECORD + b"k" * 20: record(1)}, {OWN: None})
    with pytest.raises(
        StoreError, match=r"record of the key b'k+' has 420,016 bytes, and an item of DynamoDB takes 407,552.*fewer windows"
    ):
        store.commit({OWN: number(2), RECORD + b"k" * 20: record(2, bytes(420_000))}, {OWN: number(1)})
    store.commit({OWN: number(2), RECORD + b"k" * 20: record(2, bytes(400_000))}, {OWN: number(1)})
    assert opened().get([OWN, RECORD + b"k" * 20]) == [number(2), record(2, bytes(400_000))]


def test_two_writers_of_one_partition(opened):
    first, second = opened(), opened()
    first.mend(OWN)
    first.commit({OWN: number(1), RECORD + b"k": record(1)}, {OWN: None})
    second.mend(OWN)
    with pytest.raises(FencedError):
        first.commit({OWN: number(2), RECORD + b"k": record(2, b"first")}, {OWN: number(1)})
    second.commit({OWN: number(2), RECORD + b"k": record(2, b"second")}, {OWN: number(1)})
    assert first.get([RECORD + b"k"]) == [record(2, b"second")]


def test_what_is_left_unprocessed_is_asked_for_again(opened, monkeypatch):
    """As where a table's capacity is used up: one key of each batch is answered, one item of each is written."""
    call, counts = AwsClient.call, {"get": 0, "write": 0}

    def calling(self, operation, request, **options):
        kind = {"batch_get_item": "get", "batch_write_item": "write"}.get(operation)
        if kind is None:
            return call(self, operation, request, **options)
        counts[kind] += 1
        ((table, wanted),) = request["RequestItems"].items()
        if kind == "get":
            first, rest = {**wanted, "Keys": wanted["Keys"][:1]}, {**wanted, "Keys": wanted["Keys"][1:]}
            left, name = bool(rest["Keys"]), "UnprocessedKeys"
        else:
            first, rest = wanted[:1], wanted[1:]
            left, name = bool(rest), "UnprocessedItems"
        return {**call(self, operation, {"RequestItems": {table: first}}, **options), name: {table: rest} if left else {}}

    store = opened()
    keys = [RECORD + b"%d" % n for n in range(4)]
    store.commit({key: record(1, key) for key in keys} | {b"a": bytes(900_000)}, {})
    monkeypatch.setattr(AwsClient, "call", calling)
    assert store.get(keys) == [record(1, key) for key in keys]
    store.commit({b"a": b"x" * 900_000}, {})
    assert store.get([b"a"]) == [b"x" * 900_000]
    assert counts["get"] > 4
    assert counts["write"] > 3


def test_the_servers_clock_is_known(opened):
    store = opened()
    assert abs(store.server_time() / 1e6 - datetime.now(UTC).timestamp()) < 60


def test_what_is_refused_says_what_to_do(opened, url, monkeypatch):
    elsewhere = url.replace("dynamodb://", "dynamodb://no-")
    for other, options, error, text in (
        (elsewhere, {"readonly": True}, StoreError, r"there is no table 'no-table-of-.*check its name and the region"),
        (url + "-none", {"readonly": True}, StoreError, r"no online store|there is no"),
        ("dynamodb://x", {}, UsageError, r"names no table of DynamoDB: give dynamodb://TABLE\?region="),
        (url + "&regon=x", {}, UsageError, r"the option 'regon' of dynamodb://.* is not known.*region"),
        *(
            (f"{url}&state={given}", {}, UsageError, r"state= of dynamodb://.* names no database of PostgreSQL: give postgresql://")
            for given in ("redis://cache", "postgresql://", "postgresql", "postgresql://user:secret@host", "postgresql://host/?prefix=x")
        ),
    ):
        if options:
            opened()
        with pytest.raises(error, match=text):
            opened(other, **options)
    store = opened()
    name = "of-other-keys"
    store.table._items._call(
        "create_table",
        {
            "TableName": name,
            "AttributeDefinitions": [{"AttributeName": "id", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "id", "KeyType": "HASH"}],
            "BillingMode": "PAY_PER_REQUEST",
        },
        ("ResourceInUseException",),
    )
    at = url.partition("?")[2]
    with pytest.raises(StoreError, match=r"has the keys id \(S, HASH\), and headwater needs a partition key `p`"):
        opened(f"dynamodb://{name}?{at}")
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(variable)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    with pytest.raises(StoreError, match="no credentials were found"):
        opened()


def test_a_state_in_postgresql_is_no_store_by_itself(dynamodb_url, postgres_url):
    """Its records would be missed; and no store in PostgreSQL is a state."""
    prefix = f"state{next(_NUMBERS)}"
    url, plain = dynamodb_url("ministack_and_postgres", prefix), f"{postgres_url}?prefix={prefix}"
    hw.operations.open_store(url).close()
    for readonly in (False, True):
        with pytest.raises(StoreError, match=r"the state of ingestion of a store whose records are elsewhere; give the URL of that store"):
            hw.operations.open_store(plain, readonly=readonly)
    with pytest.raises(LostError, match=r"either state= of its URL is not the one that it was made with, or that state was lost"):
        hw.operations.open_store(url.partition("&state=")[0])
    with contextlib.closing(hw.operations.open_store(plain + "-store")) as store:
        store.commit({OWN: number(1)}, {OWN: None})
    with pytest.raises(StoreError, match="is the state of another store"):
        hw.operations.open_store(dynamodb_url("ministack_and_postgres", prefix + "-store"))


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("postgresql://u:p@h:1/db", "postgresql://u:p@h:1/db"),
        ("postgresql://u:p%40s+s%26%3F@h/db%3Fprefix=a%26sslmode=require", "postgresql://u:p%40s+s%26%3F@h/db?prefix=a&sslmode=require"),
        ("postgresql://u@h/db?prefix=a", "postgresql://u@h/db?prefix=a"),
        ("postgresql%3A%2F%2Fu%3Ap%2540s%40h%2Fdb%3Fprefix%3Da", "postgresql://u:p%40s@h/db?prefix=a"),
        ("postgresql:///db", "postgresql:///db"),
    ],
)
def test_the_address_of_a_state_in_postgresql(given, address, monkeypatch, dynamodb_url):
    """With characters in a password that its own address has percent-encoded."""
    pytest.importorskip("psycopg", reason="needs the extra postgres")
    opened = []

    def opening(url, **_):
        opened.append(url)
        raise StoreError("seen")

    monkeypatch.setattr("headwater.online_stores.postgres_state.open_state", opening)
    with pytest.raises(StoreError, match="seen"):
        hw.operations.open_store(f"{dynamodb_url('ministack', 'address')}&state={given}&read_timeout=1s")
    assert opened == [address]


def test_without_boto3_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(MissingExtraError, match=r"headwater\[dynamodb\]"):
        hw.operations.open_store("dynamodb://features?region=eu-west-1")
