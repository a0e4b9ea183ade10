"""One side of a comparison: which model a level had, what it would have answered, and how fresh and
whole that was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from headwater import clock
from headwater.backtesting.delivered_rows import DeliveredRows
from headwater.definitions.level import AS_DEFINED, ModelVariant
from headwater.definitions.model import Model
from headwater.errors import DataError, StoreError
from headwater.events.columns import status_name
from headwater.experiments.level_answers import Failures, LevelAnswers, level_answers, placed_at
from headwater.experiments.served_requests import first_rows, model_at, trained_later
from headwater.journal.serving_log_rows import AGE, LATENCY, LEVEL, PREDICTION_HOW
from headwater.kernel.arrays import F64
from headwater.models.compatibility import check
from headwater.models.registry import ModelRegistry
from headwater.models.serving_model import ServedModel
from headwater.monitoring.archived_sources import streamed, with_archive
from headwater.results.replay_result import Answered
from headwater.stores import OnlineStore
from headwater.stores.keyspace import opened_for
from headwater.training.resources import Resources

_TIMED = 200
"""Rows that are scored one by one, to see how long that takes."""


@dataclass(frozen=True)
class Places:
    """Where things lie: the data folder, the registry, the project's name; and whether models may
    run code when they are loaded.

    store: the online store that ingestion writes, or its URL, for archived events that are not in
    files yet; None is that of the settings.
    """

    data_dir: Path
    registry: ModelRegistry
    project: str
    store: OnlineStore | str | None = None
    allow_pickle: bool = False

    def over_archive(self, model: Model) -> Model:
        """The model over what ingestion archived; over its histories where nothing was.

        Raises:
            StoreError: the named store cannot be opened.
            DataError: a file of the archive cannot be read, or its store is missing.
        """
        if not streamed(model):
            return model
        try:
            with opened_for(self.project, self.store, readonly=True) as store:
                return with_archive(model, self.data_dir, store)
        except StoreError:
            if self.store is not None:
                raise
            return with_archive(model, self.data_dir, None)


@dataclass(frozen=True)
class LevelSide:
    """A level's answers, as a result has them and as scores; and in sentences what limits them."""

    answered: Answered
    answers: LevelAnswers
    notes: Sequence[str]


def level_side(
    variant: ModelVariant,
    rows: DeliveredRows,
    period: tuple[int, int],
    places: Places,
    resources: Resources,
    failures: Failures | None = None,
    *,
    fitted: tuple[str, int] | None = None,
) -> LevelSide:
    """What a model at a level would have answered to served requests.

    Args:
        variant: the model and its level.
        rows: the served requests.
        period: since and until, microseconds.
        places: of data and models.
        resources: what computing may use.
        failures: what fails.
        fitted: the level and number of the version that scores; None is the one that the level had
            at the end of the period.

    Raises:
        UsageError: a level for backtests only.
        DataError: no model of the level; features that cannot be computed.
    """
    trained, versions = (
        variant.name,
        _versions(rows.version.filter(rows.frame[LEVEL].fill_null(AS_DEFINED) == variant.name)),
    )
    if fitted is not None:
        trained, versions = fitted[0], [str(fitted[1])]
    chosen, why = model_at(places.registry, variant.model, trained, period[1], versions)
    scorer = places.registry.open(
        variant.model, trained, version=chosen.number, allow_pickle=places.allow_pickle
    )
    notes = [
        *filter(None, [why, trained_later(chosen, period[0])]),
        *map(str, check(variant.model, variant.level, scorer, allow_staler=True)),
    ]
    model, level = placed_at(variant.model, variant.level)
    over = places.over_archive(model)
    answers = level_answers(over, level, rows.frame, scorer, resources, failures)
    first = first_rows(rows)
    origins = answers.origin.filter(pl.Series(first))
    p50, p95 = _quantiles(answers.age[first])
    fast, slow = _timed(scorer, over.features.in_training.feature_names, rows.frame)
    counts_by_origin = {
        name: int(count) for name, count in origins.value_counts(sort=True).iter_rows()
    }
    answered = Answered(
        variant.name,
        str(chosen.number),
        counts_by_origin,
        p50,
        p95,
        dict(answers.faults),
        fast,
        slow,
        int((origins == "none").sum()),
    )
    return LevelSide(answered, answers, notes)


def served_side(rows: DeliveredRows, levels: Sequence[str]) -> Answered:
    """What was served, as the log has it: by how, ages, faults and latency."""
    frame = rows.frame
    faults: Counter[str] = Counter()
    for column in frame.columns:
        if column.endswith(status_name("")):
            for status, count in (
                frame[column].cast(pl.String).drop_nulls().value_counts().iter_rows()
            ):
                if status != "present":
                    faults[f"{column.removesuffix(status_name(''))}: {status}"] += count
        elif column.endswith(("__stale", "__incomplete")):
            count = int(frame[column].fill_null(value=False).sum())
            if count:
                view, _, word = column.rpartition("__")
                faults[f"{view}: {'older than promised' if word == 'stale' else word}"] += count
    requests = frame.filter(pl.Series(first_rows(rows)))
    counts_by_origin = {
        str(name): int(count)
        for name, count in requests[PREDICTION_HOW]
        .fill_null("none")
        .value_counts(sort=True)
        .iter_rows()
    }
    ages = requests[AGE].dt.total_microseconds().cast(pl.Float64).to_numpy() / 1e6
    latency = _quantiles(requests[LATENCY].cast(pl.Float64).to_numpy() / 1e3)
    return Answered(
        ", ".join(levels),
        ", ".join(_versions(rows.version)),
        counts_by_origin,
        *_quantiles(ages),
        dict(+faults),
        *latency,
    )


def _versions(logged: pl.Series) -> list[str]:
    """The versions that answered, from early to late."""
    return sorted(set(logged.drop_nulls()) - {""}, key=lambda text: (len(text), text))


def _quantiles(values: F64) -> tuple[float, float]:
    finite = values[~np.isnan(values)]
    if not len(finite):
        return float("nan"), float("nan")
    return float(np.quantile(finite, 0.5)), float(np.quantile(finite, 0.95))


def _timed(scorer: ServedModel, names: Sequence[str], frame: pl.DataFrame) -> tuple[float, float]:
    """How long the model takes for one row, p50 and p95 in milliseconds; NaN where the log has not
    all of its features.
    """
    columns = list(scorer.fitted.encoding.columns)
    if not set(columns) <= set(names) or not set(columns) <= set(frame.columns):
        return float("nan"), float("nan")
    seconds = []
    with suppress(DataError):  # logged values of another type than in training
        for row in frame.head(_TIMED).select(columns).iter_rows():
            begin = clock.stopwatch()
            scorer.one(row)
            seconds.append(clock.stopwatch() - begin)
    return _quantiles(np.array(seconds) * 1e3)
