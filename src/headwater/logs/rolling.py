"""From blocks that commits leave in the online store to parquet files: accepted events to the archive, rows that a source's filter leaves
out beside it, refused records to the dead letters.

A block is written with its commit, so nothing that was committed is missing and nothing else is there. Blocks are rolled into a file that
is made durable before they are deleted. A file is named by the commits in it: after a crash between the two, blocks that a file holds
are only deleted.

    FOLDER/SOURCE/headwater_date=2024-05-01/PARTITION-FIRST-LAST.parquet
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl

from headwater import permissions
from headwater.errors import StoreError
from headwater.online_stores import OnlineStore, spaces

KNOWN_AT = "headwater_known_at"
SEQUENCE = "headwater_sequence"
FOLDERS: Mapping[bytes, str] = {spaces.ARCHIVE: "archive", spaces.DEAD: "dead_letters", spaces.FILTERED: "filtered"}
"""Where the files of a space stand in a home."""
_NAME = re.compile(r"(.+)-(\d+)-(\d+)\.parquet")


@dataclass(frozen=True)
class Roller:
    """Rolls one space of a store into files.

    space: ARCHIVE, DEAD or FILTERED. folder: where the folders of sources stand. partition: in a store of several writers, whose blocks
    these are. keep: microseconds; when a file is made, those that are older by more are removed; None keeps all.
    """

    store: OnlineStore
    space: bytes
    folder: Path
    source: str
    partition: str | None = None
    keep: int | None = None

    @property
    def place(self) -> Path:
        """The folder of the source."""
        return self.folder / self.source

    @property
    def last(self) -> int:
        """The last commit that a file holds; -1 where there is none."""
        return _last(self._files())

    def roll(self) -> Path | None:
        """Move all blocks into one file; the file."""
        done = self.last
        old = [key for key, _ in self._blocks() if spaces.sequence_of(key) <= done]
        if old:
            self.store.commit(dict.fromkeys(old), {})
        blocks = list(self._blocks())
        if not blocks:
            return None
        frame = pl.concat([_frame(value) for _, value in blocks])
        first, last = spaces.sequence_of(blocks[0][0]), spaces.sequence_of(blocks[-1][0])
        day = frame[KNOWN_AT].max()
        assert isinstance(day, datetime)
        folder = self.place / f"headwater_date={day:%Y-%m-%d}"
        path = folder / file_name(self.partition, first, last)
        try:
            permissions.own_folder(self.folder)
            permissions.make_folder(folder)
            durable(frame, path)
        except OSError as error:
            raise StoreError(
                f"{path} cannot be written: {error.strerror or error}. Nothing is lost, what belongs there stays in the online store: make room, or "
                "give the right to write there, and start again"
            ) from error
        self.store.commit(dict.fromkeys(key for key, _ in blocks), {})
        if self.keep is not None:
            self._forget((day - timedelta(microseconds=self.keep)).date())
        return path

    def rows(self) -> pl.LazyFrame | None:
        """Everything, in files or not yet; None where there is nothing. Blocks come before files, so that rolling meanwhile loses none."""
        blocks, files = list(self._blocks()), self._files()
        done = _last(files)
        parts = [pl.scan_parquet(path, hive_partitioning=False) for path in sorted(files)]
        waiting = [_frame(value).lazy() for key, value in blocks if spaces.sequence_of(key) > done]
        return pl.concat([*parts, *waiting], how="vertical") if parts or waiting else None

    def _forget(self, before: date) -> None:
        """Remove the files of days before this one."""
        for path in self._files():
            if path.parent.name < f"headwater_date={before:%Y-%m-%d}":
                path.unlink(missing_ok=True)
                with suppress(OSError):  # other partitions may have files of the day
                    path.parent.rmdir()

    def _name(self) -> str:
        return self.source if self.partition is None else f"{self.source}\0{self.partition}"

    def _blocks(self) -> Iterable[tuple[bytes, bytes]]:
        return self.store.scan(self.space + spaces.name(self._name()))

    def _files(self) -> list[Path]:
        return [path for path in self.place.glob("headwater_date=*/*.parquet") if _parts(path)[0] == _quoted(self.partition)]


def stamped(rows: pl.DataFrame, sequence: int, known: int) -> pl.DataFrame:
    """Rows with the commit that made them readable: SEQUENCE, and KNOWN_AT, `known` in microseconds."""
    said = (pl.Series(SEQUENCE, [sequence], pl.Int64), pl.Series(KNOWN_AT, [known], pl.Int64).cast(pl.Datetime("us", "UTC")))
    return rows.hstack([one.new_from_index(0, rows.height) for one in said])  # no query: its start counts where rows are few


def file_name(partition: str | None, first: int, last: int) -> str:
    """The name of a file that holds the commits from first to last."""
    return f"{_quoted(partition)}-{first:012d}-{last:012d}.parquet"


def span(path: Path) -> tuple[int, int]:
    """The first and the last commit in a file, by its name."""
    return _parts(path)[1:]


def _last(files: Sequence[Path]) -> int:
    """The last commit that a file holds."""
    return max((_parts(path)[2] for path in files), default=-1)


def _parts(path: Path) -> tuple[str, int, int]:
    found = _NAME.fullmatch(path.name)
    return ("", -1, -1) if found is None else (found[1], int(found[2]), int(found[3]))


def _quoted(partition: str | None) -> str:
    """A partition as a part of a file's name; "all" is that of the whole stream."""
    if partition is None:
        return "all"
    return re.sub(r"^all$|[^A-Za-z0-9_.]", lambda found: "".join(f"%{ord(letter):02X}" for letter in found[0]), partition)


def _frame(data: bytes) -> pl.DataFrame:
    return pl.read_ipc_stream(io.BytesIO(data))


def durable(frame: pl.DataFrame, path: Path) -> None:
    """Write a file that is whole and on disk, or not there; its folder and the one above are synced too."""
    draft = path.with_suffix(".draft")
    try:
        with permissions.open_private(draft, "wb") as file:
            frame.write_parquet(file)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        draft.unlink(missing_ok=True)  # it would take the room that is missing
        raise
    draft.replace(path)
    for folder in (path.parent, path.parent.parent):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
