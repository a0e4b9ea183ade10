"""Labels: the time of each request, its outcome, and when the outcome was known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING

from headwater.definitions.checks import (
    Duration,
    check_columns,
    check_reference,
    check_text,
    check_timezone,
    check_type,
    micros,
    text,
)
from headwater.definitions.connectors import Table, as_table
from headwater.definitions.definition import Definition, check_name
from headwater.definitions.feature_view import Aggregation
from headwater.definitions.source import (
    Selection,
    Source,
    check_known,
    check_selection,
    output_name,
    root_columns,
)
from headwater.definitions.windows import Window
from headwater.errors import DefinitionError

if TYPE_CHECKING:
    import polars as pl

    from headwater.definitions.connectors import TableLike


@dataclass(frozen=True, eq=False, init=False)
class Outcome(Definition, called="outcome"):
    """The label `aggregation` over the source's events with event time in [t, t + within), for the
    request's keys.

    It is known `within` plus the source's `known_after` after the request; events known later than
    that do not count.

    Args:
        source: the events that make the outcome.
        aggregation: such as `count()`; a request without an event gets its empty value, and is left
            out if that is null.
        keys: columns of both the labels' table and the source.
        within: how long after the request an event still counts.
    """

    source: Source
    aggregation: Aggregation
    keys: tuple[str, ...]
    within: Duration

    def __init__(
        self,
        source: Source,
        aggregation: Aggregation,
        *,
        keys: Sequence[str],
        within: Duration,
    ) -> None:
        horizon = micros(within, "outcome(): within", positive=True)
        example = "as in outcome(clicks, hw.count(), keys=['request'], within='30m')"
        check_type(source, Source, "outcome(): source", f"a hw.Source, {example}")
        check_type(aggregation, Aggregation, "outcome(): aggregation", f"an aggregation, {example}")
        columns = check_columns(keys, "outcome(): keys")
        if (aggregation.each or aggregation.facts.per_column) and len(aggregation.columns) > 1:
            raise DefinitionError(
                f"outcome(): {aggregation.function}() of {len(aggregation.columns)} columns makes "
                "as many labels; give it one column"
            )
        for key in columns:
            check_reference(
                key,
                source.columns,
                f"outcome(): the key {key!r} is not selected by source {source.name!r}",
            )
        self._set(source=source, aggregation=aggregation, keys=columns, within=text(horizon))

    @property
    def horizon(self) -> int:
        """`within` in microseconds."""
        return micros(self.within, "within")

    @property
    def window(self) -> Window:
        """The window whose end is the request time plus the horizon; its tail does not move in
        hops.
        """
        return Window.in_micros(self.horizon)


outcome = Outcome


@dataclass(frozen=True, eq=False)
class Labels(Definition):
    """The requests of the past, one row each, with their outcome.

    Args:
        name: letters, digits and single underscores.
        table: `parquet(path)`, `csv(path)`, a path or URL, a lazy frame of polars (collected once),
            or any frame with an Arrow interface.
        timestamp_field: when the prediction is asked for: a column of the table, or one made by
            `select`.
        label: the column with the outcome, or `outcome(...)`.
        select: the columns to keep and make; None keeps all.
        filter: a row-wise polars expression; rows where it is not true are left out.
        known_at_field: the column with the time at which the outcome was known.
        known_after: how long after the request the outcome is known, where no column says.
        timezone: the IANA zone of naive timestamps, and of days where `known_at_field` is a Date:
            the end of its day.
        weight: the column with how much a row counts in training, 0 or more; the estimator's `fit`
            gets it as `sample_weight`. Metrics count all rows alike.
        exact_times: whether requests are made at exactly these times, as by a job each night. Else
            request times of whole days, hours or minutes count as rounded down, and levels that
            differ by less than that cannot be measured.

    A row trains a model only if its outcome was known at the split. Rows whose outcome or weight is
    null are left out and counted.

    Raises:
        DefinitionError: a bad name, duration or selection; no rule for when the outcome is known.
    """

    name: str
    _: KW_ONLY
    table: TableLike
    timestamp_field: str
    label: str | Outcome
    select: Selection | None = None
    filter: pl.Expr | None = None
    known_at_field: str | None = None
    known_after: Duration | None = None
    timezone: str | None = None
    weight: str | None = field(default=None, metadata={"fingerprint": "given"})
    exact_times: bool = field(default=False, metadata={"fingerprint": "given"})

    def __post_init__(self) -> None:
        self.remember_site()
        check_name(self.name, "labels")
        subject = f"labels {self.name!r}"
        object.__setattr__(self, "table", as_table(self.table, f"{subject}: table"))
        check_selection(self.select, self.filter, subject)
        check_timezone(self.timezone, subject)
        if self.weight is not None:
            check_text(
                self.weight,
                f"{subject}: weight",
                "the name of the column with how much a row counts in training",
            )
        if self.select is not None:
            object.__setattr__(self, "select", tuple(self.select))
        if isinstance(self.label, Outcome):
            if self.known_at_field is not None or self.known_after is not None:
                raise DefinitionError(
                    f"{subject}: an outcome is known at its horizon; leave known_at_field and "
                    "known_after out"
                )
            return
        check_text(
            self.label,
            f"{subject}: label",
            "the name of a column, or outcome(source, aggregation, keys=, within=)",
        )
        if self.known_at_field is None and self.known_after is None:
            raise DefinitionError(
                f"{subject} does not say when the outcome is known; give known_at_field=, or "
                "known_after= (how long after the request). Without it, a model would be trained "
                "on outcomes that were not known yet."
            )
        if self.known_after is not None:
            check_known(self.known_at_field, self.known_after, subject)
            object.__setattr__(
                self, "known_after", text(micros(self.known_after, f"{subject}: known_after"))
            )

    @property
    def data(self) -> Table:
        """The table."""
        return as_table(self.table, "table")

    @property
    def label_name(self) -> str:
        """The column that the outcome stands in."""
        return self.label if isinstance(self.label, str) else self.name

    @property
    def maturity(self) -> int | None:
        """How long after the request the outcome is known, in microseconds; None where a column
        says.
        """
        if isinstance(self.label, Outcome):
            return self.label.horizon + self.label.source.delay
        return None if self.known_after is None else micros(self.known_after, "known_after")

    @property
    def label_roots(self) -> frozenset[str]:
        """The columns of the table that the label is made of."""
        if isinstance(self.label, Outcome):
            return frozenset()
        definition = next(
            (i for i in self.select or () if output_name(i) == self.label), self.label
        )
        return root_columns(definition)
