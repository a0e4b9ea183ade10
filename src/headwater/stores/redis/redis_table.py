"""Records in Redis: in 256 groups, each in one slot, so that a group changes as a whole on a
cluster too.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from headwater.errors import FencedError, LostError, StoreError
from headwater.stores import Changes, Marks
from headwater.stores.keyspace import RECORD
from headwater.stores.log_first import RECONCILE
from headwater.stores.redis import lua as scripts
from headwater.stores.redis.commands import Argument, RedisCall, RedisOptions, Servers

_ATTEMPTS = 5  # a call is made again only where a server has refused it
_SAMPLE = 1000
_AT_ONCE = 1000


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
        """See `FeatureTable`; in no order, as they are when they are read."""
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

    def check_sizes(self, writer: bytes, records: Changes) -> None:
        """See `FeatureTable`; the state refuses with its log what is too large for a server."""

    def upsert(self, writer: bytes, turn: int, n: int, records: Changes) -> Marks:
        """See `FeatureTable`."""
        return self._write(records, {}, (writer, turn, n))

    def replace(self, records: Changes, expect: Changes) -> Marks:
        """See `FeatureTable`; a record is dropped without regard to what it is complete through, so
        drops should expect their values.
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
        found: dict[bytes, tuple[int, int]] = {}
        for flat in self._servers.run(
            [RedisCall(tag, ("HGETALL", tag + b":applied")) for tag in tags]
        ):
            for writer, value in pairs(flat):
                turn, n = map(int, value.split(b" ")[:2])
                known = found.get(writer, (0, 0))
                found[writer] = max(known[0], turn), max(known[1], n)
        return found

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
        left = self._servers.run(
            [RedisCall(tag, scripts.ACCEPT, (marks.get(tag, 0),)) for tag in tags]
        )
        short = [tag for tag, n in zip(tags, left, strict=True) if n >= 0]
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
        """The answers of scripts that write; those that found another server are run again when it
        is checked.
        """
        answers: dict[int, Any] = {}
        for _ in range(_ATTEMPTS):
            left = [index for index in range(len(calls)) if index not in answers]
            replies = self._servers.run([calls[index] for index in left], durable=True)
            answers |= {
                index: reply
                for index, reply in zip(left, replies, strict=True)
                if reply[0] != b"epoch"
            }
            if len(answers) == len(calls):
                return [answers[index] for index in range(len(calls))]
            self._check()
        raise StoreError(
            f"{self._options.where} was replaced {_ATTEMPTS} times during one commit; it may be "
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
