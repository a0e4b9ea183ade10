"""What the values of a source or a view are expected to be. Nothing that is computed depends on it,
so adding one rebuilds nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Literal

from headwater.definitions.checks import (
    check,
    check_choice,
    check_integer,
    check_list,
    check_number,
    check_reference,
    check_text,
    check_type,
    is_number,
)
from headwater.definitions.definition import Definition
from headwater.errors import DefinitionError

if TYPE_CHECKING:
    from headwater.definitions.freshness import Freshness

Bounds = tuple[float | None, float | None]


@dataclass(frozen=True, eq=False)
class Expect(Definition):
    """An expectation of a column of a source, or of a feature of a view.

    Args:
        column: of the source as it is selected; of a view the feature's name, such as
            "mean_amount_1h".
        in_range: the least and the greatest value, both allowed; None is without bound. Null is in
            range.
        accepted_values: the values that are allowed; null is too.
        not_null: whether null is refused.
        max_null_share: the share of nulls that a day may have.
        distinct: the least and the greatest number of distinct values of a day; None is without
            bound.
        on_violation: "warn" counts an event that breaks it; "reject" makes it a dead letter, where
            it is pushed or read from a stream.

    Raises:
        DefinitionError: nothing is expected, bounds in the wrong order, or "reject" of what only a
            whole day can break.

    >>> Expect("amount", in_range=(0, 10_000), not_null=True).describe()
    'amount: in_range (0, 10000), not_null'
    """

    column: str
    _: KW_ONLY
    in_range: Bounds | None = None
    accepted_values: Sequence[object] | None = None
    not_null: bool = False
    max_null_share: float | None = None
    distinct: Bounds | None = None
    on_violation: Literal["warn", "reject"] = "warn"

    def __post_init__(self) -> None:
        subject = f"the expectation of {self.column!r}"
        check_text(self.column, "an expectation: column", "the name of a column")
        for name in ("in_range", "distinct"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _bounds(getattr(self, name), f"{subject}: {name}"))
        if self.accepted_values is not None:
            accepted = check_list(
                self.accepted_values,
                object,
                f"{subject}: accepted_values",
                "a list of at least one value",
                least=1,
            )
            object.__setattr__(self, "accepted_values", accepted)
        check_type(self.not_null, bool, f"{subject}: not_null", "True or False")
        if self.max_null_share is not None:
            check_number(
                self.max_null_share,
                f"{subject}: max_null_share",
                "a share",
                least=0,
                below=1,
                note="such as 0.02",
            )
        check_choice(self.on_violation, ("warn", "reject"), f"{subject}: on_violation")
        of_day = [
            name for name in ("max_null_share", "distinct") if getattr(self, name) is not None
        ]
        if (
            not of_day
            and self.in_range is None
            and self.accepted_values is None
            and not self.not_null
        ):
            raise DefinitionError(
                f"{subject} expects nothing; give in_range=, accepted_values=, not_null=True, "
                "max_null_share= or distinct="
            )
        if of_day and self.on_violation == "reject":
            raise DefinitionError(
                f"{subject}: {of_day[0]} is of a whole day, and an event alone cannot break it; "
                "leave on_violation='reject' out"
            )

    def describe(self) -> str:
        """The expectation in words, as results and metrics name it."""
        parts = [
            f"{name} {_text(getattr(self, name))}"
            for name in ("in_range", "accepted_values")
            if getattr(self, name) is not None
        ]
        parts += ["not_null"] if self.not_null else []
        parts += [
            f"{name} {_text(getattr(self, name))}"
            for name in ("max_null_share", "distinct")
            if getattr(self, name) is not None
        ]
        return f"{self.column}: {', '.join(parts)}"


@dataclass(frozen=True, eq=False)
class ExpectRows(Definition):
    """An expectation of the number of events of a source, or of reads of a view, on each day (UTC).

    Args:
        at_least, at_most: the bounds, both allowed; None is without bound.

    >>> ExpectRows(at_least=1000).describe()
    'rows a day: at least 1000'
    """

    _: KW_ONLY
    at_least: int | None = None
    at_most: int | None = None

    def __post_init__(self) -> None:
        if self.at_least is None and self.at_most is None:
            raise DefinitionError("ExpectRows expects nothing; give at_least= or at_most=")
        for name in ("at_least", "at_most"):
            if getattr(self, name) is not None:
                check_integer(getattr(self, name), f"ExpectRows: {name}", least=0)
        _bounds((self.at_least, self.at_most), "ExpectRows: (at_least, at_most)")

    def describe(self) -> str:
        """The expectation in words."""
        bounds = [
            f"{name.replace('_', ' ')} {value}"
            for name in ("at_least", "at_most")
            if (value := getattr(self, name)) is not None
        ]
        return f"rows a day: {', '.join(bounds)}"


Expectation = Expect | ExpectRows


def check_expectations(
    expectations: Sequence[Expectation], columns: Collection[str] | None, subject: str
) -> tuple[Expectation, ...]:
    """The expectations as a tuple. columns: those that there are; None where a table decides.

    Raises:
        DefinitionError: not a list of expectations, or of a column that there is not.
    """
    checked = check_list(
        expectations,
        Expectation,
        f"{subject}: expectations",
        "a list of hw.Expect(...) and hw.ExpectRows(...)",
    )
    for each in checked:
        if isinstance(each, Expect):
            check_reference(
                each.column,
                columns,
                f"{subject}: an expectation is of {each.column!r}, which it does not have",
            )
    return checked


def check_slo(slo: float | None, freshness: Freshness, subject: str) -> None:
    """Refuse an objective that is not a share, or of a view whose values are not stored."""
    if slo is None:
        return
    check_number(slo, f"{subject}: slo", "a share of reads", above=0, below=1, note="such as 0.99")
    if not freshness.stored:
        raise DefinitionError(
            f"{subject}: slo={slo} is of stored values, and {freshness} stores none; leave it out"
        )


def _bounds(bounds: object, name: str) -> Bounds:
    """Two bounds, at least one of them given."""
    give = "two numbers, the lower bound first; one of them may be None, such as (0, None)"
    pair = bounds if isinstance(bounds, tuple | list) and len(bounds) == 2 else (None, None)
    known = [bound for bound in pair if bound is not None]
    check(known and all(map(is_number, known)) and known == sorted(known), bounds, name, give)
    low, high = pair
    return low, high


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return f"({', '.join('none' if part is None else str(part) for part in value)})"
    return str(value)
