"""What the served log says of a request, and how many of them become columns.

The request path only leaves references; all that costs time is done here, by the thread that writes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from operator import itemgetter
from typing import Literal, NamedTuple, TypeVar, cast

import msgspec
import numpy as np
import polars as pl

from headwater.definitions.durations import DAY
from headwater.definitions.feature_service import FeatureService
from headwater.events.statuses import status_name, status_series
from headwater.kernel.arrays import F64, I64

Kind = Literal["features", "predict", "rank"]
AsOf = tuple[int, int, Mapping[str | None, int], bool, bool]
"""T, K, the last commit that counts by partition, and whether the values are stale: as `online.read_versions.ReadVersion`."""

PREFIX = "headwater_"
REQUEST, ROW, AT = f"{PREFIX}request", f"{PREFIX}row", f"{PREFIX}at"
KIND, PROJECT, SERVICE, MODEL = f"{PREFIX}kind", f"{PREFIX}project", f"{PREFIX}service", f"{PREFIX}model"
VERSION, ARM, LEVEL, VIEWS = f"{PREFIX}version", f"{PREFIX}arm", f"{PREFIX}level", f"{PREFIX}views"
PREDICTION, HOW, AGE, LATENCY = f"{PREFIX}prediction", f"{PREFIX}how", f"{PREFIX}prediction_age", f"{PREFIX}latency_us"

_ABOUT = {KIND: "kind", PROJECT: "project", SERVICE: "service", MODEL: "model", VERSION: "version", ARM: "arm", LEVEL: "level"}
T = TypeVar("T")
SLICE = 1024  # rows per batch of columns: a column costs some microseconds, however few rows it has


@dataclass(frozen=True, eq=False)
class EntryContext:
    """What all requests that are answered in one way share; made once.

    Args:
        kind: of the request.
        project, service, model, version, arm, level: names; None where there is none.
        features: the names of the features, in order.
        views: of each view that is read its name, and the fingerprint of its stored tiles (`FeatureView.tiles_fingerprint`).
        request: the columns of a request that are kept: its keys and fields. What else a request carries is not logged.
        schema: the dtypes of features and request columns; what has none is inferred from its values.
        stages: what the time that an answer takes is told apart into.
    """

    kind: Kind
    project: str
    service: str | None = None
    model: str | None = None
    version: str | None = None
    arm: str | None = None
    level: str | None = None
    features: tuple[str, ...] = ()
    views: Mapping[str, str] = field(default_factory=dict)
    request: tuple[str, ...] = ()
    schema: Mapping[str, pl.DataType] = field(default_factory=dict)
    stages: tuple[str, ...] = ()

    @staticmethod
    def of(  # noqa: PLR0913 (each is a column of the log)
        kind: Kind,
        project: str,
        service: FeatureService,
        *,
        model: str | None = None,
        version: str | None = None,
        arm: str | None = None,
        level: str | None = None,
        schema: Mapping[str, pl.DataType] | None = None,
        stages: Sequence[str] = (),
    ) -> EntryContext:
        """From a service's definition, with fields that the server adds."""
        views = {view.name: view.tiles_fingerprint for view in service.views}
        names, request = service.feature_names, tuple(service.needed_by())
        return EntryContext(kind, project, service.name, model, version, arm, level, names, views, request, schema or {}, tuple(stages))

    @cached_property
    def bare(self) -> EntryContext:
        """The same, of an answer that no feature was read for: a default, or a precomputed prediction."""
        return replace(self, features=(), views={})

    @cached_property
    def folder(self) -> str:
        """The folder, below that of the day, where segments of it lie."""
        return f"model={self.model}" if self.model is not None else f"service={self.service}"

    @cached_property
    def layout(self) -> object:
        """Equal for those that can share a segment: their columns are the same."""
        dtypes = {name: repr(dtype) for name, dtype in self.schema.items()}
        return self.folder, self.features, tuple(self.views), self.request, self.stages, tuple(dtypes.items())

    @cached_property
    def weight(self) -> int:
        """About how many bytes a row takes until it is written."""
        return 1_000 + 64 * (len(self.features) + len(self.request)) + 200 * len(self.views)

    @cached_property
    def constants(self) -> list[pl.Expr]:
        """The columns that all of its rows share."""
        columns = [pl.lit(getattr(self, name), pl.String).alias(column) for column, name in _ABOUT.items()]
        return [*columns, pl.lit(json.dumps(dict(self.views)), pl.String).alias(VIEWS)]


class RowEntry(NamedTuple):
    """A request of one row as it was answered.

    id: of the request. t: when it asked, microseconds UTC. request: its columns. values: of each feature. statuses: a byte a feature, its
    index in `events.statuses.STATUSES`. read_versions: the read version of each of `about.views`. prediction, how, age: the
    prediction, its way ("precomputed", "on_request", "default"), and the seconds since its oldest input was known; None
    where features were asked for. seconds: that the answer took, and of them those of each of `about.stages`.
    """

    about: EntryContext
    id: str
    t: int
    request: Mapping[str, object]
    values: Sequence[object]
    statuses: bytes
    read_versions: Sequence[AsOf]
    prediction: object = None
    how: str | None = None
    age: float | None = None
    seconds: float | None = None
    stages: Mapping[str, float] = {}


class BatchEntry(NamedTuple):
    """A request of n rows as it was answered: as `RowEntry`, but its columns, values, statuses and predictions are n long.

    height: n. how, age: n long too, or one for all.
    """

    about: EntryContext
    id: str
    t: int
    request: Mapping[str, Sequence[object]]
    values: Sequence[Sequence[object]]
    statuses: Sequence[bytes]
    read_versions: Sequence[AsOf]
    height: int
    prediction: Sequence[object] | None = None
    how: Sequence[str] | str | None = None
    age: Sequence[float | None] | float | None = None
    seconds: float | None = None
    stages: Mapping[str, float] = {}


Entry = RowEntry | BatchEntry


def frames(entries: Sequence[Entry]) -> Iterator[tuple[EntryContext, int, pl.DataFrame, int]]:
    """The entries as frames of some thousand rows, statuses still as places: whose it is, the day since 1970, the frame, its entries."""
    groups: dict[tuple[int, int, bool], list[Entry]] = {}
    for entry in entries:
        groups.setdefault((id(entry.about), entry.t // DAY, isinstance(entry, BatchEntry)), []).append(entry)
    for (_, day, many), group in groups.items():
        about = group[0].about
        for batch in _parts(group):
            columns = _of_many(about, cast("list[BatchEntry]", batch)) if many else _of_ones(about, cast("list[RowEntry]", batch))
            yield about, day, _frame(about, columns), len(batch)


def _parts(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """The entries in order, some thousand rows at a time."""
    batch: list[Entry] = []
    rows = 0
    for entry in entries:
        batch.append(entry)
        rows += entry.height if isinstance(entry, BatchEntry) else 1
        if rows >= SLICE:
            yield batch
            batch, rows = [], 0
    if batch:
        yield batch


def readable(frame: pl.DataFrame, about: EntryContext) -> pl.DataFrame:
    """The frame with statuses as words."""
    return frame.with_columns(status_series(status_name(name), frame[status_name(name)].to_numpy()) for name in about.features)


@dataclass(frozen=True)
class _Columns:
    """n rows in columns: each list is n long; statuses: uint8 (features, n); took: seconds, float64 (1 + stages, n), NaN for none."""

    ids: Sequence[str]
    rows: Sequence[int]
    t: Sequence[int]
    request: Sequence[Sequence[object]]
    values: Iterable[Sequence[object]]
    statuses: np.ndarray[tuple[int, int], np.dtype[np.uint8]]
    read_versions: Iterable[Sequence[AsOf]]
    prediction: Sequence[object]
    how: Sequence[str | None]
    age: Sequence[float | None]
    took: F64


def _of_ones(about: EntryContext, entries: Sequence[RowEntry]) -> _Columns:
    n, width = len(entries), len(about.features)
    _, ids, t, request, values, statuses, read_versions, prediction, how, age, seconds, stages = zip(*entries, strict=True)
    return _Columns(
        ids,
        [0] * n,
        t,
        [[each.get(name) for each in request] for name in about.request],
        _turned(values, width),
        np.frombuffer(b"".join(statuses), np.uint8).reshape(n, width).T,
        _turned(read_versions, len(about.views)),
        prediction,
        how,
        age,
        np.array([seconds, *([each.get(name) for each in stages] for name in about.stages)], np.float64),
    )


def _of_many(about: EntryContext, entries: Sequence[BatchEntry]) -> _Columns:
    width, heights = len(about.features), [entry.height for entry in entries]
    every, nothing = range(len(entries)), [[None] * n for n in heights]

    def each(columns: Iterable[Sequence[T]]) -> list[T]:
        """A column of each entry, one after the other."""
        rows_of_entries = list(columns)
        if list(map(len, rows_of_entries)) != heights:
            raise ValueError(f"columns of {list(map(len, rows_of_entries))} rows; the requests have {heights}")
        return list(chain.from_iterable(rows_of_entries))

    def spread(values: Iterable[object]) -> list[Sequence[object]]:
        """Repeat a request's scalar for each of its rows; sequences stay."""
        return [[v] * n if v is None or isinstance(v, str | int | float) else v for v, n in zip(values, heights, strict=True)]  # type: ignore[misc]

    took = [[entry.seconds, *map(entry.stages.get, about.stages)] for entry in entries]
    return _Columns(
        each([entry.id] * entry.height for entry in entries),
        each([range(n) for n in heights]),
        each([entry.t] * entry.height for entry in entries),
        [each(entries[i].request.get(name, nothing[i]) for i in every) for name in about.request],
        (each(entry.values[k] for entry in entries) for k in range(width)),
        np.concatenate([np.frombuffer(b"".join(e.statuses), np.uint8).reshape(width, e.height) for e in entries], axis=1),
        (each([entry.read_versions[k]] * entry.height for entry in entries) for k in range(len(about.views))),
        each(nothing[i] if (prediction := entries[i].prediction) is None else prediction for i in every),
        cast("list[str | None]", each(spread(entry.how for entry in entries))),
        cast("list[float | None]", each(spread(entry.age for entry in entries))),
        np.repeat(np.array(took, np.float64).T, heights, axis=1),
    )


def _turned(rows: Sequence[Sequence[T]], width: int) -> Iterator[list[T]]:
    """Column by column, so that no one step keeps the interpreter for long.

    Raises:
        ValueError: a row that is not `width` long.
    """
    if set(map(len, rows)) - {width}:
        raise ValueError(f"rows of {sorted(set(map(len, rows)))} values; there are {width} columns")
    return (list(map(itemgetter(n), rows)) for n in range(width))


def _frame(about: EntryContext, columns: _Columns) -> pl.DataFrame:
    series = [pl.Series(REQUEST, columns.ids, pl.String), pl.Series(ROW, columns.rows, pl.Int32)]
    series.append(pl.Series(AT, columns.t, pl.Int64).cast(pl.Datetime("us", "UTC")))
    features = set(about.features)
    for name, values in zip(about.request, columns.request, strict=True):
        series.append(_series(f"{PREFIX}given_{name}" if name in features else name, values, about.schema.get(name)))
        _breathe()
    for name, values, statuses in zip(about.features, columns.values, columns.statuses, strict=True):
        series += [_series(name, values, about.schema.get(name)), pl.Series(status_name(name), statuses)]
        _breathe()
    for name, read_versions in zip(about.views, columns.read_versions, strict=True):
        series += _as_of(name, np.array(columns.t, np.int64), read_versions)
        _breathe()
    series += [_series(PREDICTION, columns.prediction, None), pl.Series(HOW, columns.how, pl.String)]
    series.append((pl.Series(AGE, columns.age, pl.Float64) * 1e6).round().cast(pl.Duration("us")))
    for name, took in zip((LATENCY, *(f"{LATENCY}__{stage}" for stage in about.stages)), columns.took, strict=True):
        series.append(pl.Series(name, took * 1e6).fill_nan(None).round().cast(pl.Int64))
    return pl.DataFrame(series).with_columns(about.constants)


def _as_of(view: str, t: I64, read_versions: Sequence[AsOf]) -> list[pl.Series]:
    T, K, commits, stale, incomplete = zip(*read_versions, strict=True)
    known: dict[int, str | None] = {}
    for each in commits:  # one mapping serves all requests until the next commit
        if id(each) not in known:
            known[id(each)] = sequence_text(each)
    return [
        pl.Series(f"{view}__T", T, pl.Int64).cast(pl.Datetime("us", "UTC")),
        pl.Series(f"{view}__K", K, pl.Int64).cast(pl.Datetime("us", "UTC")),
        pl.Series(f"{view}__age", t - np.array(K, np.int64)).cast(pl.Duration("us")),
        pl.Series(f"{view}__stale", stale, pl.Boolean),
        pl.Series(f"{view}__incomplete", incomplete, pl.Boolean),
        pl.Series(f"{view}__sequence", [known[id(each)] for each in commits], pl.String),
    ]


def sequence_text(commits: Mapping[str | None, int]) -> str | None:
    """The last commits that count as JSON: a number, or where several processes write a number for each partition; None for no stream.

    >>> sequence_text({None: 7}), sequence_text({"0": 7, "1": 9}), sequence_text({})
    ('7', '{"0": 7, "1": 9}', None)
    """
    if not commits:
        return None
    return json.dumps(commits[None] if None in commits else dict(commits))


def sequences(text: str) -> Mapping[str | None, int]:
    """What `sequence_text` wrote."""
    decoded = json.loads(text)
    return cast("Mapping[str | None, int]", decoded) if isinstance(decoded, dict) else {None: int(decoded)}


def _series(name: str, values: Sequence[object], dtype: pl.DataType | None) -> pl.Series:
    """A column of plain values; of those that are of no one type, their JSON."""
    try:
        return pl.Series(name, values, dtype)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        pass
    if {type(value) for value in values} <= {int, float, type(None)}:
        try:
            return pl.Series(name, [None if v is None else float(cast("float", v)) for v in values], pl.Float64)
        except OverflowError:
            pass
    encoded = [v if v is None or isinstance(v, str) else msgspec.json.encode(v, enc_hook=str).decode() for v in values]
    return pl.Series(name, encoded, pl.String)


def _breathe() -> None:
    """Let a thread that answers requests go first: the interpreter would else have it wait for milliseconds."""
    time.sleep(0.0001)
