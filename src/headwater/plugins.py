"""Tables that plugins extend, and the entry points that find plugins.

A package lists functions under `[project.entry-points."headwater.plugins"]` in its pyproject.toml.
Each is called once: before the lookup of an unknown name, or the iteration of a table. It adds rows
to tables: `FUNCTIONS`, `TABLE`, `TASKS`, `FAMILIES`, `FEEDS` and `STORES` are `Rows`.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from threading import RLock
from typing import TYPE_CHECKING, TypeVar

from headwater.errors import UsageError

if TYPE_CHECKING:
    from _collections_abc import dict_items, dict_keys, dict_values

GROUP = "headwater.plugins"
Row = TypeVar("Row")

_lock = RLock()
_begun: set[str] = set()
_done: set[str] = set()


class Rows(dict[str, Row]):
    """A table: rows by name. Lookups of its own rows do not load plugins.

    >>> table = Rows({"sum": 1})
    >>> table.add("product", 2)
    >>> table["product"], "quotient" in table
    (2, False)
    """

    def add(self, name: str, row: Row) -> None:
        """Add a row.

        Raises:
            UsageError: the table has another row of that name.
        """
        if dict.__contains__(self, name) and dict.__getitem__(self, name) != row:
            raise UsageError(
                f"there is a {type(row).__name__} {name!r} already; give the one that is added "
                "another name"
            )
        self[name] = row

    def __missing__(self, name: str) -> Row:
        load()
        if dict.__contains__(self, name):
            return dict.__getitem__(self, name)
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        if not dict.__contains__(self, name):
            load()
        return dict.__contains__(self, name)

    def __iter__(self) -> Iterator[str]:
        load()
        return super().__iter__()

    def __len__(self) -> int:
        load()
        return super().__len__()

    def keys(self) -> dict_keys[str, Row]:
        load()
        return super().keys()

    def values(self) -> dict_values[str, Row]:
        load()
        return super().values()

    def items(self) -> dict_items[str, Row]:
        load()
        return super().items()


def load() -> None:
    """Call every entry point of the group, once; lookups during the calls see the rows added so
    far.

    Raises:
        UsageError: one cannot be imported, or fails.
    """
    if GROUP in _done:
        return
    with _lock:  # other threads wait until all plugins are loaded
        if GROUP in _begun:
            return
        _begun.add(GROUP)
        try:
            for point in entry_points(group=GROUP):
                _call(point)
        except UsageError:
            _begun.discard(GROUP)
            raise
        _done.add(GROUP)


def _call(point: EntryPoint) -> None:
    try:
        point.load()()
    except Exception as error:
        raise UsageError(
            f"the plugin {point.name!r} ({point.value}) cannot be loaded: {type(error).__name__}: "
            f"{error}; fix it, or uninstall its package"
        ) from error
