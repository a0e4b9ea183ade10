"""Erasing one unit from the log of exposures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from headwater import clock
from headwater.definitions.project import Project
from headwater.erasure.key_match import ErasedKey
from headwater.erasure.receipt import ErasureJournal
from headwater.errors import StoreError
from headwater.journal.exposure_log import EXPOSURES, all_segments
from headwater.journal.exposure_rows import Exposure, header_of, read_segment, record_of
from headwater.journal.segment_locks import close_all, is_complete

_WAIT: Final = 30.0  # seconds


def erase_exposures(folder: Path, project: Project, requests: Iterable[ErasedKey], journal: ErasureJournal) -> None:
    """Remove the exposures of the key from the segments of the project's experiments, which are closed first; a dry run reads open ones.

    Args:
        folder: the data directory.
        project: whose experiments.
        requests: the key by the columns of requests.
        journal: notes the files, and what could not be searched.

    Raises:
        StoreError: a segment is of another version, or its process does not close it.
    """
    keys = list(requests)
    known = {experiment.name: experiment for experiment in project.experiments}
    for place in sorted((folder / EXPOSURES).glob("*")):
        experiment = known.get(place.name)
        if experiment is None:
            journal.not_searched(
                f"exposures of {place.name}", "the project has no such experiment: delete the folder where nobody needs it"
            )
            continue
        columns = {column for column, _ in experiment.columns}
        mine = [key for key in keys if key.columns and key.columns <= columns]
        if not mine:
            continue
        for path in _closed(folder, place.name, dry_run=journal.dry_run):
            _rewrite(path, mine, experiment.unit, journal)


def _closed(folder: Path, experiment: str, *, dry_run: bool) -> list[Path]:
    """The segments of an experiment, which no process writes any more.

    Raises:
        StoreError: a process does not close one.
    """
    if dry_run:
        return all_segments(folder, experiment)
    close_all(all_segments(folder, experiment))
    until = clock.stopwatch() + _WAIT
    for path in (segments := all_segments(folder, experiment)):
        if not is_complete(path, until):
            raise StoreError(
                f"the process that writes {path} has not closed it for {_WAIT:.0f} seconds; end it, and run the same command again"
            )
    return segments


def _rewrite(path: Path, keys: list[ErasedKey], unit: str, journal: ErasureJournal) -> None:
    segment = read_segment(path.read_bytes(), str(path))
    kept = {number: exposure for number, exposure in segment.exposures.items() if not any(_is_of(exposure, key, unit) for key in keys)}
    removed = len(segment.exposures) - len(kept)
    if removed == 0 and not segment.damaged:  # damaged bytes, such as of a torn record, may hold the key too
        return
    header = segment.header
    experiment, version, worker = (
        (path.parent.parent.name, int(path.parent.name), path.stem.rpartition("-")[0])
        if header is None
        else (header.experiment, header.version, header.worker)
    )
    content = header_of(experiment, version, worker) + record_of([(number, *exposure) for number, exposure in kept.items()])
    journal.rewrite(path, EXPOSURES, removed, lambda file: file.write(content))


def _is_of(exposure: Exposure, key: ErasedKey, unit: str) -> bool:
    return all(text == (exposure.unit if column == unit else exposure.cluster) for column, text in key.texts.items())
