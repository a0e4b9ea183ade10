"""hw.backtest: train one model at each level, test them on the same later requests, and report the lift of fresher features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from headwater import clock
from headwater.backtesting import levels as of_levels
from headwater.backtesting import new_keys as newcomers
from headwater.backtesting.candidates import Lists, lists
from headwater.backtesting.describe import assumptions, definitions_text, how_sure
from headwater.backtesting.evaluation import Judge
from headwater.backtesting.fit_options import Refits, Tuning, as_refits, as_tuning
from headwater.backtesting.fitting import Fitter
from headwater.backtesting.fold_training import Trainer
from headwater.backtesting.intervals import resample_weights
from headwater.backtesting.leak_audit import audit
from headwater.backtesting.progress import shown
from headwater.backtesting.slices import Slice, check_cold_start, cold_slices, user_slices
from headwater.backtesting.split import Split, describe, split_rows
from headwater.definitions.durations import DAY
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.level import Level
from headwater.definitions.memory_sizes import Size
from headwater.definitions.model import Model
from headwater.definitions.rolling import Rolling
from headwater.errors import UsageError, nearest
from headwater.events.read_events import Notes
from headwater.kernel.arrays import F64, I64, Bool
from headwater.metrics import Beside, Metric, resolve
from headwater.metrics import error_costs as of_money
from headwater.models.fit import check_classes
from headwater.models.manifest import library_versions
from headwater.models.outcomes import Outcomes, outcomes
from headwater.results.backtest_result import BacktestResult, Money, NewKeys
from headwater.training.label_rows import read_labels
from headwater.training.leak_checks import refuse_label_columns
from headwater.training.requests import Requests
from headwater.training.resources import Resources, Tick
from headwater.training.schema_check import check_model

if TYPE_CHECKING:
    import polars as pl
    from rich.console import RenderableType


@dataclass(frozen=True)
class Backtest:
    """The result of a backtest. It prints as a table in a terminal and in a notebook; `result` holds every number."""

    result: BacktestResult

    def write_html(self, path: str | Path) -> Path:
        """Write the report as one page that needs no network, and return its path."""
        from headwater.reports import to_html

        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(to_html(self.result), encoding="utf-8")
        return file

    def to_dict(self) -> dict[str, object]:
        """The result as what json.dumps takes."""
        from headwater.reports import to_json

        return to_json(self.result)

    def table(self) -> RenderableType:
        """The result as rich prints it; at a prompt it prints itself."""
        from headwater.reports import to_table

        return to_table(self.result)

    def __repr__(self) -> str:
        from headwater.reports import to_text

        return to_text(self.result)

    def _repr_html_(self) -> str:
        from headwater.reports import to_notebook

        return to_notebook(self.result)


def backtest(  # noqa: PLR0913 (each is a question that a user asks; all but the model have a default)
    model: Model,
    *,
    levels: Mapping[str, Level] | None = None,
    split: str | datetime | Rolling | None = None,
    slices: Mapping[str, pl.Expr] | None = None,
    cold_start: int | tuple[FeatureView, int] = 10,
    metrics: Sequence[str | Metric] | None = None,
    min_lift: Mapping[str, float] | float | None = None,
    costs: Mapping[str, float | str | pl.Expr] | None = None,
    tune: int | Tuning | None = None,
    refits: int | Refits = 1,
    resamples: int = 2000,
    seed: int = 0,
    threads: int | None = None,
    memory: Size | None = None,
    progress: bool | Tick | None = None,
) -> Backtest:
    """Train the model at each level, and judge all of them on the same requests after the split.

    Features of a third party without `history=` are not in training: no level reads them, and the result says so.

    Args:
        model: what to train. An estimator that is fitted already is replayed at each level and never trained.
        levels: from stale to fresh, by name; the usual ladder (request only, daily, hourly, minute, instant) where None.
        split: rows train if they asked, and their outcome was known, before it (ISO 8601 with an offset, or a tz-aware datetime).
            `rolling(start, every=, folds=)` splits several times, and retrains each time.
        slices: parts of the test rows, by name: polars expressions over the labels' columns.
        cold_start: a request is cold if its key had fewer than so many events in the 30 days before it. The key is that of the
            view with the most keys; (view, n) names another.
        metrics: names such as "auc", "precision@1%" or "ndcg@10", and metrics of your own (`metric(name, function)`); the task's usual
            ones where None.
        min_lift: the least lift worth having, of the headline metric or by metric.
        costs: of a binary task, what a "false_positive" and a "false_negative" cost ("true_positive" and "true_negative" too, if they
            do): numbers, columns of the labels, or polars expressions over them. Adds the metric "cost", per 1,000 requests.
        tune: how many settings are tried at each level, or `Tuning(trials=, space=)`; the same trials for every level.
        refits: how many seeds each level is trained with, or `Refits(seeds=, days=)`; intervals then hold for a retrained model too.
        resamples: block-bootstrap resamples (blocks of days) behind each interval.
        seed: of the resamples, the estimator and the trials.
        threads: how many to use; results do not depend on it.
        memory: what the process may hold while features are computed, such as "4GB"; see `get_historical_features`.
        progress: True or False; None shows a bar in a terminal and in a notebook. Or a function of task, steps done and total.

    Operating thresholds (of "precision", "recall" and "cost") are chosen on training rows that a model did not learn from: one more
    fit a level, on the earlier three quarters of them.

    Raises:
        UsageError: no rows to train or test on, an unknown metric, an invalid level.
        DataError: labels of one class, or data that do not fit the definitions.
        LeakError: a source that would let the future into training data.
    """
    if not isinstance(model, Model):
        raise UsageError(f"backtest() takes a Model, and was given {type(model).__name__}; take one from project.models")
    judged = _judged(metrics, model, costs)
    _check_min_lift(min_lift, judged)
    check_cold_start(cold_start)
    effort = as_refits(refits), as_tuning(tune)
    of = of_levels.resolve_levels(levels)
    known = model.features.in_training
    trained = model if known is model.features else replace(model, features=known)

    def run(tick: Tick | None) -> Backtest:
        runner = _Run(trained, of, judged, min_lift, costs, *effort, resamples, seed, threads, memory, tick)
        result = runner.result(split, slices or {}, cold_start)
        return Backtest(replace(result, fingerprint=model.fingerprint, not_in_training=model.features.not_in_training))

    with shown(progress) as tick:
        return run(tick)


@dataclass(frozen=True)
class _Run:
    model: Model
    levels: Mapping[str, Level]
    metrics: Sequence[Metric]
    min_lift: Mapping[str, float] | float | None
    costs: Mapping[str, float | str | pl.Expr] | None
    refits: Refits
    tuning: Tuning | None
    resamples: int
    seed: int
    threads: int | None
    memory: Size | None
    tick: Tick | None

    def result(
        self, split: str | datetime | Rolling | None, slices: Mapping[str, pl.Expr], cold_start: int | tuple[FeatureView, int]
    ) -> BacktestResult:
        start = clock.stopwatch()
        if any(level.reads_history(self.model) for level in self.levels.values()):
            check_model(self.model, fitted=True)
        refuse_label_columns(self.model)
        requests = read_labels(self.model.labels, self.memory, strings=self.model.task_type.classes)
        assert requests.label is not None
        labelled = outcomes(self.model, requests.label, requests.frame)
        parts = split_rows(by_list(requests, labelled), split)
        self._check_classes(labelled, parts)
        test = np.flatnonzero(parts.test)
        of_test = requests.take(test)
        costs = of_money.read_costs(self.costs, requests.frame) if self.costs is not None else None
        columns = self._columns(requests, costs, labelled)
        blocks = resample_weights(of_test.t // DAY, self.resamples, self.seed)
        chosen = user_slices(slices, requests.frame, parts.test)
        if any(level.reads_history(self.model) for level in self.levels.values()):
            chosen += cold_slices(self.model, requests, parts.test, cold_start, Resources(self.threads, self.memory))
        notes, resources = Notes(), Resources(self.threads, self.memory, self.tick)
        rows = of_levels.level_rows(self.model, requests, self.levels, notes, resources)
        ranked = self._lists(requests, labelled, rows, parts.test, resources)
        features_done = clock.stopwatch()
        scores = self._trainer(requests, labelled, parts, rows, ranked, columns, costs).scores()
        training_done = clock.stopwatch()
        findings = audit(self.model, self.levels, requests, rows, labelled.y, parts, self.threads)
        beside = Beside(labelled.groups, columns).select(test)
        judge = Judge(self.model, self.levels, self.metrics, self._worth, scores, of_test.t, labelled.y[test], beside, blocks)
        everything = judge.everything()
        new_keys, chosen = self._newcomers(rows, parts.test, of_test, beside.groups, chosen)
        looks = len(chosen) * max(1, len(self.levels) - 1)
        sliced = [judge.slice(row_slice, looks) for row_slice in chosen]
        freshest = list(scores.values())[-1].fitted
        for reason, count in notes.left_out.items():  # a source that labels are made of too is counted once
            parts.left_out[reason] = max(parts.left_out[reason], count)
        return BacktestResult(
            model=self.model.name,
            task=self.model.task_kind,
            headline=self._headline.name,
            higher_is_better={m.name: m.higher_is_better for m in self.metrics},
            min_lift=everything.min_lift,
            positive_rate=float(labelled.y[test].mean()) if self.model.task_type.positives else None,
            levels=everything.levels,
            paired=everything.paired,
            slices=sliced,
            leak_audit=findings,
            split=describe(requests, parts),
            seconds={"features": features_done - start, "training": training_done - features_done, "total": clock.stopwatch() - start},
            definitions=definitions_text(self.model, self.levels),
            fingerprint=self.model.fingerprint,
            versions=library_versions(),
            assumptions=assumptions(self.model, self.refits),
            estimator=freshest.description,
            encoded={name: len(words) for name, words in freshest.encoding.categories.items()},
            intervals=how_sure(self.resamples, blocks.present, self.refits),
            folds=judge.folds(parts),
            money=_money(costs, labelled.y, test),
            new_keys=new_keys,
            transitions=newcomers.steps(self.model, self.levels, everything.levels, sliced),
        )

    @property
    def _headline(self) -> Metric:
        usual = self.model.task_type.headline
        return next((m for m in self.metrics if m.name == usual), self.metrics[0])

    @property
    def _worth(self) -> Mapping[str, float] | None:
        return {self._headline.name: float(self.min_lift)} if isinstance(self.min_lift, int | float) else self.min_lift

    def _check_classes(self, labelled: Outcomes, parts: Split) -> None:
        if self.model.task_type.positives:
            check_classes(labelled.y[parts.train], f"model {self.model.name!r}, rows before the split")
            check_classes(labelled.y[parts.test], f"model {self.model.name!r}, rows after the split")

    def _columns(
        self, requests: Requests, costs: of_money.Costs | None, labelled: Outcomes
    ) -> dict[str, np.ndarray[tuple[int], np.dtype[np.generic]]]:
        """The columns that metrics read besides scores, (requests) each."""
        columns = costs.columns(labelled.y) if costs else {}
        for metric in self.metrics:
            for name in metric.columns:
                if name not in columns and name not in requests.frame.columns:
                    raise UsageError(
                        f"metric {metric.name!r} reads {name!r}, which the labels do not have; {nearest(name, requests.frame.columns)}"
                    )
        return columns | {name: requests.frame[name].to_numpy() for m in self.metrics for name in m.columns if name not in columns}

    def _lists(
        self, requests: Requests, labelled: Outcomes, rows: Mapping[str, of_levels.LevelRows], test: Bool, resources: Resources
    ) -> Mapping[str, Lists] | None:
        if labelled.groups is None:
            return None
        return lists(self.model, requests, labelled.groups, self.levels, rows, np.flatnonzero(test), resources)

    def _trainer(
        self,
        requests: Requests,
        labelled: Outcomes,
        parts: Split,
        rows: Mapping[str, of_levels.LevelRows],
        ranked: Mapping[str, Lists] | None,
        columns: Mapping[str, np.ndarray[tuple[int], np.dtype[np.generic]]],
        costs: of_money.Costs | None,
    ) -> Trainer:
        cuts = frozenset(m.cut for m in self.metrics if m.cut)
        fitter = Fitter(self.model, labelled, self._headline, cuts, columns, costs, self.tuning, self.seed)
        return Trainer(fitter, requests, parts, self.levels, rows, ranked, self.refits, self.threads, self._say)

    def _newcomers(
        self, rows: Mapping[str, of_levels.LevelRows], test: Bool, of_test: Requests, groups: I64 | None, chosen: list[Slice]
    ) -> tuple[NewKeys | None, list[Slice]]:
        """The keys without a precomputed prediction, and their requests as one more slice."""
        ahead = newcomers.ahead(self.model, self.levels)
        if ahead is None:
            return None, chosen
        name, scoring = ahead
        known = rows[name].ahead[test]
        new = [] if known.all() else [newcomers.newcomers(scoring, known)]
        first_rows = np.arange(len(known)) if groups is None else np.unique(groups, return_index=True)[1]  # a list asks once
        return newcomers.count(scoring, known[first_rows], of_test.take(first_rows)), [*chosen, *new]

    def _say(self, what: str, done: int, total: int) -> None:
        if self.tick is not None:
            self.tick(what, done, total)


def by_list(requests: Requests, labelled: Outcomes) -> Requests:
    """The requests at the time of their list: one list is not split."""
    if labelled.groups is None:
        return requests
    first = np.full(int(labelled.groups.max()) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, labelled.groups, requests.t)
    return Requests(requests.frame, first[labelled.groups], requests.label, requests.known_at, requests.left_out)


def _money(costs: of_money.Costs | None, y: F64, test: I64) -> Money | None:
    if costs is None:
        return None
    flagged, passed = costs.of(y[test], test)
    return Money(costs.describes, nothing=1000 * float(passed.mean()), everything=1000 * float(flagged.mean()))


def _check_min_lift(min_lift: Mapping[str, float] | float | None, metrics: Sequence[Metric]) -> None:
    """Refuse before anything is trained what `min_lifts` would refuse at the end."""
    names = [m.name for m in metrics]
    for name, value in (
        min_lift.items() if isinstance(min_lift, Mapping) else [] if min_lift is None else [("the headline metric", min_lift)]
    ):
        if isinstance(min_lift, Mapping) and name not in names:
            raise UsageError(f"min_lift names {name!r}, which is not evaluated; {nearest(name, names)}")
        if not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise UsageError(f"min_lift of {name} is {value!r}; give 0 or more, in the metric's unit")


def _judged(names: Sequence[str | Metric] | None, model: Model, costs: Mapping[str, float | str | pl.Expr] | None) -> list[Metric]:
    chosen = resolve(names, model.task_kind)
    probable = model.estimator is None or hasattr(model.estimator, "predict_proba")
    if names is None and model.task_type.separates and not probable:
        chosen = [m for m in chosen if m.name not in ("log_loss", "brier", "calibration")]
    if costs is None:
        return chosen
    if not model.task_type.positives:
        raise UsageError(f"costs are of false positives and negatives, and model {model.name!r} has the task {model.task_kind!r}")
    of_money.check_costs(costs)
    return [*chosen, of_money.cost_metric()]
