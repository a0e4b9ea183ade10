"""Fetch the logs of many machines from their destination into one folder, which every command then reads as its --data-dir."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from headwater import permissions
from headwater.engine.checkpoint import lock
from headwater.errors import DataError, StoreError, UsageError
from headwater.ingestion.archive_files import durable
from headwater.journal.daily_statistics import update
from headwater.journal.exposure_log import EXPOSURES
from headwater.journal.files import CLOSED
from headwater.journal.log_destination import destination, is_part
from headwater.journal.outcome_journal import OUTCOMES, merge
from headwater.journal.sample_rates import RATES
from headwater.journal.serving_log_files import SERVED
from headwater.journal.serving_log_rows import AT, REQUEST
from headwater.journal.shipping_queue import SHIPPING

if TYPE_CHECKING:
    import polars as pl


_FETCHED: Final = "fetched.json"


@dataclass
class FetchedLogs:
    """What a fetch brought: rows of the serving log, exposures in bytes, rows of outcomes that were new here; and the segments of exposures
    of which a part is missing at the destination.

    >>> FetchedLogs(rows=5)
    FetchedLogs(rows=5, exposures=0, outcomes=0, incomplete=[])
    """

    rows: int = 0
    exposures: int = 0
    outcomes: int = 0
    incomplete: list[str] = field(default_factory=list)


def fetch(folder: Path, url: str, *, since: date | None = None) -> FetchedLogs:
    """Fetch what is not here yet. Every part counts once, however often it was shipped or fetched.

    Args:
        folder: where the logs go; made where it does not exist.
        url: of the destination.
        since: the first day of the serving log that is fetched; None is all.

    Raises:
        UsageError: not a URL of a destination; the folder is one whose own logs are shipped; another process fetches into it.
        ConnectError: the destination does not answer, or refuses. DataError: a part cannot be read.
        StoreError: the folder cannot be written.
    """
    source = destination(url)
    if (folder / SHIPPING).is_dir():
        raise UsageError(f"{folder} ships its own logs; fetch those of all machines into another folder, with --data-dir FOLDER")
    with _alone(folder):
        fetched = FetchedLogs()
        last = _last(folder)
        appended: dict[str, pl.DataFrame] = {}

        def wanted(name: str) -> bool:
            return is_part(name) and _is_new(folder, name, last, since)

        for name, frame in source.parts(wanted, since):
            _check(name, frame, url)
            kind = name.partition("/")[0]
            if kind == EXPOSURES:
                appended[name] = frame
            elif kind == OUTCOMES:
                fetched.outcomes += _outcomes(folder, name, frame, last)
            elif Path(name).parts[1] == RATES:
                path = permissions.make_folder(folder / SERVED / RATES) / Path(name).stem
                permissions.replace_file(path, repr(float(frame.item())).encode())
            elif not (folder / name).exists():  # a part may come twice
                permissions.make_folder((folder / name).parent)
                durable(frame, folder / name)
                fetched.rows += frame.height
        for name in sorted(appended):
            fetched.exposures += _append(folder, name, b"".join(appended[name]["bytes"]), fetched)
        update(folder)
    return fetched


def _check(name: str, frame: pl.DataFrame, url: str) -> None:
    """Refuse a part whose columns are not those of its kind: in the folder, it would be an error of every command.

    Raises:
        DataError: naming the part and the column.
    """
    kind, second, *_ = Path(name).parts
    served = {REQUEST: "String", AT: "Datetime"} if second != RATES else {}
    for column, dtype in {EXPOSURES: {"bytes": "Binary"}, OUTCOMES: {"sequence": "Int64"}, SERVED: served}[kind].items():
        stored = "missing" if column not in frame.columns else str(frame.schema[column].base_type())
        if stored != dtype:
            raise DataError(
                f"the part {name} of {url} is not one that this version reads: its column {column!r} is {stored}, and has to be {dtype}. "
                "Another version or another program wrote it: move it away, and fetch again"
            )


def _is_new(folder: Path, name: str, last: Mapping[str, int], since: date | None) -> bool:
    path = Path(name)
    if path.parts[0] == EXPOSURES:
        segment = _segment(folder, name)
        return _end(name) > (segment.stat().st_size if segment.exists() else 0)
    if path.parts[0] == OUTCOMES:
        return _end(name) > last.get(path.parent.as_posix(), -1)
    if path.parts[1] == RATES:
        return not (folder / SERVED / RATES / path.stem).exists()
    return (since is None or path.parts[1] >= f"headwater_date={since:%Y-%m-%d}") and not (folder / name).exists()


def _outcomes(folder: Path, name: str, frame: pl.DataFrame, last: dict[str, int]) -> int:
    """Add rows of a machine's journal to the one here; how many were new."""
    _, labels, *_ = Path(name).parts
    try:
        added = merge(folder, labels, frame.drop("sequence").rows())
    except sqlite3.Error as error:
        raise StoreError(f"the journal of outcomes of {labels} in {folder} cannot be written: {error}") from error
    machine = Path(name).parent.as_posix()
    last[machine] = max(last.get(machine, -1), _end(name))
    permissions.replace_file(folder / _FETCHED, msgspec.json.encode(last))
    return added


def _append(folder: Path, name: str, data: bytes, fetched: FetchedLogs) -> int:
    """Append bytes to a segment, as far as it does not have them; how many. Parts overlap where a shipment was killed."""
    segment = _segment(folder, name)
    permissions.make_folder(segment.parent)
    with permissions.open_private(segment, "ab") as file:
        first, size = _end(name) - len(data), file.tell()
        if first > size:
            fetched.incomplete.append(segment.relative_to(folder).as_posix())
            return 0
        return file.write(data[size - first :])


def _segment(folder: Path, name: str) -> Path:
    path = folder / Path(name).parent
    return path.with_name(f"{path.name}{CLOSED}")


def _end(name: str) -> int:
    return int(Path(name).stem.rpartition("-")[2])


def _last(folder: Path) -> dict[str, int]:
    """The last row of each machine's journals that is here."""
    try:
        return msgspec.json.decode((folder / _FETCHED).read_bytes(), type=dict[str, int])
    except FileNotFoundError:
        return {}


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    permissions.own_folder(folder)
    with closing(permissions.open_private(folder / "fetching.lock", "ab")) as file:
        if not lock(file):
            raise UsageError(f"another process fetches logs into {folder}; wait until it has ended")
        yield
