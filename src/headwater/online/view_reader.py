"""A view as an online store holds it: its state, its records, and reads of the view alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from headwater.definitions.feature_view import FeatureRef, FeatureView
from headwater.errors import StoreError
from headwater.events.columns import feature_dtype, status_name, status_series
from headwater.online.compiled_reader import CompiledReader
from headwater.online.key_encoder import KeyColumn, KeyEncoder
from headwater.online.read_layout import ViewPart
from headwater.online.read_versions import ReadVersion, VersionReader, heads_of
from headwater.state.view_state import State, ViewTiles, read_state, read_stream
from headwater.stores import OnlineStore, keyspace
from headwater.stores.keyspace import placed


@dataclass(frozen=True)
class ViewValues:
    """The values of a view for n rows, at one read version: features and their statuses."""

    features: list[pl.Series]
    statuses: list[pl.Series]
    read_version: ReadVersion


@dataclass
class OnlineView:
    """A view as a store holds it; made for many reads.

    Raises:
        StoreError: nothing is stored of the view.
    """

    view: FeatureView
    store: OnlineStore

    def __post_init__(self) -> None:
        self.view = placed(self.store, self.view)

    @cached_property
    def state(self) -> State:
        """What the store said of the view when it was first asked."""
        tiles = self.view.tiles_fingerprint
        batch = self.view.freshness.scheduled
        stored = (
            read_state(self.store, tiles)
            if batch
            else read_stream(self.store, tiles, self.view.source.name)
        )
        if stored is None and not self.view.freshness.stored and self.view.source.stream is None:
            raise StoreError(
                f"feature view {self.view.name!r} is not in the online store: its freshness is "
                f"{self.view.freshness}, which no job stores, and source "
                f"{self.view.source.name!r} has no stream. Give it freshness=hw.batch(...), or "
                "the source a stream="
            )
        if stored is None:
            raise StoreError(
                f"feature view {self.view.name!r} is not in the online store, or its definition "
                f"has changed since; run `headwater {self.view.freshness.command}`"
            )
        return stored

    @cached_property
    def tiles(self) -> ViewTiles:
        """How its records are read."""
        return ViewTiles(self.view.root, self.state.dtypes)

    @cached_property
    def version_reader(self) -> VersionReader:
        """As of when its records are."""
        return heads_of(self.view, self.store)

    @cached_property
    def dtypes(self) -> Mapping[str, pl.DataType]:
        """The dtype of each feature of one key, by its full name."""
        return {
            name: feature_dtype(feature, self.state.dtypes)
            for name, feature in zip(self.view.feature_names, self.view.outputs, strict=True)
        }

    def read_version(self, t: int) -> ReadVersion:
        """As of when values that are asked for at `t` are; raises what `read` does."""
        stored = self.store.get(self.version_reader.look()[0])
        lacks = self.version_reader.lacks(stored)
        read_version = self.version_reader.read_version(stored, t)
        return read_version._replace(incomplete=True) if lacks else read_version

    def read(self, keys: pl.DataFrame, t: int) -> ViewValues:
        """The values for rows with these keys, asked for at `t`, microseconds.

        Raises:
            DataError: keys of other types than the view's.
            StaleError: the values are older than promised, and the view says on_stale="refuse".
        """
        values, statuses, (read_version,) = self._reader.read(
            {name: keys[name] for name in self.view.keys}, keys.height, t
        )
        return ViewValues(
            [
                pl.Series(name, column, dtype)
                for (name, dtype), column in zip(self.dtypes.items(), values, strict=True)
            ],
            [
                statuses_of(name, codes)
                for name, codes in zip(self.view.feature_names, statuses, strict=True)
            ],
            read_version,
        )

    def places(self, keys: Sequence[bytes], ends: Sequence[bytes]) -> list[bytes]:
        """Where the records of some keys stand, key after key; `ends` as `VersionReader.look` gives
        them.
        """
        begin = keyspace.records(self.view.record_group)
        return [begin + key + end for key in keyspace.shortened(keys) for end in ends]

    @property
    def key_columns(self) -> list[KeyColumn]:
        """Its keys, and the columns of a request that fill them. Columns of features are named like
        the features.
        """
        filled = [(key, self.view.request_key(key)) for key in self.view.keys]
        listed = self.view.list_key
        return [
            KeyColumn(
                key,
                filler.name if isinstance(filler, FeatureRef) else filler,
                self.state.dtypes[key],
                listed.max_length if listed is not None and listed.key == key else None,
            )
            for key, filler in filled
        ]

    @property
    def list_column(self) -> KeyColumn | None:
        """The key that a list fills; None where each row has one key."""
        return next((column for column in self.key_columns if column.max_length is not None), None)

    def part(self, names: Sequence[str], columns: Sequence[KeyColumn] | None = None) -> ViewPart:
        """Its features of these names, as they are read; `columns`: its keys, None is as in
        requests.
        """
        output_indexes = tuple(
            n for n, feature in enumerate(self.view.outputs) if feature.name in names
        )
        keys = KeyEncoder(
            self.key_columns if columns is None else columns, f"feature view {self.view.name!r}"
        )
        return ViewPart(self.view, self.version_reader, self.tiles, keys, output_indexes)

    @cached_property
    def _reader(self) -> CompiledReader:
        """Reads all features, by the view's own keys."""
        columns = [KeyColumn(key, key, self.state.dtypes[key]) for key in self.view.keys]
        part = self.part([feature.name for feature in self.view.outputs], columns)
        return CompiledReader(self.store, [part], self.view.feature_names)


def statuses_of(feature: str, codes: bytes) -> pl.Series:
    """The statuses of a feature as a column of words."""
    return status_series(status_name(feature), np.frombuffer(codes, np.uint8).astype(np.int64))
