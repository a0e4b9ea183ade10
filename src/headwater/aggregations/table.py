"""The table of aggregations: all that is to know of a function but how its family computes it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, cast

from headwater.aggregations import reads
from headwater.aggregations.algebra import By, Family
from headwater.definitions.aggregate import Parameter
from headwater.definitions.functions import FUNCTIONS, Function
from headwater.plugins import Rows

Accepts = Literal["any", "number", "time", "flag"]
Adds = Literal["sum", "mean", "variance", "deviation"]


@dataclass(frozen=True)
class Entry:
    """One function: all that its computation, its storing and its checks go by.

    What its definition goes by (what it gives, whether it may be split, ...) stands in `definitions.functions`, and is read through
    `definition` here.

    Args:
        name: as users write it.
        family: "module:object", the module in this folder, or by its whole name in another package; the object a family, or made into
            one with what shapes its state.
        accepts: which columns it takes.
        empty: its value over nothing.
        shape: the parameters that shape its state; the others are for `finish`.
        null: the status of a value that is null although events count.
        adds: where floats are added up, so that two orders may differ in the last bits, what sets the size of that difference.
        stored: the family whose states are stored, where those of `family` are of one T.
        hashes: whether texts must be hashes, and not places in a sorted list.
        keeps_values: whether its state keeps every value that was seen.
        compares: whether it compares texts letter by letter, and keeps one whole.
        read: how compiled loops read its stored state; None where plain numpy reads it.
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
    read: reads.How | None = None

    @property
    def definition(self) -> Function:
        """What definitions know of it."""
        return FUNCTIONS[self.name]

    @property
    def squared(self) -> bool:
        """Whether two values are close where their squares are."""
        return self.adds == "deviation"


_ROWS = (
    Entry("count", "counts:COUNTS", "any", 0, read=reads.number),
    Entry("sum", "sums:SUMS", "number", 0, null="overflow", adds="sum", read=reads.total),
    Entry("mean", "sums:SUMS", "number", adds="mean", read=reads.mean),
    Entry("min", "extremes:LEAST", "any", compares=True, read=reads.extreme),
    Entry("max", "extremes:GREATEST", "any", compares=True, read=reads.extreme),
    Entry("std", "moments:MOMENTS", "number", adds="deviation", read=reads.deviation),
    Entry("first", "edges:OLDEST", "any", read=reads.edge),
    Entry("last", "edges:NEWEST", "any", read=reads.edge),
    Entry("latest", "edges:NEWEST_ROW", "any", read=reads.latest),
    Entry("since_last", "edges:NEWEST", "any", read=reads.since),
    Entry("open_count", "opens:OPENS", "time", 0, stored="opens:QUEUES"),
    Entry("open_age", "opens:OPENS", "time", null="empty", stored="opens:QUEUES"),
    Entry("var", "moments:MOMENTS", "number", adds="variance", read=reads.variance),
    Entry("first_n", "recent:first_n", "any", (), shape=("k", "distinct")),
    Entry("last_n", "recent:last_n", "any", (), shape=("k", "distinct")),
    Entry("count_distinct", "distinct:DISTINCT", "any", 0, hashes=True),
    Entry("approx_percentile", "percentiles:PERCENTILES", "number"),
    Entry("mode", "multisets:FREQUENT", "any", keeps_values=True),
    Entry("top_k", "multisets:FREQUENT", "any", (), keeps_values=True),
    Entry("collect_set", "multisets:collect_set", "any", (), shape=("max_size",), keeps_values=True),
    Entry("min_by", "by:LEAST", "any", read=reads.by),
    Entry("max_by", "by:GREATEST", "any", read=reads.by),
    Entry("decayed_sum", "decays:decays", "number", 0.0, shape=("half_life",), adds="sum"),
    Entry("decayed_mean", "decays:decays", "number", shape=("half_life",), adds="sum"),
    Entry("rate", "shares:RATES", "number", 0.0, adds="sum", read=reads.rate),
    Entry("fraction", "shares:FRACTIONS", "flag", read=reads.fraction),
    Entry("ratio", "shares:RATIOS", "number", adds="sum", read=reads.ratio),
)

TABLE = Rows({row.name: row for row in _ROWS})


def family(function: str, params: Mapping[str, Parameter] = MappingProxyType({}), by: By | None = None) -> Family:
    """The family that makes `function`, `by` a secondary key; its kernels are loaded now. Equal where the states are the same."""
    if by is not None:
        maps = importlib.import_module("headwater.aggregations.maps")
        return cast("Family", maps.Maps(family(function, params), by))
    return _load(TABLE[function].family, function, params)


def stored_family(function: str, params: Mapping[str, Parameter] = MappingProxyType({}), by: By | None = None) -> Family:
    """The family whose states are stored for `function`: they can be finished at any T."""
    stored = TABLE[function].stored
    return family(function, params, by) if stored is None or by is not None else _load(stored, function, params)


def _load(path: str, function: str, params: Mapping[str, Parameter]) -> Family:
    entry = TABLE[function]
    module, _, name = path.partition(":")
    found = getattr(importlib.import_module(module if "." in module else f"headwater.aggregations.{module}"), name)
    return cast("Family", found(**{p: params[p] for p in entry.shape}) if entry.shape else found)
