"""The online store for several machines: Redis or Valkey. The owner of a partition writes that
partition's records.

Guaranteed
- On a standalone server a commit is one script: all of it or nothing, also when memory is full,
  also with concurrent writers. On a cluster this is the state of a store that is log first
  (`log_first`), and `redis_store` has its records.
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

Records in Redis: in 256 groups, each in one slot, so that a group changes as a whole on a
cluster too.

URLs of Redis: which servers they name, apart from the library that connects to them.

Calls to Redis, apart from the library that makes them.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

from headwater import clock
from headwater.errors import FencedError, LostError, NoStoreError, StoreError, UsageError
from headwater.stores import NO_MARKS, Capabilities, Changes, HeldError, Marks, UnansweredError
from headwater.stores.backup import back_up
from headwater.stores.keyspace import RECORD, REDO, check_format, end_of
from headwater.stores.log_first import REBUILD, RECONCILE
from headwater.stores.redis import lua as scripts
from headwater.stores.redis.lua import Script
from headwater.stores.server import LEASE, parse, renewed

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
        """See `OnlineStore`; in order, except for records: these come last, in no order, each as of
        its read.
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
        """Go on with the current servers, if they hold every commit that this client made.

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
                held_state = "an earlier state" if answer[1] < 0 else f"{answer[1]} commits"
                raise LostError(
                    f"{self._options.where} was replaced by a server that holds {held_state}; this "
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
            clock.wait(_LEASE_POLL)
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
        """Remove logs that are no longer used; a log that stays takes memory, and is never read."""
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
                # nobody has waited for its replicas yet, and a connection waits for its own
                # writes
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
        """Send a call whose failure has no consequence: a lease that is not released expires."""
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
    """The bounds of ZRANGEBYLEX: from the prefix to the least key above all keys that begin with
    it.
    """
    end = end_of(prefix)
    return b"[" + prefix if prefix else b"-", b"+" if end is None else b"(" + end


_TRIES = 5  # a call is made again only where a server has refused it

_SAMPLE = 1000


class RedisTable:
    """See `FeatureTable`; `check` is called when a group is on another server than it was."""

    def __init__(self, servers: Servers, options: RedisOptions, check: Callable[[], None]) -> None:
        self.outrun = 0
        self._servers, self._options, self._check = servers, options, check

    def __repr__(self) -> str:
        return self._options.where

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `FeatureTable`; one round trip to each server, of one time for each."""
        if not keys:
            return []
        groups = self.groups(keys)
        values: dict[bytes, bytes | None] = {}
        for group_keys, answer in zip(
            groups.values(), self._servers.run(self.calls(groups)), strict=True
        ):
            values.update(zip(group_keys, answer, strict=True))
        return [values[key] for key in keys]

    def groups(self, keys: Sequence[bytes]) -> dict[bytes, list[bytes]]:
        """Keys of records, grouped by the command that reads them."""
        groups: dict[bytes, list[bytes]] = {}
        for key in keys:
            groups.setdefault(self._group(key) if self._servers.cluster else b"", []).append(key)
        return groups

    def calls(self, groups: dict[bytes, list[bytes]]) -> list[RedisCall]:
        """The commands that read them."""
        return [
            RedisCall(tag, ("MGET", *(self._group(key) + key for key in keys)))
            for tag, keys in groups.items()
        ]

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """See `FeatureTable`; in no order, each as of its read."""
        seen: set[bytes] = set()
        for names in self._servers.scan(self._pattern(prefix)):
            fresh = {name.partition(b"}")[2] for name in names} - seen
            seen |= fresh
            keys = sorted(fresh)
            for start in range(0, len(keys), _AT_ONCE):
                batch = keys[start : start + _AT_ONCE]
                yield from (
                    (key, value)
                    for key, value in zip(batch, self.get(batch), strict=True)
                    if value is not None
                )

    def upsert(self, writer: bytes, turn: int, n: int, records: Changes) -> Marks:
        """See `FeatureTable`."""
        return self._write(records, {}, (writer, turn, n))

    def replace(self, records: Changes, expect: Changes) -> Marks:
        """See `FeatureTable`; a record is dropped whatever commit it is complete through, so drops
        should expect their values.
        """
        return self._write(records, expect, ())

    def fence(self, writer: bytes, turn: int) -> int | None:
        """See `FeatureTable`."""
        name = secrets.token_hex(8)
        calls = [
            RedisCall(tag, scripts.FENCE, (writer, turn, name))
            for tag in scripts.groups(self._options.prefix)
        ]
        answers = self._run(calls)
        return (
            None
            if any(answer[0] == b"ahead" for answer in answers)
            else max(answer[1] for answer in answers)
        )

    def writers(self) -> dict[bytes, tuple[int, int]]:
        """See `FeatureTable`."""
        tags = scripts.groups(self._options.prefix)
        marks: dict[bytes, tuple[int, int]] = {}
        for flat in self._servers.run(
            [RedisCall(tag, ("HGETALL", tag + b":applied")) for tag in tags]
        ):
            for writer, value in pairs(flat):
                turn, n = map(int, value.split(b" ")[:2])
                mark = marks.get(writer, (0, 0))
                marks[writer] = max(mark[0], turn), max(mark[1], n)
        return marks

    def confirmed(self) -> Marks:
        """See `FeatureTable`."""
        tags = scripts.groups(self._options.prefix)
        counts = self._servers.run([RedisCall(tag, ("HGET", tag + b":meta", "n")) for tag in tags])
        return {tag: int(n or 0) for tag, n in zip(tags, counts, strict=True)}

    def empty(self, writers: Sequence[bytes], turn: int, marks: Marks) -> None:
        """See `FeatureTable`."""
        for names in self._servers.scan(self._pattern(RECORD)):
            self._servers.run([RedisCall(name, ("UNLINK", name)) for name in names])
        name, tags = secrets.token_hex(8), scripts.groups(self._options.prefix)
        self._servers.run(
            [
                RedisCall(tag, scripts.EMPTY, (marks.get(tag, 0), turn, name, *writers))
                for tag in tags
            ],
            durable=True,
        )

    def size(self) -> int:
        """See `FeatureTable`; the mean of a sample times the number of records."""
        sample: list[bytes] = []
        seen = 0
        for keys in self._servers.scan(self._pattern(RECORD)):
            seen += len(keys)
            sample += keys[: max(0, _SAMPLE - len(sample))]
        used = (
            [
                n
                for n in self._servers.run(
                    [RedisCall(key, ("MEMORY", "USAGE", key)) for key in sample]
                )
                if n
            ]
            if sample
            else []
        )
        return sum(used) * seen // len(used) if used else 0

    def has_moved(self) -> bool:
        """Whether a group is on another server than it was, or a new one."""
        return not all(
            self._servers.run(
                [RedisCall(tag, scripts.SAME) for tag in scripts.groups(self._options.prefix)]
            )
        )

    def accept(self, marks: Marks) -> None:
        """Continue with groups on other servers, if each has confirmed as many writes as its mark
        says.

        Raises:
            LostError: some have not.
        """
        tags = scripts.groups(self._options.prefix)
        behind = self._servers.run(
            [RedisCall(tag, scripts.ACCEPT, (marks.get(tag, 0),)) for tag in tags]
        )
        short = [tag for tag, n in zip(tags, behind, strict=True) if n >= 0]
        if short:
            raise LostError(
                f"{self._options.where} has lost commits of {len(short)} of {len(tags)} groups of "
                f"records that offsets depend on. {RECONCILE}"
            )

    def close(self) -> None:
        """See `FeatureTable`; the state closes the connections, which it shares."""

    def _write(self, records: Changes, expect: Changes, commit: tuple[Argument, ...]) -> Marks:
        _, groups = scripts.parted(self._options.prefix, records, expect)
        answers = self._run(
            [
                RedisCall(tag, scripts.GROUP, (group.packed(), *commit))
                for tag, group in groups.items()
            ]
        )
        held = next((answer[1] for answer in answers if answer[0] == b"held"), None)
        if held is not None:
            raise FencedError(
                f"{self._options.where} was written by another process meanwhile "
                f"({held.rpartition(b'}')[2][:40]!r}). A partition has one process that ingests "
                "it; read the offsets again, and go on from them"
            )
        self.outrun += sum(answer[2] for answer in answers)
        return {tag: answer[1] for tag, answer in zip(groups, answers, strict=True)}

    def _run(self, calls: Sequence[RedisCall]) -> list[Any]:
        """The answers of scripts that write; scripts that reached another server run again once it
        is checked.
        """
        answers: dict[int, Any] = {}
        for _ in range(_TRIES):
            unanswered = [index for index in range(len(calls)) if index not in answers]
            replies = self._servers.run([calls[index] for index in unanswered], durable=True)
            answers |= {
                index: reply
                for index, reply in zip(unanswered, replies, strict=True)
                if reply[0] != b"epoch"
            }
            if len(answers) == len(calls):
                return [answers[index] for index in range(len(calls))]
            self._check()
        raise StoreError(
            f"{self._options.where} was replaced {_TRIES} times during one commit; it may be "
            "half made, until it is mended"
        )

    def _group(self, key: bytes) -> bytes:
        return scripts.group(self._options.prefix, key)

    def _pattern(self, prefix: bytes) -> bytes:
        escaped = b"".join(b"\\" + bytes([c]) if c in b"*?[]\\" else bytes([c]) for c in prefix)
        return b"{" + self._options.prefix + b":[0-9a-f][0-9a-f]}" + escaped + b"*"


def pairs(flat: Any) -> Iterable[tuple[bytes, bytes]]:  # noqa: ANN401 (an answer)
    """The fields and values of a hash, which some versions of the library answer as a list."""
    return flat.items() if isinstance(flat, dict) else zip(flat[::2], flat[1::2], strict=True)


_PORT, _SENTINEL_PORT = 6379, 26379

_FILES = ("ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile")

_TLS = (*_FILES, "ssl_password", "ssl_cert_reqs", "ssl_check_hostname")

_PASSED_ON = (*_TLS, "max_connections", "client_name", "db")

_OF_SENTINEL = ("sentinel_username", "sentinel_password")


@dataclass(frozen=True)
class RedisUrl:
    """A URL in parts.

    kind: "", "cluster" or "sentinel". address: the first host, as the library takes a URL. hosts:
    host and port of the others; of Sentinel, of all. name: of the primary in Sentinel.
    read_timeout: seconds, where a request waits for an answer.
    """

    kind: str
    address: str
    hosts: Sequence[tuple[str, int]]
    name: str
    options: RedisOptions
    read_timeout: float


def parse_redis(url: str) -> RedisUrl:
    """The parts of a URL.

    Raises:
        UsageError: it names no server, or has an option that is not known.
    """
    parts = urlsplit(url)
    scheme, _, kind = parts.scheme.partition("+")
    options_known = (*_PASSED_ON, *(_OF_SENTINEL if kind == "sentinel" else ()))
    at = parse(url, ("replicas", *options_known))
    if kind not in ("", "cluster", "sentinel") or (kind and scheme == "unix"):
        raise UsageError(
            f"{at.where}: the scheme is redis, rediss, unix, redis+cluster, rediss+cluster, "
            "redis+sentinel or rediss+sentinel"
        )
    replicas = at.options.get("replicas", "0")
    if not replicas.isdecimal():
        raise UsageError(f"replicas={replicas!r} of {at.where}: give an integer")
    name, _, database = (
        parts.path.strip("/").partition("/")
        if kind == "sentinel"
        else ("", "", parts.path.strip("/"))
    )
    if kind == "sentinel" and not name:
        raise UsageError(
            f"{at.where}: give the name by which Sentinel knows the primary, such as "
            "redis+sentinel://host:26379/mymaster"
        )
    if scheme != "unix" and database and not database.isdecimal():
        raise UsageError(f"the database {database!r} of {at.where}: give an integer")
    user, sign, names = parts.netloc.rpartition("@")
    if scheme != "unix" and not all(names.split(",")):
        raise UsageError(f"{at.where} names no host, or an empty one; give redis://HOST:PORT/DB")
    if not scheme.startswith("rediss") and (
        tls := next((option for option in at.options if option in _TLS), None)
    ):
        secure = f"rediss{'+' if kind else ''}{kind}"
        raise UsageError(
            f"{tls}= of {at.where} needs TLS, which {parts.scheme}:// does not use: give "
            f"{secure}://"
        )
    for option in [
        option
        for option in at.options
        if option in _FILES and not Path(at.options[option]).exists()
    ]:
        raise UsageError(
            f"{option}={at.options[option]} of {at.where}: there is no such file or folder"
        )
    first, *others = names.split(",") if kind else [names]
    passed = urlencode(
        {option: value for option, value in at.options.items() if option in options_known}
    )
    address = f"{scheme}://{user}{sign}{first}{f'/{database}' if name else parts.path}?{passed}"
    hosts = (
        _hosts([first, *others], _SENTINEL_PORT) if kind == "sentinel" else _hosts(others, _PORT)
    )
    options = RedisOptions(at.where, at.prefix.encode(), int(replicas), at.timeout)
    return RedisUrl(kind, address, hosts, name, options, at.read_timeout)


def why_not_connected(where: str, message: str) -> str:
    """The remedy where a client could not connect to a server, by the client's message.

    >>> why_not_connected("redis://cache:6379/0", "Connection refused")
    'Is it running, and within reach?'
    >>> why_not_connected("redis://cache:6380/0", "(104, 'Connection reset by peer')")
    'Is it running, and within reach? If it uses TLS, give rediss:// in place of redis://'
    """
    secure = where.startswith("rediss")
    for pattern, remedy in _REMEDIES.items():
        if re.search(pattern, message):
            return remedy
    other_scheme = (
        where.partition(":")[0].replace("rediss", "redis")
        if secure
        else "rediss" + where.partition(":")[0].removeprefix("redis")
    )
    if not where.startswith("unix") and re.search(
        "SSL|Timeout|reset by peer|[Cc]losed by server", message
    ):
        uses = "does not use" if secure else "uses"
        return (
            f"Is it running, and within reach? If it {uses} TLS, give {other_scheme}:// in place "
            "of "
            f"{where.partition(':')[0]}://"
        )
    return "Is it running, and within reach?"


_REMEDIES = {
    "Cluster mode is not enabled": (
        "It is one server, and no cluster: leave +cluster out of the URL"
    ),
    "CERTIFICATE_VERIFY_FAILED": (
        "Give the certificate of the server's authority with ssl_ca_certs=, and the host as the "
        "server's certificate names it"
    ),
    "KEY_VALUES_MISMATCH": "ssl_certfile= and ssl_keyfile= do not belong together",
    (
        "EOF occurred in violation|alert (bad certificate|certificate required|handshake "
        "failure|unknown ca)"
    ): ("It may want a certificate of its clients: give ssl_certfile= and ssl_keyfile="),
    "invalid username-password pair|Authentication required|WRONGPASS|NOAUTH": (
        "Sentinel has a user and a password of its own: give sentinel_password=, and "
        "sentinel_username= where it has users"
    ),
}
"""By the client's message, as a pattern."""


def _hosts(names: Sequence[str], port: int) -> list[tuple[str, int]]:
    return [
        (host.hostname or "", host.port or port)
        for host in (urlsplit(f"//{name}") for name in names)
    ]


Argument = bytes | str | int


@dataclass(frozen=True)
class RedisOptions:
    """The options of a URL. where: for messages; timeout: seconds."""

    where: str
    prefix: bytes
    replicas: int
    timeout: float


@dataclass(frozen=True)
class RedisCall:
    """A command, or a script with its arguments, for the server that has `key` (the only key of a
    script).
    """

    key: bytes
    command: tuple[Argument, ...] | Script
    args: tuple[Argument, ...] = ()


class Servers(Protocol):
    """The servers behind a URL. Every method raises StoreError, and UnansweredError where one
    cannot be reached.
    """

    cluster: bool

    def run(
        self,
        calls: Sequence[RedisCall],
        *,
        once: bool = False,
        durable: bool = False,
        atomic: bool = False,
    ) -> list[Any]:
        """The answers to calls, one round trip for each server; again while it cannot be reached,
        unless `once`.

        A call may come twice where its first answer is lost. One that writes is a script that knows
        what it has done, or it leaves the same however often it comes; a commit is made `once`, and
        looked up.

        durable: wait for replicas; atomic: all that a server answers is of one moment.
        """
        ...

    def everywhere(self, *command: bytes | str | int) -> list[Any]:
        """The answer of every master."""
        ...

    def scan(self, pattern: bytes) -> Iterator[list[bytes]]:
        """The keys of all masters that fit a pattern, some at a time; one may come twice."""
        ...

    def close(self) -> None:
        """Close all connections."""
        ...
