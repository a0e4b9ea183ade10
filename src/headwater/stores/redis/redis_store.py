"""The online store for several machines: Redis or Valkey. The owner of a partition writes that
partition's records.

Guaranteed
- On a standalone server a commit is one script: all of it or nothing, also when memory is full,
  also with concurrent writers. On a cluster this is the state of a store that is log first
  (`log_first`), and `redis_table` has its records.
- A commit without a response is looked up, and made once.
- A writer learns of each of its commits that a server lost. Every commit belongs to an *epoch*: a
  time during which no server was restarted or replaced (which its replication id shows). The first
  writer to find another server begins a new epoch and notes how many commits are left. Every other
  writer is refused until it has compared that with its last commit. If a commit is missing, it
  raises `LostError`; otherwise it continues, and the refused commit is made.
- On a standalone server a loss leaves the state after an earlier commit, so opening the store again
  and continuing from its offsets is exact. On a cluster one master may have lost commits that
  another one depends on. Each group of records counts its writes, and the state holds how many it
  must have; fewer is a `LostError` for every writer of records, until `reconcile` has removed all
  of them. So are records ahead of the state.

Not guaranteed
- A commit is as durable as the server's configuration: `appendfsync always` outlives a power
  failure, `everysec` may lose a second, and replicas lag, unless `replicas=` waits for them. Such a
  loss is found, as above, not prevented.
- A server that restarted empty before a writer was restarted looks like a store that was never
  made.
- Reads see a commit immediately, but on a cluster not all of it at the same time; `scan` of records
  has no order.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any

from headwater import clock
from headwater.errors import FencedError, LostError, NoStoreError, StoreError
from headwater.stores import NO_MARKS, Capabilities, Changes, HeldError, Marks, UnansweredError
from headwater.stores.backup import back_up
from headwater.stores.formats import check_format
from headwater.stores.keyspace import RECORD, REDO, end_of
from headwater.stores.log_first import REBUILD
from headwater.stores.redis import lua as scripts
from headwater.stores.redis.commands import Argument, RedisCall, RedisOptions, Servers
from headwater.stores.redis.redis_table import RedisTable, pairs
from headwater.stores.renewed_leases import LEASE, renewed

_LEASE_POLL = 0.05
_DAY = 86_400
_LARGEST = 1 << 29
# a commit is made again only where the server has refused it, or it is known not to have been made
_ATTEMPTS = 5
_AT_ONCE = 1000
_PAGE_BYTES = 16_000_000  # of a scan in one answer, but for its last value


class RedisStore:
    """See `OnlineStore`, `IngestState`, and above."""

    capabilities = Capabilities(atomic=True, multi_process=True, remote=True)
    namespace = ""

    def __init__(self, servers: Servers, options: RedisOptions, *, readonly: bool = False) -> None:
        self.table = RedisTable(servers, options, self.check)
        self._servers, self._options, self._readonly = servers, options, readonly
        self._base = b"{%b}" % options.prefix
        self._writer, self._count = secrets.token_hex(8), 0
        self._epoch, self._n = b"", 0
        self._lock = threading.RLock()
        try:
            if not readonly:
                self._check_server()
            # records lack commits, which a writer of records is told; `reconcile` needs an open
            # store
            with suppress(LostError):
                self.check()
            check_format(self, options.where, readonly=readonly)
        except StoreError:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"RedisStore({self._options.prefix.decode(errors='replace')!r})"

    @property
    def outrun(self) -> int:
        """How many records were not written because the stored ones were complete through more."""
        return self.table.outrun

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `OnlineStore`; one round trip."""
        if not keys:
            return []
        groups = list(self.table.groups([key for key in keys if key.startswith(RECORD)]).items())
        reads = [
            (read_keys, call)
            for (_, read_keys), call in zip(groups, self.table.calls(dict(groups)), strict=True)
        ]
        logs = [key for key in keys if key.startswith(REDO)]
        names = [key for key in keys if not key.startswith((RECORD, REDO))]
        reads += [(logs, RedisCall(self._base, ("MGET", *map(self._log, logs))))] if logs else []
        reads += (
            [(names, RedisCall(self._base, ("HMGET", self._base + b":state", *names)))]
            if names
            else []
        )
        values_by_key: dict[bytes, bytes | None] = {}
        for (read_keys, _), values in zip(
            reads, self._servers.run([call for _, call in reads], atomic=True), strict=True
        ):
            values_by_key.update(zip(read_keys, values, strict=True))
        return [values_by_key[key] for key in keys]

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """See `OnlineStore`; in order but for records: those come last, in no order, as they are
        when they are read.
        """
        if not prefix.startswith(RECORD):
            yield from self._paged(prefix, b"values")
        if RECORD.startswith(prefix) or prefix.startswith(RECORD):
            yield from self.table.scan(prefix or RECORD)

    def snapshot(self) -> Iterator[tuple[bytes, bytes]]:
        """See `IngestState`; all but records."""
        return self._paged(b"", b"values", whole=True)

    def sizes(self, prefix: bytes) -> Iterator[tuple[bytes, int]]:
        """See `OnlineStore`; not of records."""
        return self._paged(prefix, b"sizes")

    def _paged(
        self, prefix: bytes, reply_kind: bytes, *, whole: bool = False
    ) -> Iterator[tuple[bytes, Any]]:
        first, last = _bounds(prefix)
        page = (-1, _LARGEST << 8) if whole else (_AT_ONCE, _PAGE_BYTES)
        while True:
            (flat,) = self._servers.run(
                [RedisCall(self._base, scripts.SCAN, (first, last, reply_kind, *page))]
            )
            yield from zip(flat[::2], flat[1::2], strict=True)
            if not flat or whole:
                return
            first = b"(" + flat[-2]

    def commit(self, changes: Changes, expect: Changes, marks: Marks = NO_MARKS) -> None:
        """See `OnlineStore`; when a server was replaced, first checks that it holds every commit of
        this writer.

        Raises:
            LostError: it does not; nothing was written, and this store writes no more.
        """
        if self._readonly:
            raise StoreError(
                f"{self._options.where} was opened to be read only; open it for writing"
            )
        logs = {key: value for key, value in changes.items() if key.startswith(REDO)}
        state, records = scripts.parted(
            self._options.prefix,
            {key: changes[key] for key in changes.keys() - logs.keys()},
            expect,
        )
        if sum(len(key) + len(value or b"") for key, value in changes.items()) > _LARGEST:
            raise StoreError(
                f"a commit of more than {_LARGEST >> 20} MB is more than {self._options.where} "
                "takes; make smaller commits"
            )
        with self._lock:
            for key, value in logs.items():
                # in a key of its own, which no script copies; it counts only if the commit is made
                if value is not None:
                    self._servers.run([RedisCall(self._base, ("SET", self._log(key), value))])
            for _ in range(_ATTEMPTS):
                answer = self._run_commit(state.packed(marks), list(scripts.blobs(records)))
                if answer[0] == b"ok":
                    self._drop([self._log(key) for key, value in logs.items() if value is None])
                    return
                if answer[0] == b"held":
                    self._drop([self._log(key) for key, value in logs.items() if value is not None])
                    raise self._fenced(answer[1])
                if answer[0] == b"epoch":
                    self.check()
        raise StoreError(
            f"{self._options.where} was replaced, or fell silent, {_ATTEMPTS} times during one "
            "commit; nothing was written"
        )

    def mend(self, offset: bytes) -> None:
        """See `OnlineStore`; one script leaves nothing to finish."""

    def reconcile(self, *, dry_run: bool = False) -> bool:
        """See `OnlineStore`; records and state change together."""
        del dry_run
        return False

    def check(self) -> None:
        """Go on with the servers as they are, if they hold every commit that this client made.

        Raises:
            LostError: they do not.
        """
        with self._lock:
            moved = self._servers.cluster and not self._readonly and self.table.has_moved()
            mode = "read" if self._readonly else "write"
            args: tuple[Argument, ...] = (
                secrets.token_hex(8),
                self._epoch,
                self._n,
                mode,
                int(moved),
            )
            (answer,) = self._servers.run([RedisCall(self._base, scripts.ENTER, args)])
            if answer[0] == b"none":
                raise NoStoreError(
                    f"there is no online store in {self._options.where} under the prefix "
                    f"{self._options.prefix.decode()!r}"
                )
            if answer[0] == b"emptied":
                raise LostError(
                    f"{self._options.where} was restarted empty: all {self._n} commits are lost. "
                    f"{REBUILD}"
                )
            if answer[0] == b"lost":
                left = "an earlier state" if answer[1] < 0 else f"{answer[1]} commits"
                raise LostError(
                    f"{self._options.where} was replaced by a server that holds {left}; this "
                    f"process had made commit {self._n}. {_REOPEN}"
                )
            self._epoch = answer[1]
            if moved:
                self.table.accept(self.marks())

    def marks(self) -> Marks:
        """See `IngestState`."""
        (flat,) = self._servers.run([RedisCall(self._base, ("HGETALL", self._base + b":marks"))])
        return {tag: int(mark) for tag, mark in pairs(flat)}

    @contextmanager
    def lease(self, name: str, *, wait: float) -> Iterator[None]:
        """See `OnlineStore`; a key that expires five seconds after its holder has died. Safety
        rests on `expect`, not on it.
        """
        key, token = (
            self._base + b":lease:" + name.encode(),
            f"{os.getpid()} on {socket.gethostname()} {secrets.token_hex(16)}",
        )
        until = clock.stopwatch() + wait
        while not self._servers.run([RedisCall(key, scripts.ACQUIRE, (token, int(LEASE * 1000)))])[
            0
        ]:
            if clock.stopwatch() >= until:
                holder = self._servers.run([RedisCall(key, ("GET", key))])[0]
                who = (
                    f": process {holder.decode().rpartition(' ')[0]}"
                    if isinstance(holder, bytes) and b" on " in holder
                    else ""
                )
                raise HeldError(
                    f"another process holds the lease {name!r} of {self._options.where}{who}; "
                    "stop it, or wait longer"
                )
            time.sleep(_LEASE_POLL)
        try:
            with renewed(
                lambda: self._quietly(RedisCall(key, scripts.RENEW, (token, int(LEASE * 1000))))
            ):
                yield
        finally:
            self._quietly(RedisCall(key, scripts.RELEASE, (token,)))

    def server_time(self) -> int | None:
        """See `OnlineStore`; a server that does not answer says so at the next commit."""
        try:
            (seconds_and_micros,) = self._servers.run([RedisCall(self._base, ("TIME",))], once=True)
        except StoreError:
            return None
        return int(seconds_and_micros[0]) * 1_000_000 + int(seconds_and_micros[1])

    def size(self) -> int:
        """Bytes of memory, as the server estimates them."""
        names = [
            self._base + end for end in (b":state", b":order", b":meta", b":epochs", b":marks")
        ]
        used = sum(
            used or 0
            for used in self._servers.run(
                [RedisCall(name, ("MEMORY", "USAGE", name)) for name in names]
            )
        )
        return used if self._servers.cluster else used + self.table.size()

    def backup(self, to: Path) -> None:
        """See `OnlineStore`; the state is of one time; records are of that time or complete through
        more.

        So going on from the offsets of a backup is exact if nothing was committed while it was
        made.
        """
        back_up(self, to, chain(self.snapshot(), self.table.scan(RECORD)))

    def close(self) -> None:
        """See `OnlineStore`."""
        self._servers.close()

    def _log(self, key: bytes) -> bytes:
        return self._base + b":redo:" + key[1:]

    def _drop(self, logs: Sequence[bytes]) -> None:
        """Remove logs that are of no more use; what stays takes memory, and is never read."""
        if logs:
            self._quietly(RedisCall(self._base, ("UNLINK", *logs)))

    def _run_commit(self, state: bytes, records: list[bytes]) -> list[Any]:
        """Run the commit script; if no answer comes, look up whether the commit was made."""
        self._count += 1
        args: tuple[Argument, ...] = (self._epoch, self._writer, self._count, state, *records)
        try:
            (answer,) = self._servers.run(
                [RedisCall(self._base, scripts.COMMIT, args)], once=True, durable=True
            )
        except UnansweredError:
            try:
                (answer,) = self._servers.run(
                    [RedisCall(self._base, scripts.RESOLVE, (self._writer, self._count))]
                )
                # its replicas were not waited for yet, and a connection waits for what it wrote
                # itself
                if answer[0] == b"ok":
                    self._servers.run(
                        [
                            RedisCall(
                                self._base,
                                ("EXPIRE", self._base + b":writer:" + self._writer.encode(), _DAY),
                            )
                        ],
                        durable=True,
                    )
            except UnansweredError as error:
                raise UnansweredError(
                    f"{error} Whether the last commit was made is not known: read the offsets "
                    "again, and go on from them."
                ) from error
        if answer[0] == b"ok":
            self._n = answer[1]
            self.table.outrun += answer[2]
        return list(answer)

    def _fenced(self, key: bytes) -> FencedError:
        return FencedError(
            f"{self._options.where} was written by another process meanwhile "
            f"({key.rpartition(b'}')[2][:40]!r}); nothing was written. A partition has one "
            "process that ingests it; read the offsets again, and go on from them"
        )

    def _quietly(self, call: RedisCall) -> None:
        """Of what is of no consequence: a lease that is not released expires."""
        with suppress(StoreError):
            self._servers.run([call], once=True)

    def _check_server(self) -> None:
        for reply in self._servers.everywhere("INFO"):
            info = reply if isinstance(reply, dict) else {}
            policy = info.get("maxmemory_policy", "noeviction")
            if info.get("maxmemory") and policy != "noeviction":
                raise StoreError(
                    f"{self._options.where} drops keys when its memory is full (maxmemory-policy "
                    f"{policy}), and values would be wrong without a sign; set `maxmemory-policy "
                    "noeviction`"
                )
            if info.get("role") == "slave":
                raise StoreError(
                    f"{self._options.where} is a replica, which cannot be written; give the "
                    "address of the primary"
                )


_REOPEN = (
    "Nothing was written. Open the store again (start `headwater ingest` again), and go on from "
    "the offsets that it holds"
)


def _bounds(prefix: bytes) -> tuple[bytes, bytes]:
    """As ZRANGEBYLEX takes them: from the prefix to the least key that is above all that begin with
    it.
    """
    end = end_of(prefix)
    return b"[" + prefix if prefix else b"-", b"+" if end is None else b"(" + end
