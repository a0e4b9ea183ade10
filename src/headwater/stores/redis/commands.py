"""Calls to Redis, apart from the library that makes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from headwater.stores.redis.lua import Script

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
