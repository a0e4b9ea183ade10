"""Erasing one unit from the log of exposures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from headwater.definitions.project import Project
from headwater.erasure.key_match import ErasedKey
from headwater.erasure.receipt import ErasureJournal
from headwater.errors import StoreError
from headwater.journal import format as records
from headwater.journal.exposure_log import EXPOSURES
from headwater.journal.exposure_rows import Exposure, begin_of, exposures_in, record_of
from headwater.journal.journal_files import close_all, journal_files

_WAIT: Final = 30.0  # seconds


def erase_exposures(
    folder: Path, project: Project, requests: Iterable[ErasedKey], journal: ErasureJournal
) -> None:
    """Remove the exposures of the key from the segments of the project's experiments, which are
    closed first; a dry run reads open ones.

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
                f"exposures of {place.name}",
                "the project has no such experiment: delete the folder where nobody needs it",
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
    files = journal_files(folder, records.EXPOSURES, f"{EXPOSURES}/{experiment}")
    if dry_run:
        return files
    left = close_all(files, _WAIT)
    if left:
        raise StoreError(
            f"the process that writes {left[0]} has not closed it for {_WAIT:.0f} seconds; end "
            "it, and run the same command again"
        )
    return journal_files(folder, records.EXPOSURES, f"{EXPOSURES}/{experiment}")


def _rewrite(path: Path, keys: list[ErasedKey], unit: str, journal: ErasureJournal) -> None:
    exposures, damaged = exposures_in(path.read_bytes(), str(path))
    kept = [
        exposure for exposure in exposures if not any(_is_of(exposure, key, unit) for key in keys)
    ]
    # damaged bytes, such as of a torn record, may hold the key too
    if len(kept) == len(exposures) and not damaged:
        return
    content = begin_of(path.parent.parent.name, int(path.parent.name)) + record_of(kept)
    journal.rewrite(path, EXPOSURES, len(exposures) - len(kept), lambda file: file.write(content))


def _is_of(exposure: Exposure, key: ErasedKey, unit: str) -> bool:
    return all(
        text == (exposure.unit if column == unit else exposure.cluster)
        for column, text in key.texts.items()
    )
