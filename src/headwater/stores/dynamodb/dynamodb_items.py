"""Items of one DynamoDB table: reads that are strongly consistent, transactions, and batches; every
limit of a request is kept here.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeVar

from headwater import clock
from headwater.aws import AwsClient, AwsRefusedError
from headwater.errors import StoreError, nearest
from headwater.retries import Backoff
from headwater.stores import UnansweredError

Key = tuple[bytes, bytes]
"""The partition key and the sort key of an item. They are stored as hexadecimal text, whose order
is that of the bytes.
"""
Item = Mapping[str, Any]
"""Attributes by name, as DynamoDB has them: {"v": {"B": b"..."}}."""

ACTIONS: Final = 99
"""What a transaction takes besides the one item that it checks: 100 altogether."""
PAYLOAD: Final = 2_500_000
"""Bytes of values in one transaction: 4 MB, where they may be counted as base64."""
LARGEST: Final = 400 * 1024 - 2048
"""Bytes of one value: an item takes 400 KB with its key and its other attributes."""
NOWHERE: Final = b"\0"
"""The sort key of items that need none; it cannot be empty."""

_BATCH, _BATCH_BYTES, _GET, _SAMPLE_PAGES = 25, 8_000_000, 100, 4
_THREADS = 8
_CREATED_WITHIN: Final = 60.0  # seconds
_PAUSES: Final = Backoff(first=0.01, longest=1.0)
_CONFLICTS = frozenset(
    {
        "TransactionConflict",
        "ThrottlingError",
        "ProvisionedThroughputExceeded",
        "RequestLimitExceeded",
    }
)
_NUMBERS: Final = frozenset("antuz")  # the attributes that are numbers
_SCHEMA = "a partition key `p` and a sort key `s`, both of type String"
_T = TypeVar("_T")
_R = TypeVar("_R")


class CanceledError(Exception):
    """A transaction whose conditions do not hold; nothing was written. failed: by the position of
    an action, the stored item.
    """

    def __init__(self, failed: Mapping[int, Item | None]) -> None:
        self.failed = failed
        super().__init__(f"the conditions of {len(failed)} items do not hold")


class Items:
    """A table's items. Safe to use from several threads. where: for messages. client: sends the
    requests.
    """

    def __init__(self, client: AwsClient, table: str, where: str) -> None:
        self.where, self.table, self.client = where, table, client
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="dynamodb")

    def check_table(self, *, created: bool = False) -> str:
        """Check that the table can be used; a table in creation is waited for. Returns its ARN,
        which has region and account.

        created: it was created just now, and may not be seen yet.

        Raises:
            StoreError: it is not there, has other keys, or is being deleted.
        """
        description, until = self._described(), clock.stopwatch() + _CREATED_WITHIN
        if description is None and not created:
            raise self._absent()
        while description is None or description["TableStatus"] == "CREATING":
            if clock.stopwatch() > until:
                raise StoreError(
                    f"the table {self.where} is still being created after {_CREATED_WITHIN:g} s; "
                    "start again when it is ACTIVE"
                )
            time.sleep(0.2)
            description = self._described()
        if description["TableStatus"] not in ("ACTIVE", "UPDATING"):
            raise StoreError(
                f"the table {self.where} in {self.client} is {description['TableStatus']}, and is "
                "used "
                "only while it is ACTIVE or UPDATING. Wait until it is, or give another name. "
                "Nothing was written"
            )
        types = {
            attribute["AttributeName"]: attribute["AttributeType"]
            for attribute in description["AttributeDefinitions"]
        }
        keys = [
            (
                attribute["AttributeName"],
                types.get(attribute["AttributeName"]),
                attribute["KeyType"],
            )
            for attribute in description["KeySchema"]
        ]
        if keys != [("p", "S", "HASH"), ("s", "S", "RANGE")]:
            have = ", ".join(f"{name} ({kind}, {role})" for name, kind, role in keys)
            raise StoreError(
                f"the table {self.where} has the keys {have}, and headwater needs {_SCHEMA}; give "
                "the name of another table"
            )
        self._check_time_to_live()
        return str(description["TableArn"])

    def _check_time_to_live(self) -> None:
        """Raise StoreError where DynamoDB deletes items by one of their numbers; unless it may not
        be asked.
        """
        try:
            answer = self._call(
                "describe_time_to_live",
                {"TableName": self.table},
                ("AccessDeniedException", "UnknownOperationException"),
            )
        except AwsRefusedError:
            return
        description = answer["TimeToLiveDescription"]
        if (
            description.get("TimeToLiveStatus", "DISABLED") != "DISABLED"
            and description.get("AttributeName") in _NUMBERS
        ):
            raise StoreError(
                f"the table {self.where} has a time to live (TTL) on "
                f"{description['AttributeName']!r}, "
                "which is a number in headwater's own items: DynamoDB deletes them by it. Turn "
                "it off. If records were written meanwhile, rebuild the store from the archive "
                "under another prefix="
            )

    def _described(self) -> dict[str, Any] | None:
        """DynamoDB's description of the table; None where it does not exist."""
        try:
            description: dict[str, Any] = self._call(
                "describe_table", {"TableName": self.table}, expected=("ResourceNotFoundException",)
            )["Table"]
        except AwsRefusedError:
            return None
        return description

    def _absent(self) -> StoreError:
        """The error of a missing table; it names the existing ones, where the policy allows to list
        them.
        """
        try:
            names = self._call("list_tables", {}, expected=("AccessDeniedException",))["TableNames"]
            others = nearest(self.table, names) if names else "no table at all is there"
        except AwsRefusedError:
            others = "which tables are there may not be listed"
        return StoreError(
            f"there is no table {self.table!r} in {self.client} ({others}). Correct the name, the "
            "region or the credentials; for a new store, create the table with `headwater store "
            "create`"
        )

    def create_table(self) -> bool:
        """Create the table, billed on demand, unless it is there. Whether this process has created
        it.

        Raises:
            StoreError: it may not be created.
        """
        wanted = {
            "TableName": self.table,
            "AttributeDefinitions": [
                {"AttributeName": name, "AttributeType": "S"} for name in "ps"
            ],
            "KeySchema": [
                {"AttributeName": "p", "KeyType": "HASH"},
                {"AttributeName": "s", "KeyType": "RANGE"},
            ],
            "BillingMode": "PAY_PER_REQUEST",
        }
        if self._described() is not None:
            return False
        try:
            self._call(
                "create_table", wanted, expected=("ResourceInUseException", "AccessDeniedException")
            )
        except AwsRefusedError as error:
            if error.code == "ResourceInUseException":  # another process creates it
                return False
            raise StoreError(
                f"the table {self.where} is not there, and may not be created ({error}). Create "
                f"it with {_SCHEMA}, or allow dynamodb:CreateTable"
            ) from error
        return True

    def get(self, keys: Sequence[Key], *attributes: str) -> dict[Key, Item]:
        """The existing items of these keys; some attributes, or all. No consistent snapshot."""
        batches = [keys[start : start + _GET] for start in range(0, len(keys), _GET)]
        items: dict[Key, Item] = {}
        for batch_items in self.side_by_side(lambda batch: self._get(batch, attributes), batches):
            items |= batch_items
        return items

    def _get(self, keys: Sequence[Key], attributes: Sequence[str]) -> dict[Key, Item]:
        shown = {"ProjectionExpression": ", ".join(("p", "s", *attributes))} if attributes else {}
        unread: dict[str, Any] = {
            self.table: {
                "Keys": [at(key) for key in dict.fromkeys(keys)],
                "ConsistentRead": True,
                **shown,
            }
        }
        items: dict[Key, Item] = {}

        def ask() -> bool:
            nonlocal unread
            answer = self._call("batch_get_item", {"RequestItems": unread})
            items.update((key_of(item), item) for item in answer["Responses"].get(self.table, ()))
            unread = answer.get("UnprocessedKeys") or {}
            self.client.throttled += bool(unread)
            return not unread

        self.until_done(ask, "keys unread")
        return items

    def get_together(self, keys: Sequence[Key]) -> dict[Key, Item]:
        """As `get`, of one moment; at most 100 keys."""
        items: dict[Key, Item] = {}

        def ask() -> bool:
            gets = [{"Get": {"TableName": self.table, "Key": at(key)}} for key in keys]
            try:
                answer = self._call(
                    "transact_get_items",
                    {"TransactItems": gets},
                    expected=("TransactionCanceledException",),
                )
            except AwsRefusedError as error:
                self._conflicts(error)
                return False
            items.update(
                (key, answered["Item"])
                for key, answered in zip(keys, answer["Responses"], strict=True)
                if answered.get("Item")
            )
            return True

        self.until_done(ask, "reads that met a transaction")
        return items

    def write(self, actions: Sequence[Mapping[str, Any]]) -> None:
        """One transaction of at most 100 actions, made by `put`, `update`, `delete` and `check`.

        It has a token, so that DynamoDB makes it once where it is sent again because no answer
        came.

        Raises:
            CanceledError: conditions do not hold.
        """
        named = [
            {kind: {"TableName": self.table, **rest} for kind, rest in action.items()}
            for action in actions
        ]
        request = {"TransactItems": named, "ClientRequestToken": secrets.token_hex(16)}

        def ask() -> bool:
            try:
                self._call(
                    "transact_write_items", request, expected=("TransactionCanceledException",)
                )
            except AwsRefusedError as error:
                self._conflicts(error)
                return False
            return True

        self.until_done(ask, "writes that met a transaction")

    def _conflicts(self, error: AwsRefusedError) -> None:
        """Return where a transaction may be tried again."""
        reasons = error.answer.get("CancellationReasons") or ()
        failed = {
            n: reason.get("Item")
            for n, reason in enumerate(reasons)
            if reason["Code"] == "ConditionalCheckFailed"
        }
        if failed:
            raise CanceledError(failed) from error
        codes = {reason["Code"] for reason in reasons}
        self.client.throttled += not codes.isdisjoint(_CONFLICTS - {"TransactionConflict"})
        if codes.isdisjoint(_CONFLICTS):
            raise StoreError(
                f"{self.where} refuses a transaction: {error}. Nothing was written"
            ) from error

    def put_all(self, items: Iterable[Item]) -> None:
        """Put items, without a condition, in batches of 25."""
        self._batches([{"PutRequest": {"Item": item}} for item in items])

    def drop_all(self, keys: Iterable[Key]) -> None:
        """Delete items, without a condition, in batches of 25."""
        self._batches([{"DeleteRequest": {"Key": at(key)}} for key in keys])

    def _batches(self, requests: Sequence[Mapping[str, Any]]) -> None:
        batches: list[list[Mapping[str, Any]]] = []
        size = _BATCH_BYTES
        for request in requests:
            request_size = sum(
                weight(item) for action in request.values() for item in action.values()
            )
            if size + request_size > _BATCH_BYTES or len(batches[-1]) == _BATCH:
                batches.append([])
                size = 0
            batches[-1].append(request)
            size += request_size
        self.side_by_side(self._batch, batches)

    def _batch(self, requests: Sequence[Mapping[str, Any]]) -> None:
        unwritten: dict[str, Any] = {self.table: requests}

        def ask() -> bool:
            nonlocal unwritten
            unwritten = (
                self._call("batch_write_item", {"RequestItems": unwritten}).get("UnprocessedItems")
                or {}
            )
            self.client.throttled += bool(unwritten)
            return not unwritten

        self.until_done(ask, "items unwritten")

    def page(
        self, p: bytes, first: bytes, last: bytes, most: int, *attributes: str
    ) -> tuple[list[Item], bool]:
        """Items of a partition key whose sort keys lie from `first` to `last`, rising; at most
        `most`, and 1 MB. Are there more?
        """
        request = {
            "TableName": self.table,
            "ConsistentRead": True,
            "Limit": most,
            "KeyConditionExpression": "p = :p AND s BETWEEN :a AND :b",
            "ExpressionAttributeValues": {":p": _text(p), ":a": _text(first), ":b": _text(last)},
        }
        shown = {"ProjectionExpression": ", ".join(("p", "s", *attributes))} if attributes else {}
        answer = self._call("query", {**request, **shown})
        return answer["Items"], bool(answer.get("LastEvaluatedKey"))

    def all(self, prefix: bytes) -> Iterator[Item]:
        """Every item whose partition key begins with a prefix, in any order; the whole table is
        read for it.
        """
        more: dict[str, Any] = {}
        while True:
            filtered = {
                "FilterExpression": "begins_with(p, :p)",
                "ExpressionAttributeValues": {":p": _text(prefix)},
            }
            answer = self._call(
                "scan", {"TableName": self.table, "ConsistentRead": True, **filtered, **more}
            )
            yield from answer["Items"]
            if not answer.get("LastEvaluatedKey"):
                return
            more = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def size(self) -> int:
        """Bytes of the whole table, as DynamoDB estimates them every six hours; of a young table,
        by a sample of 4 MB.
        """
        table = self._call("describe_table", {"TableName": self.table})["Table"]
        # its first items may all be of the state, which are smaller than records
        sample: list[Item] = []
        more: dict[str, Any] = {}
        for _ in range(_SAMPLE_PAGES):
            answer = self._call("scan", {"TableName": self.table, **more})
            sample += answer["Items"]
            if not answer.get("LastEvaluatedKey"):
                break
            more = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}
        mean = sum(map(weight, sample)) / max(len(sample), 1)
        return max(
            int(table.get("TableSizeBytes", 0)),
            int(mean * max(len(sample), int(table.get("ItemCount", 0)))),
        )

    def server_time(self) -> int | None:
        """The server's clock in microseconds, in whole seconds: the Date of an answer."""
        request = {"TableName": self.table, "Key": at((NOWHERE, NOWHERE))}
        try:
            headers = self.client.call("get_item", request, patience=0)["ResponseMetadata"][
                "HTTPHeaders"
            ]
            return clock.micros(parsedate_to_datetime(headers["date"]))
        except (StoreError, KeyError, ValueError, TypeError):
            return None

    def side_by_side(self, function: Callable[[_T], _R], parts: Sequence[_T]) -> list[_R]:
        """The results of a function that makes requests; several requests are under way at a
        time.
        """
        return (
            [function(part) for part in parts]
            if len(parts) < 2
            else list(self._pool.map(function, parts))
        )

    def until_done(self, ask: Callable[[], bool], remaining: str) -> None:
        """Call `ask` until it is done, with pauses that grow, while the client's patience lasts.
        Each call asks for the rest alone.
        """
        pauses = _PAUSES.within(self.client.patience)
        while not ask():
            pause = next(pauses, None)
            if pause is None:
                raise UnansweredError(
                    f"{self.where} still leaves {remaining} after {self.client.patience:g} s. Is "
                    "the "
                    "table's capacity too small for what is written, or do too many processes "
                    "write the same? Ingestion goes on from the last commit"
                )
            self.client.wait(remaining, pause)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=True)

    def _call(
        self, operation: str, request: Mapping[str, object], expected: Sequence[str] = ()
    ) -> dict[str, Any]:
        try:
            return self.client.call(
                operation, request, expected=(*expected, "ResourceNotFoundException")
            )
        except AwsRefusedError as error:
            if error.code in expected:
                raise
            raise StoreError(
                f"the table {self.where} is not there any more: {error}. Nothing was written"
            ) from error


def put(item: Item, condition: str = "", values: Item | None = None) -> dict[str, Any]:
    """The action that puts an item."""
    return {"Put": {"Item": item, **_if(condition, values)}}


def update(key: Key, condition: str, assignments: str, values: Item) -> dict[str, Any]:
    """The action that changes attributes of an item."""
    return {"Update": {"Key": at(key), "UpdateExpression": assignments, **_if(condition, values)}}


def delete(key: Key, condition: str = "", values: Item | None = None) -> dict[str, Any]:
    """The action that deletes an item."""
    return {"Delete": {"Key": at(key), **_if(condition, values)}}


def check(key: Key, condition: str, values: Item | None = None) -> dict[str, Any]:
    """The action that compares an item."""
    return {"ConditionCheck": {"Key": at(key), **_if(condition, values)}}


def at(key: Key) -> dict[str, Any]:
    """A key as DynamoDB has it."""
    return {"p": _text(key[0]), "s": _text(key[1])}


def key_of(item: Item) -> Key:
    """The key of an item."""
    return bytes.fromhex(item["p"]["S"]), bytes.fromhex(item["s"]["S"])


def _text(key: bytes) -> dict[str, str]:
    return {"S": key.hex()}


def number_of(item: Item | None, name: str, otherwise: int = 0) -> int:
    """The integer of an attribute."""
    return otherwise if item is None or name not in item else int(item[name]["N"])


def weight(item: Item) -> int:
    """The bytes of an item, about as DynamoDB counts them."""
    return sum(len(name) + len(next(iter(value.values()))) for name, value in item.items())


def _if(condition: str, values: Item | None) -> dict[str, Any]:
    if not condition:
        return {"ExpressionAttributeValues": values} if values else {}
    return {
        "ConditionExpression": condition,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        **({"ExpressionAttributeValues": values} if values else {}),
    }
