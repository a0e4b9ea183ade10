"""The online store on DynamoDB: a table of records, and a state of ingestion in the same table or
in PostgreSQL.

It is log first: `log_first` says in which steps a commit is made,
`docs/decisions/0260-dynamodb-is-log-first.md` what readers see between them.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from dataclasses import replace
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
from headwater.stores import IngestState, UnansweredError
from headwater.stores.dynamodb.dynamodb_items import Items
from headwater.stores.dynamodb.dynamodb_state import DynamoState
from headwater.stores.dynamodb.dynamodb_table import DynamoTable
from headwater.stores.formats import check_format
from headwater.stores.keyspace import EPOCH, FORMAT_KEY
from headwater.stores.log_first import REBUILD, LogFirstStore
from headwater.stores.server_url import ServerUrl, parse


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
    """Create the table that a store's URL names, unless it is there: its ARN, which has region and
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
    given = [
        value
        for name, _, value in (option.partition("=") for option in urlsplit(url).query.split("&"))
        if name == "state"
    ]
    if not given:
        return {}
    user, at, rest = (
        given[-1].rpartition("@") if "://" in given[-1] else ("", "", unquote(given[-1]))
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
    from headwater.stores import postgres_state

    return postgres_state.open_state(address, readonly=readonly, for_requests=for_requests)


def _join(table: DynamoTable, state: IngestState, *, readonly: bool) -> None:
    """Check that the records are those of this state; a new table and a new state become a store.

    Raises:
        LostError: they are not.
    """
    (known,), found = state.get([EPOCH]), table.read_epoch()
    if known is None and found is not None:
        (known,) = state.get([EPOCH])  # another process may have made both meanwhile
    if known is None and found is None:
        if readonly:
            raise NoStoreError(
                f"there is no online store in {table!r}; begin with a command that writes"
            )
        other = next((key for key, _ in state.scan(b"") if key not in (FORMAT_KEY, EPOCH)), None)
        if other is not None:
            raise StoreError(
                f"{state!r} is the state of another store (it holds {other[:40]!r}); give another "
                "prefix= or an empty database"
            )
        with contextlib.suppress(FencedError):  # another process came first
            state.commit({EPOCH: secrets.token_bytes(16)}, {EPOCH: None})
        (known,) = state.get([EPOCH])
    if known is None or found not in (None, known):
        raise LostError(
            f"{table!r} holds records of another state of ingestion than {state!r}: either state= "
            f"of its URL is not the one that it was made with, or that state was lost. {REBUILD}"
        )
    if found is None and not readonly:
        table.begin(known)
    table.epoch = known
