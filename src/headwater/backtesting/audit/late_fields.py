"""Check: fields of the request that are written after the outcome, by how they depend on history.

An outcome screens its consequences off from its causes (Reichenbach, The Direction of Time, 1956):
given the outcome, a field that was written after it says no more of history, while history and the
field were associated before. A field that was known at the request either does not depend on
history, or still does where the outcome is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from scipy.stats import chi2

from headwater.backtesting.audit import thresholds
from headwater.backtesting.audit.association import as_numbers, strength
from headwater.backtesting.audit.inputs import AuditInputs, NotRun
from headwater.backtesting.audit.labelled_rows import request_names, spread
from headwater.kernel.arrays import F64, I64, Bool
from headwater.results.audit_result import AuditFinding

NAME = "late request fields"


def check(inputs: AuditInputs) -> list[AuditFinding] | NotRun:
    """SUSPECT: a field says the outcome, depends on history, and no longer does so where the
    outcome is given.
    """
    names = [
        name
        for name in request_names(inputs.model)
        if name in inputs.frame.columns and name not in inputs.accused
    ]
    if not names:
        return NotRun("the model has no request field that no other check accuses")
    rows = spread(np.flatnonzero(inputs.answered))
    if len(rows) < thresholds.SCREENED_ROWS:
        return NotRun(f"{len(rows)} requests are too few; it takes {thresholds.SCREENED_ROWS}")
    outcomes, columns = _outcomes(inputs, rows), _columns(inputs, rows)
    findings: list[AuditFinding] = []
    for view in inputs.model.features.views:
        if view.source.name in inputs.accused:
            columns = {
                name: ranks for name, ranks in columns.items() if name not in view.feature_names
            }
    while True:
        screened = [
            field
            for name in names
            if name in columns
            and (field := _screened(inputs, rows, name, outcomes, columns)) is not None
        ]
        if not screened:
            return findings
        late = max(screened, key=lambda field: field.test.says)
        findings.append(_finding(late))
        del columns[late.name]  # the field on which others then depend through the outcome


def _outcomes(inputs: AuditInputs, rows: I64) -> dict[str, F64]:
    """The label, and the columns of its table that are the outcome itself in more detail: float64
    (rows).
    """
    y, task = inputs.y[rows], inputs.model.task_type
    outcomes = {inputs.model.labels.label_name: y}
    finer = {}
    for series in inputs.label_rows[rows].get_columns():
        if (
            series.name in inputs.carried
            or not series.dtype.is_numeric()
            or series.name in outcomes
        ):
            continue
        reached = strength(series, y, task)
        if reached >= thresholds.OUTCOME_ITSELF:
            finer[series.name] = reached
    for name in sorted(finer, key=lambda name: -finer[name])[: thresholds.FINER_OUTCOMES]:
        outcomes[name] = inputs.label_rows[name][rows].cast(pl.Float64).fill_null(np.nan).to_numpy()
    return outcomes


def _columns(inputs: AuditInputs, rows: I64) -> dict[str, F64]:
    """The features that say most of the outcome, as ranks from -0.5 to 0.5, 0 where missing:
    float64 (rows); and all request fields.
    """
    y, ranked = inputs.y[rows], {}
    for series in inputs.frame[rows].get_columns():
        if not (series.dtype.is_numeric() or series.dtype == pl.Boolean):
            continue
        value = series.cast(pl.Float64).fill_null(np.nan).to_numpy()
        if (~np.isnan(value)).sum() >= thresholds.FEWEST and np.nanmax(value) > np.nanmin(value):
            ranked[series.name] = _ranks(value)
    if np.ptp(y) == 0:
        return {}
    by_strength = sorted(ranked, key=lambda name: -abs(float(np.corrcoef(ranked[name], y)[0, 1])))
    chosen = {*by_strength[: thresholds.SCREENED_FEATURES], *request_names(inputs.model)}
    return {name: ranks for name, ranks in ranked.items() if name in chosen}


def _screened(
    inputs: AuditInputs, rows: I64, name: str, outcomes: dict[str, F64], columns: dict[str, F64]
) -> _Screened | None:
    """The outcome that screens a field off from the other features, if one does."""
    value = as_numbers(inputs.frame[name][rows], inputs.y[rows])
    others = [ranks for column, ranks in columns.items() if column != name]
    if value is None or not others:
        return None
    for outcome, y in outcomes.items():
        present = ~np.isnan(value) & ~np.isnan(y)
        if (
            present.sum() < thresholds.SCREENED_ROWS
            or np.ptp(value[present]) == 0
            or np.ptp(y[present]) == 0
        ):
            continue
        test = ScreenedOff(
            value[present], y[present], np.column_stack([ranks[present] for ranks in others])
        )
        if test.is_consequence:
            return _Screened(name, outcome, float(present.mean()), test)
    return None


def _finding(late: _Screened) -> AuditFinding:
    name, outcome, test = late.name, late.outcome, late.test
    evidence = (
        f"The request field {name!r} depends on the other features (chi-squared "
        f"{test.on_features:.0f} with {test.x.shape[1]} degrees of freedom), and no longer where "
        f"{outcome!r} is given ({test.given_outcome:.0f}), like a field that was written after "
        "the outcome"
    )
    remedy = f"Log what the request really carried, or leave {name!r} out"
    return AuditFinding(
        NAME,
        "SUSPECT",
        name,
        evidence,
        remedy,
        late.share,
        [name],
        brief=f"{name!r} is written before the outcome",
    )


@dataclass(frozen=True, eq=False)
class ScreenedOff:
    """Whether an outcome screens a field off from the features. value, y: float64 (rows); x:
    float64 (rows, features), ranks.

    Statistics are those of likelihood ratio tests of linear models of ranks, chi-squared with as
    many degrees of freedom as x has columns.
    """

    value: F64
    y: F64
    x: F64

    @cached_property
    def on_features(self) -> float:
        """How much the field depends on the features."""
        return self._gain(_ranks(self.value), np.zeros(len(self.y), np.int64), None)

    @cached_property
    def given_outcome(self) -> float:
        """The same where the outcome is given."""
        return self._gain(_ranks(self.value), *_held_fixed(self.y))

    @cached_property
    def outcome_given_field(self) -> float:
        """How much the outcome depends on the features where the field is given."""
        return self._gain(_ranks(self.y), *_held_fixed(self.value))

    @cached_property
    def says(self) -> float:
        """The partial correlation of the field and the outcome, the features given."""
        field, outcome = (_residual(_ranks(numbers), self.x) for numbers in (self.value, self.y))
        return abs(_product(field, outcome)) / max(
            float(np.sqrt(_product(field, field) * _product(outcome, outcome))), 1e-12
        )

    @property
    def is_consequence(self) -> bool:
        """Whether the field is a consequence of the outcome, as far as data tell."""
        if self.says < thresholds.SCREENED_SAYS:
            return False
        by_chance = float(chi2.isf(thresholds.SCREENED_CHANCE, self.x.shape[1]))
        if min(self.on_features, self.outcome_given_field) < thresholds.SCREENED_TIMES * by_chance:
            return False
        return self.given_outcome <= by_chance

    def _gain(self, target: F64, groups: I64, rank: F64 | None) -> float:
        """Rows times the log ratio of the residual sums of squares without and with the features,
        within groups and at equal ranks.
        """
        controls = np.empty((len(target), 0)) if rank is None else _within(rank[:, None], groups)
        target, x = _within(target[:, None], groups)[:, 0], _within(self.x, groups)
        without, both = (
            _residual(target, controls),
            _residual(target, np.column_stack([controls, x])),
        )
        squares = [max(_product(residual, residual), 1e-12) for residual in (without, both)]
        return len(target) * float(np.log(squares[0] / squares[1]))


def _ranks(value: F64) -> F64:
    """Ranks from -0.5 to 0.5, 0 for missing."""
    present: Bool = ~np.isnan(value)
    ranks = np.zeros(len(value))
    order: F64 = pl.Series(value[present]).rank("average").to_numpy()
    ranks[present] = order / max(len(order), 1) - 0.5
    return ranks


def _held_fixed(value: F64) -> tuple[I64, F64 | None]:
    """Groups of equal values, or of many values `SCREENED_BINS` groups of near ones and the ranks
    in addition: int64, float64 (rows).
    """
    values, at = np.unique(value, return_inverse=True)
    if len(values) <= thresholds.SCREENED_BINS:
        return at.astype(np.int64), None
    ranks = _ranks(value)
    return np.minimum(
        ((ranks + 0.5) * thresholds.SCREENED_BINS).astype(np.int64), thresholds.SCREENED_BINS - 1
    ), ranks


def _within(columns: F64, groups: I64) -> F64:
    """The columns less their means in each group: float64 (rows, columns)."""
    rows = np.maximum(np.bincount(groups), 1)
    means = np.column_stack([np.bincount(groups, column) / rows for column in columns.T])
    rest: F64 = columns - means[groups]
    return rest


def _residual(target: F64, controls: F64) -> F64:
    """What a linear model leaves; both are centred at 0: float64 (rows)."""
    if not controls.shape[1]:
        return target
    # BLAS would start threads
    gram, moment = (
        np.einsum("ij,ik->jk", controls, controls),
        np.einsum("ij,i->j", controls, target),
    )
    residual: F64 = target - np.einsum(
        "ij,j->i", controls, np.linalg.lstsq(gram, moment, rcond=None)[0]
    )
    return residual


def _product(left: F64, right: F64) -> float:
    return float((left * right).sum())


@dataclass(frozen=True)
class _Screened:
    """A field, the outcome that screens it off, the share of rows with both, and the test."""

    name: str
    outcome: str
    share: float
    test: ScreenedOff
