"""The online store on DynamoDB: batch views and predictions, in one table.

A cut is written into the slot of each key that is not being read, record by record; then one
conditional put of the item that holds the view's state publishes it. So readers have the cut before
until that put, and the new one from then on, and a run that was killed has changed nothing that is
read. Streams are not kept here: their commits change records and offsets together, and DynamoDB
changes at most a hundred items at once.

With P the store's prefix, an item has a partition key p and a sort key s:

    P/r/VIEW/SHARD   .REST    a record: v its value, and t the cut that it is complete through
    P/s              .KEY     any other key: v its value, c the put that wrote it
    P/l              NAME     a lease: o its holder, who changes it again and again

No attribute is a number, so that no time to live (TTL) of the table deletes an item.
"""

from __future__ import annotations

import re
import secrets
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final

from headwater.errors import (
    FencedError,
    HeadwaterError,
    NoStoreError,
    StoreError,
    UsageError,
    nearest,
)
from headwater.plugins import (
    FORMAT_KEY,
    LEASE,
    RECORD,
    Backoff,
    Capabilities,
    Changes,
    HeldError,
    ServerUrl,
    UnansweredError,
    back_up,
    check_format,
    complete_through,
    parse,
    renewed,
    stopwatch,
    wait,
)
from headwater_aws.aws_client import AwsClient, AwsRefusedError

Item = Mapping[str, Any]
"""Attributes by name, as DynamoDB has them: {"v": {"B": b"..."}}."""

LARGEST: Final = 400 * 1024 - 2048
"""Bytes of one value: an item takes 400 KB with its keys and its other attributes."""

_GET, _DROP, _TOGETHER = 100, 25, 100  # what a request takes at most
_CHECKED: Final = 500  # records that are put before it is asked again whether the job still may
_THREADS: Final = 32  # requests under way
_SHARDS: Final = 32  # of a view's records: a part of a table takes 1,000 puts a second
_VIEW: Final = 9  # bytes that the keys of a view's records begin with
_CREATED_WITHIN: Final = 60.0  # seconds
_PAUSES: Final = Backoff(first=0.01, longest=1.0)
_SCHEMA: Final = "a partition key `p` and a sort key `s`, both of type String"
_CONDITION: Final = "ConditionalCheckFailedException"
_CANCELED: Final = "TransactionCanceledException"
_BUSY: Final = frozenset(
    {
        "TransactionConflict",
        "ThrottlingError",
        "ProvisionedThroughputExceeded",
        "RequestLimitExceeded",
    }
)


def open_store(url: str, *, readonly: bool = False, for_requests: bool = False) -> DynamoDB:
    """See `DynamoDB`."""
    return DynamoDB(url, readonly=readonly, for_requests=for_requests)


def create_table(url: str) -> tuple[str, bool]:
    """Create the table of a store's URL, billed on demand, unless it exists. Returns its ARN, which
    has region and account, and whether it was created.

    Raises:
        StoreError: it may not be created, or cannot be used.
    """
    at = _parsed(url)
    table = _DynamoTable(at, at.timeout)
    created = table.create()
    return table.checked(created=created), created


class DynamoDB:
    """An `OnlineStore` for batch views and predictions, in a table that `headwater store create`
    creates.

    Args:
        url: `dynamodb://TABLE`, and behind a `?`: `region=` (else that of environment or profile),
            `prefix=` (what all keys begin with; headwater), `endpoint=` (of a private endpoint or
            an emulator), `timeout=` (for an answer, and while requests are throttled; 10s),
            `read_timeout=` (as `timeout`, where requests wait; 200ms).
        readonly: refuse to write.
        for_requests: give up what is not answered within `read_timeout`.

    Credentials are those of environment, profile or role.

    Raises:
        UsageError: the URL names no table, or an option that is not known.
        StoreError: there is no such table, or it has other keys; or it is written by another
            version.
        MissingExtraError: boto3 is not installed.
    """

    namespace = ""
    capabilities = Capabilities(atomic=True, multi_process=True, remote=True, streams=False)

    def __init__(self, url: str, *, readonly: bool = False, for_requests: bool = False) -> None:
        at = _parsed(url)
        self._table, self._prefix, self._readonly = _DynamoTable(at, at.timeout), at.prefix, False
        self._table.checked()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="dynamodb")
        try:
            if readonly and self.get([FORMAT_KEY]) == [None]:
                raise NoStoreError(
                    f"there is no online store in {self!r}; begin with a command that writes"
                )
            check_format(self, at.where, readonly=readonly)
        except HeadwaterError:
            self.close()
            raise
        self._readonly = readonly
        if for_requests:  # a table that is being created, or slow, was waited for
            self._table = _DynamoTable(at, at.read_timeout)

    def __repr__(self) -> str:
        return f"DynamoDB({self._table.where!r})"

    # ---- reads

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `OnlineStore`; strongly consistent. Records and other keys that are asked for
        together are of one cut: what else was read is the same after the records were.
        """
        every = list(dict.fromkeys(keys))
        stated = [key for key in every if not key.startswith(RECORD)]
        values = self._read(every)
        if 0 < len(stated) < len(every):
            while any(values.get(key) != value for key, value in self._states(stated)):
                values = self._read(every)
        return [values.get(key) for key in keys]

    def _states(self, keys: Sequence[bytes]) -> Iterator[tuple[bytes, bytes | None]]:
        values = self._read(keys)
        return ((key, values.get(key)) for key in keys)

    def _read(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values of the keys that are there; not of one moment."""
        values: dict[bytes, bytes] = {}

        def read(batch: Sequence[bytes]) -> None:
            wanted = {
                "Keys": [self._place(key) for key in batch],
                "ConsistentRead": True,
                "ProjectionExpression": "p, s, v",
            }
            for answer in self._table.batches("batch_get_item", wanted, "UnprocessedKeys"):
                for item in answer["Responses"].get(self._table.name, ()):
                    values[_key_of(item)] = item["v"]["B"]

        self._side_by_side(read, _batches(keys, _GET))
        return values

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """See `OnlineStore`; the two records of a key come one after the other."""
        for item in self._items(prefix):
            yield _key_of(item), item["v"]["B"]

    def sizes(self, prefix: bytes) -> Iterator[tuple[bytes, int]]:
        """See `OnlineStore`."""
        return ((key, len(value)) for key, value in self.scan(prefix))

    def _items(self, prefix: bytes) -> Iterator[Item]:
        if not prefix.startswith(RECORD):
            yield from self._table.query(f"{self._prefix}/s", f".{prefix.hex()}")
        if prefix.startswith(RECORD) and len(prefix) >= _VIEW:
            for shard in range(_SHARDS):
                yield from self._table.query(self._part(prefix, shard), f".{prefix[_VIEW:].hex()}")
        elif RECORD.startswith(prefix) or prefix.startswith(RECORD):
            yield from self._table.all(f"{self._prefix}/r/{(prefix or RECORD).hex()}")

    # ---- commits

    def commit(self, changes: Changes, expect: Changes) -> None:
        """See `OnlineStore`: the records first, one by one, each only forward; then all other keys,
        a hundred at most, in one request. So what says that records may be read is written last.

        Raises:
            FencedError: a key that is expected holds something else. Of the other keys nothing was
                written, and of records those of a cut that nobody reads.
        """
        if self._readonly:
            raise StoreError(f"{self!r} was opened to be read only; open it for writing")
        self._check_sizes(changes)
        records = [key for key in changes if key.startswith(RECORD)]
        others = {key: value for key, value in changes.items() if not key.startswith(RECORD)}
        self._compare(expect if records else {k: v for k, v in expect.items() if k not in others})
        self._drop([key for key in records if changes[key] is None and key not in expect])
        guards = {key: value for key, value in expect.items() if not key.startswith(RECORD)}
        put = [key for key in records if changes[key] is not None or key in expect]
        for number, batch in enumerate(_batches(put, _CHECKED)):
            if number:
                self._compare(guards)
            self._side_by_side(lambda key: self._put_record(key, changes[key], expect), batch)
        self._put_others(others, {key: expect[key] for key in others if key in expect})

    def _compare(self, expect: Changes) -> None:
        values = self._read(list(expect)) if expect else {}
        for key, value in expect.items():
            if values.get(key) != value:
                raise self._fenced(key)

    def _put_record(self, key: bytes, value: bytes | None, expect: Changes) -> None:
        """Write a record, unless the one that is there is complete through more; a repeated request
        changes nothing.
        """
        place, values = self._place(key), dict[str, Any]()
        conditions = [_holds(expect[key], values)] if key in expect else []
        if value is None:
            request, operation = {"Key": place}, "delete_item"
        else:
            values[":t"] = {"S": f"{complete_through(value) + 2**63:020d}"}
            conditions.append("(attribute_not_exists(t) OR t <= :t)")
            request = {"Item": {**place, "v": {"B": value}, "t": values[":t"]}}
            operation = "put_item"
        held = self._table.conditional(operation, request, " AND ".join(conditions), values)
        if held is _DONE or key not in expect:
            return
        now = None if held is None else held["v"]["B"]
        if now not in (value, expect[key]):  # it is not that its answer was lost, or is older
            raise self._fenced(key)

    def _put_others(self, changes: Changes, expect: Changes) -> None:
        if len(changes) == 1:
            ((key, value),) = changes.items()
            self._put_one(key, value, expect)
            return
        if len(changes) > _TOGETHER and expect:
            raise StoreError(
                f"{self!r} changes at most {_TOGETHER} keys besides records in one commit, and "
                f"these are {len(changes):,}. Nothing was written"
            )
        for batch in _batches(list(changes), _TOGETHER):
            self._put_together({key: changes[key] for key in batch}, expect)

    def _put_one(self, key: bytes, value: bytes | None, expect: Changes) -> None:
        """One conditional request; where its answer is lost, the item says whether it was made."""
        token, values = {"B": secrets.token_bytes(16)}, dict[str, Any]()
        condition = _holds(expect[key], values) if key in expect else ""
        place = self._place(key)
        if value is None:
            held = self._table.conditional("delete_item", {"Key": place}, condition, values)
            made = held is _DONE or held is None
        else:
            item = {**place, "v": {"B": value}, "c": token}
            held = self._table.conditional("put_item", {"Item": item}, condition, values)
            made = held is _DONE or (held is not None and held.get("c") == token)
        if not made:
            raise self._fenced(key)

    def _put_together(self, changes: Changes, expect: Changes) -> None:
        """One transaction, which DynamoDB makes once however often it is sent."""
        actions, token = [], {"B": secrets.token_bytes(16)}
        for key, value in changes.items():
            values: dict[str, Any] = {}
            condition = _holds(expect[key], values) if key in expect else ""
            place = self._place(key)
            what = (
                {"Key": place}
                if value is None
                else {"Item": {**place, "v": {"B": value}, "c": token}}
            )
            kind = "Delete" if value is None else "Put"
            actions.append({kind: {**self._table.named, **what, **_if(condition, values)}})
        reasons = self._table.transaction(actions)
        for key, reason in zip(changes, reasons, strict=True):
            if reason == "ConditionalCheckFailed":
                raise self._fenced(key)

    def _drop(self, keys: Sequence[bytes]) -> None:
        def drop(batch: Sequence[bytes]) -> None:
            requests = [{"DeleteRequest": {"Key": self._place(key)}} for key in batch]
            for _ in self._table.batches("batch_write_item", requests, "UnprocessedItems"):
                pass

        self._side_by_side(drop, _batches(keys, _DROP))

    def _fenced(self, key: bytes) -> FencedError:
        return FencedError(
            f"{self!r} was written by another process meanwhile ({key[:40]!r}), which goes on: a "
            "view has one job at a time. Nothing that is read was changed by this one"
        )

    def _check_sizes(self, changes: Changes) -> None:
        for key, value in changes.items():
            if value is not None and len(value) > LARGEST:
                raise StoreError(
                    f"the record of the key {_shown(key)} has {len(value):,} bytes, and an item of "
                    f"DynamoDB takes {LARGEST:,}. Nothing was written. Give its view shorter or "
                    "fewer windows, a coarser hop or shorter lists, or use another store"
                )

    # ---- the rest of `OnlineStore`

    def mend(self, offset: bytes) -> None:
        """See `OnlineStore`; nothing is decided before it is written."""

    def reconcile(self, *, dry_run: bool = False) -> bool:  # noqa: ARG002 (as `OnlineStore`)
        """See `OnlineStore`; nothing lies in two places."""
        return False

    @contextmanager
    def lease(self, name: str, *, wait: float) -> Iterator[None]:
        """See `OnlineStore`. A holder that is silent for five seconds has lost it; what is served
        rests on the conditions of `commit`, not on the lease.
        """
        place = {"p": {"S": f"{self._prefix}/l"}, "s": {"S": name}}
        holding = self._take(place, name, stopwatch() + wait)

        def renew() -> None:
            nonlocal holding
            following = {"S": secrets.token_hex(8)}
            if self._hold(place, following, "o = :o", {":o": holding}) is None:
                holding = following

        try:
            with renewed(renew):
                yield
        finally:
            with suppress(StoreError):  # it lapses
                self._table.conditional("delete_item", {"Key": place}, "o = :o", {":o": holding})

    def _take(self, place: Item, name: str, until: float) -> Item:
        """Wait until a lease is free, or its holder silent; what its item holds then."""
        mine = {"S": secrets.token_hex(8)}
        condition, seen, since = "attribute_not_exists(o)", None, stopwatch()
        while True:
            silent = seen is not None and stopwatch() - since > LEASE
            holder = (
                self._hold(place, mine, f"{condition} OR o = :o", {":o": seen})
                if silent
                else self._hold(place, mine, condition, {})
            )
            if holder is None:
                return mine
            if holder != seen:
                if seen is not None and stopwatch() > until:
                    raise HeldError(
                        f"another process holds the lease {name!r} of {self!r}; stop it, or wait "
                        "longer"
                    )
                seen, since = holder, stopwatch()
            wait(0.1)

    def _hold(self, place: Item, holder: Item, condition: str, values: Item) -> Item | None:
        """Write who holds a lease if a condition holds; else who holds it."""
        item = {**place, "o": holder}
        held = self._table.conditional("put_item", {"Item": item}, condition, values)
        if held is _DONE or (held is not None and held["o"] == holder):  # its answer was lost
            return None
        return {} if held is None else dict(held["o"])

    def server_time(self) -> int | None:
        """See `OnlineStore`; in whole seconds."""
        return self._table.server_time()

    def size(self) -> int:
        """See `OnlineStore`; of the whole table, as DynamoDB counts it every six hours."""
        return self._table.size()

    def backup(self, to: Path) -> None:
        """See `OnlineStore`; jobs that write meanwhile are in it as far as they were read."""
        back_up(self, to)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown(wait=True)

    # ---- places

    def _place(self, key: bytes) -> dict[str, Any]:
        """The keys of an item. Both records of a key lie side by side."""
        if not key.startswith(RECORD):
            return {"p": {"S": f"{self._prefix}/s"}, "s": {"S": f".{key.hex()}"}}
        rest = key[_VIEW:]
        part = self._part(key, zlib.crc32(rest[:-1]) % _SHARDS)
        return {"p": {"S": part}, "s": {"S": f".{rest.hex()}"}}

    def _part(self, key: bytes, shard: int) -> str:
        return f"{self._prefix}/r/{key[:_VIEW].hex()}/{shard:02x}"

    def _side_by_side(self, function: Callable[[Any], None], parts: Sequence[Any]) -> None:
        if len(parts) < 2:
            for part in parts:
                function(part)
        else:
            for _ in self._pool.map(function, parts):
                pass


_DONE: Final[Item] = {}
"""In place of what an item holds: the request was made."""


class _DynamoTable:
    """Requests to one table. named: its name, as requests have it. where: for messages."""

    def __init__(self, at: ServerUrl, timeout: float) -> None:
        self.name, self.where = at.where.partition("://")[2], at.where
        self.named = {"TableName": self.name}
        self._client = AwsClient(
            "dynamodb",
            region=at.options.get("region"),
            endpoint_url=at.options.get("endpoint"),
            patience=timeout,
            timeout=timeout,
            failure=StoreError,
            unanswered=UnansweredError,
            connections=_THREADS,
        )

    def conditional(
        self, operation: str, request: Mapping[str, Item], condition: str, values: Item
    ) -> Item | None:
        """Make a request if a condition holds. `_DONE` where it was made, else what the item holds;
        None where there is none.
        """
        try:
            self._call(operation, {**self.named, **request, **_if(condition, values)}, [_CONDITION])
        except AwsRefusedError as error:
            if "Item" in error.answer:
                return dict(error.answer["Item"])
            whole = request.get("Key") or request["Item"]  # an emulator may not say
            key = {name: whole[name] for name in "ps"}
            answer = self._call("get_item", {**self.named, "Key": key, "ConsistentRead": True})
            return answer.get("Item")
        return _DONE

    def batches(self, operation: str, wanted: object, left: str) -> Iterator[Mapping[str, Any]]:
        """The answers to a request, and to what an answer leaves out."""
        pauses = _PAUSES.within(self._client.patience)
        requests: Mapping[str, object] = {self.name: wanted}
        while requests:
            answer = self._call(operation, {"RequestItems": requests})
            yield answer
            requests = answer.get(left) or {}
            if requests:
                self._pause(pauses, f"a part of {operation} undone")

    def transaction(self, actions: Sequence[object]) -> Sequence[str]:
        """Make a transaction; by action, "None" or what it was refused for."""
        request = {"TransactItems": actions, "ClientRequestToken": secrets.token_hex(16)}
        pauses = _PAUSES.within(self._client.patience)
        while True:
            try:
                self._call("transact_write_items", request, [_CANCELED])
            except AwsRefusedError as error:
                reasons = error.answer.get("CancellationReasons") or ()
                codes = [reason["Code"] for reason in reasons]
                if "ConditionalCheckFailed" in codes:
                    return codes
                if _BUSY.isdisjoint(codes):
                    raise StoreError(
                        f"{self.where} refuses a transaction: {error}. Nothing was written"
                    ) from error
                self._pause(pauses, "writes that met others")
            else:
                return ["None"] * len(actions)

    def _pause(self, pauses: Iterator[float], undone: str) -> None:
        self._client.throttled += 1
        pause = next(pauses, None)
        if pause is None:
            raise UnansweredError(
                f"{self.where} still leaves {undone} after {self._client.patience:g} s. Is the "
                "table's capacity too small for what is written? The job goes on from what is done"
            )
        self._client.wait(undone, pause)

    def query(self, part: str, begin: str) -> Iterator[Item]:
        """The items of a partition key whose sort keys begin with a text, rising."""
        values = {":p": {"S": part}, ":s": {"S": begin}}
        request = {
            "KeyConditionExpression": "p = :p AND begins_with(s, :s)",
            "ExpressionAttributeValues": values,
        }
        return self._pages("query", request)

    def all(self, begin: str) -> Iterator[Item]:
        """The items whose partition key begins with a text, in any order; the whole table is read
        for it.
        """
        request = {
            "FilterExpression": "begins_with(p, :p)",
            "ExpressionAttributeValues": {":p": {"S": begin}},
        }
        return self._pages("scan", request)

    def _pages(self, operation: str, request: Mapping[str, object]) -> Iterator[Item]:
        more: dict[str, object] = {}
        while True:
            answer = self._call(
                operation, {**self.named, "ConsistentRead": True, **request, **more}
            )
            yield from answer["Items"]
            if not answer.get("LastEvaluatedKey"):
                return
            more = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def size(self) -> int:
        """Bytes of the table, as DynamoDB estimates them."""
        return int(self._call("describe_table", self.named)["Table"].get("TableSizeBytes", 0))

    def server_time(self) -> int | None:
        """The Date of an answer, microseconds; None where there is none."""
        key = {"p": {"S": "/"}, "s": {"S": "/"}}
        try:
            answer = self._client.call("get_item", {**self.named, "Key": key}, patience=0)
            date = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        except (StoreError, KeyError, ValueError, TypeError):
            return None
        return round(date.timestamp()) * 1_000_000

    def checked(self, *, created: bool = False) -> str:
        """Check that the table can be used; a table in creation is waited for. Returns its ARN.

        created: it was created just now, and may not be seen yet.

        Raises:
            StoreError: it is not there, has other keys, or is being deleted.
        """
        table, until = self._described(), stopwatch() + _CREATED_WITHIN
        if table is None and not created:
            raise self._absent()
        while table is None or table["TableStatus"] == "CREATING":
            if stopwatch() > until:
                raise StoreError(
                    f"the table {self.where} is still being created after {_CREATED_WITHIN:g} s; "
                    "start again when it is ACTIVE"
                )
            wait(0.2)
            table = self._described()
        if table["TableStatus"] not in ("ACTIVE", "UPDATING"):
            raise StoreError(
                f"the table {self.where} in {self._client} is {table['TableStatus']}, and is used "
                "only while it is ACTIVE or UPDATING. Wait until it is, or give another name. "
                "Nothing was written"
            )
        types = {
            part["AttributeName"]: part["AttributeType"] for part in table["AttributeDefinitions"]
        }
        keys = [
            (part["AttributeName"], types.get(part["AttributeName"]), part["KeyType"])
            for part in table["KeySchema"]
        ]
        if keys != [("p", "S", "HASH"), ("s", "S", "RANGE")]:
            have = ", ".join(f"{name} ({kind}, {role})" for name, kind, role in keys)
            raise StoreError(
                f"the table {self.where} has the keys {have}, and headwater needs {_SCHEMA}; give "
                "the name of another table"
            )
        return str(table["TableArn"])

    def create(self) -> bool:
        """Create the table, unless it is there. Whether this process has created it.

        Raises:
            StoreError: it may not be created.
        """
        if self._described() is not None:
            return False
        wanted = {
            **self.named,
            "AttributeDefinitions": [
                {"AttributeName": name, "AttributeType": "S"} for name in "ps"
            ],
            "KeySchema": [
                {"AttributeName": "p", "KeyType": "HASH"},
                {"AttributeName": "s", "KeyType": "RANGE"},
            ],
            "BillingMode": "PAY_PER_REQUEST",
        }
        refusals = ["ResourceInUseException", "AccessDeniedException"]
        try:
            self._call("create_table", wanted, refusals)
        except AwsRefusedError as error:
            if error.code == refusals[0]:  # another process creates it
                return False
            raise StoreError(
                f"the table {self.where} is not there, and may not be created ({error}). Create "
                f"it with {_SCHEMA}, or allow dynamodb:CreateTable"
            ) from error
        return True

    def _described(self) -> dict[str, Any] | None:
        """DynamoDB's description of the table; None where it does not exist."""
        absent = ["ResourceNotFoundException"]
        try:
            table: dict[str, Any] = self._client.call("describe_table", self.named, expected=absent)
        except AwsRefusedError:
            return None
        return dict(table["Table"])

    def _absent(self) -> StoreError:
        """The error of a missing table; it names the existing ones, where they may be listed."""
        try:
            names = self._call("list_tables", {}, ["AccessDeniedException"])["TableNames"]
            others = nearest(self.name, names) if names else "no table at all is there"
        except AwsRefusedError:
            others = "which tables are there may not be listed"
        return StoreError(
            f"there is no table {self.name!r} in {self._client} ({others}). Correct the name, the "
            "region or the credentials; for a new store, create the table with `headwater store "
            "create`"
        )

    def _call(
        self, operation: str, request: Mapping[str, object], expected: Sequence[str] = ()
    ) -> dict[str, Any]:
        absent = "ResourceNotFoundException"
        try:
            return self._client.call(operation, request, expected=(*expected, absent))
        except AwsRefusedError as error:
            if error.code in expected:
                raise
            raise StoreError(f"the table {self.where} is not there any more: {error}") from error


def _parsed(url: str) -> ServerUrl:
    at = parse(url, ("region", "endpoint"))
    if not re.fullmatch(r"dynamodb://[A-Za-z0-9_.-]{3,255}", at.where):
        raise UsageError(
            f"{at.where!r} names no table of DynamoDB: give dynamodb://TABLE?region=eu-west-1, "
            "with 3 to 255 letters, digits, '_', '.' and '-'"
        )
    return at


def _key_of(item: Item) -> bytes:
    """The store's key of an item."""
    rest = bytes.fromhex(item["s"]["S"][1:])
    _, kind, *view = item["p"]["S"].split("/")
    return bytes.fromhex(view[0]) + rest if kind == "r" else rest


def _holds(value: bytes | None, values: dict[str, Any]) -> str:
    """The condition that an item holds a value, which is put beside the others."""
    if value is None:
        return "attribute_not_exists(v)"
    values[":v"] = {"B": value}
    return "v = :v"


def _if(condition: str, values: Item) -> dict[str, Any]:
    if not condition:
        return {}
    return {
        "ConditionExpression": condition,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        **({"ExpressionAttributeValues": values} if values else {}),
    }


def _batches(keys: Sequence[bytes], most: int) -> list[Sequence[bytes]]:
    return [keys[first : first + most] for first in range(0, len(keys), most)]


def _shown(key: bytes) -> str:
    """A key of a view for a message: a string, an integer, or else its bytes."""
    of_view = key[_VIEW:-2] if key.startswith(RECORD) else key
    text = of_view.decode(errors="replace")
    if text.isprintable() and "\ufffd" not in text:
        return repr(text[:60])
    if len(of_view) == 8:
        return str(int.from_bytes(of_view, "big", signed=True))
    return f"0x{of_view[:60].hex()}"
