"""One fit of one level at one fold, with settings and thresholds chosen on held-out training
rows.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

import numpy as np

from headwater.backtesting.fit_settings import trial_settings
from headwater.definitions.evaluations import Tuning
from headwater.definitions.model import Model
from headwater.errors import UsageError
from headwater.kernel.arrays import I64
from headwater.metrics import Blocks, Metric, RowContext, ScoredRows, operating_threshold
from headwater.metrics.error_costs import Costs, cheapest_threshold
from headwater.metrics.places import places
from headwater.models.estimators import Settable, default_estimator, is_fitted
from headwater.models.feature_encoding import fit_encoding
from headwater.models.fit import Fitted, fit_outcomes
from headwater.models.outcomes import LabelValues

if TYPE_CHECKING:
    import polars as pl

_HELD_OUT = 0.75  # of the training rows are fitted; settings and thresholds are chosen on the rest


@dataclass(frozen=True)
class Fit:
    """A fitted model, its operating threshold and the one of least cost (NaN where nothing asked
    for them), and its settings.
    """

    fitted: Fitted
    threshold: float = float("nan")
    cheapest: float = float("nan")
    settings: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Fitter:
    """Fits a model on rows of a level's features.

    outcomes: of all requests. columns: further inputs of metrics, (requests) each. headline: what
    tuning is judged by.
    cuts: which thresholds are needed, "operating" or "cheapest".
    """

    model: Model
    outcomes: LabelValues
    headline: Metric
    cuts: frozenset[str]
    columns: Mapping[str, np.ndarray[tuple[int], np.dtype[np.generic]]]
    costs: Costs | None
    tuning: Tuning | None
    seed: int

    def fit(self, frame: pl.DataFrame, train: I64, seed: int) -> Fit:
        """The model fitted on the rows `train` of `frame`: int64, by time; a row may occur several
        times.
        """
        if self.model.estimator is not None and is_fitted(self.model.estimator):
            fitted = self._fit(self.model, frame, train, seed)
            return self._settled(fitted, frame, train, {})
        if not self.tuning and not self.cuts:
            return Fit(self._fit(self.model, frame, train, seed))
        early, late = self._held_out(train)
        tried = [
            (settings, self._fit(self._set(frame, early, settings, seed), frame, early, seed))
            for settings in self._settings(frame, train)
        ]
        settings, probe = (
            max(tried, key=lambda trial: self._merit(trial[1], frame, late))
            if len(tried) > 1
            else tried[0]
        )
        fitted = self._fit(self._set(frame, train, settings, seed), frame, train, seed)
        changed = ", ".join(f"{name}={value}" for name, value in settings.items())
        if self.tuning:
            fitted = replace(
                fitted,
                description=(
                    f"{fitted.description}; tuned by {len(tried)} trials: "
                    f"{changed or 'as it was given'}"
                ),
            )
        return replace(self._settled(probe, frame, late, settings), fitted=fitted)

    def _fit(self, model: Model, frame: pl.DataFrame, rows: I64, seed: int) -> Fitted:
        outcomes = self.outcomes.take(rows)
        groups = None if outcomes.groups is None else _apart(outcomes.groups, rows)
        return fit_outcomes(
            model, frame[rows], replace(outcomes, groups=groups), seed=seed, threads=1
        )

    def _held_out(self, train: I64) -> tuple[I64, I64]:
        """The earlier rows, and the later ones that settings and thresholds are judged on; all rows
        twice where these do not suffice.
        """
        cut = int(len(train) * _HELD_OUT)
        if self.outcomes.groups is not None:  # a list is not cut in two
            while (
                0 < cut < len(train)
                and self.outcomes.groups[train[cut]] == self.outcomes.groups[train[cut - 1]]
            ):
                cut += 1
        early, late = train[:cut], train[cut:]
        few = any(len(np.unique(self.outcomes.y[rows])) < 2 for rows in (early, late))
        return (train, train) if few else (early, late)

    def _settings(self, frame: pl.DataFrame, train: I64) -> Sequence[Mapping[str, object]]:
        if self.tuning is None:
            return [{}]
        estimator = self._estimator(frame, train, self.seed)
        if not hasattr(estimator, "get_params"):
            raise UsageError(
                f"tune: {type(estimator).__name__} has no get_params() and set_params(), so its "
                "settings cannot be tuned"
            )
        return trial_settings(self.tuning, list(estimator.get_params()), self.seed)

    def _estimator(self, frame: pl.DataFrame, rows: I64, seed: int) -> object:
        if self.model.estimator is not None:
            return self.model.estimator
        graded = self.model.task_type.lists and bool(
            (~np.isin(self.outcomes.y[rows], (0, 1))).any()
        )
        return default_estimator(
            self.model.task_type, fit_encoding(frame[rows]), graded=graded, seed=seed, threads=1
        )[0]

    def _set(
        self, frame: pl.DataFrame, rows: I64, settings: Mapping[str, object], seed: int
    ) -> Model:
        """The model with an unfitted estimator of these settings."""
        if not settings:
            return self.model
        estimator = cast("Settable", copy.deepcopy(self._estimator(frame, rows, seed)))
        return replace(self.model, estimator=estimator.set_params(**settings))

    def _merit(self, fitted: Fitted, frame: pl.DataFrame, rows: I64) -> float:
        """The headline metric on these rows, the higher the better."""
        cut = self._settled(fitted, frame, rows, {})
        y, score = self.outcomes.y[rows], fitted.score(frame[rows])
        groups = None if self.outcomes.groups is None else self.outcomes.groups[rows]
        if groups is not None:
            score = places(groups, score)
        context = RowContext(groups, {name: column[rows] for name, column in self.columns.items()})
        scored = ScoredRows(
            "tuning", y, score, Blocks.whole(len(y)), cut.threshold, cut.cheapest, context
        )
        value = float(self.headline.compute(scored)[0])
        return -np.inf if np.isnan(value) else value if self.headline.higher_is_better else -value

    def _settled(
        self, fitted: Fitted, frame: pl.DataFrame, rows: I64, settings: Mapping[str, object]
    ) -> Fit:
        """The thresholds that are best on these rows."""
        if not self.cuts:
            return Fit(fitted, settings=settings)
        score, y = fitted.score(frame[rows]), self.outcomes.y[rows]
        threshold = operating_threshold(y, score) if "operating" in self.cuts else np.nan
        cheapest = cheapest_threshold(score, *self.costs.per_row(y, rows)) if self.costs else np.nan
        return Fit(fitted, threshold, cheapest, settings)


def _apart(groups: I64, rows: I64) -> I64:
    """The groups; rows that occur several times form lists of their own."""
    order = np.argsort(rows, kind="stable")
    first = np.flatnonzero(np.diff(rows[order], prepend=-1) != 0)
    copy = np.empty(len(rows), np.int64)
    copy[order] = np.arange(len(rows)) - np.repeat(first, np.diff(np.append(first, len(rows))))
    return groups * (int(copy.max(initial=0)) + 1) + copy
