"""Features as they are now: records of the online store, read and finished as of the moment of asking."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from headwater import clock
from headwater.definitions.feature_service import FeatureService, Member
from headwater.definitions.feature_view import FeatureRef, FeatureView
from headwater.definitions.timestamps import parse_timestamp
from headwater.errors import DataError, RebuiltError, StaleError, StoreError
from headwater.events import statuses as asides
from headwater.events.keys import check_types
from headwater.kernel.arrays import I64
from headwater.online.compiled_reader import CompiledReader, FeatureVector, FeatureVectors, UnusualKeyError, part_of
from headwater.online.read_versions import FALLBACK, ReadVersion, VersionReader, falls_back, heads_of
from headwater.online.request_evaluator import RequestFeatureEvaluator, UnusualValueError
from headwater.online.value_details import ValueDetails, details_of, warn_stale
from headwater.online_stores import OnlineStore, keyspace, opened
from headwater.online_stores.ownership import opened_for, placed
from headwater.state.view_state import State, read_state, read_stream
from headwater.state.view_tiles import ViewTiles, key_bytes
from headwater.training.feature_frames import as_service, check_mappings, check_request
from headwater.training.request_features import fetched, plain_column, request_feature, request_field
from headwater.training.requests import as_frame

if TYPE_CHECKING:
    from headwater.definitions.connectors import TableLike


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
        stored = read_state(self.store, tiles) if batch else read_stream(self.store, tiles, self.view.source.name)
        if stored is None:
            raise StoreError(
                f"feature view {self.view.name!r} is not in the online store, or its definition has changed since; "
                f"run `headwater {self.view.freshness.command}`"
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

    def read_version(self, t: int) -> ReadVersion:
        """As of when values that are asked for at `t` are; raises what `read` does."""
        return self._read_version(self.store.get(self.version_reader.look()[0]), t)

    def _read_version(self, stored: Sequence[bytes | None], t: int) -> ReadVersion:
        lacks = self.version_reader.lacks(stored)
        read_version = self.version_reader.read_version(stored, t)
        return read_version._replace(incomplete=True) if lacks else read_version

    def read(self, keys: pl.DataFrame, t: int) -> ViewValues:
        """The values for rows with these keys, asked for at `t`, microseconds.

        Raises:
            DataError: keys of other types than the view's.
            StaleError: the values are older than promised, and the view says on_stale="refuse".
        """
        distinct, nulls, index = self._coded(keys)
        version_keys, ends = self.version_reader.look()
        places = [*self.places(distinct, ends), *[keyspace.NOWHERE] * (len(ends) * nulls)]
        stored = self.store.get([*version_keys, *places])
        read_version = self._read_version(stored[: len(version_keys)], t)
        chosen = [record or b"" for record in self.version_reader.chosen(stored[len(version_keys) :], read_version)]
        count = len(distinct) + nulls
        each = len(chosen) // max(count, 1)
        known = self.view.freshness.known_by(read_version.T, read_version.K)
        grouped = [chosen[i * each : (i + 1) * each] for i in range(count)]
        features, statuses = self.tiles.values(grouped, np.full(count, read_version.T), np.full(count, known))
        rows = pl.Series(index)
        served = ViewValues([s.gather(rows) for s in features], [s.gather(rows) for s in statuses], read_version)
        if not falls_back(self.view, read_version):
            return served
        fallback = asides.status_series("", np.full(keys.height, FALLBACK))
        return ViewValues([s.clear(keys.height) for s in served.features], [fallback.alias(s.name) for s in served.statuses], read_version)

    def places(self, keys: Sequence[bytes], ends: Sequence[bytes]) -> list[bytes]:
        """Where the records of some keys stand, key after key; `ends` as `VersionReader.look` gives them."""
        begin = keyspace.records(self.view.tiles_fingerprint)
        return [begin + key + end for key in keyspace.shortened(keys) for end in ends]

    def _coded(self, keys: pl.DataFrame) -> tuple[list[bytes], int, I64]:
        """The distinct keys, how many null ones there are to stand behind them (1 or none), and which each row has."""
        names = list(self.view.keys)
        if not names:
            return [b""], 0, np.zeros(keys.height, np.int64)
        owner = f"feature view {self.view.name!r}"
        for name in names:
            check_types(name, self.state.dtypes[name], keys.schema[name], owner)
        frame = keys.select(pl.col(name).cast(self.state.dtypes[name], strict=False) for name in names)
        whole = frame.drop_nulls().unique(maintain_order=True).with_row_index("__number")
        number = frame.join(whole, on=names, how="left", maintain_order="left")["__number"]
        return key_bytes(whole.select(names)), 1, number.fill_null(whole.height).cast(pl.Int64).to_numpy()


def get_online_features(
    features: FeatureService | Member | Sequence[Member],
    rows: TableLike | Sequence[Mapping[str, object]],
    *,
    store: OnlineStore | str | None = None,
    at: datetime | str | None = None,
    details: bool = False,
    project: str | None = None,
) -> pl.DataFrame:
    """The features of some rows as the online store has them now: one row out for each row in, in order.

    Args:
        features: a feature service, or features, views and request features.
        rows: keys and request fields; a frame with an Arrow interface, a LazyFrame of polars or a path, which may have other columns too,
            or a list of mappings, which are requests: a field that nothing reads is refused, as over HTTP. A null key is a key that is not
            known. What third parties say is taken from columns named like their features (`serving.third_party.fetcher` fetches it); where
            they lack, the values are the fallback ones.
        store: an online store, or its URL; None is that of the settings (HEADWATER_STORE).
        at: the request time, tz-aware, or ISO 8601 with an offset; None is now. Never before what the store has taken in.
        details: for each feature `<feature>__status`, `<feature>__age` in seconds, `<feature>__stale`, whether it is older than
            its view promises, and `<feature>__incomplete`, whether a window of the view may lack events that were received.
        project: whose values, by its name, in a store that several projects share; None is the project that the store belongs to.

    Warns:
        StaleWarning: values older than promised, of views with on_stale="previous", the default; not where `details` says it.

    Raises:
        DataError: rows that lack a column, or keys of other types.
        StoreError: a view that is not in the store, or a project whose store it is not.
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
    service = as_service(features)
    with opened(store, readonly=True) if project is None else opened_for(project, store, readonly=True) as mine:
        return OnlineFeatures(service, mine).read(rows, at=at, details=details)


class OnlineFeatures:
    """A feature service over an online store; made once for many reads, by one thread at a time (`hw.Service` may be shared by threads).

    `read` takes and gives frames; `row` and `rows` plain values, many times quicker for few keys. `names` are those of the features, in
    order; `of` says for each the index of its read version in the answers, -1 for request-time features.
    """

    def __init__(self, service: FeatureService, store: OnlineStore) -> None:
        self.service, self.store = service, store
        self.views = {view.name: OnlineView(view, store) for view in service.views}
        self.names = service.feature_names
        owners = {name: index for index, view in enumerate(service.views) for name in view.feature_names}
        self.of = tuple(owners.get(name, -1) for name in self.names)
        self._asks = frozenset(service.needed_by())

    def __repr__(self) -> str:
        return f"OnlineFeatures({self.service.name}, {len(self.names)} features)"

    def warm(self) -> None:
        """Compile all code of a read, so that the first one takes no longer than the next; reads keys that do not exist.

        Raises:
            StoreError: a view that is not in the store.
        """
        keys = {name: "" if self.views[v.name].state.dtypes[k] == pl.String else 0 for v in self.service.views for k, name in _requested(v)}
        now = clock.now_micros()
        with suppress(StaleError, UnusualKeyError):
            pairs: dict[str, Sequence[object]] = {name: [value, None] for name, value in keys.items()}
            self._compiled.read(pairs, 2, now)
            self._compiled.one(keys, now)

    def read(
        self, rows: TableLike | Sequence[Mapping[str, object]], *, at: datetime | str | None = None, details: bool = False
    ) -> pl.DataFrame:
        """As `get_online_features`."""
        if isinstance(rows, Mapping):
            rows = [rows]
        if isinstance(rows, list | tuple):
            check_mappings(self.service, rows)
            frame = pl.DataFrame(rows)
        else:
            frame = as_frame(rows, "rows")
        check_request(self.service, frame.columns)
        t = clock.now_micros() if at is None else parse_timestamp(at, "at")
        values: dict[str, pl.Series] = {}
        beside: dict[str, ValueDetails] = {}
        read_versions: dict[str, tuple[FeatureView, ReadVersion]] = {}
        self._add_fetched(frame, values, beside)
        for view in self.service.views:
            served = self._read(view, _keys(view, frame, values), t)
            read_versions[view.name] = view, served.read_version
            for name, series, status in zip(view.feature_names, served.features, served.statuses, strict=True):
                values[name] = series
                beside[name] = status, t - served.read_version.K, served.read_version.stale, served.read_version.incomplete
        self._add_request(frame, values)
        columns = [values[name].alias(name) for name in self.names]
        if details:
            columns += [column for series in columns for column in details_of(series, beside.get(series.name))]
        else:
            warn_stale(read_versions, t)
        return pl.DataFrame(columns)

    def row(self, request: Mapping[str, object], *, t: int | None = None, said: Mapping[str, bytes] | None = None) -> FeatureVector:
        """The features of one request, asked for at t (microseconds, None is now); raises what `get_online_features` does.

        `said` has the statuses of third-party values, by feature name, where the caller knows them.
        """
        t = clock.now_micros() if t is None else t
        if said:
            read = self.row(request, t=t)
            codes = [said.get(name, read.statuses[n : n + 1]) for n, name in enumerate(self.names)]
            return read._replace(statuses=b"".join(codes))
        if self._evaluator is not None:
            try:
                answer = self._compiled.one(request, t)
                if self._alone:
                    return answer
                return FeatureVector(*self._evaluator.one(request, answer.values, answer.statuses), answer.read_versions)
            except RebuiltError:
                self._reopen()
                return self.row(request, t=t)
            except (KeyError, UnusualKeyError, UnusualValueError):
                pass  # the general way knows what to say
        values, statuses, read_versions = self._rows({name: [value] for name, value in request.items()}, 1, t)
        return FeatureVector([column[0] for column in values], b"".join(statuses), read_versions)

    def rows(
        self, request: Mapping[str, Sequence[object]], *, t: int | None = None, said: Mapping[str, bytes] | None = None
    ) -> FeatureVectors:
        """As `row`, of requests whose keys and fields stand in columns."""
        if said:
            answers = self.rows(request, t=t)
            return answers._replace(statuses=[said.get(name, codes) for name, codes in zip(self.names, answers.statuses, strict=True)])
        sizes = {len(column) for column in request.values()}
        if len(sizes) != 1:
            raise DataError(f"the columns of a request hold {sorted(sizes)} values; give each one value a row")
        return self._rows(request, sizes.pop(), clock.now_micros() if t is None else t)

    def _rows(self, request: Mapping[str, Sequence[object]], count: int, t: int) -> FeatureVectors:
        try:
            return self._answered(request, count, t)
        except RebuiltError:
            self._reopen()
            return self._answered(request, count, t)

    def _answered(self, request: Mapping[str, Sequence[object]], count: int, t: int) -> FeatureVectors:
        quick = self._compiled
        try:
            got = quick.read(request, count, t)
        except (KeyError, UnusualKeyError):
            check_request(self.service, list(request))
            got, quick = FeatureVectors([], [], []), CompiledReader(self.store, [], [])
        if self._evaluator is not None and quick is self._compiled:
            if self._alone:
                return got
            try:
                return FeatureVectors(*self._evaluator.many(request, got.values, got.statuses, count), got.read_versions)
            except KeyError:
                check_request(self.service, list(request))
            except UnusualValueError:
                pass  # the general way knows what to say
        elif not request.keys() >= self._asks:
            check_request(self.service, list(request))
        columns = dict(zip(quick.names, zip(got.values, got.statuses, strict=True), strict=True))
        read_versions = {compiled.view.name: version for compiled, version in zip(quick.views, got.read_versions, strict=True)}
        frame = pl.DataFrame([plain_column(name, column) for name, column in request.items()])
        series = {name: pl.Series(name, values, strict=False) for name, (values, _) in columns.items()}
        columns |= self._fetched(frame, series)
        for view in self.service.views:
            if view.name not in read_versions:
                served = self.views[view.name].read(_keys(view, frame, series), t)
                read_versions[view.name] = served.read_version
                for name, feature_values, status in zip(view.feature_names, served.features, served.statuses, strict=True):
                    series[name] = feature_values
                    columns[name] = feature_values.to_list(), status.to_physical().cast(pl.UInt8).to_numpy().tobytes()
        self._add_request(frame, series)
        for name in self.names:
            if name not in columns:
                columns[name] = series[name].to_list(), series[name].is_null().cast(pl.UInt8).to_numpy().tobytes()
        values, statuses = zip(*(columns[name] for name in self.names), strict=True)
        return FeatureVectors(list(values), list(statuses), [read_versions[view.name] for view in self.service.views])

    def _read(self, view: FeatureView, keys: pl.DataFrame, t: int) -> ViewValues:
        try:
            return self.views[view.name].read(keys, t)
        except RebuiltError:
            self._reopen()
            return self.views[view.name].read(keys, t)

    def _reopen(self) -> None:
        """Read the views as they were rebuilt."""
        self.views = {name: OnlineView(online.view, online.store) for name, online in self.views.items()}
        for name in ("_compiled", "_evaluator", "_alone"):
            self.__dict__.pop(name, None)

    def _fetched(self, frame: pl.DataFrame, series: dict[str, pl.Series]) -> dict[str, tuple[list[object], bytes]]:
        """What third parties have answered and its statuses; added to `series`."""
        beside: dict[str, ValueDetails] = {}
        self._add_fetched(frame, series, beside)
        codes_of = {name: status.to_physical().cast(pl.UInt8).to_numpy().tobytes() for name, (status, *_) in beside.items()}
        return {name: (series[name].to_list(), codes) for name, codes in codes_of.items()}

    def _add_fetched(self, frame: pl.DataFrame, values: dict[str, pl.Series], beside: dict[str, ValueDetails]) -> None:
        """Add what third parties have answered, and the statuses."""
        for http in self.service.http_features:
            for name, series in fetched(http, frame):
                values[name] = series
                codes = (
                    np.where(series.is_null(), asides.MISSING, asides.PRESENT) if name in frame.columns else np.full(frame.height, FALLBACK)
                )
                beside[name] = asides.status_series(name, codes), 0, False, False

    def _add_request(self, frame: pl.DataFrame, values: dict[str, pl.Series]) -> None:
        """Add the features that are computed from the request itself."""
        for member in self.service.request_fields:
            values[member.name] = request_field(member, frame)
        for function in self.service.request_features:
            if function.inputs or function.name not in values:
                inputs = {p: values[ref.name] for p, ref in function.inputs.items()}
                values[function.name] = request_feature(function, frame, inputs)

    @cached_property
    def _compiled(self) -> CompiledReader:
        """The views that loops can read."""
        views = []
        for view in self.service.views:
            online, names = self.views[view.name], [feature.name for feature in self.service.needed[view.name]]
            compiled = part_of(online.view, online.version_reader, online.tiles, names)
            views += [] if compiled is None else [compiled]
        read_names = [f"{compiled.view.name}__{planned.feature.name}" for compiled in views for planned in compiled.features]
        inputs = [name for name in read_names if name not in self.names]
        return CompiledReader(self.store, views, [*(name for name in self.names if name in read_names), *inputs])

    @cached_property
    def _evaluator(self) -> RequestFeatureEvaluator | None:
        """The evaluator of request features, where compiled loops read all views."""
        return RequestFeatureEvaluator(self.service, self._compiled.names) if len(self._compiled.views) == len(self.service.views) else None

    @cached_property
    def _alone(self) -> bool:
        """Whether there is nothing but these."""
        return tuple(self._compiled.names) == tuple(self.names)


def _requested(view: FeatureView) -> Iterator[tuple[str, str]]:
    """The keys of a view that columns of the request fill, with these."""
    for key in view.keys:
        filled = view.request_key(key)
        if isinstance(filled, str):
            yield key, filled


def _keys(view: FeatureView, frame: pl.DataFrame, values: Mapping[str, pl.Series]) -> pl.DataFrame:
    filled = [(key, view.request_key(key)) for key in view.keys]
    columns = [(values[f.name] if isinstance(f, FeatureRef) else frame[f]).alias(key) for key, f in filled]
    return pl.DataFrame(columns) if columns else pl.DataFrame({"": pl.repeat(0, frame.height, eager=True)})
