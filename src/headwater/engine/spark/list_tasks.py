"""What a worker of Spark does with rows that have a list of keys: each element goes to the events
of its key, and back to its row.

    rows --DealElements--> rows by id, elements by key --AnswerElements--> rows and answered
    elements by id --GatherLists--> rows

An id is a hash of what a row asks for. So it stays as it is when Spark repeats a task, and rows
that share one have the same answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import polars as pl

from headwater.engine.local.partition import hash_of
from headwater.engine.local.spill import answer_files
from headwater.engine.query import AsOf, EngineRun, FeatureValues, Query, RequestSet
from headwater.engine.row_work import answer_columns, answers_of
from headwater.engine.spark.blobs import ELEMENTS, ERROR, NOTES, ROWS, Blob, frame_blobs
from headwater.engine.spark.request_frames import request_frame, requests_of
from headwater.engine.spark.row_tasks import ROWS_SHARE, DealRows, RowTask
from headwater.engine.spark.spilled import ELEMENTS_BUCKET, ROWS_BUCKET, spill_folder
from headwater.engine.spark.worker_tasks import Deal

if TYPE_CHECKING:
    import pyarrow as pa

_ID: Final = ("__id0", "__id1")  # of 128 bits
_POSITION = "__position"
_ELEMENT: Final = (*_ID, _POSITION)
_SEEDS: Final = (0, 1 << 16)


@dataclass(frozen=True)
class DealElements(DealRows):
    """Deal rows by their ids, and the elements of their lists by the keys of a stage, compared in
    these types.
    """

    def dealt(self, rows: pl.DataFrame) -> Iterator[Blob]:
        """Rows and elements, by bucket."""
        asked = self.work.asked(rows, self.stage)
        ids = _row_ids(asked, self.types)
        yield from _by_id(self.buckets).blobs(rows.hstack(ids), ROWS)
        elements = _elements(asked, ids).hstack(request_frame(0, asked, list(self.types)))
        yield from Deal(self.types, self.buckets).blobs(elements, ELEMENTS)


@dataclass(frozen=True)
class AnswerElements(RowTask):
    """Answer the elements of a partition with its events, with the local engine, and deal them by
    the ids of their rows.

    nothing: an empty frame of events.
    """

    query: Query
    buckets: int
    nothing: pl.DataFrame
    memory: int

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Blob]:
        """As `Task`."""
        with spill_folder() as spilled:
            yield from spilled.read(batches, self.nothing, (NOTES, ERROR, ROWS))
            run = EngineRun(threads=1, memory=self.memory)
            for number, elements in enumerate(
                spilled.frames(ELEMENTS_BUCKET, self.memory // ROWS_SHARE)
            ):
                _, asked = requests_of(elements, self.query.keys)
                (answers,) = answer_files(
                    self.query, spilled.files(), [asked], run, spilled.folder / "work" / str(number)
                )
                yield from _by_id(self.buckets).blobs(
                    elements.select(_ELEMENT).hstack(answer_columns(answers)), ELEMENTS
                )


@dataclass(frozen=True)
class GatherLists(RowTask):
    """Give rows the answers of their elements, in the order of their lists. none: no answered
    element.
    """

    stage: int
    none: pl.DataFrame
    memory: int

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[Blob]:
        """As `Task`."""
        with spill_folder() as spilled:
            yield from spilled.read(batches)
            parts = spilled.parts_in(self.memory // ROWS_SHARE)
            for rows, elements in spilled.together(
                pl.col(_ID[0]), parts, ROWS_BUCKET, ELEMENTS_BUCKET
            ):
                if rows is not None:
                    yield from frame_blobs(0, ROWS, self._gathered(rows, elements))

    def _gathered(self, rows: pl.DataFrame, elements: pl.DataFrame | None) -> pl.DataFrame:
        plain_rows = rows.drop(_ID)
        asked = self.work.asked(plain_rows, self.stage)
        list_elements = _elements(asked, [rows[name] for name in _ID])
        answered = self.none if elements is None else elements.unique(_ELEMENT)
        found = list_elements.join(answered, on=_ELEMENT, how="inner", maintain_order="left")
        assert found.height == list_elements.height, "an element has no answer"
        return self.work.answered(
            plain_rows, self.stage, asked, answers_of(found, len(asked.as_of))
        )


def no_elements(answers: Sequence[FeatureValues]) -> pl.DataFrame:
    """No answered element, with the types of these answers."""
    places = pl.DataFrame(schema={**dict.fromkeys(_ID, pl.UInt64), _POSITION: pl.Int64})
    return places.hstack(pl.DataFrame(answer_columns(answers)).clear())


def _by_id(buckets: int) -> Deal:
    return Deal({_ID[0]: pl.UInt64()}, buckets)


def _row_ids(asked: RequestSet, types: Mapping[str, pl.DataType]) -> list[pl.Series]:
    """The id of each row with a list, of two hashes: of when it asks, and of its elements and their
    places.
    """
    assert asked.of is not None
    lists, times = asked.of.lists, _times(asked.of.t, asked.of.as_of)
    placed = asked.keys.select(list(types)).with_columns(_positions(asked))
    ids = []
    for name, seed in zip(_ID, _SEEDS, strict=True):
        hashed = times.select(hash_of(times.schema, seed)).to_series().to_numpy().copy()
        elements = (
            placed.select(hash_of({**types, _POSITION: pl.Int64()}, seed)).to_series().to_numpy()
        )
        np.add.at(hashed, lists.rows, elements)  # modulo 2**64
        ids.append(pl.Series(name, hashed))
    return ids


def _elements(asked: RequestSet, ids: list[pl.Series]) -> pl.DataFrame:
    """The id of its row and the position of each element."""
    assert asked.of is not None
    rows = asked.of.lists.rows
    return pl.DataFrame([*(series.gather(rows) for series in ids), _positions(asked)])


def _positions(asked: RequestSet) -> pl.Series:
    assert asked.of is not None
    sizes = asked.of.lists.sizes
    return pl.Series(_POSITION, np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes))


def _times(t: np.ndarray, as_of: tuple[AsOf, ...]) -> pl.DataFrame:
    return pl.DataFrame(
        {"t": t}
        | {
            f"{name}{n}": array
            for n, a in enumerate(as_of)
            for name, array in (("T", a.T), ("K", a.K))
        }
    )
