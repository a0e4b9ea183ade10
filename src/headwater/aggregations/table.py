"""The table of aggregations: which family makes a function, what it accepts, gives, and holds when there is nothing."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, cast

from headwater.aggregations.algebra import By, Family
from headwater.definitions.aggregate import Parameter

Accepts = Literal["any", "number", "time", "flag"]
Gives = Literal["int", "float", "same", "sum", "list"]  # "sum": int64 of integers and booleans, else float64; "list": of the same


@dataclass(frozen=True)
class Entry:
    """One function: `family` is "module:object" in this folder, the object a family, or made into one with what shapes its state.

    `empty` is its value over nothing, `shape` the names of the parameters that shape its state; the others are for `finish`. `null`
    is the status of a value that is null although events count. `adds`: floats are added up, so two orders may differ in the last bits.
    """

    family: str
    accepts: Accepts
    gives: Gives
    empty: float | tuple[()] | None = None
    shape: tuple[str, ...] = ()
    null: Literal["present", "empty", "overflow"] = "present"
    adds: bool = False
    stored: str | None = None  # the family whose states are stored, where those of `family` are of one T


TABLE: Mapping[str, Entry] = {
    "count": Entry("counts:COUNTS", "any", "int", 0),
    "sum": Entry("sums:SUMS", "number", "sum", 0, null="overflow", adds=True),
    "mean": Entry("sums:SUMS", "number", "float", adds=True),
    "min": Entry("extremes:LEAST", "any", "same"),
    "max": Entry("extremes:GREATEST", "any", "same"),
    "std": Entry("moments:MOMENTS", "number", "float", adds=True),
    "first": Entry("edges:OLDEST", "any", "same"),
    "last": Entry("edges:NEWEST", "any", "same"),
    "latest": Entry("edges:NEWEST_ROW", "any", "same"),
    "since_last": Entry("edges:NEWEST", "any", "float"),
    "open_count": Entry("opens:OPENS", "time", "int", 0, stored="opens:QUEUES"),
    "open_age": Entry("opens:OPENS", "time", "float", null="empty", stored="opens:QUEUES"),
    "var": Entry("moments:MOMENTS", "number", "float", adds=True),
    "first_n": Entry("recent:first_n", "any", "list", (), shape=("k", "distinct")),
    "last_n": Entry("recent:last_n", "any", "list", (), shape=("k", "distinct")),
    "count_distinct": Entry("distinct:DISTINCT", "any", "int", 0),
    "approx_percentile": Entry("percentiles:PERCENTILES", "number", "float"),
    "mode": Entry("multisets:FREQUENT", "any", "same"),
    "top_k": Entry("multisets:FREQUENT", "any", "list", ()),
    "collect_set": Entry("multisets:collect_set", "any", "list", (), shape=("max_size",)),
    "min_by": Entry("by:LEAST", "any", "same"),
    "max_by": Entry("by:GREATEST", "any", "same"),
    "decayed_sum": Entry("decays:decays", "number", "float", 0.0, shape=("half_life",), adds=True),
    "decayed_mean": Entry("decays:decays", "number", "float", shape=("half_life",), adds=True),
    "rate": Entry("shares:RATES", "number", "float", 0.0, adds=True),
    "fraction": Entry("shares:FRACTIONS", "flag", "float"),
    "ratio": Entry("shares:RATIOS", "number", "float", adds=True),
}


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
    found = getattr(importlib.import_module(f"headwater.aggregations.{module}"), name)
    return cast("Family", found(**{p: params[p] for p in entry.shape}) if entry.shape else found)
