"""The rows of one partition of Spark on the disk of a worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import polars as pl

from headwater import settings
from headwater.engine.local.partition import bucket_files, split
from headwater.engine.local.states import EVENT_BYTES
from headwater.engine.spark.blobs import (
    ELEMENTS,
    ERROR,
    EVENTS,
    NOTES,
    REQUESTS,
    ROWS,
    Blob,
    blobs_of,
    frame_blobs,
    frame_of,
)
from headwater.engine.spark.request_frames import SET

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK_BYTES = 64_000_000  # of rows that are held as one
ROWS_BUCKET, ELEMENTS_BUCKET = -1, -2
_BUCKETS: Final = {ROWS: ROWS_BUCKET, ELEMENTS: ELEMENTS_BUCKET}


@dataclass
class Spilled:
    """The frames of a partition in files, and its requests. apart: whether each bucket of events
    has files of its own.

    buckets, sizes: the rows and the bytes of each bucket.
    """

    folder: Path
    apart: bool
    requests: dict[int, list[pl.DataFrame]] = field(default_factory=dict)
    buckets: Counter[int] = field(default_factory=Counter)
    sizes: Counter[int] = field(default_factory=Counter)
    _held: dict[int, list[pl.DataFrame]] = field(default_factory=dict)
    _size: int = 0
    _files: dict[int, list[Path]] = field(default_factory=dict)

    def read(
        self,
        batches: Iterable[pa.RecordBatch],
        nothing: pl.DataFrame | None = None,
        passes: Collection[int] = (NOTES, ERROR),
    ) -> Iterator[Blob]:
        """Take the rows of a partition; gives the blobs of the kinds that pass as they are.

        nothing: an empty frame, for a partition without events.
        """
        for blob in blobs_of(batches):
            if blob.kind in passes:
                yield blob
            elif blob.kind == REQUESTS:
                frame = frame_of(blob)
                self.requests.setdefault(int(frame[SET][0]), []).append(frame)
            else:
                assert blob.kind in (EVENTS, ROWS, ELEMENTS)
                self._add(blob)
        if nothing is not None and not self.buckets[0]:
            self._add(next(frame_blobs(0, EVENTS, nothing)))
        self._flush()

    def files(self, bucket: int = 0) -> list[Path]:
        """The files of a bucket."""
        return self._files.get(bucket, [])

    def parts_in(self, size: int) -> int:
        """How many parts of so many bytes all rows make."""
        return max(1, -(-sum(self.sizes.values()) // size))

    def frames(self, bucket: int, size: int) -> Iterator[pl.DataFrame]:
        """The rows of a bucket, so many bytes at a time or a little more."""
        held: list[pl.DataFrame] = []
        for file in self.files(bucket):
            held.append(pl.read_parquet(file))
            if sum(int(frame.estimated_size()) for frame in held) >= size:
                yield pl.concat(held)
                held = []
        if held:
            yield pl.concat(held)

    def parts(self, hashed: pl.Expr, memory: int, bucket: int = 0) -> Iterator[pl.DataFrame]:
        """The rows of a bucket in parts that fit into memory; rows of one hash are together."""
        for (rows,) in self.together(
            hashed, -(-self.buckets[bucket] * EVENT_BYTES // memory), bucket
        ):
            if rows is not None:
                yield rows

    def together(
        self, hashed: pl.Expr, parts: int, *buckets: int
    ) -> Iterator[list[pl.DataFrame | None]]:
        """The rows of buckets in parts; rows of one hash, whichever their bucket, are in one part.
        None where a part has no row.
        """
        files = [self.files(bucket) for bucket in buckets]
        if parts <= 1:
            yield [pl.read_parquet(of) if of else None for of in files]
            return
        with TemporaryDirectory(dir=self.folder) as name:
            folders = [Path(name) / str(number) for number in range(len(files))]
            for folder, of in zip(folders, files, strict=True):
                if of:
                    split(pl.scan_parquet(of), hashed % parts, folder, "the work folder")
            for part in range(parts):
                found = [bucket_files([folder], part) for folder in folders]
                if any(found):
                    yield [
                        pl.read_parquet(of, hive_partitioning=False) if of else None for of in found
                    ]

    def _add(self, blob: Blob) -> None:
        """Hold the rows of a blob, and write them with those before once they are many."""
        bucket, frame = _BUCKETS.get(blob.kind, blob.bucket if self.apart else 0), frame_of(blob)
        size = int(frame.estimated_size())
        self.buckets[bucket] += frame.height
        self.sizes[bucket] += size
        self._held.setdefault(bucket, []).append(frame)
        self._size += size
        if self._size >= CHUNK_BYTES:
            self._flush()

    def _flush(self) -> None:
        """Write the held rows."""
        for bucket, frames in self._held.items():
            files = self._files.setdefault(bucket, [])
            files.append(self.folder / f"{bucket}-{len(files)}.parquet")
            pl.concat(frames).write_parquet(
                files[-1], compression="uncompressed", row_group_size=1 << 18
            )
        self._held, self._size = {}, 0


@contextmanager
def spill_folder(*, apart: bool = False) -> Iterator[Spilled]:
    """A partition on disk until the context ends."""
    with TemporaryDirectory(prefix="headwater-", dir=settings.spark_local_folder()) as name:
        (Path(name) / "work").mkdir()
        yield Spilled(Path(name), apart)
