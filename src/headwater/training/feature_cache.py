"""Features computed before: a column is read back where everything that it was made of is as it was
then.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import polars as pl
from polars.exceptions import PolarsError

from headwater import disk, settings
from headwater.connectors import state
from headwater.definitions.definition import Readable, canonical
from headwater.definitions.feature_view import Feature
from headwater.engine.query import EngineRun, FeatureValues, Query, RequestSet, reach_of
from headwater.events.read_events import Notes
from headwater.training.frame_digest import digest

Compute = Callable[[Query, Sequence[RequestSet], EngineRun], list[list[FeatureValues]]]
"""As `Engine.features`."""

_NOTED = ("left_out", "events", "keyed", "joined", "unlike")  # of the notes of a computation

_CODE = Path(__file__).resolve().parents[1]
_LOG = logging.getLogger(__name__)
_unwritable: set[Path] = set()  # folders whose log line was written


@dataclass(frozen=True)
class Cache(Readable):
    """A folder of feature columns, each under a hash of all that it was made of.

    A folder that cannot be written is read; what it lacks is computed each time, and a log line
    reports it.

    That is: the source's definition, a digest of each of its files (of a frame, its contents), the
    columns that are read in addition, the keys, T and K of every row, the feature's
    definition, and headwater's own code.

    Args:
        folder: where the columns lie.
        limit: bytes that they may take; `prune` deletes those that were not used for longest.
    """

    folder: Path
    limit: int = 10_000_000_000

    @staticmethod
    def usual() -> Cache:
        """The cache in headwater's own folder (HEADWATER_HOME)."""
        return Cache(settings.home() / "cache")

    def answers(
        self, query: Query, requests: Sequence[RequestSet], run: EngineRun, compute: Compute
    ) -> list[list[FeatureValues]]:
        """What `compute` gives for the query and the requests; only what the folder lacks is
        computed.

        A table by URL is not cached: changes cannot be detected.

        Where events can be late, the order in which they are added up depends on all that is read:
        then it is all or nothing.
        """
        # whether it has changed would take as long to say as to compute
        if query.source.table.is_remote:
            return compute(query, requests, run)
        disk.own_if_there(self.folder)
        files, reach = self._files(query, requests)
        cached = {
            position: [_read(path, f.name) for path, f in zip(row, query.features, strict=True)]
            for position, row in files.items()
        }
        lacking = [
            any(columns[i] is None for columns in cached.values())
            for i in range(len(query.features))
        ]
        counts_file = self.folder / f"{files[0, 0][0].parent.name}-{reach}.json"
        if any(lacking) or not _restore_counts(counts_file, run.notes):
            late = query.source.known_at_field is not None
            missing = [i for i, lacks in enumerate(lacking) if lacks or late] or [0]
            noted_run = replace(run, notes=Notes())
            lesser = replace(
                query, features=[query.features[i] for i in missing], also=query.columns
            )
            computed = compute(lesser, requests, noted_run)
            writes = []
            for (r, time), columns in cached.items():
                for i, series in zip(missing, computed[r][time].values, strict=True):
                    columns[i] = series
                    writes.append((files[r, time][i], series.to_frame().write_parquet))
            counts = {name: dict(getattr(noted_run.notes, name)) for name in _NOTED}
            self._write_all([*writes, (counts_file, partial(_write_text, json.dumps(counts)))])
            _add_counts(counts, run.notes)
        columns_of = {
            position: [series for series in columns if series is not None]
            for position, columns in cached.items()
        }  # none lacks now
        return [
            [
                FeatureValues(pl.DataFrame(columns_of[r, time]))
                for time in range(len(request_set.as_of))
            ]
            for r, request_set in enumerate(requests)
        ]

    def _write_all(self, writes: Sequence[tuple[Path, Callable[[Path], object]]]) -> None:
        try:
            for path, write in writes:
                _write(path, write)
        except OSError as error:
            if self.folder not in _unwritable:
                _unwritable.add(self.folder)
                _LOG.warning(
                    "%s: features are not cached: %s", self.folder, error.strerror or error
                )

    def prune(self) -> None:
        """Delete the files that were not used for longest, until the rest take no more than `limit`
        bytes.
        """
        files = sorted(
            (p for p in self.folder.rglob("*") if p.is_file()),
            key=lambda p: p.stat().st_mtime_ns,
            reverse=True,
        )
        total = 0
        for path in files:
            total += path.stat().st_size
            if total > self.limit:
                path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Delete every file."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _files(
        self, query: Query, requests: Sequence[RequestSet]
    ) -> tuple[dict[tuple[int, int], list[Path]], str]:
        """A file for each feature, by the indices of a request set and of its freshness; and a hash
        of the events within reach.
        """
        source = query.source
        reach = reach_of(requests, query.windows)
        far = None if reach is None else [reach.first, reach.last, reach.known]
        about = [
            _code(),
            source.fingerprint,
            state(source.table) if reach is not None else None,
            list(query.keys),
            query.columns,
            query.expires_after,
            far if source.known_at_field is not None else None,
        ]
        files: dict[tuple[int, int], list[Path]] = {}
        for r, request_set in enumerate(requests):
            for time, as_of in enumerate(request_set.as_of):
                request_digest = digest(
                    request_set.keys.with_columns(
                        pl.Series("__T", as_of.T), pl.Series("__K", as_of.K)
                    )
                )
                folder = self.folder / _hash([about, request_digest])
                files[r, time] = [folder / f"{_hash(_meaning(f))}.parquet" for f in query.features]
        return files, _hash(far)


def _meaning(feature: Feature) -> object:
    """What decides the feature's values; not its name."""
    return canonical(
        [
            replace(feature.aggregation, windows=None, name=None),
            feature.columns,
            feature.window,
            feature.column,
        ]
    )


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


@cache
def _code() -> str:
    """A hash of headwater's own files, so that another version recomputes."""
    file_states = [
        (str(p.relative_to(_CODE)), p.stat().st_size, p.stat().st_mtime_ns)
        for p in sorted(_CODE.rglob("*.py"))
    ]
    return _hash(file_states)


def _read(path: Path, name: str) -> pl.Series | None:
    """A kept column; None where there is none, or where it cannot be read."""
    try:
        series = pl.read_parquet(path).to_series()
        os.utime(path)
    except (OSError, PolarsError):
        return None
    return series.alias(name)


def _restore_counts(path: Path, notes: Notes) -> bool:
    """Add what was left out, and how many events were read, when the columns were made; False where
    nothing says so.
    """
    try:
        counts = json.loads(path.read_text(encoding="utf-8"))
        os.utime(path)
    except (OSError, ValueError):
        return False
    if counts.keys() != set(_NOTED):
        return False
    _add_counts(counts, notes)
    return True


def _add_counts(counts: Mapping[str, Mapping[str, int]], notes: Notes) -> None:
    for reason, rows in counts["left_out"].items():
        notes.leave_out(reason, rows)
    for name in _NOTED[1:]:
        getattr(notes, name).update(counts[name])


def _write_text(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")


def _write(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file atomically: a reader never sees, and a killed process never leaves, half of
    one.
    """
    disk.make_folder(path.parent)
    draft = disk.create(path.with_name(f"{path.name}.{os.getpid()}"))
    try:
        write(draft)
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
