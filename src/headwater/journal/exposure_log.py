"""The log of exposures: which unit was served which arm, and what other callers report. None is
sampled, and none that counts is dropped.

A request's exposures are logged when it is answered, and no request waits: a thread writes them
within 50 ms (`writer`). An arm other than the control is served only while `room` is true: the last
write did not fail, and no exposure has waited for more than two seconds. What callers report is on
disk before they are answered.

    FOLDER/exposures/checkout/1/WORKER-000001.open       of version 1 of experiment `checkout`,
                                                         while it is written
    FOLDER/exposures/checkout/1/WORKER-000001.segment    when it is complete
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import polars as pl

from headwater import disk, settings
from headwater.definitions.checks import Size, in_bytes
from headwater.errors import StoreError
from headwater.journal import format as records
from headwater.journal.exposure_rows import (
    AT,
    LOGGED_SCHEMA,
    Exposure,
    begin_of,
    exposures_in,
    record_of,
)
from headwater.journal.journal_files import close_abandoned, content, journal_files
from headwater.journal.writer import JournalWriter, RecordGroup

EXPOSURES: Final = "exposures"
_LATE: Final = 2.0  # seconds that an exposure may wait for the thread


class ExposureLog:
    """The exposures of one process. Any thread may put; each process of a server makes its own,
    over the same folder.

    Files that killed processes have left open are closed.

    Args:
        folder: the log stands in its subfolder `exposures`; other processes may write there too.
        memory: of exposures that are flagged "no room" and wait; further ones are counted in
            `unlogged`.

    Attributes:
        worker: of the process, unique. logged: how many were put. unlogged: flagged ones that did
            not fit into memory.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with ExposureLog(folder) as log:
    ...         log.put("checkout", 1, [Exposure("u1", "daily", 1714521600000000, propensity=0.5)])
    ...         log.add(
    ...             "checkout", 1, [Exposure("u2", "daily", 1714521600000001, source="external")]
    ...         )
    ...     read_exposures(folder, "checkout")["source"].to_list()
    ['served', 'external']
    """

    def __init__(self, folder: str | Path, *, memory: Size = "16MB") -> None:
        self.folder = Path(folder) / EXPOSURES
        self.logged, self.unlogged = 0, 0
        self._memory = in_bytes(memory, "memory")
        self._writer = JournalWriter(records.EXPOSURES.most, records.EXPOSURES.every)
        self._groups: dict[tuple[str, int], RecordGroup] = {}
        self.worker = self._writer.worker
        weakref.finalize(self, self._writer.close)  # where `close` is not called
        disk.own_if_there(self.folder)
        close_abandoned(journal_files(Path(folder), records.EXPOSURES))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def room(self) -> bool:
        """Whether an arm other than the control may be served."""
        return self._writer.error is None and self._writer.behind < _LATE

    @property
    def error(self) -> str | None:
        """Why the last write failed; None where it did not."""
        return self._writer.error

    def prepare(self) -> None:
        """Make the folder.

        Raises:
            OSError: it cannot be made.
        """
        disk.own_folder(self.folder)

    def put(self, experiment: str, version: int, exposures: Sequence[Exposure]) -> None:
        """Log exposures of a version of an experiment. It never waits for the disk."""
        if self._writer.held > self._memory and not self.room:
            unflagged = [exposure for exposure in exposures if not exposure.flag]
            self.unlogged += len(exposures) - len(unflagged)
            exposures = unflagged
        if exposures:
            self.logged += len(exposures)
            self._writer.put(self._group(experiment, version), record_of(exposures))

    def add(self, experiment: str, version: int, exposures: Sequence[Exposure]) -> None:
        """Log exposures that are on disk when this returns.

        Raises:
            StoreError: they cannot be written; none of them is kept.
        """
        try:
            self._writer.append(self._group(experiment, version), record_of(exposures))
        except OSError as error:
            raise StoreError(
                f"exposures of experiment {experiment!r} cannot be written to {self.folder}: "
                f"{error.strerror or error}"
            ) from error

    def flush(self, timeout: float = 30.0) -> bool:
        """Write all exposures so far; whether they are in files within `timeout` seconds."""
        return self._writer.flush(timeout)

    def close(self, timeout: float = 30.0) -> None:
        """Write all exposures, and accept no more."""
        self._writer.close(timeout)

    def _group(self, experiment: str, version: int) -> RecordGroup:
        group = self._groups.get((experiment, version))
        if group is None:
            made = self._writer.group(
                self.folder / experiment / str(version), begin_of(experiment, version)
            )
            group = self._groups[experiment, version] = made
        return group


def read_exposures(
    data_dir: str | Path | None, experiment: str, version: int | None = None
) -> pl.DataFrame:
    """The exposures of an experiment, each once, sorted by time and unit: columns `LOGGED_SCHEMA`;
    without rows where there are none.

    Args:
        data_dir: where they were written; None is headwater's home.
        experiment: its name.
        version: of the experiment; None is the latest one with exposures.

    Raises:
        DataError: the files cannot be read.
        StoreError: a file of another version of the format.
    """
    rows = [exposure[: len(LOGGED_SCHEMA)] for exposure in _logged(data_dir, experiment, version)]
    return _frame(rows, LOGGED_SCHEMA).sort("at", "unit", "request", "arm")


def read_interleaved(
    data_dir: str | Path | None, experiment: str, version: int | None = None
) -> pl.DataFrame:
    """The items of an experiment's interleaved lists, one row each.

    Columns: list, unit, at, position (0 is the best), item, and team, the ranking that placed it (0
    is the control). Items are strings: of numbers, their decimal digits. Arguments and errors as of
    `read_exposures`.
    """
    schema = {
        "list": pl.String,
        "unit": pl.String,
        "at": pl.Datetime("us", "UTC"),
        "position": pl.Int64,
        "item": pl.String,
        "team": pl.Int64,
    }
    rows = [
        (exposure.request, exposure.unit, exposure.at, position, str(item), team)
        for exposure in _logged(data_dir, experiment, version)
        for position, (item, team) in enumerate(
            zip(exposure.items or (), exposure.teams or (), strict=True)
        )
    ]
    return _frame(rows, schema).sort("at", "unit", "list", "position")


def segments_of(
    data_dir: str | Path | None, experiment: str, version: int | None = None
) -> list[Path]:
    """The files of an experiment's exposures; `version` as for `read_exposures`."""
    home = settings.home() if data_dir is None else Path(data_dir)
    folder = home / EXPOSURES / experiment
    if version is None:
        versions = (
            [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]
            if folder.is_dir()
            else []
        )
        if not versions:
            return []
        version = max(versions)
    return journal_files(home, records.EXPOSURES, f"{EXPOSURES}/{experiment}/{version}")


def _logged(data_dir: str | Path | None, experiment: str, version: int | None) -> list[Exposure]:
    return [
        exposure
        for path in segments_of(data_dir, experiment, version)
        for exposure in exposures_in(content(path), str(path)).exposures
    ]


def _frame(rows: Sequence[tuple[object, ...]], schema: Mapping[str, Any]) -> pl.DataFrame:
    if not rows:
        return pl.DataFrame(schema=schema)
    plain = {name: pl.Int64() if name == AT else dtype for name, dtype in schema.items()}
    return pl.DataFrame(rows, schema=plain, orient="row").cast({AT: schema[AT]})
