"""The labelled requests, and what a column of their table is to a request: known with it, or an
outcome, which comes after it.

Definitions say most of it: what a request carries, what the label is made of, when that is known.
Where they leave it open (a label made of a promise and of what came of it), an outcome is what says
the label by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import polars as pl

from headwater.backtesting.audit import thresholds
from headwater.backtesting.audit.association import strength
from headwater.connectors import scan
from headwater.definitions.model import Model
from headwater.definitions.source import output_name, root_columns
from headwater.events.read_events import collect, timestamp_micros
from headwater.kernel.arrays import F64, I64, Bool
from headwater.results.audit_result import Severity
from headwater.training.requests import Requests

_NULL = np.iinfo(np.int64).min


class LabelledRows:
    """The labelled requests of a model with their features and outcomes; see `AuditInputs`."""

    model: Model
    requests: Requests
    frame: pl.DataFrame
    y: F64

    @cached_property
    def sample(self) -> I64:
        """The positions of at most `thresholds.SAMPLE` requests, evenly spaced, and of more with a
        rare outcome: int64.
        """
        return self.with_rare(np.arange(len(self.requests.t)), thresholds.SAMPLE)

    def with_rare(self, rows: I64, most: int) -> I64:
        """At most `most` of the rows, evenly spaced, and of two outcomes at least `thresholds.RARE`
        each, if there are: int64, in order.
        """
        even, y = spread(rows, most), self.y
        if len(even) == len(rows) or not self.model.task_type.positives:
            return even
        rare = [outcome for outcome in (0.0, 1.0) if (y[even] == outcome).sum() < thresholds.RARE]
        return np.unique(
            np.concatenate(
                [even, *(spread(rows[y[rows] == outcome], thresholds.RARE) for outcome in rare)]
            )
        )

    def weights(self, rows: I64) -> F64:
        """How many requests each of these rows stands for: float64 (rows)."""
        if not self.model.task_type.positives:
            return np.full(len(rows), len(self.y) / max(len(rows), 1))
        outcome = (self.y > 0).astype(np.int64)
        return (
            np.bincount(outcome, minlength=2)
            / np.maximum(np.bincount(outcome[rows], minlength=2), 1)
        )[outcome[rows]]

    def share(self, counted: Bool, rows: I64) -> float:
        """The share of requests for which this is true: bool (rows), and their positions."""
        weights = self.weights(rows)
        return float(weights[counted].sum() / weights.sum()) if len(rows) else 0.0

    def gravity(self, counted: Bool, rows: I64, having: Bool | None = None) -> Severity:
        """LEAK where the proof holds for 1 % of the requests and 50 of each outcome, else SUSPECT:
        bool (rows), their positions.

        having: the rows that show it (50 of each outcome are needed), where not all of them are
        counted: bool (rows).
        """
        if self.share(counted, rows) < thresholds.LEAK_SHARE:
            return "SUSPECT"
        shown = counted if having is None else having
        task, y, weights = self.model.task_type, self.y[rows][shown], self.weights(rows)[shown]
        if not (task.classes or task.positives):
            return "LEAK" if weights.sum() >= 2 * thresholds.LEAK_REQUESTS else "SUSPECT"
        enough = [
            (y == outcome).sum() >= thresholds.LEAK_ROWS
            and weights[y == outcome].sum() >= thresholds.LEAK_REQUESTS
            for outcome in np.unique(y)
        ]
        return "LEAK" if sum(enough) > 1 else "SUSPECT"

    @cached_property
    def label_rows(self) -> pl.DataFrame:
        """The labelled requests with all columns of their table, in the order of the requests;
        those they select where rows do not match.

        Columns that the labels make replace those of their table.
        """
        labels = self.model.labels
        made = [item for item in labels.select or () if not isinstance(item, str)]
        frame = scan(labels.data)
        frame = frame if labels.filter is None else frame.filter(labels.filter)
        frame = frame.with_columns(made)
        needed = [
            labels.timestamp_field,
            labels.known_at_field,
            labels.weight,
            labels.label if isinstance(labels.label, str) else None,
        ]
        rows = collect(
            frame.drop_nulls([name for name in needed if name]), f"labels {labels.name!r}"
        )
        same = rows.height == len(self.requests.t)
        if same:
            request_time = timestamp_micros(
                labels.timestamp_field, rows.schema, labels.timezone, f"labels {labels.name!r}"
            )
            same = bool(
                np.array_equal(rows.select(request_time).to_series().to_numpy(), self.requests.t)
            )
        return rows if same else self.requests.frame

    @cached_property
    def carried(self) -> frozenset[str]:
        """The columns of the labels' table that a request knows: the model's request fields, and
        selected columns other than the outcome and its known_at. A column that is computed from
        another one does not reveal it.
        """
        labels = self.model.labels
        names = {labels.timestamp_field, *self.model.features.needed_by()}
        if labels.select is not None:
            names |= {output_name(item) for item in labels.select} - {
                labels.label_name,
                labels.known_at_field or "",
            }
        return _as_they_are(labels.select, names) - labels.label_roots

    @cached_property
    def later(self) -> Mapping[str, I64]:
        """The timestamps of the sampled label rows that come after the request, at no constant
        distance, and that it does not carry.

        int64 microseconds, the smallest int64 for null.
        """
        rows, request_times, later = self.label_rows[self.sample], self.requests.t[self.sample], {}
        for series in rows.get_columns():
            if not isinstance(series.dtype, pl.Datetime) or series.name in self.carried:
                continue
            stamps = series.dt.epoch("us")
            offset = (stamps - pl.Series(request_times)).drop_nulls().to_numpy()
            fixed = len(offset) > 0 and (offset == np.median(offset)).mean() >= thresholds.DERIVED
            if len(offset) and (offset > 0).mean() >= thresholds.AFTER and not fixed:
                later[series.name] = stamps.fill_null(_NULL).to_numpy()
        return later

    @cached_property
    def outcome_columns(self) -> frozenset[str]:
        """The columns that the label is made of and that come after the request.

        A label of one column is made of the outcome. Of several, those that the model asks of the
        request are none; of the rest, if it is more than one, the time at which the label is known,
        the only later timestamp, and what says the label by itself.
        """
        labels = self.model.labels
        roots = labels.label_roots - {labels.timestamp_field}
        if len(roots) < 2:
            return roots
        rest = roots - _as_they_are(labels.select, {*self.model.features.needed_by()})
        if len(rest) == 1:
            return rest
        later = (rest or roots) & {*self.later}
        known_columns = later if len(later) == 1 else later & {labels.known_at_field or ""}
        return known_columns | {name for name in rest or roots if self.says_outcome(name)}

    def says_outcome(self, name: str) -> bool:
        """Whether a column of the label rows says the outcome by itself, a later timestamp by how
        long after the request it is.
        """
        if name not in self.label_rows.columns:
            return False
        series = self.label_rows[name][self.sample]
        if name in self.later:
            stamps = pl.Series(self.later[name])
            series = (stamps - pl.Series(self.requests.t[self.sample])).set(stamps == _NULL, None)
        return (
            strength(series, self.y[self.sample], self.model.task_type) >= thresholds.OUTCOME_ITSELF
        )

    @cached_property
    def outcome_timestamps(self) -> frozenset[str]:
        """The later timestamps that are outcomes: columns of the label, and the time at which the
        label is known.

        That one may be planned, as an appointment is whose outcome is seen then: a request field
        made of it says so, unless its distance from the request says the outcome.
        """
        known = self.model.labels.known_at_field
        times = self.outcome_columns & {*self.later}
        if (
            known is not None
            and known in self.later
            and (known not in self._promised or self.says_outcome(known))
        ):
            return times | {known}
        return times

    @cached_property
    def _promised(self) -> set[str]:
        """The later timestamps that a request field is made of, by definition or by its values."""
        select, names = self.model.labels.select, self.model.features.needed_by()
        by_definition = frozenset[str]().union(*(roots_of(select, name) for name in names)) & {
            *self.later
        }
        return {*by_definition, *(end for _, end in self.spans.values())}

    @cached_property
    def spans(self) -> dict[str, tuple[str, str]]:
        """The request fields that are the time between two timestamps, the second of them later
        than the request, and these.
        """
        names = (name for name in request_names(self.model) if name in self.frame.columns)
        return {name: span for name in names if (span := self._span_of(name)) is not None}

    def _span_of(self, name: str) -> tuple[str, str] | None:
        series = self.frame[name][self.sample]
        if not (series.dtype.is_numeric() or isinstance(series.dtype, pl.Datetime)):
            return None
        value = series.to_physical().cast(pl.Float64).fill_null(np.nan).to_numpy()
        rows = self.label_rows[self.sample]
        starts = {"the request time": self.requests.t[self.sample]} | {
            column.name: column.dt.epoch("us").fill_null(_NULL).to_numpy()
            for column in rows.get_columns()
            if isinstance(column.dtype, pl.Datetime)
        }
        for end, stamps in self.later.items():
            for start, begins in starts.items():
                both = (stamps > 0) & (begins > 0) & ~np.isnan(value)
                if (
                    end != start
                    and both.sum() >= thresholds.FEWEST
                    and _same((stamps - begins)[both].astype(np.float64), value[both])
                ):
                    return start, end
        return None


def spread(rows: I64, most: int = thresholds.SAMPLE) -> I64:
    """At most `most` of the rows, evenly spaced."""
    return rows if len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]


def _as_they_are(select: Sequence[str | pl.Expr] | None, names: set[str]) -> frozenset[str]:
    """The columns of the table that stand unchanged under these names."""
    made = {output_name(item): item for item in select or () if not isinstance(item, str)}
    renamed = {name: item.meta.undo_aliases() for name, item in made.items() if name in names}
    return frozenset(names - {*made}).union(
        *(item.meta.root_names() for item in renamed.values() if item.meta.is_column())
    )


def roots_of(select: Sequence[str | pl.Expr] | None, name: str) -> frozenset[str]:
    """The columns of the labels' table that one that they select is made of."""
    item_or_name = next((item for item in select or () if output_name(item) == name), name)
    return root_columns(item_or_name)


def request_names(model: Model) -> list[str]:
    """The features of the model that come with the request or are computed from it alone."""
    features = model.features
    return [field.name for field in features.request_fields] + [
        made.name for made in features.request_features if not made.inputs
    ]


def _same(span: F64, value: F64) -> bool:
    if np.ptp(span) == 0 or np.ptp(value) == 0:
        return False
    ranks = [pl.Series(numbers).rank("average").to_numpy() for numbers in (span, value)]
    return abs(float(np.corrcoef(ranks[0], ranks[1])[0, 1])) >= thresholds.SAME
