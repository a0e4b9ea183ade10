"""Runs: results that are kept in the data directory, with who made them, when, and from which
definitions, code and data.

    FOLDER/runs/backtest-20260312-141502-3f2a/run.json       the record: small, for lists and
                                                             comparisons
    FOLDER/runs/backtest-20260312-141502-3f2a/result.json    the typed result as JSON data

A run is written under another name and then renamed; a writer that is killed leaves a folder that
nothing reads.
"""

from __future__ import annotations

import math
import secrets
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final, TypeVar, cast

import msgspec

from headwater import clock, disk, settings
from headwater.definitions.connectors import Frame
from headwater.definitions.definition import fingerprint_of
from headwater.definitions.model import Model
from headwater.errors import DataError, HeadwaterError, HeadwaterWarning, UsageError, nearest
from headwater.results.result import Result
from headwater.terminal.text import visible
from headwater.version import __version__

RUNS: Final = "runs"
R = TypeVar("R", bound=Result)

_RECORD, _RESULT, _WRITING = "run.json", "result.json", ".new-"
_ABANDONED: Final = timedelta(days=1)


class RunRecord(Result, frozen=True):
    """The metadata of a run, without its result.

    id: its name in the data directory. kind: "backtest", "attribution", "assessment", "parity",
    "delivery", "experiment". subject: the model, view or experiment. at: ISO 8601. by: user and
    machine. seconds: how long it took. sentence: what came of it. figures: its main numbers by
    name. definitions: fingerprints by name. commit: of the git work tree that the project lies in,
    with "+" where files had changed; empty where there is none. data: by table, what was read of
    it. engine: what read and computed, such as "local" or "spark"; empty where that is not known.
    headwater: the version.
    """

    id: str
    kind: str
    subject: str
    at: str
    by: str
    sentence: str
    seconds: float = math.nan
    figures: Mapping[str, float] = {}
    definitions: Mapping[str, str] = {}
    commit: str = ""
    data: Mapping[str, str] = {}
    engine: str = ""
    headwater: str = ""

    def __str__(self) -> str:
        return visible(f"{self.id}: {self.sentence}")


class StoredRuns:
    """The runs of a data directory; several processes may add some.

    Args:
        folder: the data directory; None is HEADWATER_DATA_DIR, else headwater's home.

    >>> import tempfile
    >>> StoredRuns(tempfile.mkdtemp()).records()
    []
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = Path(folder or settings.data_dir() or settings.home()) / RUNS

    def add(self, record: RunRecord, result: Mapping[str, object]) -> RunRecord:
        """Keep a result.

        Raises:
            DataError: the folder cannot be written.
        """
        try:
            disk.own_folder(self.folder.parent)
            disk.make_folder(self.folder)
            self._take_away_abandoned()
            staging = Path(tempfile.mkdtemp(prefix=_WRITING, dir=self.folder))
            try:
                for name, content in ((_RECORD, record.to_dict()), (_RESULT, result)):
                    with disk.open_private(staging / name, "wb") as file:
                        file.write(msgspec.json.encode(content))
                staging.rename(self.folder / record.id)
            except BaseException:
                shutil.rmtree(staging, ignore_errors=True)
                raise
        except OSError as error:
            raise DataError(
                f"{self.folder} cannot be written: {error.strerror or error}"
            ) from error
        return record

    def records(self, *, kind: str | None = None, subject: str | None = None) -> list[RunRecord]:
        """The records, the latest first; a folder that is not a run is skipped."""
        if not self.folder.is_dir():
            return []
        records = [
            record
            for path in self.folder.iterdir()
            if not path.name.startswith(".") and (record := _read(path)) is not None
        ]
        chosen = [r for r in records if kind in (None, r.kind) and subject in (None, r.subject)]
        return sorted(chosen, key=lambda record: (record.at, record.id), reverse=True)

    def one(self, name: str) -> RunRecord:
        """The record of that id, of the only id that begins so, or "latest".

        Raises:
            UsageError: there is none, or several begin so.
        """
        records = self.records()
        if name == "latest" and records:
            return records[0]
        begins = [record for record in records if record.id.startswith(name)] if name else []
        exact = [record for record in begins if record.id == name]
        if len(exact or begins) == 1:
            return (exact or begins)[0]
        if begins:
            raise UsageError(
                f"{len(begins)} runs begin with {name!r}; give more of the id: "
                f"{', '.join(r.id for r in begins[:3])}"
            )
        if not records:
            raise UsageError(f"no run is kept in {self.folder}; `headwater backtest` keeps one")
        raise UsageError(f"no run {name!r}; {nearest(name, [record.id for record in records])}")

    def result(self, record: RunRecord) -> dict[str, object]:
        """The result of a run as JSON data.

        Raises:
            DataError: it cannot be read.
        """
        path = self.folder / record.id / _RESULT
        try:
            return cast("dict[str, object]", msgspec.json.decode(path.read_bytes()))
        except (OSError, msgspec.DecodeError) as error:
            raise DataError(f"{path} cannot be read: {error}") from error

    def delete(self, record: RunRecord) -> None:
        """Take a run away."""
        shutil.rmtree(self.folder / record.id, ignore_errors=True)

    def _take_away_abandoned(self) -> None:
        before = clock.now().timestamp() - _ABANDONED.total_seconds()
        for path in self.folder.glob(f"{_WRITING}*"):
            if path.stat().st_mtime < before:
                shutil.rmtree(path, ignore_errors=True)


def keep_run(
    kind: str,
    sentence: str,
    result: R,
    model: Model | None = None,
    *,
    subject: str = "",
    folder: str | Path | None = None,
    engine: str = "",
) -> R:
    """Keep a result that was just made, and return it.

    Nothing is kept with HEADWATER_RUNS=off; a folder that cannot be written is a warning.

    Args:
        kind, sentence, engine: as `RunRecord`.
        result: the stored result, with its `figures` and `seconds_taken`.
        model: whose definitions and data it was made of.
        subject: as `RunRecord`; the model's name where it is left out.
        folder: the data directory, as for `StoredRuns`.
    """
    if not settings.keeps_runs():
        return result
    now = clock.now()
    record = RunRecord(
        id=f"{kind}-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}",
        kind=kind,
        subject=subject or ("scores" if model is None else model.name),
        at=now.isoformat(timespec="microseconds"),
        by=settings.who(),
        sentence=sentence,
        seconds=result.seconds_taken,
        figures={
            name: float(value) for name, value in result.figures.items() if math.isfinite(value)
        },
        definitions={} if model is None else _definitions(model),
        commit=_commit(settings.in_project(".").resolve()),
        data={} if model is None else _data(model),
        engine=engine,
        headwater=__version__,
    )
    try:
        StoredRuns(folder).add(record, result.to_dict())
    except HeadwaterError as error:
        warnings.warn(f"this run was not kept: {error}", HeadwaterWarning, stacklevel=2)
    return result


def _read(path: Path) -> RunRecord | None:
    try:
        return RunRecord.from_dict(msgspec.json.decode((path / _RECORD).read_bytes()))
    except (OSError, msgspec.MsgspecError):
        return None


def _definitions(model: Model) -> dict[str, str]:
    views: Iterable[tuple[str, str]] = (
        (f"view {view.name}", view.fingerprint) for view in model.views_within
    )
    return {
        f"model {model.name}": model.fingerprint,
        f"labels {model.labels.name}": model.labels.fingerprint,
        **dict(views),
    }


def _data(model: Model) -> dict[str, str]:
    """An identity of each table: where it is, and a hash of its files' names and digests."""
    from headwater.connectors import state
    from headwater.connectors.snapshots import VersionedTable

    tables = {f"labels {model.labels.name}": model.labels.data}
    tables |= {
        f"source {source.name}": source.table
        for source in model.sources
        if source.history is not None
    }
    described: dict[str, str] = {}
    for name, table in tables.items():
        try:
            if isinstance(table, VersionedTable) and (version := table.version_read()) is not None:
                described[name] = f"{table}, version {version}"
                continue
            table_state = state(table)
        except HeadwaterError as error:
            described[name] = f"not found: {error}"
            continue
        location = "a frame" if isinstance(table, Frame) else str(table)
        described[name] = (
            location if table_state is None else f"{location}, {fingerprint_of(table_state, 12)}"
        )
    return described


def _commit(folder: Path) -> str:
    """The git commit of a folder, with "+" where tracked files have changed; empty where there is
    none, or no git.
    """
    try:
        head = _git(folder, "rev-parse", "--short=12", "HEAD")
        return (
            f"{head}+"
            if head and _git(folder, "status", "--porcelain", "--untracked-files=no")
            else head
        )
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(folder: Path, *command: str) -> str:
    done = subprocess.run(  # noqa: S603
        ["git", "-C", str(folder), *command],  # noqa: S607
        capture_output=True,
        text=True,
        timeout=5,
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else ""
