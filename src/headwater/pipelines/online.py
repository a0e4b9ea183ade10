"""Features as they are now: records of the online store, read and finished as of the moment of asking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import cast

import msgspec
import numpy as np
import polars as pl

from headwater import clock
from headwater.compute.arrays import I64
from headwater.compute.as_of import as_of
from headwater.connectors.frame import to_polars
from headwater.definitions.connectors import ArrowFrame
from headwater.definitions.feature_service import FeatureService, Member
from headwater.definitions.feature_view import FeatureRef, FeatureView
from headwater.definitions.freshness import Batch
from headwater.definitions.moments import parse_moment
from headwater.engines import asides
from headwater.engines.keys import check_types
from headwater.engines.tiles import ViewTiles, key_bytes
from headwater.errors import StaleError, StoreError
from headwater.online_stores import OnlineStore, opened, spaces
from headwater.online_stores.states import State, decoded, read_state, read_stream
from headwater.pipelines.historical import as_service, check_request
from headwater.pipelines.request_features import request_feature, request_field
from headwater.pipelines.shard import Progress

_REFRESH = 1.0  # seconds after which a reader looks for new partitions
SLOTS = ("0", "1")


@dataclass(frozen=True)
class Served:
    """The values of a view for n rows: features and statuses, as of T by what was known at K, microseconds, the same for all.

    sequences: by partition (None where there is one writer), the last commit that counts; of a batch view none.
    stale: whether the view promises fresher values.
    """

    features: list[pl.Series]
    statuses: list[pl.Series]
    T: int
    K: int
    sequences: Mapping[str | None, int]
    stale: bool


@dataclass
class OnlineView:
    """A view as a store holds it; made for many reads.

    Raises:
        StoreError: nothing is stored of the view.
    """

    view: FeatureView
    store: OnlineStore
    _shards: list[bytes] = field(default_factory=list)
    _looked: float = -_REFRESH

    @cached_property
    def state(self) -> State:
        """What the store said of the view when it was first asked."""
        tiles = self.view.tiles_fingerprint
        batch = isinstance(self.view.freshness, Batch)
        found = read_state(self.store, tiles) if batch else read_stream(self.store, tiles, self.view.source.name)
        if found is None:
            verb = "materialize" if batch else "ingest"
            raise StoreError(
                f"feature view {self.view.name!r} is not in the online store, or its definition has changed since; run `headwater {verb}`"
            )
        return found

    @cached_property
    def tiles(self) -> ViewTiles:
        """How its records are read."""
        return ViewTiles(self.view.root, self.state.dtypes)

    def read(self, keys: pl.DataFrame, t: int) -> Served:
        """The values for rows with these keys, asked for at `t`, microseconds.

        Raises:
            DataError: keys of other types than the view's.
            StaleError: the values are older than promised, and the view says on_stale="refuse".
        """
        some, index = self._coded(keys)
        served = self._batch(some, t) if isinstance(self.view.freshness, Batch) else self._stream(some, t)
        rows = pl.Series(index)
        served = Served(
            [s.gather(rows) for s in served.features],
            [s.gather(rows) for s in served.statuses],
            served.T,
            served.K,
            served.sequences,
            served.stale,
        )
        return _stale(self.view, served) if served.stale else served

    def places(self, key: bytes) -> list[bytes]:
        """Where the records of a key of a streaming view stand, as far as partitions are known."""
        name = spaces.PROGRESS + spaces.name(self.view.source.name)
        parts = [part[len(name) : -1].decode() for part, _ in self.store.scan(name)] if self.store.partitioned else [None]
        return [spaces.record(self.view.tiles_fingerprint, key, part) for part in parts]

    def _coded(self, keys: pl.DataFrame) -> tuple[list[bytes | None], I64]:
        """The distinct keys, None for one that is null, and which each row has."""
        names = list(self.view.keys)
        if not names:
            return [b""], np.zeros(keys.height, np.int64)
        what = f"feature view {self.view.name!r}"
        for name in names:
            check_types(name, self.state.dtypes[name], keys.schema[name], what)
        frame = keys.select(pl.col(name).cast(self.state.dtypes[name], strict=False) for name in names)
        whole = frame.drop_nulls().unique(maintain_order=True).with_row_index("__number")
        number = frame.join(whole, on=names, how="left", maintain_order="left")["__number"]
        return [*key_bytes(whole.select(names)), None], number.fill_null(whole.height).cast(pl.Int64).to_numpy()

    def _stream(self, keys: Sequence[bytes | None], t: int) -> Served:
        now = clock.stopwatch()
        name = spaces.PROGRESS + spaces.name(self.view.source.name)
        if now - self._looked > _REFRESH or not self._shards:
            known, self._shards = self._shards, [key for key, _ in self.store.scan(name)] or [name]
            self._looked = now
            if known != self._shards:
                self.__dict__.pop("state", None)  # a partition that is new may not be whole
        if self.state.seeded is None:
            self.__dict__.pop("state")
            if self.state.seeded is None:
                raise StoreError(f"feature view {self.view.name!r} is still being filled with its past; see `headwater status`")
        parts: list[str | None] = [key[len(name) : -1].decode() for key in self._shards] if self.store.partitioned else [None]
        fingerprint = self.view.tiles_fingerprint
        places = [b"" if key is None else spaces.record(fingerprint, key, part) for key in keys for part in parts]
        found = self.store.get([*self._shards, *(p or spaces.FORMAT_KEY for p in places)])
        progress = [Progress() if p is None else msgspec.msgpack.decode(p, type=Progress) for p in found[: len(self._shards)]]
        T, K = max(t, *(p.at for p in progress)), min(p.known for p in progress)
        values = [v if p and v is not None else b"" for p, v in zip(places, found[len(self._shards) :], strict=True)]
        grouped = [values[i : i + len(parts)] for i in range(0, len(values), len(parts))]
        features, statuses = self.tiles.values(grouped, *(np.full(len(keys), T),) * 2)
        stale = t - K > getattr(self.view.freshness, "lag", 0) or self.state.exact_from > T
        return Served(features, statuses, T, min(K, T), {part: p.sequence for part, p in zip(parts, progress, strict=True)}, stale)

    def _batch(self, keys: Sequence[bytes | None], t: int) -> Served:
        (due,), (_,) = as_of(self.view.freshness, np.array([t]))
        fingerprint = self.view.tiles_fingerprint
        places = [spaces.FORMAT_KEY if key is None else spaces.record(fingerprint, key, slot) for key in keys for slot in SLOTS]
        found = self.store.get([spaces.state(fingerprint), *places])
        state = decoded(found[0])
        cut = None if state is None else state.cut(int(due))
        if cut is None:
            raise StoreError(
                f"feature view {self.view.name!r} has no whole cut in the online store yet; run `headwater materialize {self.view.name}`"
            )
        pairs = [
            (found[i] or b"", found[i + 1] or b"") if keys[n] is not None else (b"", b"") for n, i in enumerate(range(1, len(found), 2))
        ]
        chosen = [newest(pair, cut.T) for pair in pairs]
        features, statuses = self.tiles.values([[record] for record in chosen], np.full(len(keys), cut.T), np.full(len(keys), cut.K))
        return Served(features, statuses, cut.T, cut.K, {}, bool(due > cut.T))


def newest(records: Sequence[bytes], cut: int) -> bytes:
    """Of the two records of a key in a batch view, the one to read at a cut; empty bytes where there is none."""
    through = [int.from_bytes(r[8:16], "little", signed=True) if r else None for r in records]
    best = max((n for n, at in enumerate(through) if at is not None and at <= cut), key=lambda n: cast("int", through[n]), default=None)
    return b"" if best is None else records[best]


def get_online_features(
    features: FeatureService | Member | Sequence[Member],
    rows: ArrowFrame | Sequence[Mapping[str, object]],
    *,
    store: OnlineStore | str | None = None,
    at: datetime | str | None = None,
    details: bool = False,
) -> pl.DataFrame:
    """The features of some rows as the online store has them now: one row out for each row in, in order.

    Args:
        features: a feature service, or features, views and request features.
        rows: keys and request fields; a frame with an Arrow interface, or a list of mappings.
        store: an online store, or its URL; None is that of the settings (HEADWATER_STORE).
        at: the moment of asking, tz-aware, or ISO 8601 with an offset; None is now. Never before what the store has taken in.
        details: beside each feature `<feature>__status`, `<feature>__age` in seconds, and `<feature>__stale`, whether it is older than
            its view promises.

    Raises:
        DataError: rows that lack a column, or keys of other types.
        StoreError: a view that is not in the store.
        StaleError: values older than promised, of a view with on_stale="refuse".

    >>> import headwater as hw
    >>> from headwater.testing.examples import temporary_store, visiting
    >>> project = visiting(hw.batch("1h", delay="10m"))
    >>> rows = [{"user": 1}, {"user": 3}]
    >>> with temporary_store() as store:
    ...     _ = hw.materialize(project, store=store, at="2024-05-01T12:00Z")
    ...     found = hw.get_online_features(project.models[0].features, rows, store=store, at="2024-05-01T12:10Z", details=True)
    >>> found.select("user__count_1d", "user__mean_pages_1d", "user__count_1d__status", "user__count_1d__age").rows()
    [(6, 5.0, 'present', 600.0), (0, None, 'missing', 600.0)]
    """
    with opened(store, readonly=True) as mine:
        return OnlineFeatures(as_service(features), mine).read(rows, at=at, details=details)


class OnlineFeatures:
    """A feature service over an online store; made once for many reads."""

    def __init__(self, service: FeatureService, store: OnlineStore) -> None:
        self.service = service
        self.views = {view.name: OnlineView(view, store) for view in service.views}

    def read(
        self, rows: ArrowFrame | Sequence[Mapping[str, object]], *, at: datetime | str | None = None, details: bool = False
    ) -> pl.DataFrame:
        """As `get_online_features`."""
        frame = to_polars(rows) if isinstance(rows, ArrowFrame) else pl.DataFrame(list(rows))
        check_request(self.service, frame)
        t = clock.now_micros() if at is None else parse_moment(at, "at")
        found: dict[str, pl.Series] = {}
        beside: dict[str, tuple[pl.Series, int, bool]] = {}
        for view in self.service.views:
            served = self.views[view.name].read(_keys(view, frame, found), t)
            for feature, series, status in zip(view.outputs, served.features, served.statuses, strict=True):
                found[f"{view.name}__{feature.name}"] = series
                beside[f"{view.name}__{feature.name}"] = status, t - served.K, served.stale
        for member in self.service.request_fields:
            found[member.name] = request_field(member, frame)
        for function in self.service.request_features:
            if function.inputs or function.name not in found:
                inputs = {p: found[ref.name] for p, ref in function.inputs.items()}
                found[function.name] = request_feature(function, frame, inputs)
        columns = [found[name].alias(name) for name in self.service.feature_names]
        if details:
            columns += [column for series in columns for column in _details(series, beside.get(series.name))]
        return pl.DataFrame(columns)


def _keys(view: FeatureView, frame: pl.DataFrame, found: Mapping[str, pl.Series]) -> pl.DataFrame:
    filled = [(key, view.request_key(key)) for key in view.keys]
    columns = [(found[f.name] if isinstance(f, FeatureRef) else frame[f]).alias(key) for key, f in filled]
    return pl.DataFrame(columns) if columns else pl.DataFrame({"": pl.repeat(0, frame.height, eager=True)})


def _details(series: pl.Series, said: tuple[pl.Series, int, bool] | None) -> list[pl.Series]:
    name = series.name
    status, age, stale = said or (asides.status_series("", series.is_null().cast(pl.Int64).to_numpy()), 0, False)
    return [
        status.alias(asides.status_name(name)),
        pl.Series(f"{name}__age", np.full(len(series), age / 1e6)),
        pl.Series(f"{name}__stale", np.full(len(series), stale)),
    ]


def _stale(view: FeatureView, served: Served) -> Served:
    """What is served of values that are older than promised."""
    if view.on_stale == "refuse":
        raise StaleError(
            f"feature view {view.name!r} is older than it promises ({view.freshness}), and says on_stale='refuse'; see `headwater status`"
        )
    if view.on_stale == "previous":
        return served
    rows = len(served.features[0])
    nothing = [s.clear(rows) for s in served.features]
    fallback = asides.status_series("", np.full(rows, asides.STATUSES.index("fallback")))
    return Served(nothing, [fallback.alias(s.name) for s in served.statuses], served.T, served.K, served.sequences, served.stale)
