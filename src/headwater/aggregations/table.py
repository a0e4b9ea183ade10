"""The table of aggregations: which family makes a function, what it accepts, gives, and holds when there is nothing."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast

from headwater.aggregations.algebra import Family

Accepts = Literal["any", "number", "time"]
Gives = Literal["int", "float", "same", "sum"]  # "sum": int64 of integers and booleans, else float64


@dataclass(frozen=True)
class Entry:
    """One function: `family` is "module:object" in this folder; `empty` its value over nothing."""

    family: str
    accepts: Accepts
    gives: Gives
    empty: int | None = None
    retracts: bool = False  # whether an event can be taken back out of a state


TABLE: Mapping[str, Entry] = {
    "count": Entry("counts:COUNTS", "any", "int", 0, retracts=True),
    "sum": Entry("sums:SUMS", "number", "sum", 0, retracts=True),
    "mean": Entry("sums:SUMS", "number", "float", retracts=True),
    "min": Entry("extremes:LEAST", "any", "same"),
    "max": Entry("extremes:GREATEST", "any", "same"),
    "std": Entry("moments:MOMENTS", "number", "float", retracts=True),
    "first": Entry("edges:OLDEST", "any", "same"),
    "last": Entry("edges:NEWEST", "any", "same"),
    "latest": Entry("edges:NEWEST_ROW", "any", "same"),
    "since_last": Entry("edges:NEWEST", "any", "float"),
    "open_count": Entry("opens:OPENS", "time", "int", 0, retracts=True),
    "open_age": Entry("opens:OPENS", "time", "float", retracts=True),
}


def family(function: str) -> Family:
    """The family that makes `function`; its kernels are loaded now."""
    module, _, name = TABLE[function].family.partition(":")
    return cast("Family", getattr(importlib.import_module(f"headwater.aggregations.{module}"), name))
