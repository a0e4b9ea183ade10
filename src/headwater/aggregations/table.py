"""The table of aggregations: all that is to know of a function but how its family computes it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, cast

from headwater.aggregations import reads
from headwater.aggregations.base import AggregateFunction, GroupBy
from headwater.definitions.feature_view import FUNCTIONS, Function, Parameter
from headwater.rows import Rows

Accepts = Literal["any", "number", "time", "flag"]
Adds = Literal["sum", "mean", "variance", "deviation"]


@dataclass(frozen=True)
class Entry:
    """One function: all that its computation, its storing and its checks go by.

    What its definition goes by (what it gives, whether it may be split, ...) stands in
    `definitions.functions`, and is read through `definition` here.

    Args:
        name: as users write it.
        family: "module:object", the module in this folder, or by its whole name in another package;
            the object a family, or made into one with what shapes its state.
        accepts: which columns it takes.
        empty: its value over nothing.
        shape: the parameters that shape its state; the others are for `finalize`.
        null: the status of a value that is null although events count.
        adds: where floats are added up, so that two orders may differ in the last bits, what sets
            the size of that difference.
        stored: the family whose states are stored, where those of `family` are of one T.
        hashes: whether strings must be hashes, and not places in a sorted list.
        keeps_values: whether its state keeps every value that was seen.
        compares: whether it compares strings letter by letter, and keeps one whole.
        read: how compiled loops read its stored state; None, as in a plugin that has no loop, where
            frames are evaluated.
    """

    name: str
    family: str
    accepts: Accepts
    empty: float | tuple[()] | None = None
    shape: tuple[str, ...] = ()
    null: Literal["present", "empty", "overflow"] = "present"
    adds: Adds | None = None
    stored: str | None = None
    hashes: bool = False
    keeps_values: bool = False
    compares: bool = False
    read: reads.ReadRule | None = None

    @property
    def definition(self) -> Function:
        """Its properties in definitions."""
        return FUNCTIONS[self.name]

    @property
    def squared(self) -> bool:
        """Whether two values are close where their squares are."""
        return self.adds == "deviation"


_ROWS = (
    Entry("count", "moments:COUNTS", "any", 0, read=reads.number),
    Entry("sum", "moments:SUMS", "number", 0, null="overflow", adds="sum", read=reads.total),
    Entry("mean", "moments:SUMS", "number", adds="mean", read=reads.mean),
    Entry("min", "min_max:LEAST", "any", compares=True, read=reads.extreme),
    Entry("max", "min_max:GREATEST", "any", compares=True, read=reads.extreme),
    Entry("std", "moments:MOMENTS", "number", adds="deviation", read=reads.deviation),
    Entry("first", "first_last:OLDEST", "any", read=reads.edge),
    Entry("last", "first_last:NEWEST", "any", read=reads.edge),
    Entry("latest", "first_last:NEWEST_ROW", "any", read=reads.latest),
    Entry("since_last", "first_last:NEWEST", "any", read=reads.since),
    Entry(
        "open_count",
        "open_intervals:OPEN_INTERVALS",
        "time",
        0,
        stored="open_intervals:STORED_INTERVALS",
        read=reads.open_count,
    ),
    Entry(
        "open_age",
        "open_intervals:OPEN_INTERVALS",
        "time",
        null="empty",
        stored="open_intervals:STORED_INTERVALS",
        read=reads.open_age,
    ),
    Entry("var", "moments:MOMENTS", "number", adds="variance", read=reads.variance),
    Entry(
        "first_n",
        "first_last:first_n",
        "any",
        (),
        shape=("k", "distinct"),
        read=reads.first_values,
    ),
    Entry(
        "last_n", "first_last:last_n", "any", (), shape=("k", "distinct"), read=reads.last_values
    ),
    Entry("count_distinct", "count_distinct:DISTINCT", "any", 0, hashes=True, read=reads.distinct),
    Entry("approx_percentile", "approx_percentile:PERCENTILES", "number", read=reads.percentile),
    Entry("mode", "mode_top_k:FREQUENT", "any", keeps_values=True, read=reads.mode),
    Entry("top_k", "mode_top_k:FREQUENT", "any", (), keeps_values=True, read=reads.frequent),
    Entry(
        "collect_set",
        "mode_top_k:collect_set",
        "any",
        (),
        shape=("max_size",),
        keeps_values=True,
        read=reads.least_values,
    ),
    Entry("min_by", "min_max:LEAST_BY", "any", read=reads.by),
    Entry("max_by", "min_max:GREATEST_BY", "any", read=reads.by),
    Entry(
        "decayed_sum",
        "decayed:decays",
        "number",
        0.0,
        shape=("half_life",),
        adds="sum",
        read=reads.decayed_sum,
    ),
    Entry(
        "decayed_mean",
        "decayed:decays",
        "number",
        shape=("half_life",),
        adds="sum",
        read=reads.decayed_mean,
    ),
    Entry("rate", "rate_ratio:RATES", "number", 0.0, adds="sum", read=reads.rate),
    Entry("fraction", "rate_ratio:FRACTIONS", "flag", read=reads.fraction),
    Entry("ratio", "rate_ratio:RATIOS", "number", adds="sum", read=reads.ratio),
)

TABLE = Rows("aggregations", {row.name: row for row in _ROWS})


def family(
    function: str, params: Mapping[str, Parameter] = MappingProxyType({}), by: GroupBy | None = None
) -> AggregateFunction:
    """The family that makes `function`, `by` a secondary key; its kernels are loaded now. Equal
    where the states are the same.
    """
    if by is not None:
        grouped = importlib.import_module("headwater.aggregations.grouped")
        return cast("AggregateFunction", grouped.GroupedFunction(family(function, params), by))
    return _load(TABLE[function].family, function, params)


def stored_family(
    function: str, params: Mapping[str, Parameter] = MappingProxyType({}), by: GroupBy | None = None
) -> AggregateFunction:
    """The family whose states are stored for `function`: they can be finished at any T."""
    stored = TABLE[function].stored
    return (
        family(function, params, by)
        if stored is None or by is not None
        else _load(stored, function, params)
    )


def _load(path: str, function: str, params: Mapping[str, Parameter]) -> AggregateFunction:
    entry = TABLE[function]
    module, _, name = path.partition(":")
    implementation = getattr(
        importlib.import_module(module if "." in module else f"headwater.aggregations.{module}"),
        name,
    )
    return cast(
        "AggregateFunction",
        implementation(**{p: params[p] for p in entry.shape}) if entry.shape else implementation,
    )
