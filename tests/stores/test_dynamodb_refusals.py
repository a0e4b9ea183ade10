"""DynamoDB refuses, throttles, or is not what its URL says: each error names what to do, and
nothing is lost.
"""

import contextlib
import itertools
import sys

import pytest

import headwater as hw
from headwater.aws import AwsClient, AwsRefusedError
from headwater.errors import LostError, MissingExtraError, StoreError, UsageError
from headwater.stores import CreatedStore
from headwater.testing.stores import OFFSET, RECORD, number, record
from tests.stores.test_dynamodb_faults import opened, url  # noqa: F401 (fixtures)

pytestmark = pytest.mark.services

_NUMBERS = itertools.count()
OWN = OFFSET + b"p"


def test_what_is_left_unprocessed_is_asked_for_again(opened, monkeypatch):
    """As where a table's capacity is used up: one key of each batch is answered, one item of each
    is written.
    """
    call, counts = AwsClient.call, {"get": 0, "write": 0}

    def calling(self, operation, request, **options):
        kind = {"batch_get_item": "get", "batch_write_item": "write"}.get(operation)
        if kind is None:
            return call(self, operation, request, **options)
        counts[kind] += 1
        ((table, wanted),) = request["RequestItems"].items()
        if kind == "get":
            first, rest = (
                {**wanted, "Keys": wanted["Keys"][:1]},
                {**wanted, "Keys": wanted["Keys"][1:]},
            )
            left, name = bool(rest["Keys"]), "UnprocessedKeys"
        else:
            first, rest = wanted[:1], wanted[1:]
            left, name = bool(rest), "UnprocessedItems"
        return {
            **call(self, operation, {"RequestItems": {table: first}}, **options),
            name: {table: rest} if left else {},
        }

    store = opened()
    keys = [RECORD + b"%d" % n for n in range(4)]
    store.commit({key: record(1, key) for key in keys} | {b"a": bytes(900_000)}, {})
    monkeypatch.setattr(AwsClient, "call", calling)
    assert store.get(keys) == [record(1, key) for key in keys]
    store.commit({b"a": b"x" * 900_000}, {})
    assert store.get([b"a"]) == [b"x" * 900_000]
    assert counts["get"] > 4
    assert counts["write"] > 3


def test_what_is_refused_says_what_to_do(opened, url, monkeypatch):
    for other, options, error, text in (
        (url + "-none", {"readonly": True}, StoreError, r"no online store|there is no"),
        (
            "dynamodb://x",
            {},
            UsageError,
            r"names no table of DynamoDB: give dynamodb://TABLE\?region=",
        ),
        (
            url + "&regon=x",
            {},
            UsageError,
            r"the option 'regon' of dynamodb://.* is not known.*region",
        ),
        *(
            (
                f"{url}&state={given}",
                {},
                UsageError,
                r"state= of dynamodb://.* names no database of PostgreSQL: give postgresql://",
            )
            for given in (
                "redis://cache",
                "postgresql://",
                "postgresql",
                "postgresql://user:secret@host",
                "postgresql://host/?prefix=x",
            )
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
    with pytest.raises(
        StoreError, match=r"has the keys id \(S, HASH\), and headwater needs a partition key `p`"
    ):
        opened(f"dynamodb://{name}?{at}")
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(variable)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    with pytest.raises(StoreError, match="no credentials were found"):
        opened()


def test_a_table_is_created_by_its_own_command_alone(opened, url, monkeypatch):
    """A mistyped name or region is an error that names the tables that are there, and nothing is
    created.
    """
    items, call = opened().table._items, AwsClient.call

    def tables():
        return items._call("list_tables", {})["TableNames"]

    before = tables()
    elsewhere = url.replace("dynamodb://", "dynamodb://x")
    for other, readonly, text in (
        (
            elsewhere,
            False,
            r"there is no table 'xtable-of-\w+' in dynamodb at http.* \(region eu-west-1\) \(did you mean 'table-of-",
        ),
        (elsewhere, True, "did you mean 'table-of-.*`headwater store create`"),
        (
            url.replace("eu-west-1", "eu-west-3"),
            False,
            r"\(region eu-west-3\) \(no table at all is there\). Correct the name, the region or the",
        ),
    ):
        with pytest.raises(StoreError, match=text):
            opened(other, readonly=readonly)
    assert tables() == before

    def refusing(self, operation, request, **options):
        if operation in ("list_tables", "create_table"):
            raise AwsRefusedError("AccessDeniedException", f"not authorized: {operation}", {})
        return call(self, operation, request, **options)

    with monkeypatch.context() as patch:
        patch.setattr(AwsClient, "call", refusing)
        with pytest.raises(StoreError, match="which tables are there may not be listed"):
            opened(elsewhere)
        with pytest.raises(
            StoreError,
            match=r"may not be created \(not authorized: create_table\). Create it with a partition key `p`",
        ):
            hw.operations.create_store(elsewhere)
    made = hw.operations.create_store(elsewhere)
    assert made.table.startswith("arn:aws:dynamodb:eu-west-1:")
    assert (made.new_table, made.new_store) == (True, True)
    again = hw.operations.create_store(elsewhere)
    assert again == CreatedStore(made.table, new_table=False, new_store=False)
    opened(elsewhere, readonly=True)


ABSENT = AwsRefusedError("ResourceNotFoundException", "no table", {})


@pytest.mark.parametrize(
    ("statuses", "message"),
    [
        (["CREATING", "CREATING", "ACTIVE"], None),
        (["UPDATING"], None),
        # one who creates it may not see it at first
        ([ABSENT, ABSENT, "CREATING", "ACTIVE"], None),
        (
            ["CREATING"],
            r"the table dynamodb://.* is still being created after 0.3 s; start again when it is ACTIVE",
        ),
        (
            ["DELETING"],
            r"the table dynamodb://.* \(region eu-west-1\) is DELETING, and is used only while it is ACTIVE.*another name. Nothing",
        ),
        ([ABSENT, "DELETING"], "is DELETING"),
        (["INACCESSIBLE_ENCRYPTION_CREDENTIALS"], "is INACCESSIBLE_ENCRYPTION_CREDENTIALS"),
    ],
)
def test_a_table_that_is_created_or_deleted_meanwhile(statuses, message, opened, url, monkeypatch):
    opened()
    call, left = AwsClient.call, list(statuses)

    def calling(self, operation, request, **options):
        if operation == "create_table":
            raise AwsRefusedError(
                "ResourceInUseException", "another process creates it, or it is being deleted", {}
            )
        answer = call(self, operation, request, **options)
        if operation == "describe_table":
            status = left.pop(0) if len(left) > 1 else left[0]
            if status is ABSENT:
                raise status
            answer["Table"]["TableStatus"] = status
        return answer

    monkeypatch.setattr(AwsClient, "call", calling)
    monkeypatch.setattr(
        "headwater.stores.dynamodb.dynamodb_items._CREATED_WITHIN", 0.3 if message else 60.0
    )
    with pytest.raises(StoreError, match=message) if message else contextlib.nullcontext():
        hw.operations.create_store(url)
    if ABSENT not in statuses:
        left[:] = statuses
        with pytest.raises(StoreError, match=message) if message else contextlib.nullcontext():
            opened()


@pytest.mark.parametrize("attribute", ["n", "t", "u", "z", "a", "expires"])
def test_a_time_to_live_on_an_attribute_of_the_store_is_refused(attribute, opened, monkeypatch):
    """Records would be deleted by it, and values would lack their events. That of another table's
    items is harmless.
    """
    call, items = AwsClient.call, opened().table._items
    own = attribute != "expires"
    items._call(
        "update_time_to_live",
        {
            "TableName": items.table,
            "TimeToLiveSpecification": {"Enabled": True, "AttributeName": attribute},
        },
    )
    for options in ({}, {"readonly": True}):
        with (
            pytest.raises(
                StoreError,
                match=rf"has a time to live \(TTL\) on '{attribute}'.*Turn it off.*rebuild",
            )
            if own
            else contextlib.nullcontext()
        ):
            opened(**options)

    def refusing(self, operation, request, **options):
        if operation == "describe_time_to_live":
            raise AwsRefusedError("AccessDeniedException", "not authorized", {})
        return call(self, operation, request, **options)

    monkeypatch.setattr(AwsClient, "call", refusing)
    opened()


def test_a_table_that_is_deleted_under_a_store_is_named(opened):
    store = opened()
    store.mend(OWN)
    store.table._items._call("delete_table", {"TableName": store.table._items.table})
    for use in (
        lambda: store.get([OWN]),
        lambda: store.commit({OWN: number(1), RECORD + b"k": record(1)}, {OWN: None}),
        lambda: store.mend(OWN),
    ):
        with pytest.raises(
            StoreError,
            match=r"the table dynamodb://.* is not there any more: .*Nothing was written",
        ):
            use()


def test_throttled_transactions_end_with_the_pauses_named(opened, url, monkeypatch, caplog):
    """A transaction is throttled as a whole, or one of its items is; what was written before stays,
    and the same commit is made later.
    """
    store, call, codes = (
        opened(url.replace("timeout=60s", "timeout=300ms")),
        AwsClient.call,
        itertools.cycle([True, False]),
    )
    store.mend(OWN)

    def calling(self, operation, request, **options):
        if operation != "transact_write_items":
            return call(self, operation, request, **options)
        if next(codes):
            raise AwsRefusedError(
                "TransactionCanceledException",
                "canceled",
                {"CancellationReasons": [{"Code": "ThrottlingError"}]},
            )
        raise AwsRefusedError(
            "TransactionCanceledException",
            "canceled",
            {"CancellationReasons": [{"Code": "None"}, {"Code": "ProvisionedThroughputExceeded"}]},
        )

    wanted = {OWN: number(1), RECORD + b"k": record(1)}, {OWN: None}
    with monkeypatch.context() as patch:
        patch.setattr(AwsClient, "call", calling)
        with pytest.raises(
            StoreError,
            match=r"still leaves writes that met a transaction after 0.3 s. Is the table's capacity too small",
        ):
            store.commit(*wanted)
    assert "requests were throttled so far, and are sent again" in caplog.text
    store.mend(OWN)
    store.commit(*wanted)
    assert opened().get([OWN, RECORD + b"k"]) == [number(1), record(1)]


def test_a_state_in_postgresql_is_no_store_by_itself(dynamodb_url, postgres_url):
    """Its records would be missed; and no store in PostgreSQL is a state."""
    prefix = f"refused{next(_NUMBERS)}"
    url, plain = dynamodb_url("ministack_and_postgres", prefix), f"{postgres_url}?prefix={prefix}"
    hw.operations.open_store(url).close()
    for readonly in (False, True):
        with pytest.raises(
            StoreError,
            match=r"the state of ingestion of a store whose records are elsewhere; give the URL of that store",
        ):
            hw.operations.open_store(plain, readonly=readonly)
    with pytest.raises(
        LostError,
        match=r"either state= of its URL is not the one that it was made with, or that state was lost",
    ):
        hw.operations.open_store(url.partition("&state=")[0])
    with contextlib.closing(hw.operations.open_store(plain + "-store")) as store:
        store.commit({OWN: number(1)}, {OWN: None})
    with pytest.raises(StoreError, match="is the state of another store"):
        hw.operations.open_store(dynamodb_url("ministack_and_postgres", prefix + "-store"))


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("postgresql://u:p@h:1/db", "postgresql://u:p@h:1/db"),
        (
            "postgresql://u:p%40s+s%26%3F@h/db%3Fprefix=a%26sslmode=require",
            "postgresql://u:p%40s+s%26%3F@h/db?prefix=a&sslmode=require",
        ),
        ("postgresql://u@h/db?prefix=a", "postgresql://u@h/db?prefix=a"),
        (
            "postgresql%3A%2F%2Fu%3Ap%2540s%40h%2Fdb%3Fprefix%3Da",
            "postgresql://u:p%40s@h/db?prefix=a",
        ),
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

    monkeypatch.setattr("headwater.stores.postgres.open_state", opening)
    with pytest.raises(StoreError, match="seen"):
        hw.operations.open_store(
            f"{dynamodb_url('ministack', 'address')}&state={given}&read_timeout=1s"
        )
    assert opened == [address]


def test_without_boto3_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(MissingExtraError, match=r"headwater\[dynamodb\]"):
        hw.operations.open_store("dynamodb://features?region=eu-west-1")
