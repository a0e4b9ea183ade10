"""The online store for several machines: Redis or Valkey. The owner of a partition writes that partition's records.

Guaranteed
- On a standalone server a commit is one script: all of it or nothing, also when memory is full, also with concurrent writers.
- On a cluster a commit first writes the records, each group atomically, then the rest in one script. A crash between the two leaves
  records that are ahead of the offsets. Each group therefore keeps the values that its records had before the partition's last commit.
  `mend` restores them if the commit was not completed, so nothing counts twice, however the events are split into commits afterwards.
  A partition's commits take turns: a commit begins only when the one before is completed or undone, and only by the writer that mended
  last. So no writer adds to half of a commit, and a fenced writer cannot write another half later.
- A commit without a response is looked up, and made once.
- A writer learns of each of its commits that a server lost. Every commit belongs to an *epoch*: a time during which no server was
  restarted or replaced (which its replication id shows). The first writer to find another server begins a new epoch and notes how many
  commits are left. Every other writer is refused until it has compared that with its last commit. If a commit is missing, it raises
  `LostError`; otherwise it continues, and the refused commit is made.
- On a standalone server a loss leaves the state after an earlier commit, so opening the store again and continuing from its offsets is
  exact. On a cluster one master may have lost commits that another one depends on. Each group of records counts its commits, and the
  rest holds how many it must have; fewer is a `LostError` for every writer, until the store is rebuilt.

Not guaranteed
- A commit is as durable as the server's configuration: `appendfsync always` outlives a power failure, `everysec` may lose a second,
  and replicas lag, unless `replicas=` waits for them. Such a loss is found, as above, not prevented.
- A server that restarted empty before a writer was restarted looks like a store that was never made.
- Reads see a commit immediately, but on a cluster not all of it at the same time; `scan` of records has no order.
- On a cluster a record is dropped without regard to what it is complete through; a commit that drops records should expect their values.
- On a cluster only a commit that expects one offset is undone: that of a partition's writer. Half of any other stays until it is made
  again.
- The values of records before a partition's last commit are kept until its next commit in that group: one commit of each partition.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

from headwater import clock
from headwater.errors import FencedError, LostError, StoreError
from headwater.online_stores import Changes
from headwater.online_stores.backup import back_up
from headwater.online_stores.keyspace import FORMAT, FORMAT_KEY, OFFSET, OLDER, RECORD
from headwater.online_stores.redis import lua as scripts
from headwater.online_stores.redis.commands import Argument, RedisCall, RedisOptions, Servers, UnansweredError
from headwater.online_stores.redis.lua import GroupCommit

_LEASE = 5.0
_LEASE_POLL = 0.05
_LARGEST = 1 << 29
_ATTEMPTS = 5
_SAMPLE = 1000
_AT_ONCE = 1000
_PAGE_BYTES = 16_000_000  # of a scan in one answer, but for its last value


class RedisStore:
    """See `OnlineStore`, and above. outrun: how many records were not written because the store's were complete through more."""

    partitioned = True
    namespace = ""

    def __init__(self, servers: Servers, options: RedisOptions, *, readonly: bool = False) -> None:
        self.outrun = 0
        self._servers, self._options, self._readonly = servers, options, readonly
        self._base = b"{%b}" % options.prefix
        self._writer, self._count = secrets.token_hex(8), 0
        self._epoch, self._n = b"", 0
        self._turns: dict[bytes, bytes] = {}
        self._lock = threading.RLock()
        try:
            if not readonly:
                self._check_server()
            self.check()
            self._check_format()
        except StoreError:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"RedisStore({self._options.prefix.decode(errors='replace')!r})"

    def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """See `OnlineStore`; one round trip to each server; on a cluster, of one time for each."""
        if not keys:
            return []
        names = [key for key in keys if not key.startswith(RECORD)]
        records: dict[bytes, list[bytes]] = {}
        for key in keys:
            if key.startswith(RECORD):
                records.setdefault(self._group(key) if self._servers.cluster else b"", []).append(key)
        calls = [RedisCall(tag, ("MGET", *(self._group(key) + key for key in group_keys))) for tag, group_keys in records.items()]
        if names:
            calls.append(RedisCall(self._base, ("HMGET", self._base + b":state", *names)))
        answers = self._servers.run(calls, atomic=not self._servers.cluster)
        values_by_key: dict[bytes, bytes | None] = {}
        for group_keys, values in zip([*records.values(), names], answers, strict=False):
            values_by_key.update(zip(group_keys, values, strict=True))
        return [values_by_key[key] for key in keys]

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """See `OnlineStore`; in order but for records: those come last, in no order, as they are when they are read."""
        if not prefix.startswith(RECORD):
            yield from self._paged(prefix, b"values")
        if RECORD.startswith(prefix) or prefix.startswith(RECORD):
            yield from self._records(prefix or RECORD)

    def sizes(self, prefix: bytes) -> Iterator[tuple[bytes, int]]:
        """See `OnlineStore`; not of records."""
        return self._paged(prefix, b"sizes")

    def _paged(self, prefix: bytes, reply_kind: bytes, *, whole: bool = False) -> Iterator[tuple[bytes, Any]]:
        first, last = _bounds(prefix)
        page = (-1, _LARGEST << 8) if whole else (_AT_ONCE, _PAGE_BYTES)
        while True:
            (flat,) = self._servers.run([RedisCall(self._base, scripts.SCAN, (first, last, reply_kind, *page))])
            yield from zip(flat[::2], flat[1::2], strict=True)
            if not flat or whole:
                return
            first = b"(" + flat[-2]

    def commit(self, changes: Changes, expect: Changes) -> None:
        """See `OnlineStore`; when a server was replaced, first checks that it holds every commit of this writer.

        Raises:
            LostError: it does not; nothing was written, and this store writes no more.
        """
        if self._readonly:
            raise StoreError(f"{self._options.where} was opened to be read only; open it for writing")
        state, records = scripts.parted(self._options.prefix, changes, expect)
        if sum(len(key) + len(value or b"") for key, value in changes.items()) > _LARGEST:
            raise StoreError(f"a commit of more than {_LARGEST >> 20} MB is more than {self._options.where} takes; make smaller commits")
        with self._lock:
            name = secrets.token_hex(8).encode()
            for _ in range(_ATTEMPTS):
                answer = (
                    self._spread(state, records, expect, name)
                    if self._servers.cluster
                    else self._final(state, list(scripts.blobs(records)))
                )
                if answer[0] == b"ok":
                    return
                if answer[0] == b"held":
                    raise self._fenced(answer[1])
                if answer[0] == b"epoch":
                    self.check()
        raise StoreError(f"{self._options.where} was replaced, or fell silent, {_ATTEMPTS} times during one commit; nothing was written")

    def mend(self, offset: bytes) -> None:
        """See `OnlineStore`; only a cluster may hold half of a commit.

        Raises:
            LostError: records count upon offsets that a master lost.
        """
        if self._readonly or not self._servers.cluster:
            return
        with self._lock:
            name = secrets.token_hex(8).encode()
            for _ in range(_ATTEMPTS):
                (reply,) = self._servers.run([RedisCall(self._base, scripts.TURN, (self._epoch, offset, name))])
                if reply[0] == b"ok":
                    _, turn, done = reply
                    tags = scripts.groups(self._options.prefix)
                    answers = self._servers.run([RedisCall(tag, scripts.UNDO, (offset, turn, done)) for tag in tags], durable=True)
                    if any(answer[0] == b"ahead" for answer in answers):
                        self._lost_offsets(offset, turn)
                        continue
                    if all(answer[0] == b"ok" for answer in answers):
                        marks = {tag: answer[1] for tag, answer in zip(tags, answers, strict=True)}
                        reply = self._final(GroupCommit(), [], marks, (offset, turn))
                        if reply[0] == b"ok":
                            self._turns[offset] = turn
                            return
                if reply[0] != b"held":
                    self.check()
        raise StoreError(f"{self._options.where} was replaced, or written by others, {_ATTEMPTS} times while half of a commit was undone")

    def check(self) -> None:
        """Go on with the servers as they are, if they hold every commit that this client made.

        Raises:
            LostError: they do not.
        """
        with self._lock:
            moved = self._servers.cluster and not self._readonly and self._moved()
            mode = "read" if self._readonly else "write"
            args: tuple[Argument, ...] = (secrets.token_hex(8), self._epoch, self._n, mode, int(moved))
            (answer,) = self._servers.run([RedisCall(self._base, scripts.ENTER, args)])
            if answer[0] == b"none":
                raise StoreError(f"there is no online store in {self._options.where} under the prefix {self._options.prefix.decode()!r}")
            if answer[0] == b"emptied":
                raise LostError(f"{self._options.where} was restarted empty: all {self._n} commits are lost. {_REBUILD}")
            if answer[0] == b"lost":
                left = "an earlier state" if answer[1] < 0 else f"{answer[1]} commits"
                raise LostError(
                    f"{self._options.where} was replaced by a server that holds {left}; this process had made commit {self._n}. {_REOPEN}"
                )
            if moved:
                self._accept()
            self._epoch = answer[1]

    @contextmanager
    def lease(self, name: str, *, wait: float) -> Iterator[None]:
        """See `OnlineStore`; a key that expires five seconds after its holder has died. Safety rests on `expect`, not on it."""
        key, token = self._base + b":lease:" + name.encode(), f"{os.getpid()} on {socket.gethostname()} {secrets.token_hex(16)}"
        until = clock.stopwatch() + wait
        while self._servers.run([RedisCall(key, ("SET", key, token, "NX", "PX", int(_LEASE * 1000)))])[0] is None:
            if clock.stopwatch() >= until:
                holder = self._servers.run([RedisCall(key, ("GET", key))])[0]
                who = f": process {holder.decode().rpartition(' ')[0]}" if isinstance(holder, bytes) and b" on " in holder else ""
                raise StoreError(f"another process holds the lease {name!r} of {self._options.where}{who}; stop it, or wait longer")
            time.sleep(_LEASE_POLL)
        stop = threading.Event()
        renewal = threading.Thread(target=self._renew, args=(key, token, stop), daemon=True)
        renewal.start()
        try:
            yield
        finally:
            stop.set()
            renewal.join()
            self._quietly(RedisCall(key, scripts.RELEASE, (token,)))

    def server_time(self) -> int | None:
        """See `OnlineStore`; a server that does not answer says so at the next commit."""
        try:
            (seconds_and_micros,) = self._servers.run([RedisCall(self._base, ("TIME",))], once=True)
        except StoreError:
            return None
        return int(seconds_and_micros[0]) * 1_000_000 + int(seconds_and_micros[1])

    def size(self) -> int:
        """Bytes of memory: of records, the mean of a sample times their number; of all other keys, the server's estimate."""
        names = [self._base + end for end in (b":state", b":order", b":meta", b":epochs", b":marks", b":turns", b":done")]
        total = sum(used or 0 for used in self._servers.run([RedisCall(name, ("MEMORY", "USAGE", name)) for name in names]))
        sample: list[bytes] = []
        seen = 0
        for keys in self._servers.scan(self._pattern(RECORD)):
            seen += len(keys)
            sample += keys[: max(0, _SAMPLE - len(sample))]
        used = [n for n in self._servers.run([RedisCall(key, ("MEMORY", "USAGE", key)) for key in sample]) if n] if sample else []
        return total + (sum(used) * seen // len(used) if used else 0)

    def backup(self, to: Path) -> None:
        """See `OnlineStore`; the state is of one time; records are of that time or complete through more.

        So going on from the offsets of a backup is exact if nothing was committed while it was made.
        """
        back_up(self, to, chain(self._paged(b"", b"values", whole=True), self._records(RECORD)))

    def close(self) -> None:
        """See `OnlineStore`."""
        self._servers.close()

    def _group(self, key: bytes) -> bytes:
        return scripts.group(self._options.prefix, key)

    def _pattern(self, prefix: bytes) -> bytes:
        escaped = b"".join(b"\\" + bytes([c]) if c in b"*?[]\\" else bytes([c]) for c in prefix)
        return b"{" + self._options.prefix + b":[0-9a-f][0-9a-f]}" + escaped + b"*"

    def _records(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        seen: set[bytes] = set()
        for names in self._servers.scan(self._pattern(prefix)):
            fresh = {name.partition(b"}")[2] for name in names} - seen
            seen |= fresh
            keys = sorted(fresh)
            for start in range(0, len(keys), _AT_ONCE):
                batch = keys[start : start + _AT_ONCE]
                yield from ((key, value) for key, value in zip(batch, self.get(batch), strict=True) if value is not None)

    def _spread(self, state: GroupCommit, records: dict[bytes, GroupCommit], expect: Changes, name: bytes) -> list[Any]:
        """A commit on a cluster. Expected values are checked before anything is written, and again in each script."""
        offsets = [key for key in expect if key.startswith(OFFSET)]
        own = offsets[0] if len(offsets) == 1 else None
        last = b"" if own is None else self._turns.get(own, b"")
        if not records:
            return self._final(state, [], turn=(own, last) if own is not None and last else ())
        known = [key for key in expect if key.startswith(RECORD)]
        for key, value in zip(known, self.get(known), strict=True):
            if value != expect[key]:
                return [b"held", key]
        mine = () if own is None else (own, last, name)
        (begun,) = self._servers.run([RedisCall(self._base, scripts.BEGIN, (self._epoch, state.packed(), *mine))])
        if begun[0] != b"ok":
            return list(begun)
        turn: tuple[bytes, ...] = () if own is None else (own, begun[1])
        calls = [RedisCall(tag, scripts.GROUP, (group_commit.packed(), *turn, *begun[2:])) for tag, group_commit in records.items()]
        answers = self._servers.run(calls, durable=True)
        if own is not None and any(answer[0] == b"ahead" for answer in answers):
            self._lost_offsets(own, begun[1])
            return [b"held", own]
        for kind in (b"epoch", b"held"):
            if other := next((answer for answer in answers if answer[0] == kind), None):
                return list(other)
        self.outrun += sum(answer[2] for answer in answers)
        marks = {tag: answer[1] for tag, answer in zip(records, answers, strict=True)}
        reply = self._final(state, [], marks, turn)
        if own is not None and reply[0] == b"ok":
            self._turns[own] = begun[1]
        return reply

    def _lost_offsets(self, offset: bytes, turn: bytes) -> None:
        """Handle records of a later turn than this one: another writer may have had that turn; otherwise a server has lost it."""
        (now,) = self._servers.run([RedisCall(self._base, ("HGET", self._base + b":turns", offset))])
        if now == turn:
            raise LostError(f"{self._options.where} has lost offsets that records depend on. {_REBUILD}")

    def _final(
        self, state: GroupCommit, records: list[bytes], marks: dict[bytes, int] | None = None, turn: tuple[bytes, ...] = ()
    ) -> list[Any]:
        """Run the commit script; if no answer comes, look up whether the commit was made."""
        self._count += 1
        args: tuple[Argument, ...] = (self._epoch, self._writer, self._count, state.packed(marks, turn), *records)
        try:
            (answer,) = self._servers.run([RedisCall(self._base, scripts.COMMIT, args)], once=True, durable=True)
        except UnansweredError:
            try:
                (answer,) = self._servers.run([RedisCall(self._base, scripts.RESOLVE, (self._writer, self._count))])
            except UnansweredError as error:
                raise StoreError(
                    f"{error} Whether the last commit was made is not known: read the offsets again, and go on from them"
                ) from error
        if answer[0] == b"ok":
            self._n = answer[1]
            self.outrun += answer[2]
        return list(answer)

    def _fenced(self, key: bytes) -> FencedError:
        return FencedError(
            f"{self._options.where} was written by another process meanwhile ({key.rpartition(b'}')[2][:40]!r}); nothing was written. "
            "A partition has one process that ingests it; read the offsets again, and go on from them"
        )

    def _moved(self) -> bool:
        """Whether a group of records is on another server than it was, or a new one."""
        return not all(self._servers.run([RedisCall(tag, scripts.SAME) for tag in scripts.groups(self._options.prefix)]))

    def _accept(self) -> None:
        """Continue with groups on other servers. The new epoch has begun, so writers of older ones cannot mark lost commits as present."""
        (flat,) = self._servers.run([RedisCall(self._base, ("HGETALL", self._base + b":marks"))])
        marks = flat if isinstance(flat, dict) else dict(zip(flat[::2], flat[1::2], strict=True))
        tags = scripts.groups(self._options.prefix)
        left = self._servers.run([RedisCall(tag, scripts.ACCEPT, (marks.get(tag, 0),)) for tag in tags])
        short = [tag for tag, n in zip(tags, left, strict=True) if n >= 0]
        if short:
            raise LostError(
                f"{self._options.where} has lost commits of {len(short)} of {len(tags)} groups of records that offsets depend on. {_REBUILD}"
            )

    def _renew(self, key: bytes, token: str, stop: threading.Event) -> None:
        while not stop.wait(_LEASE / 3):
            self._quietly(RedisCall(key, scripts.RENEW, (token, int(_LEASE * 1000))))

    def _quietly(self, call: RedisCall) -> None:
        """A lease that cannot be renewed or released expires; the next commit says why."""
        try:
            self._servers.run([call], once=True)
        except StoreError:
            return

    def _check_server(self) -> None:
        for reply in self._servers.everywhere("INFO"):
            info = reply if isinstance(reply, dict) else {}
            policy = info.get("maxmemory_policy", "noeviction")
            if info.get("maxmemory") and policy != "noeviction":
                raise StoreError(
                    f"{self._options.where} drops keys when its memory is full (maxmemory-policy {policy}), and values would be wrong without a "
                    "sign; set `maxmemory-policy noeviction`"
                )
            if info.get("role") == "slave":
                raise StoreError(f"{self._options.where} is a replica, which cannot be written; give the address of the primary")

    def _check_format(self) -> None:
        (stored_format,) = self.get([FORMAT_KEY])
        if stored_format in (None, OLDER) and not self._readonly:
            self.commit({FORMAT_KEY: FORMAT}, {})
        elif stored_format not in (None, OLDER, FORMAT):
            raise StoreError(
                f"the online store in {self._options.where} has format {stored_format!r}, and this version of headwater reads {FORMAT!r}; use the version "
                "that wrote it, or rebuild it from the archive (see `headwater materialize` and the page on operations)"
            )


_REOPEN = "Nothing was written. Open the store again, and go on from the offsets that it holds"
_REBUILD = (
    "Nothing was written. Give the store an empty database or another prefix=, and rebuild it from the archive "
    "(see `headwater materialize` and the page on operations)"
)


def _bounds(prefix: bytes) -> tuple[bytes, bytes]:
    """As ZRANGEBYLEX takes them: from the prefix to the least key that is above all that begin with it."""
    short = prefix.rstrip(b"\xff")
    return (b"[" + prefix if prefix else b"-", b"(" + short[:-1] + bytes([short[-1] + 1]) if short else b"+")
