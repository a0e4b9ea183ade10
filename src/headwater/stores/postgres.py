"""The online store on PostgreSQL: a commit is one transaction. The owner of a partition writes that
partition's records.

A prefix is a schema with two tables: `entries` holds keys, values, and what records are complete
through; `commits` holds the last commit that each writer tried, so that a commit whose answer was
lost is looked up, and made once.

- A commit locks the rows that it expects, in the order of their keys. Where it expects none, it
  holds the place with a row without a value until its end, so of two commits that expect the same,
  one waits, and is fenced.
- A commit is as durable as the server's `synchronous_commit`. A standby that takes over without the
  last commits has an earlier state as a whole: a writer is fenced by what it expects, and going on
  from the stored offsets is exact.
- Leases are advisory locks of a session, which the server ends when nobody has renewed the lease
  for 5 s; it ends a transaction in which nothing is said for as long, so that a process that was
  stopped keeps neither. A pooler must not share sessions (PgBouncer: `pool_mode = session`).

The state of ingestion in PostgreSQL, of a store whose records are elsewhere.

The statements of the online store on PostgreSQL; `{schema}` is its prefix, quoted, and what else
is in braces is given with it.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

from headwater import clock
from headwater.errors import FencedError, MissingExtraError, NoStoreError, StoreError
from headwater.retries import Backoff, retry
from headwater.stores import Capabilities, Changes, HeldError, UnansweredError
from headwater.stores.backup import back_up
from headwater.stores.keyspace import RECORD, check_format, complete_through, end_of
from headwater.stores.server import LEASE, ServerUrl, parse, renewed

try:
    import psycopg
except ImportError as error:
    raise MissingExtraError("psycopg", "postgres") from error

_T = TypeVar("_T")

_LEASE_POLL = 0.05

_PAUSES = Backoff(first=0.05, longest=0.5)

_LARGEST = 1 << 29

# a commit is made again only where the server has rolled it back, or it is known not to have been
# made
_ATTEMPTS = 20

# keys and bytes of one page of a scan, at most, except for the last value
_PAGE, _PAGE_BYTES = 2_000, 16_000_000

_PASSED_ON = (
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslcrl",
    "channel_binding",
    "target_session_attrs",
    "passfile",
    "service",
)

_SESSION = (
    # the lease of a machine that vanished ends
    "-c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 "
    f"-c idle_in_transaction_session_timeout={LEASE:g}s"
)

_AGAIN = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)

_AWAY = (
    psycopg.errors.CannotConnectNow,
    psycopg.errors.AdminShutdown,
    psycopg.errors.CrashShutdown,
    psycopg.errors.TooManyConnections,
    psycopg.errors.IdleInTransactionSessionTimeout,
)

_REMEDIES = {
    'role ".*" does not exist': (
        "Give a user that the server has: postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
    ),
    "does not exist": (
        "Create the database, or give the name of one: "
        "postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
    ),
    "authentication|no password supplied": (
        "Give its user and password: postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
    ),
    "pg_hba.conf": "Allow this host and user in the server's pg_hba.conf",
    'unrecognized configuration parameter "idle_session_timeout"': "Use PostgreSQL 14 or later",
    "permission denied": (
        "Grant the user CREATE on the database, or USAGE on the schema and, on its tables, SELECT "
        "(to read), INSERT, UPDATE, DELETE"
    ),
    "No space left|could not extend file": (
        "Make room on the server's disk; ingestion goes on from the last commit"
    ),
    "read-only transaction": (
        "It is a standby: give the address of the primary, or target_session_attrs=read-write"
    ),
    (
        "SSL(?! SYSCALL| connection has been closed| error: unexpected eof)"
    ): "Give sslmode=, sslrootcert= and the like as the server wants them",
}
"""By what the server says, as a pattern."""


def open_store(url: str, *, readonly: bool = False, for_requests: bool = False) -> PostgresStore:
    """The store that `postgresql://user:password@host:port/database` names.

    Behind a `?`: `prefix=` (the schema; headwater), `timeout=` (for an answer, and to reconnect;
    10s), `read_timeout=` (the same, where requests wait for the answer; 200ms, and 2s to connect),
    and libpq's own `sslmode=`, `sslrootcert=` and the like.
    """
    at, target = target_of(url)
    store = PostgresStore(target, at, readonly=readonly)
    if for_requests:  # a server that is starting was waited for
        store.timeout = at.read_timeout
    return store


def target_of(url: str) -> tuple[ServerUrl, str]:
    """A URL in parts, and as libpq takes it."""
    at, parts = parse(url, _PASSED_ON), urlsplit(url)
    client = {
        "options": _SESSION,
        "application_name": f"headwater {os.getpid()} on {socket.gethostname()}",
        **at.options,
    }
    return at, f"postgresql://{parts.netloc}{parts.path}?{urlencode(client).replace('+', '%20')}"


class _LateError(psycopg.OperationalError):
    """The server has not answered in time."""


class _Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that is closed where an answer takes longer than `limit` seconds."""

    limit = 10.0

    def wait(self, gen: Generator[Any, Any, _T], *args: Any, **more: Any) -> _T:  # noqa: ANN401 (as the library's)
        try:
            return super().wait(_limited(gen, self.limit), *args, **more)
        except _LateError:
            self.pgconn.finish()
            raise


def _limited(gen: Generator[Any, Any, _T], limit: float) -> Generator[Any, Any, _T]:
    """The same steps; the library resumes it, with or without an answer, several times a second."""
    until = clock.stopwatch() + limit
    try:
        step = next(gen)
        while True:
            ready = yield step
            if not ready and clock.stopwatch() > until:
                raise _LateError("it has not answered in time")
            step = gen.send(ready)
    except StopIteration as end:
        result: _T = end.value
        return result


class PostgresStore:
    """See `OnlineStore`, and above. outrun: how many records were not written because the store's
    were complete through more.
    """

    capabilities = Capabilities(atomic=True, multi_process=True, remote=True)
    namespace = ""

    def __init__(self, target: str, url: ServerUrl, *, readonly: bool = False) -> None:
        self.where, self.prefix, self.timeout, self._target, self._readonly = (
            url.where,
            url.prefix,
            url.timeout,
            target,
            readonly,
        )
        self.outrun = 0
        self._idle: deque[_Connection] = deque()
        self._writer, self._count, self._lock = secrets.token_hex(8), 0, threading.Lock()
        try:
            self._make()
            check_format(self, url.where, readonly=readonly)
        except StoreError:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"PostgresStore({self.prefix!r})"

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `OnlineStore`; one statement, so all of one time."""
        if not keys:
            return []
        values = dict(self._read(GET, list(keys)))
        return [values.get(key) for key in keys]

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """See `OnlineStore`."""
        return self._paged(prefix, "value")

    def sizes(self, prefix: bytes) -> Iterator[tuple[bytes, int]]:
        """See `OnlineStore`."""
        return self._paged(prefix, "octet_length(value)")

    def _paged(self, prefix: bytes, shown: str) -> Iterator[tuple[bytes, Any]]:
        first, end, after = prefix, end_of(prefix), ">="
        most = _PAGE_BYTES if shown == "value" else _LARGEST << 20
        while True:
            page = self._read(
                SCAN, first, end, end, shown=shown, after=after, page=_PAGE, bytes=most
            )
            if not page:
                return
            yield from page
            first, after = page[-1][0], ">"

    def commit(self, changes: Changes, expect: Changes) -> None:
        """See `OnlineStore`."""
        if self._readonly:
            raise StoreError(f"{self.where} was opened to be read only; open it for writing")
        if sum(len(key) + len(value or b"") for key, value in changes.items()) > _LARGEST:
            raise StoreError(
                f"a commit of more than {_LARGEST >> 20} MB is more than {self.where} takes; make "
                "smaller commits"
            )
        with self._lock:
            for _ in range(_ATTEMPTS):
                self._count += 1
                try:
                    with (
                        self._connected() as connection,
                        connection.pipeline(),
                        connection.transaction(),
                    ):
                        put = self._write(connection, changes, expect)
                    self.outrun += (
                        sum(value is not None for value in changes.values()) - put.rowcount
                        if put
                        else 0
                    )
                    return
                except _AGAIN:
                    continue
                except psycopg.Error as error:
                    if not self._is_lost(error):
                        raise self._error(error) from error
                    if self._was_made():
                        return
        raise StoreError(
            f"{self.where} ended the connection, or a deadlock, {_ATTEMPTS} times during one "
            "commit; nothing was written"
        )

    def _write(
        self, connection: _Connection, changes: Changes, expect: Changes
    ) -> psycopg.Cursor[tuple[Any, ...]] | None:
        """One commit, within a transaction: expectations are queried together, and changes are sent
        once they hold.
        """
        begun = self._sent(connection, BEGIN, self._writer, self._count, made="true")
        absent = sorted(key for key, value in expect.items() if value is None)
        held = sorted((key, value) for key, value in expect.items() if value is not None)
        expected = []
        if absent:
            self._sent(connection, HOLD, absent)
            expected.append((self._sent(connection, ABSENT, absent), absent))
        for statement, is_changed in ((EQUAL, True), (STILL, False)):
            keys = [key for key, _ in held if (key in changes) is is_changed]
            if keys:
                expected.append(
                    (self._sent(connection, statement, keys, [expect[key] for key in keys]), keys)
                )
        if not begun.fetchall():
            raise StoreError(f"commit {self._count} of {self.where} was given up")
        for answer, keys in expected:
            self._check(answer.fetchall(), keys)
        puts = sorted((key, value) for key, value in changes.items() if value is not None)
        put = None
        if puts:
            throughs = [
                complete_through(value) if key.startswith(RECORD) else None for key, value in puts
            ]
            put = self._sent(
                connection,
                PUT,
                [key for key, _ in puts],
                [value for _, value in puts],
                throughs,
            )
        dropped = [key for key, value in changes.items() if value is None]
        if dropped:
            self._sent(connection, DROP, dropped)
        if absent:
            self._sent(connection, RELEASE, absent)
        return put

    def _check(self, rows: Sequence[tuple[bytes, bool]], keys: Sequence[bytes]) -> None:
        """Raise FencedError unless every key has its expected value."""
        equal = {key for key, is_equal in rows if is_equal}
        changed_key = next((key for key in keys if key not in equal), None)
        if changed_key is not None:
            raise FencedError(
                f"{self.where} was written by another process meanwhile ({changed_key[:40]!r}); "
                "nothing "
                "was written. A partition has one process that ingests it; read the offsets "
                "again, and go on from them"
            )

    def _was_made(self) -> bool:
        """Whether the last commit, which has no answer, was made; if not, it never will be."""
        try:
            return self._persistently(self._look_up)
        except StoreError as error:
            raise type(error)(
                f"{error} Whether the last commit was made is not known: read the offsets again, "
                "and go on from them"
            ) from error

    def _look_up(self, connection: _Connection) -> bool:
        if self._sent(connection, BEGIN, self._writer, self._count, made="false").fetchall():
            return False
        return self._sent(connection, MADE, self._writer, self._count).fetchall() == [(True,)]

    def mend(self, offset: bytes) -> None:
        """See `OnlineStore`; there is never half of a commit."""

    def reconcile(self, *, dry_run: bool = False) -> bool:
        """See `OnlineStore`; records and state change together."""
        del dry_run
        return False

    @contextmanager
    def lease(self, name: str, *, wait: float) -> Iterator[None]:
        """See `OnlineStore`; an advisory lock, which ends with its session. Safety rests on
        `expect`, not on it.
        """
        digest = hashlib.sha256(f"{self.prefix}\0{name}".encode()).digest()
        lock, until = struct.unpack("<q", digest[:8])[0], clock.stopwatch() + wait
        connection = self._persistently(lambda _: self._connect())
        try:
            self._scalar(connection, f"SET idle_session_timeout = '{LEASE:g}s'")
            while not self._scalar(connection, "SELECT pg_try_advisory_lock(%b::bigint)", lock):
                if clock.stopwatch() >= until:
                    who = self._scalar(connection, HOLDER, lock)
                    holder = (
                        f": process {who.removeprefix('headwater ')}"
                        if isinstance(who, str) and who.startswith("headwater ")
                        else ""
                    )
                    raise HeldError(
                        f"another process holds the lease {name!r} of {self.where}{holder}; stop "
                        "it, or wait longer"
                    )
                clock.wait(_LEASE_POLL)
            with renewed(lambda: self._scalar(connection, "SELECT 1")):
                yield
            # the end of the connection ends it too, once the server has noticed
            with suppress(psycopg.Error):
                connection.execute("SELECT pg_advisory_unlock(%b::bigint)", [lock])
        finally:
            connection.close()

    def _scalar(self, connection: _Connection, statement: str, *lock: int) -> object:
        try:
            answer = connection.execute(statement, lock or None)
            row = answer.fetchone() if answer.description else None
        except psycopg.Error as error:
            raise self._error(error) from error
        return row and row[0]

    def server_time(self) -> int | None:
        """See `OnlineStore`; a server that does not answer says so at the next commit."""
        try:
            with self._connected() as connection:
                row = connection.execute(
                    "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
                ).fetchone()
        except (StoreError, psycopg.Error):
            return None
        return None if row is None else int(row[0])

    def size(self) -> int:
        """See `OnlineStore`; of the table, its index, and what vacuum has not freed yet."""
        return int(self._read(SIZE)[0][0])

    def backup(self, to: Path) -> None:
        """See `OnlineStore`; a snapshot, while others write."""
        back_up(self, to, self.snapshot())

    def snapshot(self) -> Iterator[tuple[bytes, bytes]]:
        """All keys with their values, as of one time."""
        with self._connected() as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            try:
                with connection.transaction(), connection.cursor("all", binary=True) as cursor:
                    # who reads may take as long as it likes
                    connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
                    yield from cursor.execute(self._sql(ALL))
            except psycopg.Error as error:
                raise self._error(error) from error
            finally:
                connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED

    def close(self) -> None:
        """See `OnlineStore`."""
        while self._idle:
            self._idle.pop().close()

    def _sql(self, statement: str, **parts: object) -> bytes:
        return statement.format(schema=f'"{self.prefix}"', **parts).encode()

    def _sent(
        self, connection: _Connection, statement: str, *args: object, **parts: object
    ) -> psycopg.Cursor[tuple[Any, ...]]:
        return connection.cursor(binary=True).execute(self._sql(statement, **parts), args)

    def _read(self, statement: str, *args: object, **parts: object) -> list[tuple[Any, ...]]:
        return self._persistently(
            lambda connection: self._sent(connection, statement, *args, **parts).fetchall()
        )

    def _connect(self) -> _Connection:
        # 2 is libpq's least
        connection = _Connection.connect(
            self._target, autocommit=True, connect_timeout=max(2, round(self.timeout))
        )
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
        connection.read_only = self._readonly or None
        return connection

    @contextmanager
    def _connected(self) -> Iterator[_Connection]:
        """A connection for this thread; it is kept for the next where no fault closed it."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect()
        connection.limit = self.timeout
        try:
            yield connection
        except psycopg.OperationalError:
            connection.close()
            raise
        finally:
            if not connection.closed:
                self._idle.append(connection)

    def _persistently(self, use: Callable[[_Connection], _T]) -> _T:
        """The result of `use`, retried until the timeout while the server cannot be reached."""

        def attempt() -> _T:
            with self._connected() as connection:
                return use(connection)

        try:
            return retry(
                attempt, on=psycopg.Error, pauses=_PAUSES.within(self.timeout), passes=self._is_lost
            )
        except psycopg.Error as error:
            raise self._error(error) from error

    def _make(self) -> None:
        """Create the tables, unless they are there."""
        there = self._read("SELECT to_regclass('{schema}.commits') IS NOT NULL")[0][0]
        if self._readonly and not there:
            raise NoStoreError(
                f"there is no online store in {self.where} under the prefix {self.prefix!r}"
            )
        if not self._readonly:
            self._persistently(
                lambda connection: connection.execute(self._sql(FORGET if there else TABLES))
            )

    def _is_lost(self, error: Exception) -> bool:
        """Whether the connection broke, or was not made, so that another may do."""
        refused = any(re.search(cause, str(error)) for cause in _REMEDIES)
        return isinstance(error, _AWAY) or (
            isinstance(error, psycopg.OperationalError) and error.sqlstate is None and not refused
        )

    def _error(self, error: Exception) -> StoreError:
        text = " ".join(str(error).split()).rstrip(".?")
        if self._is_lost(error):
            return UnansweredError(
                f"{self.where} does not answer: {text}. Start it, or correct its address"
            )
        remedy = next(
            (remedy for cause, remedy in _REMEDIES.items() if re.search(cause, text)),
            "See the server's message above",
        )
        return StoreError(f"{self.where} refuses: {text}. Nothing was written. {remedy}")


TABLES = """
-- Two that create one schema would fail; several statements are one transaction.
SELECT pg_advisory_xact_lock(8033);
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE IF NOT EXISTS {schema}.entries (key bytea PRIMARY KEY, value bytea, through bigint)
WITH (fillfactor = 70);
ALTER TABLE {schema}.entries ALTER value SET STORAGE EXTERNAL;
CREATE TABLE IF NOT EXISTS {schema}.commits
(writer text PRIMARY KEY, count bigint NOT NULL, made boolean NOT NULL, at timestamptz NOT NULL);
"""

BEGIN = """
INSERT INTO {schema}.commits VALUES (%b, %b, {made}, now()) ON CONFLICT (writer)
DO UPDATE SET count = EXCLUDED.count, made = EXCLUDED.made, at = EXCLUDED.at
WHERE commits.count < EXCLUDED.count RETURNING 1
"""

MADE = "SELECT made FROM {schema}.commits WHERE writer = %b AND count = %b"

FORGET = "DELETE FROM {schema}.commits WHERE at < now() - interval '1 day'"

HOLD = "INSERT INTO {schema}.entries (key) SELECT unnest(%b::bytea[]) ON CONFLICT DO NOTHING"

ABSENT = (
    "SELECT key, value IS NULL FROM {schema}.entries WHERE key = ANY(%b::bytea[]) ORDER BY key "
    "FOR UPDATE"
)

EQUAL = """
SELECT entries.key, entries.value = expected.value
FROM {schema}.entries
JOIN unnest(%b::bytea[], %b::bytea[]) AS expected (key, value) ON entries.key = expected.key
ORDER BY entries.key FOR UPDATE OF entries
"""

# of keys that many writers expect, and none of them changes
STILL = EQUAL.replace("FOR UPDATE", "FOR SHARE")

PUT = """
INSERT INTO {schema}.entries SELECT * FROM unnest(%b::bytea[], %b::bytea[], %b::bigint[])
ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value, through = EXCLUDED.through
WHERE entries.through IS NULL OR EXCLUDED.through >= entries.through
"""

DROP = (
    "DELETE FROM {schema}.entries WHERE key IN (SELECT key FROM {schema}.entries WHERE key = "
    "ANY(%b::bytea[]) ORDER BY key FOR UPDATE)"
)

RELEASE = "DELETE FROM {schema}.entries WHERE key = ANY(%b::bytea[]) AND value IS NULL"

GET = "SELECT key, value FROM {schema}.entries WHERE key = ANY(%b::bytea[]) AND value IS NOT NULL"

SCAN = """
SELECT key, {shown} FROM (
    SELECT key, value, sum(octet_length(value)) OVER (ORDER BY key ROWS UNBOUNDED PRECEDING)
        - octet_length(value) AS before
    FROM (
        SELECT key, value FROM {schema}.entries
        WHERE key {after} %b AND (%b::bytea IS NULL OR key < %b) AND value IS NOT NULL
        ORDER BY key LIMIT {page}
    ) AS page
) AS sized WHERE before <= {bytes} ORDER BY key
"""

ALL = "SELECT key, value FROM {schema}.entries WHERE value IS NOT NULL ORDER BY key"

SIZE = "SELECT pg_total_relation_size('{schema}.entries')"

HOLDER = """
SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted
AND (classid::bigint << 32) | objid::bigint = %b AND objsubid = 1
"""
