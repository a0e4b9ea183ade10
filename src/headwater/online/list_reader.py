"""Features looked up by lists of keys: the elements of all rows share one compiled read, and each
distinct key is read once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from headwater.errors import DataError, nearest
from headwater.events.key_lists import KeyLists, key_lists, plain_key_lists
from headwater.online.compiled_reader import CompiledReader
from headwater.online.feature_vectors import FeatureVector, FeatureVectors
from headwater.online.key_encoder import KeyColumn

Column = Sequence[object] | pl.Series


class ListReader:
    """Reads as a `CompiledReader`, of views whose key is filled by the elements of one list.

    Args:
        elements: reads the same views by a key.
        column: the list: the column of the request or the name of a feature, and how long it may
            be.
    """

    def __init__(self, elements: CompiledReader, column: KeyColumn) -> None:
        self._elements, self._column = elements, column
        self.parts, self.names, self.columns = elements.parts, elements.names, elements.columns
        self._reader = f"feature view {elements.parts[0].view.name!r}"

    @property
    def null_request(self) -> Mapping[str, object]:
        """A request whose keys are null: its list has one element."""
        return {**dict.fromkeys(self.columns), self._column.column: [None]}

    def read(self, request: Mapping[str, Column], count: int, t: int) -> FeatureVectors:
        """The features of `count` requests as lists; raises as `CompiledReader.read`, and DataError
        of a column that holds no lists.
        """
        lists, elements = self._lists(request)
        assert len(lists.sizes) == count
        rows = lists.rows
        columns: dict[str, Column] = {self._column.column: elements}
        for name in self.columns:
            if name != self._column.column:
                column = self._request_column(request, name)
                columns[name] = (
                    column.gather(rows)
                    if isinstance(column, pl.Series)
                    else [column[row] for row in rows.tolist()]
                )
        read = self._elements.read(columns, len(elements), t)
        statuses = [
            lists.statuses(np.frombuffer(codes, np.uint8)).tobytes() for codes in read.statuses
        ]
        return FeatureVectors(
            [lists.plain_lists(values) for values in read.values], statuses, read.read_versions
        )

    def one(self, request: Mapping[str, object], t: int) -> FeatureVector:
        """As `read`, of one request; a column that the request lacks is a KeyError."""
        read = self.read({name: [request[name]] for name in self.columns}, 1, t)
        return FeatureVector(
            [values[0] for values in read.values], b"".join(read.statuses), read.read_versions
        )

    def each(self, requests: Sequence[Mapping[str, object]], t: int) -> Sequence[FeatureVector]:
        """As `one`, of several requests."""
        read = self.read(
            {name: [request[name] for request in requests] for name in self.columns},
            len(requests),
            t,
        )
        return _by_request(read, len(requests))

    def _lists(self, request: Mapping[str, Column]) -> tuple[KeyLists, Column]:
        _, name, _, max_length = self._column
        assert max_length is not None
        column = self._request_column(request, name)
        if isinstance(column, pl.Series):
            return key_lists(column, max_length, self._reader)
        return plain_key_lists(column, max_length, name, self._reader)

    def _request_column(self, request: Mapping[str, Column], name: str) -> Column:
        if name not in request:
            raise DataError(
                f"the request has no {name!r}, which {self._reader} is looked up by; "
                f"{nearest(name, request)}"
            )
        return request[name]


def _by_request(read: FeatureVectors, count: int) -> list[FeatureVector]:
    """The features of each of `count` requests."""
    values = zip(*read.values, strict=True) if read.values else iter([()] * count)
    statuses = zip(*read.statuses, strict=True) if read.statuses else iter([()] * count)
    return [
        FeatureVector(list(row_values), bytes(codes), read.read_versions)
        for row_values, codes in zip(values, statuses, strict=True)
    ]
