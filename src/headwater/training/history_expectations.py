"""Expectations of sources, checked where their history is read: what breaks one is a warning, and
counts as before.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import polars as pl

from headwater.definitions.definition import stack_level
from headwater.definitions.source import EnrichedHistory, Expect, Expectation, Source
from headwater.errors import HeadwaterWarning
from headwater.events.expected_values import of_days
from headwater.events.read_events import column, selected, timestamp_micros
from headwater.results.expectation_result import ExpectationCheck

_DAY = 86_400_000_000


def check_history(source: Source, *, days: tuple[int, int] | None = None) -> list[ExpectationCheck]:
    """What comes of each expectation of a source over its history, by the day of each event, UTC.

    The first and the last day of a history may be parts of days, so expectations of the number of
    rows do not apply to them.

    Args:
        source: an enriched one, or one without a history, has nothing to check.
        days: whole days from the first up to before the second, days since 1970; None is all of the
            history.

    Raises:
        DataError: a column that the table does not have, or a table that cannot be read.

    >>> import headwater as hw
    >>> visits = pl.DataFrame(
    ...     {"pages": [1, 2, -1], "at": pl.Series([0, 1, 2]).cast(pl.Datetime("us", "UTC"))}
    ... )
    >>> expected = [hw.Expect("pages", in_range=(0, None)), hw.ExpectRows(at_least=2)]
    >>> for check in check_history(
    ...     hw.Source("visits", history=visits, timestamp_field="at", expectations=expected)
    ... ):
    ...     print(check)
    source visits, pages: in_range (0, none): broken by 1 of 3 rows, on 1 of 1 days, the last 1970-01-01
    source visits, rows a day: at least 2: holds for 3 rows
    """  # noqa: E501 (output as it is printed)
    expectations = source.expectations
    if not expectations or source.history is None or isinstance(source.history, EnrichedHistory):
        return []
    subject = f"source {source.name!r}"
    names = {expected.column for expected in expectations if isinstance(expected, Expect)}
    chosen = selected(
        source.table, source.select, source.filter, [source.timestamp_field, *names], subject
    )
    for name in names:
        column(name, chosen.schema, subject)
    day = timestamp_micros(
        source.timestamp_field, chosen.schema, source.timezone, subject, days=True
    ).floordiv(_DAY)
    rows = chosen.frame.select(day.cast(pl.Int32).cast(pl.Date).alias("__day"), *names).drop_nulls(
        "__day"
    )
    if days is not None:
        rows = rows.filter(pl.col("__day").cast(pl.Int32).is_between(*days, closed="left"))
    return checks_of(
        f"source {source.name}",
        expectations,
        of_days(rows, "__day", expectations),
        whole=days is not None,
    )


def checks_of(
    subject: str, expectations: Iterable[Expectation], days: pl.DataFrame, *, whole: bool
) -> list[ExpectationCheck]:
    """What comes of expectations; `days` as `of_days` counts them, the first column the day. whole:
    whether all are whole days.
    """
    total, day = int(days["rows"].sum()), days.columns[0]
    checks = []
    for n, expected in enumerate(expectations):
        counted = days if whole or isinstance(expected, Expect) else days[1:-1]
        broken = (
            counted.filter(pl.col(f"day_{n}").fill_null(value=False))[day].cast(pl.String).to_list()
        )
        last = str(counted[day][-1]) if counted.height else ""
        checks.append(
            ExpectationCheck(
                subject,
                expected.describe(),
                total,
                int(days[f"broken_{n}"].sum()),
                counted.height,
                broken,
                last,
            )
        )
    return checks


def warn_of_broken(sources: Iterable[Source], *, days: tuple[int, int] | None = None) -> None:
    """Warn of each expectation that a history breaks; costs nothing where none is declared. days:
    as `check_history`.
    """
    for source in sources:
        for check in check_history(source, days=days):
            if not check.holds:
                warnings.warn(str(check), HeadwaterWarning, stacklevel=stack_level())
