"""Training sets and trained models at one level."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl

from headwater import clock
from headwater.connectors.snapshots import one_version
from headwater.definitions.checks import parse_timestamp, timestamp_text
from headwater.definitions.definition import Readable
from headwater.definitions.freshness import Freshness
from headwater.definitions.level import AS_DEFINED, Level, as_level
from headwater.definitions.model import Model
from headwater.definitions.project import checked_call
from headwater.definitions.ranking import Ranking
from headwater.engine.engines import engine_name
from headwater.errors import DataError, UsageError
from headwater.events.columns import status_name
from headwater.events.read_events import Notes
from headwater.kernel.arrays import F64, I64, Bool
from headwater.models.artifact import save
from headwater.models.fit import Fitted, check_classes, fit_outcomes
from headwater.models.holdout_metrics import measure, measure_places
from headwater.models.manifest import definitions_of
from headwater.models.outcomes import LabelValues, outcomes
from headwater.models.promises import inherited, write_promise
from headwater.models.reference_distribution import ReferenceDistribution, references
from headwater.models.registry import ModelRegistry, Version
from headwater.results.promise_result import Promise
from headwater.training.arm_log import ArmLog
from headwater.training.candidate_lists import candidate_lists
from headwater.training.feature_frames import feature_frames
from headwater.training.frame_digest import digest
from headwater.training.from_log import FromLog, logged
from headwater.training.leak_checks import refuse_label_columns
from headwater.training.model_tables import versions_of
from headwater.training.negatives import sample_negatives
from headwater.training.no_events import warn_of_no_events
from headwater.training.positive_log import model_labels
from headwater.training.precomputed_rows import no_scores, rows_of
from headwater.training.requests import Requests, training_frame
from headwater.training.resources import DEFAULT_RESOURCES, Resources
from headwater.training.schema_check import check_model

LOG_Q = "log_q"


@dataclass(frozen=True)
class TrainingSet(Readable):
    """The labelled requests with their features as of each request; `left_out` rows by reason,
    `events` read by source.

    served_by: of rows from a serving log, how many each version of the model answered.
    not_in_training: the model's features that no history supplies; they are no column.
    statuses: the status of each feature, `<feature>__status`, where they were asked for and are
    known.
    log_q: float64 (rows), where negatives are sampled: the log of a row's expected draws over its
        draws. Each positive is followed by its negatives, which have the label 0, the request's
        columns, and null in columns that nothing reads.
    """

    requests: Requests
    features: pl.DataFrame
    left_out: Counter[str]
    events: Mapping[str, int]
    served_by: Mapping[str, int] = field(default_factory=dict)
    not_in_training: tuple[str, ...] = ()
    log_q: F64 | None = None
    statuses: pl.DataFrame | None = None

    @property
    def frame(self) -> pl.DataFrame:
        """Request columns, then features, then the label; where negatives are sampled, then
        `log_q`.
        """
        frame = training_frame(self.requests, self.features)
        return frame if self.log_q is None else frame.with_columns(pl.Series(LOG_Q, self.log_q))


@dataclass(frozen=True)
class Trained(Readable):
    """A model fitted on the rows with an outcome known by `until`, the `as_of` of the training.

    level_name: the name that it is served under. left_out: rows by reason. metrics: `training`, and
    `holdout` where rows were held out.
    data: the training set as a manifest says it. seed: of the estimator. examples: rows of it that
    a loaded model has to score alike.
    references: how each feature is distributed in it.
    """

    model: Model
    fitted: Fitted
    level: Level
    level_name: str
    until: datetime
    rows: int
    left_out: Counter[str]
    metrics: Mapping[str, Mapping[str, float]]
    data: Mapping[str, object]
    examples: pl.DataFrame
    seed: int = 0
    references: Mapping[str, ReferenceDistribution] = field(default_factory=dict)

    def save(self, folder: str | Path) -> Path:
        """Write the estimator and its manifest into `folder`; returns the manifest's path."""
        about = {
            **definitions_of(self.model, self.level, self.level_name),
            "dtypes": [repr(dtype) for dtype in self.examples.dtypes],
            "until": self.until.isoformat(),
            "seed": self.seed,
            "rows": self.rows,
            "left_out": dict(self.left_out),
            "data": dict(self.data),
            "metrics": {name: dict(scores) for name, scores in self.metrics.items()},
            "references": dict(self.references),
            "created_at": clock.now().isoformat(timespec="seconds"),
        }
        return save(self.fitted, Path(folder), about, self.examples)

    def register(
        self,
        registry: ModelRegistry | None = None,
        *,
        promote: bool = True,
        promise: Promise | None = None,
    ) -> Version:
        """Keep it as a new version; `promote` makes it the one that is served. None: the registry
        in headwater's home.

        promise: what the backtest of these definitions promised, as `promised(backtest)` gives it;
        `watch` compares it with production. None: what it promised of the version before, if that
        has the same definitions.

        Raises:
            UsageError: the promise is of other definitions.
        """
        models, model = registry or ModelRegistry(), self.model
        held = promise or inherited(models, model.name, self.level_name, model.fingerprint)

        def write(folder: Path) -> None:
            self.save(folder)
            if held is not None:
                write_promise(folder, held, model.fingerprint)

        return models.add(model.name, write, level=self.level_name, promote=promote)


def training_set(
    model: Model,
    *,
    level: Level | None = None,
    as_of: str | datetime | None = None,
    from_log: FromLog | None = None,
    resources: Resources = DEFAULT_RESOURCES,
    statuses: bool = False,
) -> TrainingSet:
    """The rows of the model's labels whose outcome was known by `as_of` (default: now), with their
    features.

    At a level with precomputed predictions, a row has the job's features. A row without a score is
    left out, unless it is predicted on request: then it has all features, and the others have none
    that a job does not know.

    `from_log`: the rows that were served instead, with the features as they were then and the
    outcomes that were posted; with a level, those that were served at it.

    `statuses`: with the status of each feature. There is none of precomputed predictions, sampled
    negatives and values of a cache.

    Raises:
        DataError: no outcome was known by then.
        LeakError: a source would let the future into training data.
    """
    if from_log is not None:
        rows_of_log = logged(
            model, from_log, parse_timestamp(as_of or clock.now(), "as_of"), level, resources
        )
        served_statuses = rows_of_log.requests.frame.select(
            map(status_name, rows_of_log.features.columns)
        )
        return TrainingSet(
            rows_of_log.requests,
            rows_of_log.features,
            rows_of_log.left_out,
            {},
            served_by=rows_of_log.versions,
            statuses=served_statuses if statuses else None,
        )
    check_model(model)
    refuse_label_columns(model)
    requests = model_labels(model, resources)
    assert requests.known_at is not None
    limit = parse_timestamp(as_of or clock.now(), "as_of")
    known = requests.known_at <= limit
    left_out = Counter(requests.left_out)
    if not known.all():
        left_out["outcome not known by then"] += int((~known).sum())
        requests = requests.take(np.flatnonzero(known))
    if not known.any():
        raise DataError(
            f"labels {model.labels.name!r}: no outcome was known by {timestamp_text(limit)}; take "
            "a later time"
        )
    notes, at = Notes(), level or Level()
    precomputed = at.precomputed(model)
    of_features: pl.DataFrame | None = None
    if precomputed is None:
        with_statuses = statuses and resources.feature_cache is None
        features = feature_frames(
            model.features.in_training, requests, {"": at}, notes, resources, statuses=with_statuses
        )[""]
        if with_statuses:
            names = model.features.in_training.feature_names
            features, of_features = features.select(names), features.select(map(status_name, names))
    else:
        rows = rows_of(model, requests, at, notes, resources)
        scored_rows = np.flatnonzero(rows.known | precomputed.on_request)
        if not len(scored_rows):
            raise no_scores(model, precomputed)
        left_out["no prediction was precomputed"] += len(requests.t) - len(scored_rows)
        features, requests = rows.frame[scored_rows], requests.take(scored_rows)
    warn_of_no_events(requests, notes)
    answered = TrainingSet(
        requests,
        features,
        left_out | notes.left_out,
        dict(notes.events),
        not_in_training=model.features.not_in_training,
        statuses=of_features,
    )
    if model.ranking is None or model.ranking.negatives is None:
        return answered
    return _with_negatives(model, model.ranking, answered, at, resources)


def _with_negatives(
    model: Model, task: Ranking, rows: TrainingSet, level: Level, resources: Resources
) -> TrainingSet:
    """The positives that are candidates at the level, each followed by the negatives that are drawn
    for it.
    """
    requests, label = rows.requests, rows.requests.label
    assert label is not None
    assert requests.known_at is not None
    if LOG_Q in requests.frame.columns or LOG_Q in rows.features.columns:
        raise DataError(
            f"labels {model.labels.name!r}: the column {LOG_Q!r} is that of sampled negatives; "
            "rename yours"
        )
    known = outcomes(model, label, requests.frame)
    assert known.groups is not None
    every, trained = np.arange(len(requests.t)), replace(model, features=model.features.in_training)
    negatives = sample_negatives(trained, requests, known.groups, {"": level}, every, resources)[""]
    positives = every[negatives.trains]
    if not len(positives):
        raise DataError(
            f"model {model.name!r}: the chosen item of none of the {len(every)} training rows is "
            "among the candidates that were known when it asked; check that candidates hold "
            "items as the labels write them, and that their sources' history begins before the "
            "labels"
        )
    at, request_index = negatives.rows(positives), np.concatenate([every, negatives.request_index])
    read = {
        task.group,
        task.item,
        model.labels.timestamp_field,
        model.labels.weight,
        *trained.features.needed_by(),
    }
    frame = requests.frame[negatives.request_index].with_columns(
        negatives.item.alias(task.item),
        *(
            pl.lit(None, dtype).alias(c)
            for c, dtype in requests.frame.schema.items()
            if c not in read
        ),
    )
    drawn = Requests(
        pl.concat([requests.frame, frame])[at],
        requests.t[request_index][at],
        pl.Series(label.name, negatives.outcomes(known).y[at]),
        requests.known_at[request_index][at],
    )
    left_out = Counter(rows.left_out)
    left_out["chosen item not among the candidates"] += len(every) - len(positives)
    log_q = np.append(negatives.positive_log_q, negatives.log_q)[at]
    return replace(
        rows,
        requests=drawn,
        features=negatives.features(rows.features)[at],
        left_out=+left_out,
        log_q=log_q,
        statuses=None,
    )


@checked_call
@one_version()
def train(
    model: Model,
    *,
    level: Level | Freshness | None = None,
    level_name: str | None = None,
    as_of: str | datetime | None = None,
    holdout: str | datetime | None = None,
    seed: int = 0,
    from_log: str | Path | ArmLog | None = None,
    resources: Resources | None = None,
) -> Trained:
    """Fit the model on everything known by `as_of` (default: now), its features at `level`
    (default: as defined).

    Args:
        model: what to fit; a fitted estimator is taken as it is.
        level: how fresh the features are, a Level or a freshness.
        level_name: the name that it is served under; where None, "as defined" without a level, else
            the level in words.
        as_of: rows train whose outcome was known by then.
        holdout: besides, a model of the rows that were known by then is measured on those that
            asked from then on. The final model is trained on all.
        seed: of the estimator.
        from_log: a folder with a serving log: train on exactly what was served (with a level: at
            it), and the outcomes that were posted. `hw.experiments.ArmLog(experiment, arm)`: on
            what one arm of an experiment served.
        resources: what the call may use: threads, memory, a cache, progress.

    Raises:
        DataError: no outcome was known by then, labels of one class, or an estimator that refuses
            the data.
        LeakError: a source would let the future into training data.
    """
    level = None if level is None else as_level(level)
    limit = clock.timestamp(parse_timestamp(as_of or clock.now(), "as_of"))
    log = None if from_log is None else FromLog.find(from_log, model)
    if log is None:
        check_model(model, fitted=True)
    elif model.labels.weight is not None:
        raise UsageError(
            f"model {model.name!r}: a serving log has no column {model.labels.weight!r}, the "
            f"weight of labels {model.labels.name!r}; train from the labels' table, or give "
            "labels without weight="
        )
    resources = resources or DEFAULT_RESOURCES
    threads = resources.threads
    with resources.shown() as shown:
        rows = training_set(
            model, level=level, as_of=limit, from_log=log, resources=shown, statuses=True
        )
    assert rows.requests.label is not None
    order = in_time_order(rows.requests, np.ones(len(rows.requests.t), np.bool_))
    known = replace(outcomes(model, rows.requests.label, rows.requests.frame), log_q=rows.log_q)
    if model.task_type.positives:
        check_classes(known.y, f"model {model.name!r}, training rows", rows.left_out)
    fitted = _fitted(model, rows, known, order, seed, threads)
    # Metrics of sampled negatives are not those of the full candidate set (Krichene and Rendle,
    # 2020), so there are none of training rows.
    metrics = (
        {"training": measure(fitted, known, fitted.score(rows.features))}
        if rows.log_q is None
        else {}
    )
    if holdout is not None:
        with resources.shown() as shown:
            metrics["holdout"] = _held_out(
                model,
                rows,
                known,
                parse_timestamp(holdout, "holdout"),
                (level or Level(), seed, shown),
            )
    name = level_name or (AS_DEFINED if level is None else level.describe(model))
    examples = rows.features[_telling(rows.features)]
    distributions = _references(rows, known)
    return Trained(
        model,
        fitted,
        level or Level(),
        name,
        limit,
        len(order),
        rows.left_out,
        metrics,
        _data(rows, model, resources),
        examples,
        seed,
        distributions,
    )


def _fitted(
    model: Model, rows: TrainingSet, known: LabelValues, order: I64, seed: int, threads: int | None
) -> Fitted:
    return fit_outcomes(model, rows.features[order], known.take(order), seed=seed, threads=threads)


def _held_out(
    model: Model,
    rows: TrainingSet,
    known: LabelValues,
    start: int,
    fit_options: tuple[Level, int, Resources],
) -> Mapping[str, float]:
    """The metrics on rows requested from `start` on. The model is trained on rows requested before,
    with an outcome known before.

    Where negatives are sampled, the full candidate set of each late request is ranked.
    fit_options: the level, the seed and the resources.
    """
    level, seed, resources = fit_options
    assert rows.requests.known_at is not None
    early = (rows.requests.t < start) & (rows.requests.known_at <= start)
    late = np.flatnonzero(rows.requests.t >= start)
    if not early.any() or not len(late):
        raise DataError(
            f"model {model.name!r}: {timestamp_text(start)} leaves {int(early.sum())} rows to "
            f"train on and {len(late)} to measure on; the request times are from "
            f"{timestamp_text(int(rows.requests.t.min()))} to "
            f"{timestamp_text(int(rows.requests.t.max()))}"
        )
    fitted = _fitted(
        model, rows, known, in_time_order(rows.requests, early), seed, resources.threads
    )
    if rows.log_q is None:
        return measure(fitted, known.take(late), fitted.score(rows.features[late]))
    assert known.groups is not None
    late = late[known.y[late] > 0]
    trained = replace(model, features=model.features.in_training)
    lists = candidate_lists(
        trained, rows.requests, known.groups, {"": level}, {"": rows.features}, late, resources
    )[""]
    return measure_places(fitted.task, known.take(late), lists.places(fitted))


def _references(rows: TrainingSet, known: LabelValues) -> dict[str, ReferenceDistribution]:
    """How each feature is distributed. A drawn negative counts for the candidates that it stands
    for; a list is one independent row.
    """
    weights = None if rows.log_q is None else np.where(known.y > 0, 1.0, np.exp(-rows.log_q))
    lists = None if known.groups is None else float(len(np.unique(known.groups)))
    return references(
        rows.features, rows.requests.t, weights=weights, rows=lists, statuses=rows.statuses
    )


def _data(rows: TrainingSet, model: Model, resources: Resources) -> dict[str, object]:
    """The manifest's description of the training set, with the digest that `dataset` gives the same
    rows. tables: the sources with versions.
    """
    frame = rows.frame
    columns = {name: repr(dtype) for name, dtype in frame.schema.items()}
    data: dict[str, object] = {
        "digest": digest(frame),
        "rows": frame.height,
        "columns": columns,
        "events": dict(rows.events),
    }
    if rows.served_by:
        return data | {"served_by": dict(rows.served_by)}
    versions = versions_of(model)
    return (
        data
        | {"engine": engine_name(resources.engine)}
        | ({"tables": versions} if versions else {})
    )


def _telling(features: pl.DataFrame) -> list[int]:
    """The positions of rows to keep as examples: the fullest, the emptiest, and one in between."""
    nulls = features.select(pl.sum_horizontal(pl.all().is_null()).alias("nulls"))["nulls"]
    order = nulls.arg_sort().to_list()
    return sorted({order[0], order[len(order) // 2], order[-1]})


def in_time_order(requests: Requests, chosen: Bool) -> I64:
    """The positions of the chosen rows, int64, as they asked; rows of one moment by their content.

    The trained model does not depend on the order of the table, and an estimator that holds out the
    last rows holds out the latest.
    """
    rows = np.flatnonzero(chosen)
    content = requests.frame[rows].hash_rows(seed=0).to_numpy() if requests.frame.width else rows
    return rows[np.lexsort((content, requests.t[rows]))]
