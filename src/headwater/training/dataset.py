"""Training sets in a file, with a manifest that records their inputs and reproduces them, bit for
bit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, overload

from polars.exceptions import PolarsError

from headwater import clock, settings
from headwater.connectors.snapshots import one_version
from headwater.connectors.spark import SparkOutput, SparkTable
from headwater.definitions.checks import parse_timestamp
from headwater.definitions.definition import Readable
from headwater.definitions.freshness import Freshness
from headwater.definitions.level import Level, as_level
from headwater.definitions.model import Model
from headwater.definitions.project import checked_call
from headwater.engine.engines import engine_name
from headwater.errors import DataError, UsageError, nearest
from headwater.models.manifest import library_versions
from headwater.training.arm_log import ArmLog
from headwater.training.dataset_definitions import (
    changed_definitions,
    changed_tables,
    definitions,
    recorded_versions,
    tables_read,
)
from headwater.training.dataset_manifests import erasure_of, folder_of_notes, remember_manifest
from headwater.training.frame_digest import digest
from headwater.training.from_log import FromLog
from headwater.training.history_expectations import warn_of_broken
from headwater.training.resources import DEFAULT_RESOURCES, Resources
from headwater.training.spark_dataset import write_training_rows
from headwater.training.train import TrainingSet, training_set

if TYPE_CHECKING:
    import polars as pl

ENDINGS = (".parquet", ".csv")
LOG = "serving log"
_OF_SPARK = "spark-xxhash64:"
_VERSION = 1


@dataclass(frozen=True)
class SparkDataset(Readable):
    """A training set that Spark wrote: the table, its manifest, and the manifest's file on this
    machine.
    """

    table: SparkTable
    manifest: Mapping[str, object]
    manifest_path: Path


@dataclass(frozen=True)
class Dataset(Readable):
    """A training set that was written: the file, its manifest, and the rows themselves."""

    path: Path
    manifest: Mapping[str, object]
    rows: TrainingSet

    @property
    def manifest_path(self) -> Path:
        """The manifest's file: that of the rows with the ending `.manifest.json`."""
        return manifest_path(self.path)


def manifest_path(path: Path) -> Path:
    """Where the manifest of a training set lies."""
    return path.with_suffix(".manifest.json")


@overload
def dataset(
    model: Model,
    output: str | Path,
    *,
    level: Level | Freshness | None = None,
    as_of: str | datetime | None = None,
    from_log: str | Path | ArmLog | None = None,
    resources: Resources | None = None,
) -> Dataset: ...


@overload
def dataset(
    model: Model,
    output: SparkOutput,
    *,
    level: Level | Freshness | None = None,
    as_of: str | datetime | None = None,
    manifest: str | Path,
    resources: Resources | None = None,
) -> SparkDataset: ...


@checked_call
@one_version()
def dataset(
    model: Model,
    output: str | Path | SparkOutput,
    *,
    level: Level | Freshness | None = None,
    as_of: str | datetime | None = None,
    from_log: str | Path | ArmLog | None = None,
    manifest: str | Path | None = None,
    resources: Resources | None = None,
) -> Dataset | SparkDataset:
    """Write the model's training set, point-in-time correct, with a manifest next to it.

    The manifest holds the fingerprints of the model's views, features and labels, the level, the
    latest known time of outcomes, a SHA-256 of every file that was read, or which version of a
    Delta or Iceberg table, how many events each source gave, rows left out by reason, versions, and
    a digest of the rows: `reproduce` makes them again from it.

    Args:
        model: whose labels and features to write.
        output: a file; its ending says the format, `.parquet` or `.csv`. It is replaced atomically,
            when all is written. Or `spark_output("shop.training")`: Spark computes the rows and
            writes them, in any order; they do not come to this process.
        level: how fresh the features are, a Level or a freshness; as defined where None.
        as_of: rows whose outcome was known by then; now where None.
        from_log: a folder with a serving log: the rows that were served instead of those of the
            labels' table, with features and statuses as they were served and the outcomes that were
            posted to `/v1/outcomes`. With a level, those that were served at it; else all.
            `hw.experiments.ArmLog(experiment, arm)`: those of one arm of an experiment.
        manifest: for an output of Spark: the file of this machine that the manifest is written to,
            as "training.manifest.json". Next to the rows otherwise.
        resources: what the call may use: threads, memory, progress, the engine, and the cache from
            which unchanged features are read back; headwater's own unless it says otherwise.

    Returns:
        `Dataset`; of an output of Spark `SparkDataset`.

    Raises:
        UsageError: another ending, or lists in a CSV file. For an output of Spark: the engine is
            not Spark; a log, a ranking with drawn negatives, or precomputed predictions with
            measured ages.
        DataError: no outcome was known by then.
        LeakError: a source would let the future into training data.

    >>> import headwater as hw, tempfile
    >>> from headwater.testing.examples import churn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = hw.dataset(churn(), f"{folder}/rows.parquet", as_of="2024-07-01T00:00+00:00")
    ...     again = hw.operations.reproduce(churn(), made.manifest_path, f"{folder}/again.parquet")
    >>> made.manifest["digest"] == again.manifest["digest"]
    True
    """
    limit = clock.timestamp(parse_timestamp(as_of or clock.now(), "as_of"))
    level = None if level is None else as_level(level)
    if isinstance(output, SparkOutput):
        if from_log is not None:
            raise UsageError(
                f"a serving log is read in this process, and {output} is written by Spark; give a "
                "file, such as 'rows.parquet'"
            )
        return _spark_dataset(model, output, level, limit, manifest, resources or DEFAULT_RESOURCES)
    if manifest is not None:
        raise UsageError(
            "manifest= is for rows that Spark writes; the manifest of a file is next to it, as "
            "NAME.manifest.json"
        )
    path = _checked(settings.on_disk(output, "the output"))
    folder_of_notes(settings.home())
    resources = _cached(resources)
    log = None if from_log is None else FromLog.find(from_log, model)
    if log is None:
        warn_of_broken(model.sources)
    with resources.shown() as shown:
        rows = training_set(model, level=level, as_of=limit, from_log=log, resources=shown)
    if (cache := resources.feature_cache) is not None:
        cache.prune()
    frame = rows.frame
    said = {
        "rows": frame.height,
        "columns": {name: repr(dtype) for name, dtype in frame.schema.items()},
        "digest": digest(frame),
        "tables": tables_read(model) if log is None else {LOG: log.contents()},
        "events": dict(rows.events),
        "left_out": dict(rows.left_out),
        "not_in_training": list(rows.not_in_training),
        **(
            {"engine": engine_name(resources.engine)}
            if log is None
            else {"served_by": dict(rows.served_by)}
        ),
    }
    content = _content(said, definitions(model, level, log), limit)
    _write(frame, path)
    _keep_manifest(manifest_path(path), content)
    return Dataset(path, content, rows)


def _spark_dataset(
    model: Model,
    output: SparkOutput,
    level: Level | None,
    limit: datetime,
    manifest: str | Path | None,
    resources: Resources,
) -> SparkDataset:
    """As `dataset`, of rows that Spark writes."""
    if manifest is None:
        raise UsageError(
            f"{output}: give manifest=, a file of this machine for the manifest, such as "
            "manifest='training.manifest.json'"
        )
    file = settings.on_disk(manifest, "the manifest")
    warn_of_broken(model.sources)
    made = write_training_rows(
        model, output, level or Level(), parse_timestamp(limit, "as_of"), resources, lambda _: None
    )
    said = {
        "rows": made.rows["rows"],
        "columns": dict(made.columns),
        "digest": f"{_OF_SPARK}{made.rows['hash']}",
        "tables": tables_read(model),
        "events": dict(made.events),
        "left_out": dict(made.left_out),
        "not_in_training": list(model.features.not_in_training),
        "engine": engine_name(resources.engine),
        "output": output.table,
    }
    content = _content(said, definitions(model, level, None), limit)
    _keep_manifest(file, content)
    return SparkDataset(made.table, content, file)


def _content(
    said: Mapping[str, object], defined: Mapping[str, object], limit: datetime
) -> dict[str, object]:
    return {
        "format": _VERSION,
        **said,
        **defined,
        "until": limit.isoformat(),
        "versions": library_versions(),
    }


def _keep_manifest(file: Path, content: Mapping[str, object]) -> None:
    _replace(file, _json(content))
    remember_manifest(settings.home(), file)


def _cached(resources: Resources | None) -> Resources:
    """The resources with headwater's own cache unless they say otherwise."""
    chosen = resources or DEFAULT_RESOURCES
    return replace(chosen, cache=True) if chosen.cache is None else chosen


@overload
def reproduce(
    model: Model,
    manifest: str | Path,
    output: str | Path,
    *,
    level: Level | None = None,
    resources: Resources | None = None,
) -> Dataset: ...


@overload
def reproduce(
    model: Model,
    manifest: str | Path,
    output: SparkOutput,
    *,
    level: Level | None = None,
    resources: Resources | None = None,
) -> SparkDataset: ...


@checked_call
def reproduce(
    model: Model,
    manifest: str | Path,
    output: str | Path | SparkOutput,
    *,
    level: Level | None = None,
    resources: Resources | None = None,
) -> Dataset | SparkDataset:
    """Write the training set that a manifest describes once more, from the tables; nothing comes
    from a cache.

    Args:
        model, level: what the training set was made with.
        manifest: the manifest that `dataset` wrote.
        output: a file, as in `dataset`; an output of Spark where Spark wrote the training set.
        resources: what the call may use: threads, memory, progress.

    Raises:
        UsageError: rows that Spark wrote are to be compared with a file, or the other way round.
        DataError: a definition or a table is not what it was, naming it; or the rows differ, in
            which case nothing is written.
    """
    path = (
        None
        if isinstance(output, SparkOutput)
        else _checked(settings.on_disk(output, "the output"))
    )
    recorded = read_manifest(manifest)
    of_spark = str(recorded["digest"]).startswith(_OF_SPARK)
    if of_spark != (path is None):
        wrote, instead = (
            ("Spark", "headwater_spark.spark_output('shop.again')")
            if of_spark
            else ("this process", "a file, such as 'again.parquet'")
        )
        raise UsageError(
            f"{manifest}: {wrote} wrote this training set, and the output is {output}; give "
            f"{instead}"
        )
    erased = erasure_of(recorded)
    if erased is not None:
        raise DataError(f"{manifest}: this training set cannot be made again, since {erased}")
    tables = recorded["tables"]
    assert isinstance(tables, dict)
    log = FromLog.from_manifest(tables[LOG]) if LOG in tables else None
    with one_version(recorded_versions(model, tables)):
        now = tables_read(model) if log is None else {LOG: log.contents()}
        changed = [
            *changed_definitions(recorded, definitions(model, level, log)),
            *changed_tables(recorded, now),
        ]
        if changed:
            raise DataError(
                f"{manifest}: this training set cannot be made again, since {'; '.join(changed)}"
            )
        used = replace(resources or DEFAULT_RESOURCES, cache=False)
        if isinstance(output, SparkOutput):

            def check(rows: Mapping[str, object]) -> None:
                _check_digest(manifest, recorded, f"{_OF_SPARK}{rows['hash']}", rows["rows"])

            until = parse_timestamp(str(recorded["until"]), "until")
            made = write_training_rows(model, output, level or Level(), until, used, check)
            return SparkDataset(made.table, recorded, Path(manifest))
        with used.shown() as shown:
            rows = training_set(
                model, level=level, as_of=str(recorded["until"]), from_log=log, resources=shown
            )
    assert path is not None
    frame = rows.frame
    _check_digest(manifest, recorded, digest(frame), frame.height)
    _write(frame, path)
    _replace(manifest_path(path), _json(recorded))
    return Dataset(path, recorded, rows)


def _check_digest(
    manifest: str | Path, recorded: Mapping[str, object], made: str, rows: object
) -> None:
    """Refuse rows that are not those of a manifest."""
    if made == recorded["digest"]:
        return
    installed, theirs = library_versions(), recorded["versions"]
    assert isinstance(theirs, dict)
    changed = [
        f"{name} {theirs.get(name)} then and {now} now"
        for name, now in installed.items()
        if theirs.get(name) != now
    ]
    raise DataError(
        f"{manifest}: definitions and tables are as they were, and {rows:,} rows came out that "
        f"differ from the {recorded['rows']:,} written then; "
        + (
            f"these libraries are not the same: {', '.join(changed)}"
            if changed
            else "no library has changed, so this is a defect in headwater"
        )
    )


def read_manifest(path: str | Path) -> dict[str, object]:
    """A manifest that `dataset` wrote.

    Raises:
        DataError: nothing is there, or it is something else.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(
            f"no manifest at {path}; `headwater dataset` writes one next to the rows, as "
            "NAME.manifest.json"
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not a manifest: {error}") from error
    if (
        not isinstance(content, dict)
        or content.get("format") != _VERSION
        or "digest" not in content
    ):
        raise DataError(
            f"{path} is not a manifest of format {_VERSION}, as `headwater dataset` writes it"
        )
    return content


def _checked(path: Path) -> Path:
    if path.suffix not in ENDINGS:
        raise UsageError(
            f"the output {path}: {nearest(path.suffix, ENDINGS)}; the ending determines the format"
        )
    return path


def _write(frame: pl.DataFrame, path: Path) -> None:
    nested = [name for name, dtype in frame.schema.items() if dtype.is_nested()]
    if path.suffix == ".csv" and nested:
        raise UsageError(
            f"the output {path}: {nested[0]!r} holds lists, which a CSV file cannot; write .parquet"
        )
    _replace(path, frame.write_csv if path.suffix == ".csv" else frame.write_parquet)


def _json(value: Mapping[str, object]) -> Callable[[Path], object]:
    return lambda path: path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    """Write next to `path`, then rename it atomically."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(draft)
        draft.replace(path)
    except (OSError, PolarsError) as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise DataError(f"{path} cannot be written: {error}") from error
