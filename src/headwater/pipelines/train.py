"""Training sets and trained models at one level."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from headwater import clock
from headwater.compute.arrays import I64, Bool
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.definitions.moments import EPOCH, moment_text, parse_moment
from headwater.definitions.sizes import Size
from headwater.engines.events import Notes
from headwater.errors import DataError
from headwater.models.fit import Fitted, fit
from headwater.models.outcomes import outcomes
from headwater.models.store import save
from headwater.pipelines.cache import Cache
from headwater.pipelines.from_log import FromLog, logged
from headwater.pipelines.historical import feature_frames
from headwater.pipelines.leaks import refuse_label_columns
from headwater.pipelines.means import Means, Tick
from headwater.pipelines.requests import Requests, read_labels


@dataclass(frozen=True)
class TrainingSet:
    """The labelled requests with their features as of each request; `left_out` rows by reason, `events` read by source.

    served_by: of rows from a served log, how many each version of the model answered.
    not_in_training: the model's features that no history supplies; they are no column.
    """

    requests: Requests
    features: pl.DataFrame
    left_out: Counter[str]
    events: Mapping[str, int]
    served_by: Mapping[str, int] = field(default_factory=dict)
    not_in_training: tuple[str, ...] = ()

    @property
    def frame(self) -> pl.DataFrame:
        """Request columns, then features, then the label."""
        label = self.requests.label
        assert label is not None
        own = self.requests.frame.drop([*self.features.columns, label.name], strict=False)
        return pl.concat([own, self.features, label.to_frame()], how="horizontal")


@dataclass(frozen=True)
class Trained:
    """A model fitted on the rows whose outcome was known by `until`."""

    model: Model
    fitted: Fitted
    level: Level
    until: datetime
    rows: int
    left_out: Counter[str]

    def save(self, folder: str | Path) -> Path:
        """Write the estimator and its manifest into `folder`; returns the manifest's path."""
        about = {
            "model": self.model.name,
            "fingerprint": self.model.fingerprint,
            "feature_service": self.model.features.name,
            "views": {v.name: v.fingerprint for v in self.model.features.views},
            "level": self.level.describe(self.model),
            "level_fingerprint": self.level.fingerprint,
            "until": self.until.isoformat(),
            "rows": self.rows,
            "left_out": dict(self.left_out),
            "not_in_training": list(self.model.features.not_in_training),
            "third_party": {http.name: http.fingerprint for http in self.model.features.http_features},
        }
        return save(self.fitted, Path(folder), about)


def training_set(
    model: Model,
    *,
    level: Level | None = None,
    until: str | datetime | None = None,
    threads: int | None = None,
    memory: Size | None = None,
    tick: Tick | None = None,
    cache: Cache | None = None,
    from_log: FromLog | None = None,
) -> TrainingSet:
    """The rows of the model's labels whose outcome was known by `until` (default: now), with their features.

    `from_log`: the rows that were served instead, with the features as they were then and the outcomes that were posted; with a level,
    those that were served at it.
    `memory` is what the process may hold, such as "4GB"; the history may be larger (see `get_historical_features`). `cache` keeps the
    features, and gives those that it kept.

    Raises:
        DataError: no outcome was known by then.
        LeakError: a source would let the future into training data.
    """
    if from_log is not None:
        found = logged(model, from_log, parse_moment(until or clock.now(), "until"), level, memory)
        return TrainingSet(found.requests, found.features, found.left_out, {}, served_by=found.versions)
    refuse_label_columns(model)
    requests = read_labels(model.labels, memory, texts=model.task == "multiclass")
    assert requests.known_at is not None
    limit = parse_moment(until or clock.now(), "until")
    known = requests.known_at <= limit
    left_out = Counter(requests.left_out)
    if not known.all():
        left_out["outcome not known by then"] += int((~known).sum())
        requests = requests.take(np.flatnonzero(known))
    if not known.any():
        raise DataError(f"labels {model.labels.name!r}: no outcome was known by {moment_text(limit)}; take a later time")
    notes = Notes()
    features = feature_frames(model.features.in_training, requests, {"": level or Level()}, notes, Means(threads, memory, tick, cache))[""]
    return TrainingSet(requests, features, left_out + notes.left_out, dict(notes.events), not_in_training=model.features.not_in_training)


def train(
    model: Model,
    *,
    level: Level | None = None,
    until: str | datetime | None = None,
    seed: int = 0,
    threads: int | None = None,
    memory: Size | None = None,
    tick: Tick | None = None,
    from_log: str | Path | None = None,
) -> Trained:
    """Fit the model on everything known by `until` (default: now), its features at `level` (default: as defined).

    `from_log`: on exactly what was served (with a level: at it), as the log of that folder has it, with the outcomes that were posted.

    `memory` bounds the computing of features, as in `get_historical_features`; the estimator takes what it takes.

    Raises:
        DataError: no outcome was known by then, labels of one class, or an estimator that refuses the data.
        LeakError: a source would let the future into training data.
    """
    limit = EPOCH + timedelta(microseconds=parse_moment(until or clock.now(), "until"))
    log = None if from_log is None else FromLog.of(from_log, model)
    rows = training_set(model, level=level, until=limit, threads=threads, memory=memory, tick=tick, from_log=log)
    assert rows.requests.label is not None
    order = in_time_order(rows.requests, np.ones(len(rows.requests.t), np.bool_))
    known = outcomes(model, rows.requests.label[order], rows.requests.frame[order])
    fitted = fit(model, rows.features[order], known.y, classes=known.classes, groups=known.groups, seed=seed, threads=threads)
    return Trained(model, fitted, level or Level(), limit, len(order), rows.left_out)


def in_time_order(requests: Requests, chosen: Bool) -> I64:
    """The positions of the chosen rows, int64, as they asked; rows of one moment by their content.

    What is trained on them does not depend on the order of the table, and an estimator that holds out the last rows holds out the
    latest.
    """
    rows = np.flatnonzero(chosen)
    content = requests.frame[rows].hash_rows(seed=0).to_numpy() if requests.frame.width else rows
    return rows[np.lexsort((content, requests.t[rows]))]
