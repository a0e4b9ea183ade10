"""Lift by freshness on flights: the monitored daily curve of September against a backtest of the
same requests with the same models.

    python -m bench.monitored_flights [--days 30] [--folder FOLDER]

September is replayed into an archive in steps of ten minutes, so an event is known from the first
step after it happened. Levels whose cuts are at such steps see every event in time, and have to be
equal to the bit; a stream that is two seconds behind does not, and its difference is printed.
Requests are those of the labels' table, logged with the scores of the served level.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.metrics import roc_auc_score

import headwater as hw
from headwater import clock
from headwater.definitions.freshness import streaming
from headwater.demo.flights import prepare
from headwater.demo.live_month import BEGIN
from headwater.demo.serve_week import served_project
from headwater.experiments.level_comparison import level_lift
from headwater.experiments.monitored_rows import LiftOptions
from headwater.ingestion.replay import replay
from headwater.journal.serving_log_rows import BatchEntry, EntryContext
from headwater.models.registry import MONITORED, ModelRegistry
from headwater.models.serving_model import ServedModel
from headwater.results.level_lift_result import LiftDay
from headwater.training.label_rows import read_labels

SERVED = "ten minutes"
AT = "headwater_at"
LEVELS = {
    "daily": hw.Level(hw.batch("1d", at="00:00", timezone="America/New_York", delay="4h")),
    "hourly": hw.Level(hw.batch("1h", delay="15m")),
    SERVED: hw.Level(hw.batch("10m")),
    "live": hw.Level(streaming("2s")),
}


def main(arguments: list[str] | None = None) -> int:
    """Replay, log, monitor, backtest, and print what agrees."""
    parser = argparse.ArgumentParser(
        "python -m bench.monitored_flights", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args(arguments)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="monitored-flights-"))
    print(json.dumps(compared(folder, options.days), indent=1))
    return 0


def compared(folder: Path, days: int) -> dict[str, object]:
    """By level: rows, rows with an equal score, the largest difference, and that of daily
    metrics.
    """
    prepare(folder)
    sys.path.insert(0, str(folder))
    from features import project  # type: ignore[import-not-found]

    began, end = clock.stopwatch(), BEGIN + timedelta(days=days)
    model = replace(served_project(project, folder).models[0], outcomes="independent")
    url = f"lmdb:{folder / 'online'}"
    _archive(model, url, folder, end)
    registry = ModelRegistry(folder / "models")
    hw.train(model, level=LEVELS[SERVED], level_name=SERVED, as_of=BEGIN).register(registry)
    asked = _log(model, registry, folder, end)
    how = LiftOptions(served=SERVED, views=False, maturity="1d", project=project.name, store=url)
    found = level_lift(
        model,
        LEVELS,
        data_dir=folder,
        models=folder / "models",
        until=end + timedelta(days=2),
        options=how,
    )
    assert found.predictions is not None
    keys = [
        name
        for name in ("scheduled_at", "tailnum", "origin", "dest", "carrier")
        if name in asked.columns
    ]
    answer: dict[str, object] = {
        "requests": asked.height,
        "monitored": found.predictions.height,
        "days": len(found.result.judged),
    }
    monitored = pl.concat(
        [asked.select("headwater_request", *keys), found.predictions.drop("headwater_request")],
        how="horizontal",
    )
    values = {day.day: day for day in found.result.judged}
    for used in found.result.models:
        where = (
            registry
            if (folder / "models" / model.name / used.level).is_dir()
            else ModelRegistry(folder / "models" / MONITORED)
        )
        version = where.version(int(used.version), model.name, used.level)
        assert version.manifest.kept.digest == used.digest
        pinned = where.open(model, used.level, version=version.number)
        tested = _backtested(model, pinned, used.level, end)
        answer[used.level] = _agreement(monitored, tested, values, used.level, keys) | {
            "digest": used.digest[:12]
        }
    return answer | {"seconds": round(clock.stopwatch() - began)}


def _archive(model: hw.Model, url: str, folder: Path, end: object) -> None:
    store = hw.operations.open_store(url)
    try:
        views = [replace(view, freshness=streaming("2s")) for view in model.features.views]
        for _ in replay(
            views, store, start=BEGIN - timedelta(hours=1), end=end, step="10m", data_dir=folder
        ):  # type: ignore[arg-type]
            pass
    finally:
        store.close()


def _log(model: hw.Model, registry: ModelRegistry, folder: Path, end: object) -> pl.DataFrame:
    """Write the requests into a serving log, each as a batch of the flights that asked at one time;
    in the order of the log.
    """
    labels = read_labels(model.labels)
    chosen = np.flatnonzero((labels.t >= clock.micros(BEGIN)) & (labels.t < clock.micros(end)))  # type: ignore[arg-type]
    rows = labels.take(chosen[np.argsort(labels.t[chosen], kind="stable")])
    features = hw.get_historical_features(
        model.features,
        rows.frame.with_columns(pl.Series(AT, rows.t).cast(pl.Datetime("us", "UTC"))),
        timestamp_field=AT,
        level=LEVELS[SERVED],
    )
    scores = registry.open(model, SERVED).score(features.select(model.features.feature_names))
    fields = list(model.features.needed_by())
    schema = {name: rows.frame.schema[name] for name in fields}
    about = EntryContext(
        "predict",
        "flights",
        model.features.name,
        model.name,
        "1",
        None,
        SERVED,
        (),
        {},
        tuple(fields),
        schema,
    )
    starts = np.flatnonzero(np.diff(rows.t, prepend=-1))
    ids = np.empty(len(rows.t), dtype=object)
    with hw.operations.ServedLog(folder) as log:
        for first, last in zip(starts.tolist(), [*starts[1:].tolist(), len(rows.t)], strict=True):
            part = rows.frame[first:last].select(fields)
            ids[first:last] = f"r{first:07d}"
            request = {name: part[name].to_list() for name in fields}
            log.put(
                BatchEntry(
                    about,
                    f"r{first:07d}",
                    int(rows.t[first]),
                    request,
                    [],
                    [],
                    [],
                    last - first,
                    scores[first:last].tolist(),
                    "on_request",
                )
            )
    return rows.frame.with_columns(pl.Series("headwater_request", ids.tolist()))


def _backtested(model: hw.Model, pinned: ServedModel, level: str, end: object) -> pl.DataFrame:
    """The requests of the labels' table with the score that a backtest of the level gives with this
    very model, and their outcome.
    """
    labels = read_labels(model.labels)
    rows = labels.take(
        np.flatnonzero((labels.t >= clock.micros(BEGIN)) & (labels.t < clock.micros(end)))
    )  # type: ignore[arg-type]
    frame = rows.frame.with_columns(pl.Series(AT, rows.t).cast(pl.Datetime("us", "UTC")))
    features = hw.get_historical_features(
        model.features, frame, timestamp_field=AT, level=LEVELS[level]
    )
    assert rows.label is not None
    scores = pinned.score(features.select(model.features.feature_names))
    return frame.with_columns(
        pl.Series("theirs", scores), rows.label.cast(pl.Float64).alias("outcome")
    )


def _agreement(
    monitored: pl.DataFrame,
    tested: pl.DataFrame,
    days: Mapping[str, LiftDay],
    level: str,
    keys: Sequence[str],
) -> dict[str, object]:
    both = monitored.select(*keys, pl.col(level).alias("mine")).join(
        tested, on=keys, how="inner", nulls_equal=True
    )
    difference = (both["mine"] - both["theirs"]).abs()
    daily = {}
    for (day,), rows in (
        both.with_columns(pl.col(AT).dt.date().cast(pl.String).alias("day"))
        .partition_by("day", as_dict=True)
        .items()
    ):
        if str(day) in days:
            judged = days[str(day)]
            auc = roc_auc_score(rows["outcome"], rows["theirs"])
            daily[str(day)] = (rows.height == judged.with_outcome, abs(auc - judged.values[level]))
    return {
        "rows": both.height,
        "equal to the bit": int((both["mine"] == both["theirs"]).sum()),
        "largest difference of a score": difference.max(),
        "days": len(daily),
        "days with equal counts": sum(equal for equal, _ in daily.values()),
        "largest difference of a day's AUC": max(apart for _, apart in daily.values()),
    }


if __name__ == "__main__":
    sys.exit(main())
