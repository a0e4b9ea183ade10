"""The served requests of a period, and how the models of each level score them afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from headwater import settings
from headwater.backtesting.delivered_rows import DeliveredRows, ServedAs, delivered_rows
from headwater.backtesting.experiment_rows import judged_by, trained_model
from headwater.backtesting.levels import LevelRows, level_rows, mean_age, resolve_levels
from headwater.backtesting.outcome_rules import declared, scorable_rows
from headwater.definitions.checks import DAY, Duration, micros
from headwater.definitions.definition import Readable, counted
from headwater.definitions.evaluations import Evaluation
from headwater.definitions.freshness import Freshness
from headwater.definitions.level import AS_DEFINED, Level
from headwater.definitions.model import Model
from headwater.errors import DataError, StoreError, UsageError, nearest
from headwater.events.read_events import Notes
from headwater.experiments.level_models import LevelModels, served_versions
from headwater.journal.sample_rates import request_weights
from headwater.journal.serving_log_rows import PREFIX, REQUEST
from headwater.kernel.arrays import F64
from headwater.metrics import Metric
from headwater.models.promises import promise_of_version
from headwater.models.registry import ModelRegistry, Version
from headwater.monitoring.archived_sources import streamed, with_archive
from headwater.results.estimate import Estimate
from headwater.results.level_lift_result import LevelModelUsed
from headwater.stores import OnlineStore
from headwater.stores.keyspace import opened_for
from headwater.training.from_log import FromLog
from headwater.training.label_rows import read_labels
from headwater.training.requests import Requests
from headwater.training.resources import Resources

PERIOD = 140 * DAY
"""The period without a `since`: the longest window, and the days before it that its error is read
off.
"""


@dataclass(frozen=True)
class LiftOptions(Readable):
    """How lift by freshness is monitored.

    Args:
        served: the name of the level that serves; None is as the views define.
        evaluation: its headline metric is judged; its `min_lift` is the break-even of all that
            `break_even` does not name. With `adversaries=True`, a note asks for an
            experiment.
        break_even: the least lift worth its cost, in the metric's unit, for all or by the name of a
            level or view.
        costs: money a day by the name of a level or view, for what a change saves. currency: of it.
        experiments: estimates of experiments, by the name of a level or view, shown next to the
            monitored ones.
        views: whether each view is judged too; a model is trained for each.
        maturity: how long after a request its outcome may come; None: as the labels, or the promise
            of the served version, say.
        alpha: the error of all statements about a project in a year. models: of the project, which
            share it.
        project: its name, and store: the online store that ingestion writes, or its URL, for
            archived events that are not in files yet; None is that of the settings where a source
            has a stream, if it is there.
        allow_pickle: open served versions whose format runs code.
    """

    served: str | None = None
    evaluation: Evaluation | None = None
    break_even: Mapping[str, float] | float | None = None
    costs: Mapping[str, float] = field(default_factory=dict)
    currency: str = "USD"
    experiments: Mapping[str, Estimate] = field(default_factory=dict)
    views: bool = True
    maturity: Duration | None = None
    alpha: float = 0.05
    models: int = 1
    project: str = ""
    store: OnlineStore | str | None = None
    allow_pickle: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise UsageError(
                f"alpha is {self.alpha!r}; give the error of all statements in a year, above 0 "
                "and below 1, such as 0.05"
            )
        values = (
            self.break_even.values()
            if isinstance(self.break_even, Mapping)
            else [self.break_even or 0.0]
        )
        for value in values:
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not 0 <= value < float("inf")
            ):
                raise UsageError(
                    f"break_even is {value!r}; give the least lift worth its cost, 0 or more, in "
                    "the metric's unit"
                )


def check_outcomes(model: Model) -> None:
    """Refuse a model that cannot be scored at every level afterwards, by
    `backtesting.outcome_rules`.

    Raises:
        UsageError: a ranking, or what its outcomes depend on is not declared.
        DataError: outcomes that are caused by the answer, or hidden ones without a holdout.
    """
    if model.task_type.lists:
        raise UsageError(
            f"lift by level of the ranking {model.name!r} cannot be monitored: only returned "
            "items have outcomes, and another level returns others; compare levels with an "
            "experiment of kind Interleaving"
        )
    declared(model)


@dataclass
class MonitoredRows:
    """The served requests of a period, and how each level scores them.

    Args:
        model: as it is defined. over: the same over the archive. levels: by name, from stale to
            fresh. served, stalest: names of them.
        delivered: the rows that are scored, in the order of their requests. weight: float64 (rows),
            mean 1 over rows with an outcome, and
            total: what the sum of the weights stands for over the sum of these.
        versions: that served, by number. period: first and last, microseconds. horizon: how long an
            outcome may take.
    """

    model: Model
    over: Model
    levels: Mapping[str, Level]
    served: str
    stalest: str
    metric: Metric
    delivered: DeliveredRows
    weight: F64
    versions: Mapping[str, Version]
    period: tuple[int, int]
    horizon: int
    options: LiftOptions
    fitted: LevelModels
    resources: Resources
    left_out: Counter[str]
    notes: list[str]
    _scores: dict[str, F64] = field(default_factory=dict)

    @staticmethod
    def read(
        model: Model,
        levels: Mapping[str, Level | Freshness] | None,
        period: tuple[int, int],
        folders: tuple[str | Path | None, str | Path | None],
        options: LiftOptions,
        resources: Resources,
    ) -> MonitoredRows:
        """Read the log and the archive; see `level_lift` for errors."""
        registry, home = (
            ModelRegistry(folders[1]),
            settings.home() if folders[0] is None else Path(folders[0]),
        )
        served, named = _with_served(options.served, resolve_levels(levels))
        metric = _metric(model, options.evaluation)
        every = registry.versions(model.name, served)
        classes = every[-1].manifest.classes if every and model.task_type.classes else []
        files = FromLog.find(home, model, posted=False)
        rows = delivered_rows(ServedAs(model, served, None, period[1], classes), home, resources)
        left_out, notes = Counter(rows.left_out), list[str]()
        versions = served_versions(registry, model, served, sorted(set(rows.version.drop_nulls())))
        early = rows.t < period[0]
        registered = rows.version.is_in(list(versions)).fill_null(value=False).to_numpy()
        left_out["asked before this period"] += int(early.sum())
        left_out["answered by a version that the registry lacks, or of other definitions"] += int(
            (~registered & ~early).sum()
        )
        chosen = registered & ~early
        if not chosen.any():
            raise DataError(
                f"model {model.name!r}: none of the {len(rows.t):,} rows served at {served!r} can "
                f"be scored at other levels; left out: {counted(left_out)}"
            )
        rows = rows.chosen(chosen)
        trained = trained_model(model)
        named = _distinct(trained, named, served)
        ages = {name: mean_age(trained, level, rows.t) for name, level in named.items()}
        ordered = sorted(
            named,
            key=lambda name: -(ages[name] if ages[name] is not None else np.inf),  # type: ignore[operator]
        )
        reads = [
            name
            for name in ordered
            if named[name].reads_history(trained) and named[name].precomputed(trained) is None
        ]
        monitored = MonitoredRows(
            model,
            _archived(trained, home, options),
            {name: named[name] for name in ordered},
            served,
            reads[0] if reads else ordered[0],
            metric,
            rows,
            request_weights(files.served, rows.frame[REQUEST]).to_numpy().astype(np.float64),
            versions,
            period,
            _horizon(model, options, versions, period[1], resources),
            options,
            LevelModels(model, registry, resources, options.allow_pickle),
            resources,
            left_out,
            notes,
        )
        monitored._score_levels()
        if model.outcome_rule == "censored":
            monitored._leave_hidden()
        return monitored

    @cached_property
    def requests(self) -> Requests:
        """The requests, with the columns that they were sent with."""
        frame = self.delivered.frame
        sent_names = {name: f"{PREFIX}given_{name}" for name in self.over.features.needed_by()}
        columns = [
            frame[sent if sent in frame.columns else name].alias(name)
            for name, sent in sent_names.items()
            if {sent, name} & set(frame.columns)
        ]
        return Requests(
            pl.DataFrame(columns)
            if columns
            else pl.DataFrame({"": pl.repeat(0, frame.height, eager=True)}),
            self.delivered.t,
        )

    @cached_property
    def rows(self) -> Mapping[str, LevelRows]:
        """The features of every level, in one pass; of a level with precomputed predictions that no
        job could make, a note alone.
        """
        notes, over = (
            Notes(),
            {name: _over(level, self.over) for name, level in self.levels.items()},
        )
        plain = {
            name: level
            for name, level in over.items()
            if level.precomputed(self.over) is None or name == self.served
        }
        by_level = dict(level_rows(self.over, self.requests, plain, notes, self.resources))
        for name in [name for name in over if name not in plain]:
            try:
                by_level |= level_rows(
                    self.over, self.requests, {name: over[name]}, notes, self.resources
                )
            except (DataError, UsageError) as error:
                self.notes.append(f"{name} is not scored: {error}")
        self.left_out.update(notes.left_out)
        return by_level

    @property
    def scores(self) -> Mapping[str, F64]:
        """The scores of each level that can be scored, float64 (rows) or (rows, classes), from
        stale to fresh.
        """
        return {name: self._scores[name] for name in self.levels if name in self._scores}

    @property
    def predictions(self) -> pl.DataFrame:
        """The requests with their outcome, weight, served prediction and the score of each
        level.
        """
        rows = self.delivered
        scores = {
            name: pl.Series(name, score.tolist() if score.ndim > 1 else score)
            for name, score in self.scores.items()
        }
        log_columns = [REQUEST, f"{PREFIX}at", f"{PREFIX}version", f"{PREFIX}prediction"]
        outcome = pl.Series("outcome", rows.y).fill_nan(None)
        return rows.frame.select(log_columns).with_columns(
            outcome, pl.Series("weight", self.weight), *scores.values()
        )

    def score(self, name: str, level: Level, level_rows: LevelRows) -> F64:
        """What the models of a level say of every row; where it has no answer, the model's default.

        Raises:
            DataError: some rows have no answer at the level, and the model has no default.
        """
        if not level_rows.answered.all() and self.model.default is None:
            raise DataError(
                f"{int((~level_rows.answered).sum()):,} rows have no precomputed prediction there, "
                "and "
                f"model {self.model.name!r} has no default="
            )
        version = self.delivered.version.to_numpy()
        parts: dict[str, F64] = {}
        for number, served in self.versions.items():
            chosen = np.flatnonzero((version == number) & level_rows.answered)
            if len(chosen):
                parts[number] = self.fitted.get(name, level, served).served.score(
                    level_rows.frame[chosen]
                )
        width = next(iter(parts.values())).shape[1:]
        scores = np.full(
            (len(version), *width), np.nan if self.model.default is None else self.model.default
        )
        for number, scored in parts.items():
            scores[np.flatnonzero((version == number) & level_rows.answered)] = scored
        return scores

    def _score_levels(self) -> None:
        for number, (name, rows) in enumerate(self.rows.items()):
            self.resources.say(f"scoring {name}", number, len(self.levels))
            try:
                self._scores[name] = self.score(name, self.levels[name], rows)
            except (DataError, UsageError) as error:
                if name == self.served:
                    raise
                self.notes.append(f"{name} is not scored: {error}")
        if self.stalest not in self._scores:
            self.stalest = next(iter(self.scores))

    def _leave_hidden(self) -> None:
        """Keep the rows whose outcome would be seen at every level; held-out ones stand for the
        others.
        """
        scorable = scorable_rows(self.model, self.delivered.frame, list(self.scores.values()))
        self.left_out.update(scorable.left_out)
        self.weight = (self.weight * scorable.weight)[scorable.rows]
        self._scores = {name: score[scorable.rows] for name, score in self._scores.items()}
        self.delivered = self.delivered.chosen(scorable.rows)
        if self.options.views:
            self.notes.append(
                "views are not judged one by one: which outcomes a mixture of levels would hide "
                "is not seen"
            )
            self.options = replace(self.options, views=False)

    @property
    def used(self) -> Sequence[LevelModelUsed]:
        """The models that scored."""
        return [
            LevelModelUsed(
                name,
                str(number),
                str(m.version.number),
                m.digest,
                m.version.manifest.until,
                m.version.manifest.seed,
                m.seconds,
            )
            for (name, number), m in self.fitted.by_key.items()
        ]


def _with_served(name: str | None, levels: Mapping[str, Level]) -> tuple[str, dict[str, Level]]:
    if name is None:
        return AS_DEFINED, {**levels, AS_DEFINED: Level()}
    if name not in levels:
        raise UsageError(
            f"the served level {name!r} is none of the levels that are compared; "
            f"{nearest(name, levels)}"
        )
    return name, dict(levels)


def _archived(model: Model, home: Path, options: LiftOptions) -> Model:
    """The model over the archive of its streams."""
    if not streamed(model):
        return model
    try:
        with opened_for(options.project, options.store, readonly=True) as store:
            return with_archive(model, home, store)
    except StoreError:
        if options.store is not None:
            raise
        return with_archive(model, home, None)


def _distinct(model: Model, levels: Mapping[str, Level], served: str) -> dict[str, Level]:
    """The levels that differ from the served one, and that."""

    def content(level: Level) -> tuple[object, ...]:
        views = tuple(level.freshness(view).fingerprint for view in model.features.views_in_history)
        precomputed = level.precomputed(model)
        late = tuple(sorted((view.name, soon) for view, soon in level.known_after.items()))
        return views, None if precomputed is None else precomputed.fingerprint, late

    now = content(levels[served])
    return {
        name: level for name, level in levels.items() if name == served or content(level) != now
    }


def _metric(model: Model, evaluation: Evaluation | None) -> Metric:
    headline = judged_by(model, evaluation or Evaluation()).headline
    if headline.cut or headline.name == "cost":
        raise UsageError(
            f"metric {headline.name!r} needs costs or a threshold chosen in training, and a "
            "serving log has none; give Evaluation(headline='auc') or precision@1%"
        )
    return headline


def _horizon(
    model: Model,
    options: LiftOptions,
    versions: Mapping[str, Version],
    until: int,
    resources: Resources,
) -> int:
    """How long after a request its outcome may come, in microseconds."""
    if options.maturity is not None:
        return micros(options.maturity, "maturity")
    if model.labels.maturity is not None:
        return model.labels.maturity
    for version in reversed(list(versions.values())):
        promise = promise_of_version(version)
        if promise is not None and np.isfinite(promise.label_delay_seconds):
            return round(promise.label_delay_seconds * 1e6)
    labelled = read_labels(model.labels, resources, strings=model.task_type.classes)
    assert labelled.known_at is not None
    is_known = labelled.known_at <= until
    if not is_known.any():
        raise DataError(
            f"labels {model.labels.name!r} do not say how long an outcome may take; give "
            "LiftOptions(maturity=), such as '1d'"
        )
    return int((labelled.known_at - labelled.t)[is_known].max())


def _over(level: Level, model: Model) -> Level:
    """The level for a model of the same views over other sources: what it names is found by
    name.
    """
    features, late = level.features, dict(level.known_after)
    if isinstance(features, Mapping):
        freshness = {view.name: freshness_of_view for view, freshness_of_view in features.items()}
        views = {view.name: view for v in model.features.views_in_history for view in (v, v.root)}
        features = {view: freshness[name] for name, view in views.items() if name in freshness}
    if late:
        by_name = {
            source.name: source
            for view in model.features.views_in_history
            for source in [view.source]
        }
        late = {by_name.get(source.name, source): soon for source, soon in late.items()}
    return Level(features, level.predictions, late)
