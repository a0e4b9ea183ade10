"""Tables that other packages extend.

A row of another package is an entry point in its pyproject.toml: the table, a dot and the name of
the row, and the dotted path of what it is. headwater imports nothing of a package before a row of
it is used.

    [project.entry-points."headwater.plugins"]
    "stores.acme" = "acme.store"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from threading import RLock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from headwater.errors import UsageError, nearest

if TYPE_CHECKING:
    from _collections_abc import dict_items, dict_keys, dict_values

GROUP: Final = "headwater.plugins"
TABLES: Final = (
    "audit",
    "engines",
    "functions",
    "metrics",
    "stores",
    "streams",
    "tasks",
)
Row = TypeVar("Row")

_NONE: Final[Mapping[str, Any]] = MappingProxyType({})

_lock = RLock()


class Rows(dict[str, Row]):
    """A table: rows by name. Lookups of its own rows look for no others.

    Args:
        table: its name, one of `TABLES`.
        rows: its own rows.
        homes: by module, the names of rows that it has in `ROWS`, separated by spaces; it is
            imported when one of them is looked up.
        paths: whether a row is the dotted path of a module or an object, which is imported by who
            looks the row up; otherwise a row of another package is imported with the table.

    >>> table = Rows("audit", {"sum": 1})
    >>> table.add("product", 2)
    >>> table["product"], "quotient" in table
    (2, False)
    """

    def __init__(
        self,
        table: str,
        rows: Mapping[str, Row] = _NONE,
        *,
        homes: Mapping[str, str] = _NONE,
        paths: bool = False,
    ) -> None:
        super().__init__(rows)
        self._table, self._paths, self._whole = table, paths, False
        self._homes = {name: home for home, names in homes.items() for name in names.split()}

    def add(self, name: str, row: Row) -> None:
        """Add a row.

        Raises:
            UsageError: the table has another row of that name.
        """
        if self._has(name) and dict.__getitem__(self, name) != row:
            raise UsageError(
                f"there is a row {name!r} in the table {self._table!r} already; give the one that "
                "is added another name"
            )
        self[name] = row

    def _has(self, name: str) -> bool:
        """Whether the table has a row of its own of that name, which is imported now."""
        if not dict.__contains__(self, name) and name in self._homes:
            rows = import_module(self._homes[name]).ROWS
            self.update({row.name: row for row in rows})
        return dict.__contains__(self, name)

    def _load(self) -> None:
        """Add the rows of other packages, once.

        Raises:
            UsageError: one cannot be imported, or is of no table.
        """
        if self._whole:
            return
        with _lock:  # other threads wait until all rows are there
            if self._whole:
                return
            self._whole = True  # what is imported may look rows up
            try:
                for name in self._homes:
                    self._has(name)
                for point in _points():
                    table, _, name = point.name.partition(".")
                    if table == self._table:
                        row = point.value if self._paths else _imported(point)
                        self.add(name, cast("Row", row))
            except UsageError:
                self._whole = False
                raise

    def __missing__(self, name: str) -> Row:
        if not self._has(name):
            self._load()
        if dict.__contains__(self, name):
            return dict.__getitem__(self, name)
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        if not dict.__contains__(self, name) and name not in self._homes:
            self._load()
        return dict.__contains__(self, name) or name in self._homes

    def __iter__(self) -> Iterator[str]:
        self._load()
        return super().__iter__()

    def __len__(self) -> int:
        self._load()
        return super().__len__()

    def keys(self) -> dict_keys[str, Row]:
        self._load()
        return super().keys()

    def values(self) -> dict_values[str, Row]:
        self._load()
        return super().values()

    def items(self) -> dict_items[str, Row]:
        self._load()
        return super().items()


@cache
def _points() -> tuple[EntryPoint, ...]:
    points = tuple(entry_points(group=GROUP))
    for point in points:
        table = point.name.partition(".")[0]
        if table not in TABLES:
            raise UsageError(
                f"the entry point {point.name!r} ({point.value}) names no table of headwater: "
                f"write TABLE.ROW, such as stores.acme; {nearest(table, TABLES)}"
            )
    return points


def _imported(point: EntryPoint) -> object:
    try:
        return point.load()
    except Exception as error:
        raise UsageError(
            f"the plugin {point.name!r} ({point.value}) cannot be loaded: {type(error).__name__}: "
            f"{error}; fix it, or uninstall its package"
        ) from error
