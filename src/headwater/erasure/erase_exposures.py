"""Erasing one unit from the log of exposures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from headwater.definitions.project import Project
from headwater.erasure.key_match import ErasedKey
from headwater.erasure.receipt import ErasureJournal
from headwater.logs.exposure_log import EXPOSURES
from headwater.logs.exposure_rows import Exposure, header_of, read_segment, record_of
from headwater.logs.segment_writer import CLOSED, OPEN


def erase_exposures(folder: Path, project: Project, requests: Iterable[ErasedKey], journal: ErasureJournal) -> None:
    """Remove the exposures of the key from all complete segments of the project's experiments.

    Args:
        folder: the data directory.
        project: whose experiments.
        requests: the key by the columns of requests.
        journal: notes the files, and what could not be searched.
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
        for path in sorted(place.glob(f"*/*{CLOSED}")):
            _rewrite(path, mine, experiment.unit, journal)
        if any(place.glob(f"*/*{OPEN}")):
            journal.not_searched(
                f"exposures of {place.name}", "a service is writing a file of it: erase again when the service has stopped"
            )


def _rewrite(path: Path, keys: list[ErasedKey], unit: str, journal: ErasureJournal) -> None:
    segment = read_segment(path.read_bytes(), str(path))
    kept = {number: exposure for number, exposure in segment.exposures.items() if not any(_is_of(exposure, key, unit) for key in keys)}
    removed = len(segment.exposures) - len(kept)
    if removed == 0:
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
