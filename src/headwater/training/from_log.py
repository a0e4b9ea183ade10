"""Training rows that are what was served: features, statuses and times of the serving log, with the
outcomes that were posted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from headwater import settings
from headwater.connectors.files import digests
from headwater.definitions.checks import timestamp_text
from headwater.definitions.definition import counted
from headwater.definitions.experiment import PREFIX as PROBES
from headwater.definitions.experiment import PROBED
from headwater.definitions.labels import Labels, Outcome
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.errors import DataError, nearest
from headwater.events.columns import status_name
from headwater.journal.conversion import convert
from headwater.journal.exposure_log import EXPOSURES, read_exposures
from headwater.journal.format import SERVED_ROWS
from headwater.journal.journal_files import OPEN
from headwater.journal.outcome_journal import OUTCOMES, closed_outcomes, outcomes
from headwater.journal.outcome_rows import KNOWN_AT, OUTCOME, RESERVED, SEQUENCE, TIMESTAMP
from headwater.journal.serving_log_files import SERVED, read, segments
from headwater.journal.serving_log_rows import AT, LEVEL, PREFIX, REQUEST, ROW, VERSION, VIEWS
from headwater.kernel.arrays import I64
from headwater.training.arm_log import ArmLog
from headwater.training.label_rows import observed
from headwater.training.requests import Requests
from headwater.training.resources import DEFAULT_RESOURCES, Resources

# seconds to wait for another conversion, and for processes to close their segments
_CONVERSION = 10.0
NO_OUTCOME = "no outcome known by then"
TOO_LATE = "requested after its outcome was known"


@dataclass(frozen=True)
class FromLog:
    """Which files of a folder training rows are made of: segments of the serving log, and files of
    outcomes; of one arm, if any.
    """

    folder: Path
    served: Sequence[Path]
    outcomes: Sequence[Path]
    arm: ArmLog | None = None

    @staticmethod
    def find(log: str | Path | ArmLog | None, model: Model, *, posted: bool = True) -> FromLog:
        """All that is there now of a model: its predictions, or where it has none what its service
        served. log: the folder, or an arm's.

        Files of outcomes are closed first, and segments of the serving log are converted: both stay
        as they are. What a segment gets while its process cannot close it, since its disk is stuck,
        is left out. posted: whether outcomes must have been posted.

        Raises:
            DataError: nothing was served, or no outcome was posted where it must have been.
        """
        folder = log.folder if isinstance(log, ArmLog) else log
        home = settings.home() if folder is None else Path(folder)
        arm = log.resolved(home) if isinstance(log, ArmLog) else None
        unconverted: list[Path] = []
        # segments are read as they are from a folder that cannot be written
        with suppress(OSError):
            unconverted = convert(home, kinds=(SERVED_ROWS,), wait=_CONVERSION, close=True)
        try:
            files = segments(home, model=model.name)
        except DataError:
            files = segments(home, service=model.features.name)
        files = [path for path in files if path.suffix != OPEN and path not in unconverted]
        if isinstance(model.labels.label, Outcome):
            return FromLog(home, files, (), arm)
        outcomes_folder = home / OUTCOMES / model.labels.name
        if not outcomes_folder.is_dir() and not posted:
            return FromLog(home, files, (), arm)
        if not outcomes_folder.is_dir():
            outcomes(home, model.labels)  # raises an error that names the missing folder
        return FromLog(home, files, closed_outcomes(home, model.labels.name), arm)

    def contents(self) -> dict[str, object]:
        """A SHA-256 of each file, as a manifest has it."""
        arm = {} if self.arm is None else {"arm": self.arm.to_data()}
        return {
            "path": str(self.folder),
            "files": digests(self.folder, [*self.served, *self.outcomes]),
            **arm,
        }

    @staticmethod
    def from_manifest(contents: Mapping[str, object]) -> FromLog:
        """The files that a manifest names."""
        folder, names = Path(str(contents["path"])), contents["files"]
        assert isinstance(names, dict)
        files = [folder / name for name in names]
        arm = contents.get("arm")
        return FromLog(
            folder,
            [f for f in files if f.is_relative_to(folder / SERVED)],
            [f for f in files if f.is_relative_to(folder / OUTCOMES)],
            ArmLog.from_data(arm, folder) if isinstance(arm, Mapping) else None,
        )


@dataclass(frozen=True)
class Logged:
    """What was served and what came of it: requests with their outcomes, the features as they were
    served, and how each version was.
    """

    requests: Requests
    features: pl.DataFrame
    left_out: Counter[str]
    versions: Mapping[str, int]


def logged(
    model: Model,
    files: FromLog,
    until: int,
    level: Level | None = None,
    resources: Resources = DEFAULT_RESOURCES,
) -> Logged:
    """The rows that were served for a model and whose outcome was known by `until` (microseconds),
    as they were served.

    `level`: only rows whose views were as fresh as at this level; None takes all rows.

    The frame has the request's columns, `headwater_request`, `headwater_row`, `headwater_version`,
    `headwater_level`, and the features with their statuses; rows that were served without one of
    today's features are left out, and counted by version and missing feature.

    Raises:
        DataError: no row has all features, or none an outcome by then.
    """
    every = read(files.served).collect()
    left_out: Counter[str] = Counter()
    served_rows = (
        _without_probes(files.folder, every, left_out)
        if files.arm is None
        else files.arm.rows(every, left_out)
    )
    rows = _complete(
        model, served_rows if level is None else _at(level, model, served_rows, left_out), left_out
    ).sort(AT, REQUEST, ROW)
    rows, label, known = with_outcomes(model, rows, files, until, left_out, resources)
    if not model.task_type.classes:
        label = label.cast(pl.Float64)
    chosen = np.flatnonzero(known <= until)
    left_out[NO_OUTCOME] += len(known) - len(chosen)
    if not len(chosen):
        raise DataError(
            f"model {model.name!r}: no outcome of the {every.height:,} rows served was known by "
            f"{timestamp_text(until)}; left out: {counted(left_out)}"
        )
    rows, label, known = rows[chosen], label[chosen], known[chosen]
    request_rows = _request_columns(model, rows)
    requests = Requests(
        request_rows,
        rows[AT].dt.epoch("us").to_numpy(),
        label.rename(model.labels.label_name),
        known,
        left_out,
    )
    counts = rows.group_by(pl.col(VERSION).fill_null("")).len().sort(VERSION)
    return Logged(
        requests, rows.select(model.features.feature_names), +left_out, dict(counts.iter_rows())
    )


def with_outcomes(
    model: Model,
    rows: pl.DataFrame,
    files: FromLog,
    until: int,
    left_out: Counter[str],
    resources: Resources,
) -> tuple[pl.DataFrame, pl.Series, I64]:
    """Served rows, in their order, with the outcome known by `until` (microseconds) and when each
    was known: microseconds, beyond any time where it is not. Rows that asked after their outcome
    was known are left out, and counted.
    """
    if isinstance(model.labels.label, Outcome):
        return _from_events(model, rows, resources)
    return _from_outcomes(
        model.labels,
        rows,
        outcomes(files.folder, model.labels, files=files.outcomes),
        until,
        left_out,
    )


def _without_probes(folder: Path, rows: pl.DataFrame, left_out: Counter[str]) -> pl.DataFrame:
    """The rows that no probe served at its level: what it does to a few must not be learned as
    served data.
    """
    for path in sorted((folder / EXPOSURES).glob(f"{PROBES}*")):
        probed = (
            read_exposures(folder, path.name)
            .filter(pl.col("arm") == PROBED)["request"]
            .drop_nulls()
        )
        unprobed = rows.filter(~pl.col(REQUEST).is_in(probed.implode()))
        left_out["served by a probe"] += rows.height - unprobed.height
        rows = unprobed
    return rows


def _at(level: Level, model: Model, rows: pl.DataFrame, left_out: Counter[str]) -> pl.DataFrame:
    """The rows that were served at a level."""
    wanted = {view.name: view.tiles_fingerprint for view in level.service(model).views}
    same = rows[VIEWS].is_in([text for text in rows[VIEWS].unique() if json.loads(text) == wanted])
    left_out["served at another level, or as views were defined before"] += int((~same).sum())
    return rows.filter(same)


def _complete(model: Model, rows: pl.DataFrame, left_out: Counter[str]) -> pl.DataFrame:
    """The rows that were served with every feature that the model reads today."""
    names = model.features.feature_names
    absent = [name for name in names if status_name(name) not in rows.columns]
    if absent:
        have = [
            name.removesuffix(status_name(""))
            for name in rows.columns
            if name.endswith(status_name(""))
        ]
        raise DataError(
            f"model {model.name!r}: {len(absent)} of its {len(names)} features were never served, "
            f"such as {absent[0]!r} ({nearest(absent[0], have)}); train it without --from-log, "
            "serve it, and come back when rows were served"
        )
    lacking = rows.select(
        pl.concat_list(pl.when(pl.col(status_name(n)).is_null()).then(pl.lit(n)) for n in names)
        .list.drop_nulls()
        .alias("absent")
    )
    absent_names = pl.col("absent").list.join(", ")
    counts = (
        rows.select(VERSION)
        .hstack(lacking)
        .filter(pl.col("absent").list.len() > 0)
        .group_by(VERSION, absent_names)
        .len()
        .sort(VERSION, "absent")
    )
    for version, absent_features, count in counts.iter_rows():
        every_feature = absent_features.count(", ") + 1 == len(names)
        lacks = "without any feature" if every_feature else f"without {absent_features}"
        left_out[f"served by version {version} {lacks}" if version else f"served {lacks}"] += count
    return rows.filter(lacking["absent"].list.len() == 0)


def _from_events(
    model: Model, rows: pl.DataFrame, resources: Resources
) -> tuple[pl.DataFrame, pl.Series, I64]:
    """The outcome that the events after each request make, and when it is known."""
    t = rows[AT].dt.epoch("us").to_numpy()
    assert model.labels.maturity is not None
    label = observed(model.labels, Requests(rows, t), resources, strings=model.task_type.classes)
    return rows, label, np.where(label.is_null(), _UNKNOWN, t + model.labels.maturity)


_UNKNOWN = 2**62  # when an outcome is known that is not


def _from_outcomes(
    labels: Labels, rows: pl.DataFrame, posted: pl.DataFrame, until: int, left_out: Counter[str]
) -> tuple[pl.DataFrame, pl.Series, I64]:
    """The latest outcome of each row that was known by `until`; of the most exactly named one,
    where several name it.
    """
    first = posted.group_by(_identity(posted), maintain_order=True).agg(
        pl.col(KNOWN_AT).min().alias("__first")
    )
    known = posted.with_columns(pl.col(KNOWN_AT).dt.epoch("us").alias("__at")).filter(
        pl.col("__at") <= until
    )
    latest = known.sort("__at", SEQUENCE).unique(
        _identity(posted), keep="last", maintain_order=True
    )
    latest = latest.join(first, on=_identity(posted), how="left", nulls_equal=True)
    rows = rows.with_row_index("__row")
    matched = pl.DataFrame(
        schema={
            "__row": pl.UInt32,
            OUTCOME: posted.schema[OUTCOME],
            "__at": pl.Int64,
            "__first": posted.schema[KNOWN_AT],
        }
    )
    for names, group in _by_naming(latest, _identity(posted)):
        on = {REQUEST: REQUEST, TIMESTAMP: AT}
        for name in names:
            if on.get(name, name) not in rows.columns:
                raise DataError(
                    f"labels {labels.name!r}: outcomes were posted by {name!r}, which no request "
                    f"had; {nearest(name, rows.columns)}"
                )
        keys = group.select(
            *(
                pl.col(n).cast(rows.schema[on.get(n, n)], strict=False).alias(on.get(n, n))
                for n in names
            ),
            OUTCOME,
            "__at",
            "__first",
        )
        open_ = rows.join(matched, on="__row", how="anti")
        joined = open_.join(
            keys, on=[on.get(n, n) for n in names], how="inner", maintain_order="left"
        )
        matched = pl.concat([matched, joined.select(matched.columns)])
    rows = rows.join(matched, on="__row", how="left", maintain_order="left")
    late = (rows["__first"] <= rows[AT]).fill_null(value=False)
    left_out[TOO_LATE] += int(late.sum())
    rows = rows.filter(~late)
    return (
        rows.drop("__row", OUTCOME, "__at", "__first"),
        rows[OUTCOME],
        rows["__at"].fill_null(_UNKNOWN).to_numpy(),
    )


def _identity(posted: pl.DataFrame) -> list[str]:
    """The columns that say which request an outcome is of."""
    return [REQUEST, TIMESTAMP, *(name for name in posted.columns if name not in RESERVED)]


def _by_naming(
    posted: pl.DataFrame, identity: Sequence[str]
) -> list[tuple[list[str], pl.DataFrame]]:
    """The outcomes grouped by the columns that identify their request: those with an id first, then
    by falling number of columns.
    """
    named = posted.with_columns(
        pl.concat_list(pl.col(n).is_not_null() for n in identity).alias("__named")
    )
    groups = []
    for frame in named.partition_by("__named", maintain_order=True):
        names = [
            name
            for name, there in zip(identity, frame["__named"][0].to_list(), strict=True)
            if there
        ]
        groups.append((names, frame))
    return sorted(groups, key=lambda group: (REQUEST not in group[0], -len(group[0]), group[0]))


def _request_columns(model: Model, rows: pl.DataFrame) -> pl.DataFrame:
    """The request's own columns, when it asked by the labels' name, who served it, and the
    statuses.
    """
    time_column = model.labels.timestamp_field
    names = [name for name in rows.columns if "__" not in name and not name.startswith(PREFIX)]
    names = [name for name in names if name not in (*model.features.feature_names, time_column)]
    statuses = [status_name(name) for name in model.features.feature_names]
    return rows.select(
        pl.col(AT).alias(time_column), *names, REQUEST, ROW, VERSION, LEVEL, *statuses
    )
