"""The properties of each aggregation function that definitions depend on; `aggregations.table` has
how each is computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from headwater.plugins import Rows

# "sum": int64 of integers and booleans, else float64; "list": of the same
Gives = Literal["int", "float", "same", "sum", "list"]


@dataclass(frozen=True)
class Function:
    """One function of aggregations, as far as a user's definitions depend on it.

    Args:
        gives: the type of its values.
        splits: whether `.by()` can split it: its state is of one size for each category.
        needs_length: whether it divides by the length of its window, so that a lifetime is refused.
        skips_null: whether an event does not count where any of several columns is null; a single
            column's nulls never count.
        per_column: whether it makes a feature of each column of one row.
        queue: whether its column holds the end of each event: it need not be selected, and a null
            means that the event is open.
    """

    gives: Gives
    splits: bool = False
    needs_length: bool = False
    skips_null: bool = False
    per_column: bool = False
    queue: bool = False

    @property
    def gives_list(self) -> bool:
        """Whether its values are lists."""
        return self.gives == "list"


_ROWS: Mapping[str, Function] = {
    "count": Function("int", splits=True),
    "sum": Function("sum", splits=True),
    "mean": Function("float", splits=True),
    "min": Function("same", splits=True),
    "max": Function("same", splits=True),
    "std": Function("float", splits=True),
    "first": Function("same", splits=True),
    "last": Function("same", splits=True),
    "latest": Function("same", per_column=True),
    "since_last": Function("float", splits=True),
    "open_count": Function("int", queue=True),
    "open_age": Function("float", queue=True),
    "var": Function("float", splits=True),
    "first_n": Function("list"),
    "last_n": Function("list"),
    "count_distinct": Function("int"),
    "approx_percentile": Function("float"),
    "mode": Function("same"),
    "top_k": Function("list"),
    "collect_set": Function("list"),
    "min_by": Function("same", splits=True, skips_null=True),
    "max_by": Function("same", splits=True, skips_null=True),
    "decayed_sum": Function("float", splits=True),
    "decayed_mean": Function("float", splits=True),
    "rate": Function("float", splits=True, needs_length=True),
    "fraction": Function("float", splits=True),
    "ratio": Function("float", splits=True),
}

FUNCTIONS = Rows(_ROWS)
"""By name; `aggregations.table.TABLE` has a row for each."""
