"""The aggregations as a user writes them: names, columns and parameters, without a kernel.

The examples are values over events a minute apart, asked for a minute after the last (`headwater.testing.examples`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from headwater.definitions.base import Definition, check_name
from headwater.definitions.durations import Duration, Window, as_window, micros, text
from headwater.definitions.parameters import check_ddof, check_share, check_size
from headwater.definitions.secondary_key import DEFAULT_KEYS, SecondaryKey, secondary_key
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
    detail: str = field(default="", metadata={"fingerprint": False})  # the parameters that stand in a feature's name
    secondary: SecondaryKey | None = None

    def by(self, column: str, *, max_keys: int = DEFAULT_KEYS) -> Aggregation:
        """The same function for each value of `column` on its own: a map from the value to what the function gives, {} for no events.

        Its keys are those that `last_n(column, k=max_keys, distinct=True)` lists over the events that count, in that order: the
        `max_keys` latest, the latest last. What a key maps to is made of all its events in the window. Events where `column` is null do
        not count. Texts, whole numbers, booleans and times can be keys.

        Raises:
            DefinitionError: a function without a state of one size, such as `top_k`; `max_keys` not from 1 to 1000; a second `by`.

        >>> from headwater.testing.examples import value_of
        >>> value_of(sum("amount").by("category", max_keys=2), category=["a", "b", "a", "c"], amount=[1, 2, 3, 4])
        {'a': 4, 'c': 4}
        """
        if self.secondary is not None:
            raise DefinitionError(f"{self.function}() is split by {self.secondary.column!r} already; make one column of both in select")
        return replace(self, secondary=secondary_key(self.function, column, max_keys))

    @property
    def beside(self) -> tuple[str, ...]:
        """The columns that it reads beside those of the function: of `where=` and of the secondary key."""
        secondary = None if self.secondary is None else self.secondary.column
        return tuple(c for c in (self.where, secondary) if c is not None)

    @property
    def skips_null(self) -> bool:
        """Whether an event does not count where a column is null."""
        return bool(self.columns) and (self.each or self.function in ("min_by", "max_by"))

    def __post_init__(self) -> None:
        what = f"{self.function}()"
        for column in (*self.columns, *self.beside):
            if not isinstance(column, str):
                raise DefinitionError(f"{what}: {column!r} is not a column name; make a column with the source's select, and name it here")
        if self.name is not None:
            check_name(self.name, what)
            if self.each and len(self.columns) > 1:
                raise DefinitionError(
                    f"{what}: name={self.name!r} cannot name {len(self.columns)} features; write one {what} for each column"
                )


def _made(
    function: str,
    columns: tuple[str, ...],
    windows: Windows | None,
    where: str | None,
    name: str | None,
    **more: object,
) -> Aggregation:
    if isinstance(windows, str):
        raise DefinitionError(f'{function}(): windows is the text {windows!r}; give a list, such as ["{windows}"]')
    if windows is not None and not isinstance(windows, Sequence):
        raise DefinitionError(f"{function}(): windows is {windows!r}; give a list of durations and windows")
    sized = None if windows is None else tuple(as_window(w, None) for w in windows)
    return Aggregation(function, columns, sized, where, name, **more)  # type: ignore[arg-type]


def _needs(function: str, columns: tuple[str, ...], example: str) -> None:
    if not columns:
        raise DefinitionError(f"{function}() needs a column, such as {function}({example!r})")


def count(*columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """The number of events, or of values that are not null in each column named: int64, 0 when there are none.

    >>> count(where="late", windows=["1h"]).function
    'count'
    """
    return _made("count", columns, windows, where, name, each=True)


def sum(*columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """The sum of a column of numbers or booleans: exact int64 for integers, else float64; 0 when there are none."""
    _needs("sum", columns, "amount")
    return _made("sum", columns, windows, where, name, each=True)


def mean(*columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """The mean of a column of numbers or booleans: float64, null when there are none."""
    _needs("mean", columns, "amount")
    return _made("mean", columns, windows, where, name, each=True)


def min(*columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """The least value of a column, of the column's dtype; null when there are none."""
    _needs("min", columns, "amount")
    return _made("min", columns, windows, where, name, each=True)


def max(*columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """The greatest value of a column, of the column's dtype; null when there are none."""
    _needs("max", columns, "amount")
    return _made("max", columns, windows, where, name, each=True)


def std(*columns: str, ddof: int = 1, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """The standard deviation of a column: float64, null where there are not more than `ddof` values.

    `ddof` 1 is the sample's, 0 the population's.
    """
    _needs("std", columns, "amount")
    return _made("std", columns, windows, where, name, each=True, params=(("ddof", check_ddof(ddof)),))


def first(*columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """The first value that is not null in each column, by (event time, id, value); null when there are none."""
    _needs("first", columns, "page")
    return _made("first", columns, windows, where, name, each=True)


def last(*columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """The last value that is not null in each column, by (event time, id, value); null when there are none."""
    _needs("last", columns, "page")
    return _made("last", columns, windows, where, name, each=True)


def latest(*columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """Every column of the one latest row, nulls included, by (event time, id, the columns in order); null when there is none."""
    _needs("latest", columns, "status")
    return _made("latest", columns, windows, where, name)


def since_last(*, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """Seconds from the last event to T, the end of the window: float64, null when there is none."""
    return _made("since_last", (), windows, where, name)


def open_count(*, until: str, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """How many events in the window are still open: `until` is null, or not before T, or was not known by K. int64, 0 for none.

    A queue: +1 at the event time, -1 at min(until, event time + window). That an event ended is known at `until` plus the
    source's `known_after` (and never before the event itself is known).
    """
    return _made("open_count", (until,), windows, where, name)


def open_age(*, until: str, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """The mean seconds from the event time to T over the events that `open_count` counts: float64, null when none is open."""
    return _made("open_age", (until,), windows, where, name)


def var(*columns: str, ddof: int = 1, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """The variance of a column: float64, null where there are not more than `ddof` values.

    `ddof` 1 is the sample's, 0 the population's.

    >>> from headwater.testing.examples import value_of
    >>> value_of(var("amount"), amount=[1.0, 3.0]), value_of(var("amount", ddof=0), amount=[1.0, 3.0])
    (2.0, 1.0)
    """
    _needs("var", columns, "amount")
    return _made("var", columns, windows, where, name, each=True, params=(("ddof", check_ddof(ddof)),))


def first_n(
    *columns: str, k: int, distinct: bool = False, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """The first `k` values that are not null, oldest first, by (event time, id, value): a list, [] when there are none.

    `distinct`: each value once, where it came first.

    >>> from headwater.testing.examples import value_of
    >>> value_of(first_n("page", k=3), page=["a", "a", "b", "c"]), value_of(first_n("page", k=2, distinct=True), page=["a", "a", "b", "c"])
    (['a', 'a', 'b'], ['a', 'b'])
    """
    _needs("first_n", columns, "page")
    return _made(
        "first_n", columns, windows, where, name, each=True, params=(("k", check_size("first_n", "k", k)), ("distinct", bool(distinct)))
    )


def last_n(
    *columns: str, k: int, distinct: bool = False, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """The last `k` values that are not null, oldest first, by (event time, id, value): a list, [] when there are none.

    `distinct`: each value once, where it came last.

    >>> from headwater.testing.examples import value_of
    >>> value_of(last_n("page", k=3), page=["a", "b", "b", "a"]), value_of(last_n("page", k=3, distinct=True), page=["a", "b", "b", "a"])
    (['b', 'b', 'a'], ['b', 'a'])
    """
    _needs("last_n", columns, "page")
    return _made(
        "last_n", columns, windows, where, name, each=True, params=(("k", check_size("last_n", "k", k)), ("distinct", bool(distinct)))
    )


def count_distinct(*columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """How many different values a column has: int64, 0 when there are none.

    Exact up to 512 values, beyond that HyperLogLog with a standard error of 1.6 %; the same for the same values everywhere.

    >>> from headwater.testing.examples import value_of
    >>> value_of(count_distinct("page"), page=["a", "b", None, "a"])
    2
    """
    _needs("count_distinct", columns, "merchant")
    return _made("count_distinct", columns, windows, where, name, each=True)


def approx_percentile(
    *columns: str, q: float, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """The least value that a share `q` of the values does not exceed, to within 0.8 % of it: float64, null when there are none.

    `q` lies between 0 and 1 and has at most six decimals. It stands in the name: q=0.95 makes `approx_percentile_amount_p95_1h`.
    A DDSketch: it merges exactly, so the value does not depend on how the events were split.

    >>> from headwater.testing.examples import value_of
    >>> value_of(approx_percentile("amount", q=0.5), amount=[1.0, 100.0, 7000.0])
    100.5
    """
    _needs("approx_percentile", columns, "amount")
    share = check_share(q)
    return _made(
        "approx_percentile",
        columns,
        windows,
        where,
        name,
        each=True,
        params=(("q", share),),
        detail=f"p{share * 100:.6g}".replace(".", "_"),
    )


def mode(*columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """The most frequent value of a column, of the column's dtype; the smallest of those equally frequent, null when there are none.

    >>> from headwater.testing.examples import value_of
    >>> value_of(mode("page"), page=["b", "a", "b", "a", "c"])
    'a'
    """
    _needs("mode", columns, "page")
    return _made("mode", columns, windows, where, name, each=True)


def top_k(*columns: str, k: int, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """The `k` most frequent values of a column, those equally frequent smallest first: a list, [] when there are none.

    >>> from headwater.testing.examples import value_of
    >>> value_of(top_k("item", k=2), item=["c", "b", "a", "b"])
    ['b', 'a']
    """
    _needs("top_k", columns, "item")
    return _made("top_k", columns, windows, where, name, each=True, params=(("k", check_size("top_k", "k", k)),))


def collect_set(
    *columns: str, max_size: int, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """The different values of a column in rising order, of more than `max_size` the smallest: a list, [] when there are none.

    >>> from headwater.testing.examples import value_of
    >>> value_of(collect_set("page", max_size=2), page=["c", "b", "b", "a"])
    ['a', 'b']
    """
    _needs("collect_set", columns, "page")
    size = check_size("collect_set", "max_size", max_size)
    return _made("collect_set", columns, windows, where, name, each=True, params=(("max_size", size),))


def min_by(column: str, by: str, *, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """The value of `column` in the event where `by` is least, of several the latest; of `column`'s dtype, null when there is none.

    Events where either is null do not count; among events of one time (and id), the greatest value of `column` is taken.

    >>> from headwater.testing.examples import value_of
    >>> value_of(min_by("item", "price"), item=["a", "b", "c"], price=[3, 2, 2])
    'c'
    """
    return _made("min_by", (column, by), windows, where, name, label=f"{column}_{by}")


def max_by(column: str, by: str, *, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """The value of `column` in the event where `by` is greatest, of several the latest; of `column`'s dtype, null when there is none.

    Events where either is null do not count; among events of one time (and id), the greatest value of `column` is taken.

    >>> from headwater.testing.examples import value_of
    >>> value_of(max_by("item", "price"), item=["a", "b", "c"], price=[3, 2, None])
    'a'
    """
    return _made("max_by", (column, by), windows, where, name, label=f"{column}_{by}")


def decayed_sum(
    *columns: str, half_life: Duration, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """The sum of a column, each value times 2^-((T - event time) / half_life): float64, 0 when there are none.

    The half-life stands in the name: half_life="1h" makes `decayed_sum_amount_halflife_1h_lifetime`.

    >>> from headwater.testing.examples import value_of
    >>> value_of(decayed_sum("amount", half_life="1m"), amount=[8.0, 4.0])  # two minutes and one minute before T
    4.0
    """
    _needs("decayed_sum", columns, "amount")
    return _decayed("decayed_sum", columns, half_life, windows, where, name)


def decayed_mean(
    *columns: str, half_life: Duration, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """The mean of a column, each value weighted with 2^-((T - event time) / half_life): float64, null when there are none.

    >>> from headwater.testing.examples import value_of
    >>> value_of(decayed_mean("amount", half_life="1m"), amount=[8.0, 2.0])  # weights of 1/4 and 1/2
    4.0
    """
    _needs("decayed_mean", columns, "amount")
    return _decayed("decayed_mean", columns, half_life, windows, where, name)


def rate(*columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """Events, or the sum of each column named, per second of the window's length: float64, 0 when there are none.

    The length is the window's own, whatever its hop. A lifetime has none and is refused.

    >>> from headwater.testing.examples import value_of
    >>> value_of(rate(), window="10m", page=["a"] * 6), value_of(rate("amount"), window="10m", amount=[300, 600])
    (0.01, 1.5)
    """
    return _made("rate", columns, windows, where, name, each=True)


def fraction(flag: str, *, windows: Windows | None = None, where: str | None = None, name: str | None = None) -> Aggregation:
    """The share of events where the boolean column `flag` is true (null is not): float64, null when there are no events.

    >>> from headwater.testing.examples import value_of
    >>> value_of(fraction("late"), late=[True, False, None, False])
    0.25
    """
    return _made("fraction", (flag,), windows, where, name, label=flag)


def ratio(
    numerator: str, denominator: str, *, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """The sum of one column over the sum of another, nulls skipped in each: float64, null where the second sum is 0 or of nothing.

    >>> from headwater.testing.examples import value_of
    >>> value_of(ratio("clicks", "views"), clicks=[1, 2, None], views=[4, 4, 4])
    0.25
    """
    return _made("ratio", (numerator, denominator), windows, where, name, label=f"{numerator}_{denominator}")


def _decayed(
    function: str, columns: tuple[str, ...], half_life: Duration, windows: Windows | None, where: str | None, name: str | None
) -> Aggregation:
    life = micros(half_life, f"{function}(): half_life")
    if life == 0:
        raise DefinitionError(f"{function}(): half_life is {half_life!r}; give a positive duration such as '1h'")
    params = (("half_life", life),)
    return _made(function, columns, windows, where, name, each=True, params=params, detail=f"halflife_{text(life)}")
