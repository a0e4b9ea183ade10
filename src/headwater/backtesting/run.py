"""hw.backtest: train one model at each level, judge them on the same later requests, and say what fresher features buy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from headwater import clock, settings
from headwater.backtesting import levels as of_levels
from headwater.backtesting.intervals import evaluate, resample_weights
from headwater.backtesting.leaks import audit
from headwater.backtesting.metrics import Blocks, Metric, curves, operating_threshold, resolve
from headwater.backtesting.result import BacktestResult, Curves, LevelResult, Paired, SliceResult
from headwater.backtesting.slices import Slice, check_cold_start, cold_slice, user_slices
from headwater.backtesting.split import describe, split_rows
from headwater.backtesting.verdicts import min_lifts, paired
from headwater.backtesting.words import assumptions, definitions_text
from headwater.compute.arrays import F64, I64, Bool
from headwater.definitions.durations import DAY
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.definitions.sizes import Size
from headwater.engines.events import Notes
from headwater.errors import DataError, UsageError, nearest
from headwater.models.fit import Fitted, check_classes, fit
from headwater.models.manifest import library_versions
from headwater.pipelines.leaks import refuse_label_columns
from headwater.pipelines.means import Tick
from headwater.pipelines.requests import check_finite, read_labels
from headwater.pipelines.train import in_time_order

if TYPE_CHECKING:
    import polars as pl
    from rich.console import RenderableType

_HEADLINE = {"binary": "auc", "regression": "mae"}


@dataclass(frozen=True)
class Backtest:
    """What a backtest found. Shows itself as a table in a terminal and in a notebook; `result` holds every number."""

    result: BacktestResult

    def write_html(self, path: str | Path) -> Path:
        """Write the report as one page that needs no network, and return its path."""
        from headwater.backtesting.report import to_html

        place = Path(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(to_html(self.result), encoding="utf-8")
        return place

    def to_dict(self) -> dict[str, object]:
        """The result as what json.dumps takes."""
        from headwater.backtesting.report import to_json

        return to_json(self.result)

    def table(self) -> RenderableType:
        """The result as rich prints it."""
        from headwater.backtesting.report import to_table

        return to_table(self.result)

    def _repr_html_(self) -> str:
        from headwater.backtesting.report import to_notebook

        return to_notebook(self.result)


def backtest(  # noqa: PLR0913 (each is a question that a user asks; all but the model have a default)
    model: Model,
    *,
    levels: Mapping[str, Level] | None = None,
    split: str | datetime | None = None,
    slices: Mapping[str, pl.Expr] | None = None,
    cold_start: int | tuple[FeatureView, int] = 10,
    metrics: Sequence[str] | None = None,
    min_lift: Mapping[str, float] | float | None = None,
    resamples: int = 2000,
    seed: int = 0,
    threads: int | None = None,
    memory: Size | None = None,
    progress: bool | Tick = False,
) -> Backtest:
    """Train the model at each level, and judge all of them on the same requests after the split.

    Features of a third party without `history=` are not in training: no level reads them, and the result says so.

    Args:
        model: what to train. An estimator that is fitted already is replayed at each level and never trained.
        levels: from stale to fresh, by name; the usual ladder (request only, daily, hourly, minute, instant) where None.
        split: rows train if they asked, and their outcome was known, before it (ISO 8601 with an offset, or a tz-aware datetime).
        slices: parts of the test rows, by name: polars expressions over the labels' columns.
        cold_start: a request is cold if its key had fewer than so many events in the 30 days before it. The key is that of the
            view with the most keys; (view, n) names another.
        metrics: names such as "auc" or "precision@1%"; the task's usual ones where None.
        min_lift: the least lift worth having, of the headline metric or by metric.
        resamples: block-bootstrap resamples (blocks of days) behind each interval.
        seed: of the resamples and the estimator.
        threads: how many to use; results do not depend on it.
        memory: what the process may hold while features are computed, such as "4GB"; see `get_historical_features`.
        progress: show a progress bar, or a function called with what is being done, how far it is, and how far it goes.

    Raises:
        UsageError: no rows to train or test on, an unknown metric, a level that is none.
        DataError: labels of one class, or data that do not fit the definitions.
        LeakError: a source that would let the future into training data.
    """
    if not isinstance(model, Model):
        raise UsageError(f"backtest() takes a Model, and was given {type(model).__name__}; take one from project.models")
    if progress is True:
        from headwater.backtesting.progress import bar

        with bar() as shown:
            return backtest(
                model,
                levels=levels,
                split=split,
                slices=slices,
                cold_start=cold_start,
                metrics=metrics,
                min_lift=min_lift,
                resamples=resamples,
                seed=seed,
                threads=threads,
                memory=memory,
                progress=shown,
            )
    if model.task_kind not in _HEADLINE:
        raise UsageError(f"model {model.name!r} has the task {model.task_kind!r}; backtest() judges {' and '.join(_HEADLINE)} models")
    tick = progress or None
    judged = _judged(metrics, model)
    _check_min_lift(min_lift, judged)
    check_cold_start(cold_start)
    known = model.features.in_training
    trained = model if known is model.features else replace(model, features=known)
    run = _Run(trained, of_levels.resolve_levels(levels), judged, min_lift, resamples, seed, threads, memory, tick)
    found = run.result(split, slices or {}, cold_start)
    return Backtest(replace(found, fingerprint=model.fingerprint, not_in_training=model.features.not_in_training))


@dataclass(frozen=True)
class _Scores:
    """The fitted model of a level, its score of each test row (`default` where it has no answer), and the replayed score."""

    fitted: Fitted
    test: F64
    answered: Bool
    default: float
    threshold: float
    note: str
    replayed: F64 | None = None


@dataclass(frozen=True)
class _Run:
    model: Model
    levels: Mapping[str, Level]
    metrics: Sequence[Metric]
    min_lift: Mapping[str, float] | float | None
    resamples: int
    seed: int
    threads: int | None
    memory: Size | None
    tick: Tick | None

    def result(
        self, split: str | datetime | None, slices: Mapping[str, pl.Expr], cold_start: int | tuple[FeatureView, int]
    ) -> BacktestResult:
        start = clock.stopwatch()
        refuse_label_columns(self.model)
        requests = read_labels(self.model.labels, self.memory)
        assert requests.label is not None
        y = requests.label.to_numpy().astype(np.float64)
        check_finite(y, f"labels {self.model.labels.name!r}")
        parts = split_rows(requests, split)
        if self.model.task == "binary":
            check_classes(y[parts.train], f"model {self.model.name!r}, rows before the split")
            check_classes(y[parts.test], f"model {self.model.name!r}, rows after the split")
        chosen = user_slices(slices, requests.frame, parts.test)
        blocks = resample_weights(requests.t[parts.test] // DAY, self.resamples, self.seed)
        if any(level.reads_history(self.model) for level in self.levels.values()):
            chosen.append(cold_slice(self.model, requests, parts.test, cold_start, self.threads, self.memory))
        notes = Notes()
        rows = of_levels.level_rows(self.model, requests, self.levels, notes, threads=self.threads, memory=self.memory, tick=self.tick)
        features_done = clock.stopwatch()
        scores = self._scores(rows, y, in_time_order(requests, parts.train), np.flatnonzero(parts.test))
        training_done = clock.stopwatch()
        findings = audit(self.model, self.levels, requests, rows, y, parts, self.threads)
        everything = self._judge(requests.t[parts.test], scores, y[parts.test], blocks)
        freshest = list(scores.values())[-1].fitted
        parts.left_out.update(notes.left_out)
        looks = len(chosen) * max(1, len(self.levels) - 1)
        return BacktestResult(
            model=self.model.name,
            task=self.model.task_kind,
            headline=self._headline,
            higher_is_better={m.name: m.higher_is_better for m in self.metrics},
            min_lift=everything.min_lift,
            positive_rate=float(y[parts.test].mean()) if self.model.task == "binary" else None,
            levels=everything.levels,
            paired=everything.paired,
            slices=[self._slice(s, requests.t[parts.test], scores, y[parts.test], blocks, looks) for s in chosen],
            leak_audit=findings,
            split=describe(requests, parts),
            seconds={"features": features_done - start, "training": training_done - features_done, "total": clock.stopwatch() - start},
            definitions=definitions_text(self.model, self.levels),
            fingerprint=self.model.fingerprint,
            versions=library_versions(),
            assumptions=assumptions(self.model),
            estimator=freshest.description,
            encoded={name: len(words) for name, words in freshest.encoding.categories.items()},
        )

    @property
    def _headline(self) -> str:
        names = [m.name for m in self.metrics]
        return _HEADLINE[self.model.task_kind] if _HEADLINE[self.model.task_kind] in names else names[0]

    def _scores(self, rows: Mapping[str, of_levels.LevelRows], y: F64, train: I64, test: I64) -> dict[str, _Scores]:
        done = 0

        def one(name: str) -> _Scores:
            # A thread a level, each estimator on one: two that share the processors' threads wait for one another at every tree.
            nonlocal done
            level = rows[name]
            learnable = train[level.answered[train]]
            if not len(learnable):
                raise DataError(
                    f"level {name!r}: none of the {len(train)} training rows is answered, since no event of their keys was known when the "
                    "scores were made; check the keys of precomputed(), and that the sources' history begins before the labels"
                )
            fitted = fit(self.model, level.frame[learnable], y[learnable], seed=self.seed, threads=1)
            known = fitted.score(level.frame[learnable])
            base = self.model.default
            if base is None:
                base = float(y[train].mean() if fitted.in_units_of_label else known.mean())
            mine = of_levels.filled(fitted.score(level.frame[test]), level.answered[test], base)
            threshold = operating_threshold(y[learnable], known) if self.model.task == "binary" else 0.0
            done += 1
            self._say("training", done, len(rows))
            return _Scores(fitted, mine, level.answered[test], base, threshold, level.note)

        self._say("training", 0, len(rows))
        with ThreadPoolExecutor(self.threads or settings.threads()) as pool:
            scores = dict(zip(rows, pool.map(one, rows), strict=True))
        freshest = list(rows)[-1]
        best = scores[freshest].fitted
        for name, level in rows.items():
            if name != freshest and not best.replayed and list(level.frame.columns) == list(rows[freshest].frame.columns):
                replayed = of_levels.filled(best.score(level.frame[test]), level.answered[test], scores[freshest].default)
                scores[name] = replace(scores[name], replayed=replayed)
        return scores

    def _judge(self, t: I64, scores: Mapping[str, _Scores], y: F64, blocks: Blocks, mask: Bool | None = None, looks: int = 1) -> _Judged:
        mine = {name: s.test if mask is None else s.test[mask] for name, s in scores.items()}
        found = evaluate(self.metrics, y, mine, blocks, {name: s.threshold for name, s in scores.items()})
        again = {name: (s.replayed if mask is None else s.replayed[mask]) for name, s in scores.items() if s.replayed is not None}
        freshest = list(scores)[-1]
        replays = (
            evaluate(self.metrics, y, again, Blocks.whole(len(y)), dict.fromkeys(again, scores[freshest].threshold)) if again else None
        )
        made = []
        for name, level in self.levels.items():
            answered = scores[name].answered if mask is None else scores[name].answered[mask]
            made.append(
                LevelResult(
                    name=name,
                    kind=of_levels.kind(level, self.model),
                    describes=level.describe(self.model),
                    age_seconds=of_levels.mean_age(self.model, level, t),
                    metrics=found.estimates(name),
                    coverage=float(answered.mean()) if len(answered) else float("nan"),
                    replayed={k: e.value for k, e in replays.estimates(name).items()} if replays is not None and name in again else {},
                    note=self._note(scores[name], answered),
                    curves=self._curves(y, mine[name]) if mask is None else None,
                )
            )
        lifts = min_lifts(found, self._worth())
        return _Judged(made, paired(found, lifts, looks=looks), lifts, found.caution)

    def _worth(self) -> Mapping[str, float] | None:
        return {self._headline: float(self.min_lift)} if isinstance(self.min_lift, int | float) else self.min_lift

    def _curves(self, y: F64, score: F64) -> Curves | None:
        return curves(y, score) if self.model.task == "binary" else None

    def _note(self, scores: _Scores, answered: Bool) -> str:
        notes = [scores.note] if scores.note else []
        if scores.fitted.replayed:
            notes.append("the estimator was given fitted: replayed, not trained at this level")
        if not answered.all():
            what = "default" if self.model.default is not None else "mean of the training rows"
            notes.append(f"{int((~answered).sum())} requests are not answered; the {what}, {scores.default:.4g}, stands in for them")
        return "; ".join(notes)

    def _slice(self, part: Slice, t: I64, scores: Mapping[str, _Scores], y: F64, blocks: Blocks, looks: int) -> SliceResult:
        rows = int(part.mask.sum())
        if rows == 0:
            return SliceResult(part.name, part.describes, 0, [], [], "no test row is in this slice")
        judged = self._judge(t[part.mask], scores, y[part.mask], blocks.select(part.mask), part.mask, looks)
        together = f"steps: {100 - 5 / looks:.2f} % intervals, so that all {looks} steps on slices hold together" if looks > 1 else ""
        return SliceResult(part.name, part.describes, rows, judged.levels, judged.paired, judged.caution or together)

    def _say(self, what: str, done: int, total: int) -> None:
        if self.tick is not None:
            self.tick(what, done, total)


@dataclass(frozen=True)
class _Judged:
    levels: Sequence[LevelResult]
    paired: Sequence[Paired]
    min_lift: Mapping[str, float]
    caution: str


def _check_min_lift(given: Mapping[str, float] | float | None, metrics: Sequence[Metric]) -> None:
    """Refuse before anything is trained what `min_lifts` would refuse at the end."""
    names = [m.name for m in metrics]
    for name, value in given.items() if isinstance(given, Mapping) else [] if given is None else [("the headline metric", given)]:
        if isinstance(given, Mapping) and name not in names:
            raise UsageError(f"min_lift names {name!r}, which is not evaluated; {nearest(name, names)}")
        if not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise UsageError(f"min_lift of {name} is {value!r}; give 0 or more, in the metric's unit")


def _judged(names: Sequence[str] | None, model: Model) -> list[Metric]:
    chosen = resolve(names, model.task_kind)
    if model.task == "binary" and model.estimator is not None and not hasattr(model.estimator, "predict_proba"):
        chosen = [m for m in chosen if m.name not in ("log_loss", "brier", "calibration")] if names is None else chosen
    return chosen
