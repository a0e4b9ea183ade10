"""Tables that keep earlier versions, and the version that a call reads: the latest at its first
read, or a recorded one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar, cast

from headwater.definitions.connectors import Connector, Table

VERSION = "version"
"""The entry of a manifest's table with the version that was read."""

Latest = TypeVar("Latest", int, int | None)
Value = TypeVar("Value")

_versions: ContextVar[dict[str, object] | None] = ContextVar("versions", default=None)


class VersionedTable(Connector):
    """A table of numbered versions, each immutable; `contents` and `state` name the version that is
    read, and read no rows.
    """

    def version_read(self) -> int | None:
        """The version that a reading gets now; None where this table keeps none.

        Raises:
            DataError: no such table or version.
            ConnectError: its store or catalog does not answer.
        """
        raise NotImplementedError

    def identity(self) -> dict[str, object]:
        """An identity that tells the table from another table of its name, such as the id that it
        got when it was created.
        """
        raise NotImplementedError

    def contents(self) -> dict[str, object]:
        """The table, and its version."""
        return {**self.identity(), VERSION: self.version_read()}

    def state(self) -> list[object]:
        """As `contents`: a version never changes."""
        return [self.contents()]


@contextmanager
def one_version(recorded: Mapping[str, int] | None = None) -> Iterator[None]:
    """Read one version of each versioned table, however often it is read, also while others write
    to it; also as a decorator.

    recorded: versions by the fingerprint of the table; of any other, the latest when it is first
    read. An inner call takes the versions of the outer one.
    """
    if recorded is None and _versions.get() is not None:
        yield
        return
    token = _versions.set(dict(recorded or {}))
    try:
        yield
    finally:
        _versions.reset(token)


def version_within(table: Table, latest: Callable[[], Latest]) -> Latest:
    """The version of the table that the call under way reads; outside of one, the latest."""
    return once_per_call(table.fingerprint, latest)


def once_per_call(key: str, compute: Callable[[], Value]) -> Value:
    """The value of `compute` at its first use in the call under way; outside of a call, its value
    now.
    """
    versions = _versions.get()
    if versions is None:
        return compute()
    if key not in versions:
        versions[key] = compute()
    return cast("Value", versions[key])
