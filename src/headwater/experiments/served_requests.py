"""The requests that a model answered in a period, with the outcomes known so far; and which model a
level had then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl

from headwater import clock, settings
from headwater.backtesting.delivered_rows import DeliveredRows, ServedAs, delivered_rows
from headwater.definitions.level import AS_DEFINED
from headwater.definitions.model import Model
from headwater.errors import DataError
from headwater.journal.serving_log_files import segments
from headwater.journal.serving_log_files import served as served_log
from headwater.journal.serving_log_rows import LEVEL, PREDICTION, REQUEST, VERSION
from headwater.kernel.arrays import Bool
from headwater.models.registry import ModelRegistry, Version
from headwater.training.resources import Resources


@dataclass(frozen=True)
class Period:
    """Requests from `since` on and before `until`; outcomes known by `now`: microseconds all.
    levels: the served ones; None is all.
    """

    since: int
    until: int
    now: int
    levels: Sequence[str] | None = None


def served_requests(
    model: Model,
    period: Period,
    folder: str | Path | None,
    registry: ModelRegistry,
    resources: Resources,
) -> DeliveredRows:
    """The predictions that were served in a period, in the order of their requests within each
    level; of a ranking each returned item.

    Raises:
        DataError: no request was logged then, with the days that have some.
    """
    home = settings.home() if folder is None else Path(folder)
    first, last = clock.timestamp(period.since), clock.timestamp(period.until)
    try:
        rows = served_log(home, model=model.name, since=first, until=last)
        levels = (
            rows.filter(pl.col(PREDICTION).is_not_null())
            .select(pl.col(LEVEL).fill_null(AS_DEFINED))
            .unique()
            .collect()
        )
    except DataError as error:
        raise _nothing(model, home, first, last) from error
    named = sorted(levels.to_series().to_list())
    wanted = [level for level in named if period.levels is None or level in period.levels]
    if not wanted:
        raise _nothing(model, home, first, last)
    parts = []
    for level in wanted:
        versions = registry.versions(model.name, level)
        classes = versions[-1].manifest.classes if versions and model.task_type.classes else ()
        delivered = delivered_rows(
            ServedAs(model, level, None, period.now, classes, period.since), home, resources
        )
        parts.append(delivered.chosen((delivered.t >= period.since) & (delivered.t < period.until)))
    joined = _joined(parts)
    if not joined.frame.height:
        raise _nothing(model, home, first, last)
    return joined


def first_rows(rows: DeliveredRows) -> Bool:
    """The first row of each request: of a ranking a request is a list; bool (rows)."""
    if rows.groups is None:
        return np.ones(rows.frame.height, np.bool_)
    first = np.zeros(rows.frame.height, np.bool_)
    first[np.unique(rows.groups, return_index=True)[1]] = True
    return first


def with_outcome(rows: DeliveredRows) -> int:
    """The requests with a known outcome; of a ranking, the lists where every item has one."""
    if rows.groups is None:
        return int(rows.known.sum())
    return len(np.unique(rows.groups)) - len(np.unique(rows.groups[~rows.known]))


def model_at(
    registry: ModelRegistry, model: Model, level: str, at: int, logged: Sequence[str] = ()
) -> tuple[Version, str]:
    """The version of a level that served, or would have served, at a time; and in a sentence why it
    is another one, empty where it is that.

    Args:
        registry: of fitted models.
        model, level: which.
        at: microseconds.
        logged: versions of this very level that answered then, as the log has them: the last of
            them is taken.

    Raises:
        DataError: the registry has no version of the level.
    """
    versions = registry.versions(model.name, level)
    if not versions:
        return registry.current(model.name, level), ""  # raises what to train
    by_number = {str(version.number): version for version in versions}
    there = [by_number[name] for name in logged if name in by_number]
    removed = [name for name in logged if name and name not in by_number]
    if there:
        return there[-1], ""
    before = [version for version in versions if _created(version) <= at]
    chosen = before[-1] if before else versions[0]
    if removed:
        return (
            chosen,
            (
                f"version {', '.join(removed)} of that time is gone from the registry; version "
                f"{chosen.number} is used"
            ),
        )
    if not before:
        return (
            chosen,
            (
                f"no version of {level!r} was trained by then; version {chosen.number}, of "
                f"{chosen.manifest.created_at}, is used"
            ),
        )
    return chosen, ""


def trained_later(version: Version, since: int) -> str:
    """That a version was trained on outcomes of the period, in a sentence; empty where it was
    not.
    """
    until = version.manifest.until
    if not until or _micros(until) <= since:
        return ""
    return (
        f"version {version.number} was trained on outcomes known by {until[:19]}, which may be "
        "those judged here: its figures are too good"
    )


def _created(version: Version) -> int:
    created = version.manifest.created_at or version.manifest.until
    return _micros(created) if created else 0


def _micros(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1e6)


def _nothing(model: Model, home: Path, first: datetime, last: datetime) -> DataError:
    """That nothing was served then, with the days that the log holds."""
    span = f"from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"
    try:
        files = segments(home, model=model.name)
    except DataError as error:
        return DataError(f"no request of model {model.name!r} was logged {span}: {error}")
    days = sorted(
        {
            name.partition("=")[2]
            for path in files
            for name in path.parts
            if name.startswith("headwater_date=")
        }
    )
    held = (
        f"the log holds {days[0]} to {days[-1]}" if days else "the log holds segments of today only"
    )
    return DataError(
        f"no request of model {model.name!r} was logged {span}; {held}. Older days may be outside "
        "its retention (`headwater serve --keep`)"
    )


def _joined(parts: Sequence[DeliveredRows]) -> DeliveredRows:
    left_out: Counter[str] = Counter()
    from_table: Counter[str] = Counter()
    for part in parts:
        left_out.update(part.left_out)
        from_table.update(part.from_table)
    left_out.pop("served at another level", None)
    frame = pl.concat([part.frame for part in parts], how="diagonal_relaxed")
    return DeliveredRows(
        np.concatenate([part.t for part in parts]),
        np.concatenate([part.known for part in parts]),
        np.concatenate([part.y for part in parts]),
        np.concatenate([part.score for part in parts]),
        np.concatenate([part.default for part in parts]),
        frame[VERSION],
        frame,
        +left_out,
        from_table,
        None if parts[0].groups is None else frame[REQUEST].rank("dense").cast(pl.Int64).to_numpy(),
    )
