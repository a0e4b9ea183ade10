"""The aggregations as a user writes them: names, columns and parameters, without a kernel.

The examples are values over events a minute apart, asked for a minute after the last
(`headwater.testing.examples`).
"""

from __future__ import annotations

from headwater.definitions.checks import (
    Duration,
    check,
    check_integer,
    check_number,
    micros,
    spelled,
    text,
)
from headwater.definitions.feature_view import Aggregation, Windows, made, needs


@spelled
def count(
    *columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """The number of events, or of values that are not null in each column named: int64, 0 when
    there are none.

    >>> count(where="late", windows=["1h"]).function
    'count'
    """
    return made("count", columns, windows, where, name, each=True)


@spelled
def sum(
    *columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """The sum of a column of numbers or booleans: exact int64 for integers, else float64; 0 when
    there are none.
    """
    needs("sum", columns, "amount")
    return made("sum", columns, windows, where, name, each=True)


@spelled
def mean(
    *columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """The mean of a column of numbers or booleans: float64, null when there are none."""
    needs("mean", columns, "amount")
    return made("mean", columns, windows, where, name, each=True)


@spelled
def min(
    *columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """The least value of a column, of the column's dtype; null when there are none."""
    needs("min", columns, "amount")
    return made("min", columns, windows, where, name, each=True)


@spelled
def max(
    *columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """The greatest value of a column, of the column's dtype; null when there are none."""
    needs("max", columns, "amount")
    return made("max", columns, windows, where, name, each=True)


@spelled
def std(
    *columns: str,
    ddof: int = 1,
    windows: Windows | None = None,
    where: str | None = None,
    name: str | None = None,
) -> Aggregation:
    """The standard deviation of a column: float64, null where there are not more than `ddof`
    values.

    `ddof` 1 is the sample's, 0 the population's.
    """
    needs("std", columns, "amount")
    return made("std", columns, windows, where, name, each=True, params=_ddof("std", ddof))


@spelled
def first(
    *columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """The first value that is not null in each column, by (event time, id, value); null when there
    are none.
    """
    needs("first", columns, "page")
    return made("first", columns, windows, where, name, each=True)


@spelled
def last(
    *columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """The last value that is not null in each column, by (event time, id, value); null when there
    are none.
    """
    needs("last", columns, "page")
    return made("last", columns, windows, where, name, each=True)


@spelled
def latest(
    *columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """Every column of the one latest row, nulls included, by (event time, id, the columns in
    order); null when there is none.
    """
    needs("latest", columns, "status")
    return made("latest", columns, windows, where, name)


@spelled
def since_last(
    *, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """Seconds from the last event to T, the end of the window: float64, null when there is none."""
    return made("since_last", (), windows, where, name)


@spelled
def open_count(
    *, until: str, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """How many events in the window are still open: `until` is null, or not before T, or was not
    known by K. int64, 0 for none.

    A queue: +1 at the event time, -1 at min(until, event time + window). That an event ended is
    known at `until` plus the source's `known_after` (and never before the event itself is known).
    """
    return made("open_count", (until,), windows, where, name)


@spelled
def open_age(
    *, until: str, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """The mean seconds from the event time to T over the events that `open_count` counts: float64,
    null when none is open.
    """
    return made("open_age", (until,), windows, where, name)


@spelled
def var(
    *columns: str,
    ddof: int = 1,
    windows: Windows | None = None,
    where: str | None = None,
    name: str | None = None,
) -> Aggregation:
    """The variance of a column: float64, null where there are not more than `ddof` values.

    `ddof` 1 is the sample's, 0 the population's.

    >>> from headwater.testing.examples import value_of
    >>> (
    ...     value_of(var("amount"), amount=[1.0, 3.0]),
    ...     value_of(var("amount", ddof=0), amount=[1.0, 3.0]),
    ... )
    (2.0, 1.0)
    """
    needs("var", columns, "amount")
    return made("var", columns, windows, where, name, each=True, params=_ddof("var", ddof))


@spelled
def first_n(
    *columns: str,
    k: int,
    distinct: bool = False,
    windows: Windows | None = None,
    where: str | None = None,
    name: str | None = None,
) -> Aggregation:
    """The first `k` values that are not null, oldest first, by (event time, id, value): a list, []
    when there are none.

    `distinct`: each value once, where it came first.

    >>> from headwater.testing.examples import value_of
    >>> (
    ...     value_of(first_n("page", k=3), page=["a", "a", "b", "c"]),
    ...     value_of(first_n("page", k=2, distinct=True), page=["a", "a", "b", "c"]),
    ... )
    (['a', 'a', 'b'], ['a', 'b'])
    """
    needs("first_n", columns, "page")
    params = (*_size("first_n", "k", k), ("distinct", bool(distinct)))
    return made("first_n", columns, windows, where, name, each=True, params=params)


@spelled
def last_n(
    *columns: str,
    k: int,
    distinct: bool = False,
    windows: Windows | None = None,
    where: str | None = None,
    name: str | None = None,
) -> Aggregation:
    """The last `k` values that are not null, oldest first, by (event time, id, value): a list, []
    when there are none.

    `distinct`: each value once, where it came last.

    >>> from headwater.testing.examples import value_of
    >>> (
    ...     value_of(last_n("page", k=3), page=["a", "b", "b", "a"]),
    ...     value_of(last_n("page", k=3, distinct=True), page=["a", "b", "b", "a"]),
    ... )
    (['b', 'b', 'a'], ['b', 'a'])
    """
    needs("last_n", columns, "page")
    params = (*_size("last_n", "k", k), ("distinct", bool(distinct)))
    return made("last_n", columns, windows, where, name, each=True, params=params)


@spelled
def count_distinct(
    *columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """How many different values a column has: int64, 0 when there are none.

    Exact up to 512 values, beyond that HyperLogLog with a standard error of 1.6 %; the same for the
    same values everywhere.

    >>> from headwater.testing.examples import value_of
    >>> value_of(count_distinct("page"), page=["a", "b", None, "a"])
    2
    """
    needs("count_distinct", columns, "merchant")
    return made("count_distinct", columns, windows, where, name, each=True)


@spelled
def approx_percentile(
    *columns: str,
    q: float,
    windows: Windows | None = None,
    where: str | None = None,
    name: str | None = None,
) -> Aggregation:
    """The least value that a share `q` of the values does not exceed, to within 0.8 % of it:
    float64, null when there are none.

    `q` lies between 0 and 1 and has at most six decimals. It stands in the name: q=0.95 makes
    `approx_percentile_amount_p95_1h`. A DDSketch: it merges exactly, so the value does not depend
    on how the events were split.

    >>> from headwater.testing.examples import value_of
    >>> value_of(approx_percentile("amount", q=0.5), amount=[1.0, 100.0, 7000.0])
    100.5
    """
    needs("approx_percentile", columns, "amount")
    subject, decimals = "approx_percentile(): q", "with at most six decimals, such as 0.95"
    check_number(q, subject, "a share", least=0, most=1, note=decimals)
    check(abs(q * 1e6 - round(q * 1e6)) <= 1e-6, q, subject, f"a share {decimals}")
    params, detail = (("q", float(q)),), f"p{q * 100:.6g}".replace(".", "_")
    return made(
        "approx_percentile", columns, windows, where, name, each=True, params=params, detail=detail
    )


@spelled
def mode(
    *columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """The most frequent value of a column, of the column's dtype; the smallest of those equally
    frequent, null when there are none.

    >>> from headwater.testing.examples import value_of
    >>> value_of(mode("page"), page=["b", "a", "b", "a", "c"])
    'a'
    """
    needs("mode", columns, "page")
    return made("mode", columns, windows, where, name, each=True)


@spelled
def top_k(
    *columns: str,
    k: int,
    windows: Windows | None = None,
    where: str | None = None,
    name: str | None = None,
) -> Aggregation:
    """The `k` most frequent values of a column, those equally frequent smallest first: a list, []
    when there are none.

    >>> from headwater.testing.examples import value_of
    >>> value_of(top_k("item", k=2), item=["c", "b", "a", "b"])
    ['b', 'a']
    """
    needs("top_k", columns, "item")
    return made("top_k", columns, windows, where, name, each=True, params=_size("top_k", "k", k))


@spelled
def collect_set(
    *columns: str,
    max_size: int,
    windows: Windows | None = None,
    where: str | None = None,
    name: str | None = None,
) -> Aggregation:
    """The different values of a column in rising order, of more than `max_size` the smallest: a
    list, [] when there are none.

    >>> from headwater.testing.examples import value_of
    >>> value_of(collect_set("page", max_size=2), page=["c", "b", "b", "a"])
    ['a', 'b']
    """
    needs("collect_set", columns, "page")
    params = _size("collect_set", "max_size", max_size)
    return made("collect_set", columns, windows, where, name, each=True, params=params)


@spelled
def min_by(
    column: str,
    by: str,
    *,
    windows: Windows | None = None,
    where: str | None = None,
    name: str | None = None,
) -> Aggregation:
    """The value of `column` in the event where `by` is least, of several the latest; of `column`'s
    dtype, null when there is none.

    Events where either is null do not count; among events of one time (and id), the greatest value
    of `column` is taken.

    >>> from headwater.testing.examples import value_of
    >>> value_of(min_by("item", "price"), item=["a", "b", "c"], price=[3, 2, 2])
    'c'
    """
    return made("min_by", (column, by), windows, where, name, label=f"{column}_{by}")


@spelled
def max_by(
    column: str,
    by: str,
    *,
    windows: Windows | None = None,
    where: str | None = None,
    name: str | None = None,
) -> Aggregation:
    """The value of `column` in the event where `by` is greatest, of several the latest; of
    `column`'s dtype, null when there is none.

    Events where either is null do not count; among events of one time (and id), the greatest value
    of `column` is taken.

    >>> from headwater.testing.examples import value_of
    >>> value_of(max_by("item", "price"), item=["a", "b", "c"], price=[3, 2, None])
    'a'
    """
    return made("max_by", (column, by), windows, where, name, label=f"{column}_{by}")


@spelled
def decayed_sum(
    *columns: str,
    half_life: Duration,
    windows: Windows | None = None,
    where: str | None = None,
    name: str | None = None,
) -> Aggregation:
    """The sum of a column, each value times 2^-((T - event time) / half_life): float64, 0 when
    there are none.

    The half-life stands in the name: half_life="1h" makes
    `decayed_sum_amount_halflife_1h_lifetime`.

    >>> from headwater.testing.examples import value_of
    >>> value_of(
    ...     decayed_sum("amount", half_life="1m"), amount=[8.0, 4.0]
    ... )  # two minutes and one minute before T
    4.0
    """
    needs("decayed_sum", columns, "amount")
    return _decayed("decayed_sum", columns, half_life, windows, where, name)


@spelled
def decayed_mean(
    *columns: str,
    half_life: Duration,
    windows: Windows | None = None,
    where: str | None = None,
    name: str | None = None,
) -> Aggregation:
    """The mean of a column, each value weighted with 2^-((T - event time) / half_life): float64,
    null when there are none.

    >>> from headwater.testing.examples import value_of
    >>> value_of(
    ...     decayed_mean("amount", half_life="1m"), amount=[8.0, 2.0]
    ... )  # weights of 1/4 and 1/2
    4.0
    """
    needs("decayed_mean", columns, "amount")
    return _decayed("decayed_mean", columns, half_life, windows, where, name)


@spelled
def rate(
    *columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """Events, or the sum of each column named, per second of the window's length: float64, 0 when
    there are none.

    The length is that of the window, not of its hop. A lifetime has no length and is refused.

    >>> from headwater.testing.examples import value_of
    >>> (
    ...     value_of(rate(), window="10m", page=["a"] * 6),
    ...     value_of(rate("amount"), window="10m", amount=[300, 600]),
    ... )
    (0.01, 1.5)
    """
    return made("rate", columns, windows, where, name, each=True)


@spelled
def fraction(
    flag: str, *, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """The share of events where the boolean column `flag` is true (null is not): float64, null when
    there are no events.

    >>> from headwater.testing.examples import value_of
    >>> value_of(fraction("late"), late=[True, False, None, False])
    0.25
    """
    return made("fraction", (flag,), windows, where, name, label=flag)


@spelled
def ratio(
    numerator: str,
    denominator: str,
    *,
    windows: Windows | None = None,
    where: str | None = None,
    name: str | None = None,
) -> Aggregation:
    """The sum of one column over the sum of another, nulls skipped in each: float64, null where the
    second sum is 0 or of nothing.

    >>> from headwater.testing.examples import value_of
    >>> value_of(ratio("clicks", "views"), clicks=[1, 2, None], views=[4, 4, 4])
    0.25
    """
    return made(
        "ratio", (numerator, denominator), windows, where, name, label=f"{numerator}_{denominator}"
    )


def _decayed(
    function: str,
    columns: tuple[str, ...],
    half_life: Duration,
    windows: Windows | None,
    where: str | None,
    name: str | None,
) -> Aggregation:
    life = micros(half_life, f"{function}(): half_life", positive=True)
    params = (("half_life", life),)
    return made(
        function,
        columns,
        windows,
        where,
        name,
        each=True,
        params=params,
        detail=f"halflife_{text(life)}",
    )


def _size(function: str, parameter: str, value: int) -> tuple[tuple[str, int]]:
    """The parameter that says how many."""
    check_integer(value, f"{function}(): {parameter}", least=1, most=100_000)
    return ((parameter, value),)


def _ddof(function: str, value: int) -> tuple[tuple[str, int]]:
    """The parameter with the degrees of freedom that a deviation takes off."""
    give = "1 for the sample's deviation or 0 for the population's"
    check(type(value) is int and value in (0, 1), value, f"{function}(): ddof", give)
    return (("ddof", value),)
