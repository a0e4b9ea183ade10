"""Training sets in a file, with a manifest that records their inputs and reproduces them, bit for bit."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from polars.exceptions import PolarsError

from headwater import clock, settings
from headwater.connectors.snapshots import VERSION, VersionedTable, one_version
from headwater.connectors.table_fingerprint import contents
from headwater.definitions.checked_call import checked_call
from headwater.definitions.deprecated_keywords import moved_into, renamed
from headwater.definitions.freshness import Freshness
from headwater.definitions.level import Level, as_level
from headwater.definitions.model import Model
from headwater.definitions.readable import Readable
from headwater.definitions.timestamps import parse_timestamp
from headwater.errors import DataError, UsageError, nearest
from headwater.models.manifest import library_versions
from headwater.training.arm_log import ArmLog
from headwater.training.dataset_manifests import erasure_of, remember_manifest
from headwater.training.frame_digest import digest
from headwater.training.from_log import FromLog
from headwater.training.history_expectations import warn_of_broken
from headwater.training.model_tables import tables_of
from headwater.training.resources import DEFAULT_RESOURCES, Resources
from headwater.training.train import TrainingSet, training_set

if TYPE_CHECKING:
    import polars as pl

ENDINGS = (".parquet", ".csv")
LOG = "serving log"
_AS_SERVED = {"describe": "as it was served", "fingerprint": ""}
_VERSION = 1


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


@moved_into("resources", Resources, "cache", "threads", "memory", tick="progress")
@renamed("as_of", "until")
@checked_call
@one_version()
def dataset(
    model: Model,
    output: str | Path,
    *,
    level: Level | Freshness | None = None,
    as_of: str | datetime | None = None,
    from_log: str | Path | ArmLog | None = None,
    resources: Resources | None = None,
) -> Dataset:
    """Write the model's training set, point-in-time correct, with a manifest next to it.

    The manifest holds the fingerprints of the model's views, features and labels, the level, the latest known time of outcomes,
    a SHA-256 of every file that was read, or which version of a Delta or Iceberg table, how many events each source gave, rows left out by
    reason, versions, and a digest of the rows: `reproduce` makes them again from it.

    Args:
        model: whose labels and features to write.
        output: a file; its ending says the format, `.parquet` or `.csv`. It is replaced atomically, when all is written.
        level: how fresh the features are, a Level or a freshness; as defined where None.
        as_of: rows whose outcome was known by then; now where None.
        from_log: a folder with a serving log: the rows that were served instead of those of the labels' table, with features and statuses
            as they were served and the outcomes that were posted to `/v1/outcomes`. With a level, those that were served at it; else all.
            `hw.ArmLog(experiment, arm)`: those of one arm of an experiment.
        resources: what the call may use: threads, memory, progress, and the cache from which unchanged features are read back; headwater's
            own unless it says otherwise.

    Raises:
        UsageError: another ending, or lists in a CSV file.
        DataError: no outcome was known by then.
        LeakError: a source would let the future into training data.

    >>> import headwater as hw, tempfile
    >>> from headwater.testing.examples import churn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = hw.dataset(churn(), f"{folder}/rows.parquet", as_of="2024-07-01T00:00+00:00")
    ...     again = hw.reproduce(churn(), made.manifest_path, f"{folder}/again.parquet")
    >>> made.manifest["digest"] == again.manifest["digest"]
    True
    """
    path = _checked(settings.on_disk(output, "the output"))
    limit = clock.timestamp(parse_timestamp(as_of or clock.now(), "as_of"))
    level = None if level is None else as_level(level)
    resources = _cached(resources)
    log = None if from_log is None else FromLog.of(from_log, model)
    if log is None:
        warn_of_broken(model.sources)
    with resources.shown() as mine:
        rows = training_set(model, level=level, as_of=limit, from_log=log, resources=mine)
    if (cache := resources.feature_cache) is not None:
        cache.prune()
    frame = rows.frame
    manifest = {
        "format": _VERSION,
        "rows": frame.height,
        "columns": {name: repr(dtype) for name, dtype in frame.schema.items()},
        "digest": digest(frame),
        **_definitions(model, level, log),
        "until": limit.isoformat(),
        "tables": _tables(model) if log is None else {LOG: log.contents()},
        "events": dict(rows.events),
        "left_out": dict(rows.left_out),
        "not_in_training": list(rows.not_in_training),
        "versions": library_versions(),
        **({} if log is None else {"served_by": dict(rows.served_by)}),
    }
    _write(frame, path)
    _replace(manifest_path(path), _json(manifest))
    remember_manifest(settings.home(), manifest_path(path))
    return Dataset(path, manifest, rows)


def _cached(resources: Resources | None) -> Resources:
    """The resources with headwater's own cache unless they say otherwise."""
    given = resources or DEFAULT_RESOURCES
    return replace(given, cache=True) if given.cache is None else given


@moved_into("resources", Resources, "threads", "memory", tick="progress")
@checked_call
def reproduce(
    model: Model,
    manifest: str | Path,
    output: str | Path,
    *,
    level: Level | None = None,
    resources: Resources | None = None,
) -> Dataset:
    """Write the training set that a manifest describes once more, from the tables; nothing comes from a cache.

    Args:
        model, level: what the training set was made with.
        manifest: the manifest that `dataset` wrote next to it.
        output: a file, as in `dataset`.
        resources: what the call may use: threads, memory, progress.

    Raises:
        DataError: a definition or a table is not what it was, naming it; or the rows differ, in which case nothing is written.
    """
    path = _checked(settings.on_disk(output, "the output"))
    recorded = read_manifest(manifest)
    erased = erasure_of(recorded)
    if erased is not None:
        raise DataError(f"{manifest}: this training set cannot be made again, since {erased}")
    tables = recorded["tables"]
    assert isinstance(tables, dict)
    log = FromLog.from_manifest(tables[LOG]) if LOG in tables else None
    with one_version(_recorded_versions(model, tables)):
        now = _tables(model) if log is None else {LOG: log.contents()}
        changed = [*_changed_definitions(recorded, _definitions(model, level, log)), *_changed_tables(recorded, now)]
        if changed:
            raise DataError(f"{manifest}: this training set cannot be made again, since {'; '.join(changed)}")
        with replace(resources or DEFAULT_RESOURCES, cache=False).shown() as used:
            rows = training_set(model, level=level, as_of=str(recorded["until"]), from_log=log, resources=used)
    frame = rows.frame
    if digest(frame) != recorded["digest"]:
        mine, theirs = library_versions(), recorded["versions"]
        assert isinstance(theirs, dict)
        other = [f"{name} {theirs.get(name)} then and {now} now" for name, now in mine.items() if theirs.get(name) != now]
        raise DataError(
            f"{manifest}: definitions and tables are as they were, and {frame.height:,} rows came out that differ from the {recorded['rows']:,} written then; "
            + (
                f"these libraries are not the same: {', '.join(other)}"
                if other
                else "no library has changed, so this is a defect in headwater"
            )
        )
    _write(frame, path)
    _replace(manifest_path(path), _json(recorded))
    return Dataset(path, recorded, rows)


def read_manifest(path: str | Path) -> dict[str, object]:
    """A manifest that `dataset` wrote.

    Raises:
        DataError: nothing is there, or it is something else.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"no manifest at {path}; `headwater dataset` writes one next to the rows, as NAME.manifest.json")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not a manifest: {error}") from error
    if not isinstance(content, dict) or content.get("format") != _VERSION or "digest" not in content:
        raise DataError(f"{path} is not a manifest of format {_VERSION}, as `headwater dataset` writes it")
    return content


def _definitions(model: Model, level: Level | None, log: FromLog | None) -> dict[str, object]:
    """What decides the rows, but for the data: names with their fingerprints."""
    service = model.features
    return {
        "model": model.name,
        "feature_service": {service.name: service.fingerprint},
        "labels": {model.labels.name: model.labels.fingerprint},
        "views": {view.name: view.fingerprint for view in (service.views if log is not None else service.views_in_history)},
        **_sampling(model, log),
        "level": _AS_SERVED if log is not None and level is None else _level_entry(level or Level(), model),
    }


def _sampling(model: Model, log: FromLog | None) -> dict[str, object]:
    """How negatives are drawn, and from what, where the labels are a log of positives."""
    task = model.ranking
    if log is not None or task is None or task.negatives is None or task.retrieval is None:
        return {}
    return {"negatives": {"describe": str(task), "fingerprint": task.fingerprint}}


def _level_entry(level: Level, model: Model) -> dict[str, str]:
    return {"describe": level.describe(model), "fingerprint": level.fingerprint}


def _tables(model: Model) -> dict[str, object]:
    """What each table that is read holds; labels and sources by name."""
    return {name: contents(table) for name, table in tables_of(model).items()}


def _recorded_versions(model: Model, tables: Mapping[str, object]) -> dict[str, int]:
    """The versions that a manifest names, by the fingerprints of today's tables."""
    entries = {table.fingerprint: tables.get(name) for name, table in tables_of(model).items() if isinstance(table, VersionedTable)}
    return {mine: entry[VERSION] for mine, entry in entries.items() if isinstance(entry, dict) and VERSION in entry}


def _changed_definitions(recorded: Mapping[str, object], mine: Mapping[str, object]) -> list[str]:
    differences = []
    if recorded["level"] != mine["level"]:
        then, now = recorded["level"], mine["level"]
        assert isinstance(then, dict)
        assert isinstance(now, dict)
        differences.append(f"it was made at another level ({then['describe']}; now {now['describe']})")
    if recorded.get("negatives") != mine.get("negatives"):
        differences.append("the sampling of negatives is defined differently")
    for kind, word in (("views", "view"), ("labels", "labels"), ("feature_service", "feature service")):
        then, now = recorded[kind], mine[kind]
        assert isinstance(then, dict)
        assert isinstance(now, dict)
        differences += [f"the {word} {name!r} is defined differently" for name in then if name in now and now[name] != then[name]]
        differences += [f"there is no {word} {name!r}; {nearest(name, now)}" for name in then if name not in now]
        if differences and kind == "views":
            return differences  # the service differs because they do
    return differences


def _changed_tables(recorded: Mapping[str, object], mine: Mapping[str, object]) -> list[str]:
    then = recorded["tables"]
    assert isinstance(then, dict)
    differences = []
    for name, table in then.items():
        now = mine.get(name)
        if now == table or not isinstance(now, dict):
            continue
        if "files" not in table or "files" not in now:
            other = "id" in table and "id" in now and table["id"] != now["id"]
            differences.append(f"{name} is another table of that name" if other else f"the rows of {name} are not what they were")
            continue
        old, new = table["files"], now["files"]
        changed = [f for f in old if f in new and old[f] != new[f]]
        gone, more = [f for f in old if f not in new], [f for f in new if f not in old]
        for word, files in (("changed", changed), ("gone", gone), ("new", more)):
            if files:
                differences.append(
                    f"{name}: {len(files)} of its files {'is' if len(files) == 1 else 'are'} {word} ({', '.join(files[:3])})"
                )
    return differences


def _checked(path: Path) -> Path:
    if path.suffix not in ENDINGS:
        raise UsageError(f"the output {path}: {nearest(path.suffix, ENDINGS)}; the ending determines the format")
    return path


def _write(frame: pl.DataFrame, path: Path) -> None:
    nested = [name for name, dtype in frame.schema.items() if dtype.is_nested()]
    if path.suffix == ".csv" and nested:
        raise UsageError(f"the output {path}: {nested[0]!r} holds lists, which a CSV file cannot; write .parquet")
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
