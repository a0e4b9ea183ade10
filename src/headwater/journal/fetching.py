"""Fetch the logs of many machines from their destination into one folder, which every command then
reads as its --data-dir.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from headwater import disk
from headwater.engine.checkpoint import lock
from headwater.errors import DataError, UsageError
from headwater.ingestion.archive import durable
from headwater.journal.exposure_log import EXPOSURES
from headwater.journal.journal_files import CLOSED
from headwater.journal.log_destination import destination, is_part
from headwater.journal.outcome_journal import OUTCOMES
from headwater.journal.sample_rates import RATES
from headwater.journal.serving_log_files import SERVED
from headwater.journal.serving_log_rows import AT, REQUEST
from headwater.journal.shipping_queue import SHIPPING

if TYPE_CHECKING:
    import polars as pl


@dataclass
class FetchedLogs:
    """What a fetch brought: rows of the serving log, and files of exposures and of outcomes.

    >>> FetchedLogs(rows=5)
    FetchedLogs(rows=5, exposures=0, outcomes=0)
    """

    rows: int = 0
    exposures: int = 0
    outcomes: int = 0


def fetch(folder: Path, url: str, *, since: date | None = None) -> FetchedLogs:
    """Fetch the parts that are not here yet. Every part counts once, however often it was shipped
    or fetched.

    Args:
        folder: where the logs go; made where it does not exist.
        url: of the destination.
        since: the first day of the serving log that is fetched; None is all.

    Raises:
        UsageError: not a URL of a destination; the folder is one whose own logs are shipped;
            another process fetches into it.
        ConnectError: the destination does not answer, or refuses. DataError: a part cannot be read.
    """
    source = destination(url)
    if (folder / SHIPPING).is_dir():
        raise UsageError(
            f"{folder} ships its own logs; fetch those of all machines into another folder, with "
            "--data-dir FOLDER"
        )
    with _alone(folder):
        fetched = FetchedLogs()
        for name, frame in source.parts(
            lambda name: is_part(name) and _is_new(folder, name, since), since
        ):
            _check(name, frame, url)
            path = _path(folder, name)
            disk.make_folder(path.parent)
            if path.suffix == CLOSED:
                disk.replace_file(path, b"".join(frame["bytes"]))
                fetched.exposures += name.startswith(EXPOSURES)
                fetched.outcomes += name.startswith(OUTCOMES)
            elif path.parent.name == RATES:
                disk.replace_file(path, repr(float(frame.item())).encode())
            else:
                durable(frame, path)
                fetched.rows += frame.height
    return fetched


def _check(name: str, frame: pl.DataFrame, url: str) -> None:
    """Refuse a part with columns of another kind: in the folder, every command would fail on it.

    Raises:
        DataError: naming the part and the column.
    """
    kind, second, *_ = Path(name).parts
    served = {REQUEST: "String", AT: "Datetime"} if second != RATES else {}
    for column, dtype in (served if kind == SERVED else {"bytes": "Binary"}).items():
        stored = "missing" if column not in frame.columns else str(frame.schema[column].base_type())
        if stored != dtype:
            raise DataError(
                f"the part {name} of {url} is not one that this version reads: its column "
                f"{column!r} is {stored}, and has to be {dtype}. Another version or another "
                "program wrote it: move it away, and fetch again"
            )


def _is_new(folder: Path, name: str, since: date | None) -> bool:
    day = Path(name).parts[1]
    return (
        not (since is not None and "headwater_date=" <= day < f"headwater_date={since:%Y-%m-%d}")
        and not _path(folder, name).exists()
    )


def _path(folder: Path, name: str) -> Path:
    """What a part is in the folder: a closed file of the journal, a sample rate, or a file of the
    serving log.
    """
    kind, second, *_ = Path(name).parts
    path = folder / name
    return (
        path.with_suffix(CLOSED)
        if kind != SERVED
        else path.with_suffix("")
        if second == RATES
        else path
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    disk.own_folder(folder)
    with closing(disk.open_private(folder / "fetching.lock", "ab")) as file:
        if not lock(file):
            raise UsageError(f"another process fetches logs into {folder}; wait until it has ended")
        yield
