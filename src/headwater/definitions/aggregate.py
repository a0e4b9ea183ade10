"""An aggregation as a value: the function, its columns, windows and parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from headwater.definitions.checks import check_type
from headwater.definitions.definition import Definition, check_name
from headwater.definitions.durations import Duration
from headwater.definitions.functions import FUNCTIONS, Function
from headwater.definitions.secondary_key import DEFAULT_KEYS, SecondaryKey, secondary_key
from headwater.definitions.windows import Window, as_windows
from headwater.errors import DefinitionError

Windows = Sequence[Duration | Window]
Parameter = int | float | str | bool


@dataclass(frozen=True, eq=False)
class Aggregation(Definition):
    """One function over columns of a source's events, in one or more windows.

    Made by `count`, `sum`, `mean` and their like. `windows` None takes those of the view.
    """

    function: str
    columns: tuple[str, ...]
    windows: tuple[Window, ...] | None
    where: str | None
    name: str | None
    params: tuple[tuple[str, Parameter], ...] = ()
    each: bool = False  # one feature for each column, rather than one of all columns together
    label: str = ""  # the columns as they stand in a feature's name
    # the parameters that stand in a feature's name
    detail: str = field(default="", metadata={"fingerprint": False})
    secondary: SecondaryKey | None = None

    def by(self, column: str, *, max_keys: int = DEFAULT_KEYS) -> Aggregation:
        """The same function for each value of `column` on its own: a map from the value to what the
        function gives, {} for no events.

        Its keys are those that `last_n(column, k=max_keys, distinct=True)` lists over the events
        that count, in that order: the `max_keys` latest, the latest last. What a key maps to is
        made of all its events in the window. Events where `column` is null do not count. Strings,
        integers, booleans and times can be keys.

        Raises:
            DefinitionError: a function without a state of one size, such as `top_k`; `max_keys` not
                from 1 to 1000; a second `by`.

        >>> from headwater.definitions.aggregation import sum
        >>> from headwater.testing.examples import value_of
        >>> value_of(
        ...     sum("amount").by("category", max_keys=2),
        ...     category=["a", "b", "a", "c"],
        ...     amount=[1, 2, 3, 4],
        ... )
        {'a': 4, 'c': 4}
        """
        if self.secondary is not None:
            raise DefinitionError(
                f"{self.function}() is split by {self.secondary.column!r} already; make one "
                "column of both in select"
            )
        return replace(self, secondary=secondary_key(self.function, column, max_keys))

    def __str__(self) -> str:
        arguments = {
            **dict(self.params),
            "windows": self.windows and [str(w) for w in self.windows],
            "where": self.where,
            "name": self.name,
        }
        parts = [
            *map(repr, self.columns),
            *(f"{name}={value!r}" for name, value in arguments.items() if value is not None),
        ]
        return f"{self.function}({', '.join(parts)})" + (
            "" if self.secondary is None else f".by({self.secondary.column!r})"
        )

    @property
    def extra_columns(self) -> tuple[str, ...]:
        """The columns that it reads in addition to those of the function: of `where=` and of the
        secondary key.
        """
        secondary = None if self.secondary is None else self.secondary.column
        return tuple(c for c in (self.where, secondary) if c is not None)

    @property
    def facts(self) -> Function:
        """The properties of the function."""
        return FUNCTIONS[self.function]

    @property
    def skips_null(self) -> bool:
        """Whether an event does not count where a column is null."""
        return bool(self.columns) and (self.each or self.facts.skips_null)

    def __post_init__(self) -> None:
        subject = f"{self.function}()"
        for column in (*self.columns, *self.extra_columns):
            check_type(
                column,
                str,
                f"{subject}: a column",
                "the name of a column; select= of the source makes one of an expression",
            )
        if self.name is not None:
            check_name(self.name, subject)
            if self.each and len(self.columns) > 1:
                raise DefinitionError(
                    f"{subject}: name={self.name!r} cannot name {len(self.columns)} features; "
                    f"write one {subject} for each column"
                )


def made(
    function: str,
    columns: tuple[str, ...],
    windows: Windows | None,
    where: str | None,
    name: str | None,
    **more: object,
) -> Aggregation:
    """An aggregation whose windows are checked; `more` are its other fields."""
    sized = None if windows is None else as_windows(windows, None, f"{function}(): windows")
    return Aggregation(function, columns, sized, where, name, **more)  # type: ignore[arg-type]


def needs(function: str, columns: tuple[str, ...], example: str) -> None:
    """Refuse a function without its column."""
    if not columns:
        raise DefinitionError(f"{function}() needs a column, such as {function}({example!r})")
