"""The rows of aggregation functions: what computation, storage, reads and checks depend on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from types import MappingProxyType
from typing import Literal, cast

from headwater.aggregations.base import AggregateFunction, GroupBy
from headwater.aggregations.reads import ReadRule
from headwater.aggregations.reference import Reference
from headwater.definitions.feature_view import FUNCTIONS, Aggregation, Function, Parameter
from headwater.rows import Rows

Accepts = Literal["any", "number", "time", "flag"]
Adds = Literal["sum", "mean", "variance", "deviation"]


@dataclass(frozen=True)
class Entry(Function):
    """One function: what definitions depend on (`Function`), and how it is computed.

    Args:
        family: computes it; or, where parameters shape the state, makes what computes it of them.
        accepts: which columns it takes.
        reference: its value in exact arithmetic, which tests compare all others with.
        cases: aggregations over the columns of `testing.cases.SCHEMA`, on which the laws of
            `headwater.testing` are tried.
        empty: its value over nothing.
        shape: the parameters that shape its state; the others are for `finalize`.
        null: the status of a value that is null although events count.
        adds: where floats are added up, so that two orders may differ in the last bits, what sets
            the size of that difference.
        stored: the family whose states are stored, where those of `family` are of one T.
        hashes: whether strings must be hashes, and not places in a sorted list.
        keeps_values: whether its state keeps every value that was seen.
        compares: whether it compares strings letter by letter, and keeps one whole.
        read: how compiled loops read its stored state; None where they merge or finish it in no way
            that they know, and `family` does.
    """

    _: KW_ONLY
    family: AggregateFunction | Callable[..., AggregateFunction]
    accepts: Accepts
    reference: Reference
    cases: Callable[[], Sequence[Aggregation]]
    empty: float | tuple[()] | None = None
    shape: tuple[str, ...] = ()
    null: Literal["present", "empty", "overflow"] = "present"
    adds: Adds | None = None
    stored: AggregateFunction | None = None
    hashes: bool = False
    keeps_values: bool = False
    compares: bool = False
    read: ReadRule | None = None

    @property
    def squared(self) -> bool:
        """Whether two values are close where their squares are."""
        return self.adds == "deviation"


TABLE = cast("Rows[Entry]", FUNCTIONS)
"""By name."""


def family(
    function: str, params: Mapping[str, Parameter] = MappingProxyType({}), by: GroupBy | None = None
) -> AggregateFunction:
    """The family that computes `function`, `by` a secondary key. Equal where the states are the
    same.
    """
    if by is not None:
        from headwater.aggregations.grouped import GroupedFunction

        return GroupedFunction(family(function, params), by)
    entry = TABLE[function]
    if not entry.shape:
        return cast("AggregateFunction", entry.family)
    made_by = cast("Callable[..., AggregateFunction]", entry.family)
    return made_by(**{name: params[name] for name in entry.shape})


def stored_family(
    function: str, params: Mapping[str, Parameter] = MappingProxyType({}), by: GroupBy | None = None
) -> AggregateFunction:
    """The family whose states are stored for `function`: they can be finished at any T."""
    stored = TABLE[function].stored
    return family(function, params, by) if stored is None or by is not None else stored
