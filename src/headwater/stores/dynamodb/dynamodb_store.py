"""The online store on DynamoDB: a table of records, and a state of ingestion in the same table or
in PostgreSQL.

It is log first: `log_first` says in which steps a commit is made,
`docs/decisions/0260-dynamodb-is-log-first.md` what readers see between them.

Records in DynamoDB: an item for each, written in transactions that check the turn of the writer.

With P the store's prefix, an item has the partition key
    P 0 RECORD...    a record: v its value, t what it is complete through, n the writer's commit
                     that wrote it
    P 0 L WRITER     with eight sort keys, the lanes of a writer: e the store's epoch, u the turn, b
                     who took it, n its last commit
    P 0 E            e the store's epoch
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, urlsplit

from headwater.aws import AwsClient
from headwater.errors import (
    FencedError,
    HeadwaterError,
    LostError,
    NoStoreError,
    StoreError,
    UsageError,
)
from headwater.stores import NO_MARKS, Changes, IngestState, Marks, UnansweredError
from headwater.stores.dynamodb.dynamodb_items import (
    ACTIONS,
    LARGEST,
    NOWHERE,
    PAYLOAD,
    CanceledError,
    Item,
    Items,
    Key,
    at,
    check,
    delete,
    key_of,
    number_of,
    put,
    update,
)
from headwater.stores.dynamodb.dynamodb_state import DynamoState
from headwater.stores.keyspace import EPOCH, FORMAT_KEY, RECORD, check_format, complete_through
from headwater.stores.log_first import REBUILD, RECONCILE, LogFirstStore
from headwater.stores.server import ServerUrl, parse


def open_store(url: str, *, readonly: bool = False, for_requests: bool = False) -> LogFirstStore:
    """The store that `dynamodb://TABLE` names.

    Behind a `?`: `region=` (else that of environment or profile), `state=postgresql://...` (where
    the state of ingestion is; else in the table itself), `prefix=` (what all keys begin with;
    headwater), `endpoint=` (the address of a private endpoint or an emulator), `timeout=` (for an
    answer, and while requests are throttled; 10s), `read_timeout=` (as `timeout`, where requests
    wait; 200ms). Credentials are those of environment, profile or role. The table has to be there:
    `create_table` creates it.
    """
    name, at = _parsed(url)
    items = Items(_client(at, at.timeout), name, at.where)
    store = _opened(items, at, readonly=readonly, for_requests=for_requests)
    if for_requests:  # a table that is being created, or slow, was waited for
        items.client = _client(at, at.read_timeout)
    return store


def create_table(url: str) -> tuple[str, bool]:
    """Create the table of a store's URL, unless it exists. Returns its ARN, which has region and
    account, and whether it was created.
    """
    name, at = _parsed(url)
    items = Items(_client(at, at.timeout), name, at.where)
    try:
        created = items.create_table()
        return items.check_table(created=True), created
    finally:
        items.close()


def _parsed(url: str) -> tuple[str, ServerUrl]:
    """The name of the table, and the URL in parts."""
    at = parse(url, ("region", "endpoint", "state"))
    name = at.where.partition("://")[2]
    if not re.fullmatch(r"[A-Za-z0-9_.-]{3,255}", name):
        raise UsageError(
            f"{at.where!r} names no table of DynamoDB: give dynamodb://TABLE?region=eu-west-1, "
            "with 3 to 255 letters, digits, '_', '.' and '-'"
        )
    return name, replace(at, options={**at.options, **_state_option(url, at.where)})


def _state_option(url: str, where: str) -> dict[str, str]:
    """The option `state`, where it is given: a URL with %3F and %26 for its ? and &, or quoted as a
    whole.
    """
    options = [
        value
        for name, _, value in (option.partition("=") for option in urlsplit(url).query.split("&"))
        if name == "state"
    ]
    if not options:
        return {}
    user, at, rest = (
        options[-1].rpartition("@") if "://" in options[-1] else ("", "", unquote(options[-1]))
    )
    address = user + at + re.sub("%3f", "?", re.sub("%26", "&", rest), flags=re.IGNORECASE)
    if not re.match("postgresql://[^/]*/[^?]", address):
        raise UsageError(
            f"state= of {where} names no database of PostgreSQL: give "
            "postgresql://USER:PASSWORD@HOST:PORT/DATABASE (with %3F and %26 for ? and & in it), "
            "or leave it out"
        )
    return {"state": address}


def _client(at: ServerUrl, timeout: float) -> AwsClient:
    options = at.options
    return AwsClient(
        "dynamodb",
        region=options.get("region"),
        endpoint_url=options.get("endpoint"),
        patience=timeout,
        timeout=timeout,
        failure=StoreError,
        unanswered=UnansweredError,
    )


def _opened(items: Items, at: ServerUrl, *, readonly: bool, for_requests: bool) -> LogFirstStore:
    items.check_table()
    table = DynamoTable(items, at.prefix)
    store = LogFirstStore(table, _state(items, at, readonly=readonly, for_requests=for_requests))
    try:
        _join(table, store.state, readonly=readonly)
        check_format(store, at.where, readonly=readonly)
    except HeadwaterError:
        store.close()
        raise
    return store


def _state(items: Items, at: ServerUrl, *, readonly: bool, for_requests: bool) -> IngestState:
    address = at.options.get("state")
    if address is None:
        return DynamoState(items, at.prefix, readonly=readonly)
    from headwater.stores import postgres

    return postgres.open_state(address, readonly=readonly, for_requests=for_requests)


def _join(table: DynamoTable, state: IngestState, *, readonly: bool) -> None:
    """Check that the records belong to this state; a new table and a new state become a store.

    Raises:
        LostError: they are not.
    """
    (state_epoch,), table_epoch = state.get([EPOCH]), table.read_epoch()
    if state_epoch is None and table_epoch is not None:
        (state_epoch,) = state.get([EPOCH])  # another process may have made both meanwhile
    if state_epoch is None and table_epoch is None:
        if readonly:
            raise NoStoreError(
                f"there is no online store in {table!r}; begin with a command that writes"
            )
        other_key = next(
            (key for key, _ in state.scan(b"") if key not in (FORMAT_KEY, EPOCH)), None
        )
        if other_key is not None:
            raise StoreError(
                f"{state!r} is the state of another store (it holds {other_key[:40]!r}); give "
                "another "
                "prefix= or an empty database"
            )
        with contextlib.suppress(FencedError):  # another process came first
            state.commit({EPOCH: secrets.token_bytes(16)}, {EPOCH: None})
        (state_epoch,) = state.get([EPOCH])
    if state_epoch is None or table_epoch not in (None, state_epoch):
        raise LostError(
            f"{table!r} holds records of another state of ingestion than {state!r}: either state= "
            f"of its URL is not the one that it was made with, or that state was lost. {REBUILD}"
        )
    if table_epoch is None and not readonly:
        table.begin(state_epoch)
    table.epoch = state_epoch


LANES = 8

_SHOWN = 60

_AHEAD = "(attribute_not_exists(n) OR n < :n) AND (attribute_not_exists(t) OR t <= :t)"

_NEWER = "attribute_not_exists(t) OR t <= :t"


class DynamoTable:
    """See `FeatureTable`, and above."""

    largest = LARGEST

    def __init__(self, items: Items, prefix: str) -> None:
        self.outrun = 0
        self._items, self._prefix, self.epoch = items, prefix.encode() + b"\0", b""

    def __repr__(self) -> str:
        return f"DynamoTable({self._items.where!r})"

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `FeatureTable`; strongly consistent."""
        items = self._items.get([self._item_key(key) for key in keys], "v")
        return [
            item["v"]["B"] if (item := items.get(self._item_key(key))) else None for key in keys
        ]

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """See `FeatureTable`; reads the whole table."""
        begin = len(self._prefix)
        for item in self._items.all(self._prefix + prefix):
            yield key_of(item)[0][begin:], item["v"]["B"]

    def upsert(self, writer: bytes, turn: int, n: int, records: Changes) -> Marks:
        """See `FeatureTable`."""
        parts = list(_parted(records, {}))
        lanes = list(enumerate(parts[lane::LANES] for lane in range(min(LANES, len(parts)))))

        def fill(lane_and_parts: tuple[int, list[list[bytes]]]) -> None:
            lane, lane_parts = lane_and_parts
            for part in lane_parts:
                self._apply(self._lane(writer, lane), turn, n, {key: records[key] for key in part})

        self._items.side_by_side(fill, lanes)
        return NO_MARKS

    def _apply(self, lane: Key, turn: int, n: int, records: dict[bytes, bytes | None]) -> None:
        """Write some records of commit n, unless they are written."""
        owned = {":e": {"B": self.epoch}, ":u": _number(turn), ":n": _number(n)}
        first = update(lane, "e = :e AND u = :u AND n <= :n", "SET n = :n", owned)
        while True:
            names = list(records)
            try:
                self._items.write([first, *(self._forward(key, records[key], n) for key in names)])
            except CanceledError as error:
                failed = dict(error.failed)
                if 0 in failed:
                    self._check_lane(failed[0], turn)
                    return  # a later commit is there, so this one was applied
                for position, item in failed.items():
                    self.outrun += number_of(item, "n", -1) < n
                    del records[names[position - 1]]
            else:
                return

    def _forward(self, key: bytes, value: bytes | None, n: int) -> dict[str, Any]:
        """The action that writes a record."""
        if value is None:
            return delete(
                self._item_key(key), "attribute_not_exists(n) OR n < :n", {":n": _number(n)}
            )
        item = {**self._item(key, value), "n": _number(n)}
        return put(item, _AHEAD, {":n": item["n"], ":t": item["t"]})

    def _check_lane(self, lane: Item | None, turn: int) -> None:
        """Raise why a lane takes no more commits of a turn; return where it has a later commit."""
        if lane is None or lane["e"]["B"] != self.epoch or number_of(lane, "u") < turn:
            raise LostError(
                f"{self._items.where} has lost what it knew of a writer's commits. {RECONCILE}"
            )
        if number_of(lane, "u") > turn:
            raise FencedError(
                f"{self._items.where} was taken over by another process. A partition has one "
                "process that ingests it; read the offsets again, and go on from them"
            )

    def fence(self, writer: bytes, turn: int) -> int | None:
        """See `FeatureTable`."""
        fence_mark = {"B": secrets.token_bytes(8)}
        values = {":e": {"B": self.epoch}, ":u": _number(turn), ":b": fence_mark, ":z": _number(0)}
        condition = "attribute_not_exists(u) OR (e = :e AND (u < :u OR (u = :u AND b = :b)))"
        taken = "SET e = :e, u = :u, b = :b, n = if_not_exists(n, :z)"
        lanes = [self._lane(writer, lane) for lane in range(LANES)]
        try:
            self._items.write([update(lane, condition, taken, values) for lane in lanes])
        except CanceledError:
            return None
        # no commit of an earlier turn changes them any more
        items = list(self._items.get_together(lanes).values())
        if len(items) < LANES or any(item["b"] != fence_mark for item in items):
            return None
        return max(number_of(item, "n") for item in items)

    def writers(self) -> dict[bytes, tuple[int, int]]:
        """See `FeatureTable`; reads the whole table."""
        marks: dict[bytes, tuple[int, int]] = {}
        begin = self._prefix + b"L"
        for item in self._items.all(begin):
            writer, mark = (
                key_of(item)[0].removeprefix(begin),
                (number_of(item, "u"), number_of(item, "n")),
            )
            before = marks.get(writer, (0, 0))
            marks[writer] = max(before[0], mark[0]), max(before[1], mark[1])
        return marks

    def confirmed(self) -> Marks:
        """See `FeatureTable`; DynamoDB loses no write that it has confirmed."""
        return NO_MARKS

    def empty(self, writers: Sequence[bytes], turn: int, marks: Marks) -> None:
        """See `FeatureTable`; reads the whole table."""
        del marks
        self._items.drop_all(key_of(item) for item in self._items.all(self._prefix + RECORD))
        lane_values = {
            "e": {"B": self.epoch},
            "u": _number(turn),
            "b": {"B": secrets.token_bytes(8)},
            "n": _number(0),
        }
        self._items.put_all(
            {**at(self._lane(writer, lane)), **lane_values}
            for writer in writers
            for lane in range(LANES)
        )

    def replace(self, records: Changes, expect: Changes) -> Marks:
        """See `FeatureTable`."""
        self._items.side_by_side(
            lambda part: self._replace(part, records, expect), list(_parted(records, expect))
        )
        return NO_MARKS

    def _replace(self, part: Sequence[bytes], records: Changes, expect: Changes) -> None:
        keys = list(part)
        while keys:
            try:
                self._items.write([self._exchange(key, records, expect) for key in keys])
            except CanceledError as error:
                held = next(
                    (keys[position] for position in error.failed if keys[position] in expect), None
                )
                if held is not None:
                    raise FencedError(
                        f"{self._items.where} was written by another process meanwhile "
                        f"({held[:40]!r})"
                    ) from error
                self.outrun += len(error.failed)
                keys = [key for position, key in enumerate(keys) if position not in error.failed]
            else:
                return

    def _exchange(self, key: bytes, records: Changes, expect: Changes) -> dict[str, Any]:
        conditions, values = [], {}
        if key in expect:
            expected = expect[key]
            conditions.append("attribute_not_exists(v)" if expected is None else "v = :known")
            values = {} if expected is None else {":known": {"B": expected}}
        if key not in records:
            return check(self._item_key(key), conditions[0], values)
        value = records[key]
        if value is None:
            return delete(self._item_key(key), " AND ".join(conditions), values)
        self.check_sizes(b"", {key: value})
        item = self._item(key, value)
        condition = " AND ".join([*conditions, f"({_NEWER})"])
        return update(
            self._item_key(key),
            condition,
            "SET v = :v, t = :t",
            {**values, ":v": item["v"], ":t": item["t"]},
        )

    def check_sizes(self, writer: bytes, records: Changes) -> None:
        """See `FeatureTable`; a record has to fit in an item."""
        for key, value in records.items():
            if value is not None and len(value) > LARGEST:
                source, _, partition = writer.decode().partition("\0")
                origin = (
                    f"source {source!r}"
                    + (f", partition {partition!r}" if partition else "")
                    + ": "
                    if source
                    else ""
                )
                of_key = key[9:].removesuffix(f"\0{partition}".encode()) if partition else key[9:]
                raise StoreError(
                    f"{origin}the record of the key {_shown(of_key)} has {len(value):,} bytes, and "
                    f"an item of DynamoDB takes {LARGEST:,}. Nothing was written. Give its views "
                    "shorter or fewer windows, a coarser hop or shorter lists, split them into "
                    "views with sources of their own, or use another store"
                )

    def read_epoch(self) -> bytes | None:
        """The epoch that the table belongs to."""
        items = self._items.get([(self._prefix + b"E", NOWHERE)])
        return next((item["e"]["B"] for item in items.values()), None)

    def begin(self, epoch: bytes) -> None:
        """Give a table without an epoch this one."""
        item = {**at((self._prefix + b"E", NOWHERE)), "e": {"B": epoch}}
        try:
            self._items.write(
                [put(item, "attribute_not_exists(e) OR e = :e", {":e": {"B": epoch}})]
            )
        except CanceledError as error:
            raise LostError(
                f"{self._items.where} belongs to another state of ingestion. {REBUILD}"
            ) from error

    def size(self) -> int:
        """See `FeatureTable`; of the whole table."""
        return self._items.size()

    def close(self) -> None:
        """See `FeatureTable`."""
        self._items.close()

    def _item_key(self, key: bytes) -> Key:
        return self._prefix + key, NOWHERE

    def _lane(self, writer: bytes, lane: int) -> Key:
        return self._prefix + b"L" + writer, bytes([lane])

    def _item(self, key: bytes, value: bytes) -> dict[str, Any]:
        return {**at(self._item_key(key)), "v": {"B": value}, "t": _number(complete_through(value))}


def _parted(records: Changes, expect: Changes) -> Iterator[list[bytes]]:
    """Keys, as many as a transaction takes; the same for the same records."""
    batch: list[bytes] = []
    size = 0
    for key in sorted({*records, *expect}):
        record_size = 2 * len(key) + len(records.get(key) or b"") + len(expect.get(key) or b"")
        if batch and (len(batch) == ACTIONS or size + record_size > PAYLOAD):
            yield batch
            batch, size = [], 0
        batch.append(key)
        size += record_size
    if batch:
        yield batch


def _number(value: int) -> Mapping[str, str]:
    return {"N": str(value)}


def _shown(key: bytes) -> str:
    r"""A key of a view for a message: a string, an integer, or else its bytes.

    >>> _shown("Zoë".encode()), _shown((7).to_bytes(8, "big")), _shown(b"\xff" * 3)
    ("'Zoë'", '7', '0xffffff')
    """
    text = key.decode(errors="replace")
    if text.isprintable() and "\ufffd" not in text:
        return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")
    return (
        str(int.from_bytes(key, "big", signed=True)) if len(key) == 8 else f"0x{key[:_SHOWN].hex()}"
    )
