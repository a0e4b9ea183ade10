"""The rows of one partition of Spark on the disk of a worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import polars as pl

from headwater import settings
from headwater.engine.local.partition import bucket_files, split
from headwater.engine.local.states import EVENT_BYTES
from headwater.engine.spark.blobs import ERROR, EVENTS, NOTES, REQUESTS, ROWS, Blob, blobs_of, frame_blobs, frame_of
from headwater.engine.spark.request_frames import SET

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK_BYTES = 64_000_000  # of rows that are held as one
_ROWS_BUCKET = -1


@dataclass
class Spilled:
    """The frames of a partition in files, and its requests."""

    folder: Path
    apart: bool
    requests: dict[int, list[pl.DataFrame]] = field(default_factory=dict)
    buckets: Counter[int] = field(default_factory=Counter)
    _held: dict[int, list[pl.DataFrame]] = field(default_factory=dict)
    _size: int = 0
    _files: dict[int, list[Path]] = field(default_factory=dict)

    def add(self, blob: Blob) -> None:
        """Hold the events or rows of a blob, and write them with those before once they are many."""
        bucket, frame = (_ROWS_BUCKET if blob.kind == ROWS else blob.bucket if self.apart else 0), frame_of(blob)
        self.buckets[bucket] += frame.height
        self._held.setdefault(bucket, []).append(frame)
        self._size += int(frame.estimated_size())
        if self._size >= CHUNK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what is held."""
        for bucket, frames in self._held.items():
            files = self._files.setdefault(bucket, [])
            files.append(self.folder / f"{bucket}-{len(files)}.parquet")
            pl.concat(frames).write_parquet(files[-1], compression="uncompressed", row_group_size=1 << 18)
        self._held, self._size = {}, 0

    def files(self, bucket: int = 0) -> list[Path]:
        """The files of a bucket."""
        return self._files.get(bucket, [])

    def row_frames(self, size: int) -> Iterator[pl.DataFrame]:
        """The rows, so many bytes at a time or a little more."""
        held: list[pl.DataFrame] = []
        for file in self.files(_ROWS_BUCKET):
            held.append(pl.read_parquet(file))
            if sum(int(frame.estimated_size()) for frame in held) >= size:
                yield pl.concat(held)
                held = []
        if held:
            yield pl.concat(held)

    def parts(self, hashed: pl.Expr, memory: int, bucket: int = 0) -> Iterator[pl.DataFrame]:
        """The rows of a bucket in parts that fit into memory; rows of one hash are together."""
        files, parts = self.files(bucket), max(1, -(-self.buckets[bucket] * EVENT_BYTES // memory))
        if not files:
            return
        if parts == 1:
            yield pl.read_parquet(files)
            return
        with TemporaryDirectory(dir=self.folder) as name:
            split(pl.scan_parquet(files), hashed % parts, Path(name) / "parts", "the work folder")
            for part in range(parts):
                of = bucket_files([Path(name) / "parts"], part)
                if of:
                    yield pl.read_parquet(of, hive_partitioning=False)


@contextmanager
def spilled_rows(
    batches: Iterable[pa.RecordBatch], nothing: pl.DataFrame | None = None, *, apart: bool = False
) -> Iterator[tuple[Spilled, list[Blob]]]:
    """The rows of a partition on disk until the context ends, and blobs to pass on as they are.

    nothing: an empty frame, for a partition without events. apart: whether each bucket has files of its own.
    """
    with TemporaryDirectory(prefix="headwater-", dir=settings.spark_local_folder()) as name:
        spilled, passed = Spilled(Path(name), apart), []
        (spilled.folder / "work").mkdir()
        for blob in blobs_of(batches):
            if blob.kind in (EVENTS, ROWS):
                spilled.add(blob)
            elif blob.kind == REQUESTS:
                frame = frame_of(blob)
                spilled.requests.setdefault(int(frame[SET][0]), []).append(frame)
            else:
                assert blob.kind in (NOTES, ERROR)
                passed.append(blob)
        if nothing is not None and not spilled.buckets[0]:
            spilled.add(next(frame_blobs(0, EVENTS, nothing)))
        spilled.flush()
        yield spilled, passed
