"""Decode segments of the serving log into frames. numpy reads the fixed-size fields of all one-row
records together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple, TypeVar, cast

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.exceptions import PolarsError

from headwater.events.columns import status_name, status_series
from headwater.journal.serving_log_rows import (
    AGE,
    AT,
    LATENCY,
    PREDICTION,
    PREDICTION_HOW,
    PREFIX,
    REQUEST,
    ROW,
    EntryContext,
)
from headwater.journal.serving_log_segment import (
    HOWS,
    IN_TAIL,
    NO_COMMIT,
    VIEW,
    SegmentHeader,
    records,
    unpacked,
)
from headwater.journal.serving_log_segment import ROW as ONE_ROW
from headwater.kernel.arrays import F64, I64, Bool
from headwater.state.read_plan import words_of

T = TypeVar("T")
U8 = NDArray[np.uint8]
_SLICE = 16_384  # records that are decoded together, which bounds the memory


class SegmentRows(NamedTuple):
    """The rows of a segment, by day of the request (days since 1970). requests: how many. damaged:
    bytes that belong to no record.
    """

    about: EntryContext | None
    days: Mapping[int, pl.DataFrame]
    requests: int
    damaged: int


def rows_of(data: bytes, name: str) -> SegmentRows:
    """The rows of a segment file of that name.

    Raises:
        StoreError: the file is not a segment, or has another version.
    """
    header, spans, damaged = records(data, name)
    if header is None:
        return SegmentRows(None, {}, 0, damaged)
    about, buffer = header.about, np.frombuffer(data, np.uint8)
    kinds = buffer[[begin for begin, _ in spans]] if spans else np.empty(0, np.uint8)
    frames = []
    for one_row in (True, False):
        chosen = [spans[n] for n in np.flatnonzero((kinds == ONE_ROW) == one_row).tolist()]
        for at in range(0, len(chosen), _SLICE):
            chosen_records = _Records(header, about, buffer, data, chosen[at : at + _SLICE])
            frames.append(
                _frame(about, chosen_records.ones() if one_row else chosen_records.many())
            )
    if not frames:
        return SegmentRows(about, {}, 0, damaged)
    rows = _joined(frames)
    days = rows[AT].dt.epoch("d")
    by_day = {
        day: rows.filter(days == day).sort(AT, maintain_order=True)
        for day in days.unique().sort().to_list()
    }
    return SegmentRows(about, by_day, len(spans), damaged)


@dataclass(frozen=True)
class _Columns:
    """n rows in columns: each list is n long. words: values and statuses of features that the words
    hold. took: float64 (1 + stages, n).
    """

    ids: Sequence[str]
    rows: Sequence[int]
    t: I64
    request: Sequence[Sequence[object]]
    features: Iterable[tuple[pl.Series | Sequence[object], U8]]
    views: I64
    sequences: Sequence[Sequence[str | None]]
    prediction: Sequence[object]
    how: Sequence[str | None]
    age: Sequence[float | None]
    took: F64


class _Records:
    """Some records of a segment, of one row each or of several."""

    def __init__(
        self,
        header: SegmentHeader,
        about: EntryContext,
        buffer: U8,
        data: bytes,
        spans: Sequence[tuple[int, int]],
    ) -> None:
        self.header, self.about, self.buffer, self.data, self.spans = (
            header,
            about,
            buffer,
            data,
            spans,
        )
        self.dtype = np.dtype(
            [
                *((name, "u1") for name in ("kind", "how", "scored")),
                *(
                    ("_", "u1"),
                    ("n", "<u4"),
                    ("t", "<i8"),
                    ("seconds", "<f8"),
                    ("age", "<f8"),
                    ("prediction", "<f8"),
                ),
                ("views", "<i8", (len(about.views), VIEW.size // 8)),
            ]
        )
        self.begins = np.array([begin for begin, _ in spans], np.int64)
        whole = self.buffer[self.begins[:, None] + np.arange(self.dtype.itemsize)]
        self.fixed = np.ascontiguousarray(whole).view(self.dtype)[:, 0]

    def ones(self) -> _Columns:
        """Records of one row."""
        fixed, n, width = self.fixed, len(self.spans), len(self.header.words)
        size = 8 * words_of(width, 1)
        begins = self.begins + self.dtype.itemsize
        words = self.buffer[begins[:, None] + np.arange(size)]
        ids, columns, others, statuses, predictions, _, _, texts, stages = zip(
            *self._tails((begins + size).tolist()), strict=True
        )
        scores, scored = fixed["prediction"].tolist(), fixed["scored"].tolist()
        prediction = (
            scores
            if all(scored)
            else [a if s else b for s, a, b in zip(scored, scores, predictions, strict=True)]
        )
        other_statuses = np.frombuffer(b"".join(statuses), np.uint8).reshape(n, -1).T
        held = (
            np.ascontiguousarray(words[:, : 8 * width]).view(np.int64),
            words[:, 8 * width : 9 * width],
            words[:, 9 * width : 10 * width],
        )
        return _Columns(
            ids,
            [0] * n,
            fixed["t"].copy(),
            list(zip(*columns, strict=True)),
            self._features(
                (held[0].T, held[1].T, held[2].T), zip(*others, strict=True), other_statuses
            ),
            fixed["views"].transpose(1, 2, 0),
            _sequences(fixed["views"], texts),
            prediction,
            [HOWS[code] for code in fixed["how"].tolist()],
            _or_none(fixed["age"]),
            self._took(stages),
        )

    def many(self) -> _Columns:
        """Records of several rows."""
        fixed, heights, width = self.fixed, self.fixed["n"].astype(np.int64), len(self.header.words)
        places = width * heights
        sizes = 8 * (places + (2 * places + 7) // 8)
        begins = self.begins + self.dtype.itemsize
        decoded = self._tails((begins + sizes).tolist())
        held = [
            (
                self.buffer[at : at + 8 * count].view(np.int64).reshape(width, n),
                self.buffer[at + 8 * count : at + 9 * count].reshape(width, n),
                self.buffer[at + 9 * count : at + 10 * count].reshape(width, n),
            )
            for at, count, n in zip(begins.tolist(), places.tolist(), heights.tolist(), strict=True)
        ]
        ids, columns, others, statuses, predictions, hows, ages, texts, stages = zip(
            *decoded, strict=True
        )
        other_statuses = [
            np.frombuffer(codes, np.uint8).reshape(-1, n)
            for codes, n in zip(statuses, heights.tolist(), strict=True)
        ]
        spread = [
            ([None] * n if p is None else p)
            for p, n in zip(predictions, heights.tolist(), strict=True)
        ]
        one_how, one_age = [HOWS[code] for code in fixed["how"].tolist()], _or_none(fixed["age"])
        return _Columns(
            [id_ for id_, n in zip(ids, heights.tolist(), strict=True) for _ in range(n)],
            [row for n in heights.tolist() for row in range(n)],
            np.repeat(fixed["t"], heights),
            _end_to_end(columns),
            self._features(
                tuple(np.concatenate(parts, axis=1) for parts in zip(*held, strict=True)),  # type: ignore[arg-type]
                _end_to_end(others),
                np.concatenate(other_statuses, axis=1),
            ),
            np.repeat(fixed["views"], heights, axis=0).transpose(1, 2, 0),
            [
                list(
                    chain.from_iterable(
                        [text] * n for text, n in zip(view, heights.tolist(), strict=True)
                    )
                )
                for view in _sequences(fixed["views"], texts)
            ],
            list(chain.from_iterable(spread)),
            list(
                chain.from_iterable(
                    [a] * n if b is None else b
                    for a, b, n in zip(one_how, hows, heights.tolist(), strict=True)
                )
            ),
            list(
                chain.from_iterable(
                    [a] * n if b is None else b
                    for a, b, n in zip(one_age, ages, heights.tolist(), strict=True)
                )
            ),
            np.repeat(self._took(stages), heights, axis=1),
        )

    def _took(self, stages: Sequence[Mapping[str, float]]) -> F64:
        """Seconds of the whole and of each stage, (1 + stages, records); NaN for none."""
        return np.array(
            [
                self.fixed["seconds"],
                *([seconds.get(name) for seconds in stages] for name in self.about.stages),
            ],
            np.float64,
        )

    def _tails(self, begins: Sequence[int]) -> list[list[Any]]:
        return unpacked(
            [self.data[begin:end] for begin, (_, end) in zip(begins, self.spans, strict=True)]
        )

    def _features(
        self, held: tuple[I64, U8, U8], others: Iterable[Sequence[object]], other_statuses: U8
    ) -> Iterator[tuple[pl.Series | Sequence[object], U8]]:
        """The values and statuses of each feature, in order; held: the words' values, statuses and
        which are null, (features, n).
        """
        words, statuses, nulls = held
        places, column, other_status = self.header.held, iter(others), iter(other_statuses)
        for name in self.about.features:
            if name in places:
                position = places[name]
                yield (
                    _typed(
                        words[position],
                        nulls[position].astype(np.bool_),
                        self.header.meanings[position],
                    ),
                    statuses[position],
                )
            else:
                yield next(column), next(other_status)


def _typed(words: I64, nulls: Bool, meaning: str) -> pl.Series:
    """The values that some words mean."""
    contiguous = np.ascontiguousarray(words)
    values = pl.Series(
        contiguous.view(np.float64)
        if meaning == "float"
        else contiguous != 0
        if meaning == "bool"
        else contiguous
    )
    return values.set(pl.Series(nulls), None) if nulls.any() else values


def _or_none(values: F64) -> list[float | None]:
    return [None if value != value else value for value in values.tolist()]  # noqa: PLR0124 (NaN is none)


def _end_to_end(records_columns: Sequence[Sequence[Sequence[object]]]) -> list[list[object]]:
    """Each column of some records, one record after the other."""
    return [list(chain.from_iterable(parts)) for parts in zip(*records_columns, strict=True)]


def _sequences(views: I64, texts: Sequence[Sequence[str]]) -> list[list[str | None]]:
    """The last commit of each view as text, for each record; views: int64 (records, views, 4)."""
    numbers = views[:, :, 2]
    if not (numbers == IN_TAIL).any():
        return [
            [None if number == NO_COMMIT else str(number) for number in view]
            for view in numbers.T.tolist()
        ]
    by_record = []
    for row, strings in zip(numbers.tolist(), texts, strict=True):
        text = iter(strings)
        by_record.append(
            [
                next(text) if number == IN_TAIL else None if number == NO_COMMIT else str(number)
                for number in row
            ]
        )
    return [list(view) for view in zip(*by_record, strict=True)]


def _frame(about: EntryContext, columns: _Columns) -> pl.DataFrame:
    series = [pl.Series(REQUEST, columns.ids, pl.String), pl.Series(ROW, columns.rows, pl.Int32)]
    series.append(pl.Series(AT, columns.t).cast(pl.Datetime("us", "UTC")))
    features = set(about.features)
    for name, values in zip(about.request, columns.request, strict=True):
        series.append(
            _series(
                f"{PREFIX}given_{name}" if name in features else name,
                values,
                about.schema.get(name),
            )
        )
    for name, (feature, statuses) in zip(about.features, columns.features, strict=True):
        series += [
            _series(name, feature, about.schema.get(name)),
            status_series(status_name(name), statuses.astype(np.int64)),
        ]
    for name, view, texts in zip(about.views, columns.views, columns.sequences, strict=True):
        series += _as_of(name, columns.t, view, texts)
    series += [
        _series(PREDICTION, columns.prediction, None),
        pl.Series(PREDICTION_HOW, columns.how, pl.String),
    ]
    series.append((pl.Series(AGE, columns.age, pl.Float64) * 1e6).round().cast(pl.Duration("us")))
    for name, took in zip(
        (LATENCY, *(f"{LATENCY}__{stage}" for stage in about.stages)), columns.took, strict=True
    ):
        series.append(pl.Series(name, took * 1e6).fill_nan(None).round().cast(pl.Int64))
    return pl.DataFrame(series).with_columns(about.constants)


def _as_of(view: str, t: I64, words: I64, texts: Sequence[str | None]) -> list[pl.Series]:
    T, K, _, flags = words
    return [
        pl.Series(f"{view}__T", T.copy()).cast(pl.Datetime("us", "UTC")),
        pl.Series(f"{view}__K", K.copy()).cast(pl.Datetime("us", "UTC")),
        pl.Series(f"{view}__age", t - K).cast(pl.Duration("us")),
        pl.Series(f"{view}__stale", flags & 1 != 0),
        pl.Series(f"{view}__incomplete", flags & 2 != 0),
        pl.Series(f"{view}__sequence", texts, pl.String),
    ]


def _series(
    name: str, values: pl.Series | Sequence[object], dtype: pl.DataType | None
) -> pl.Series:
    """A column of plain values, or of their JSON if they have no common type."""
    if isinstance(values, pl.Series):
        return values.alias(name) if dtype is None else values.alias(name).cast(dtype, strict=False)
    # polars makes structs of the first one's keys
    mappings = any(isinstance(value, dict) for value in values)
    if dtype is not None or not mappings:
        try:
            return pl.Series(name, values, dtype)
        except (TypeError, ValueError, OverflowError, PolarsError):
            pass
    if {type(value) for value in values} <= {int, float, type(None)}:
        try:
            return pl.Series(
                name, [None if v is None else float(cast("float", v)) for v in values], pl.Float64
            )
        except OverflowError:
            pass
    encoded = [
        v if v is None or isinstance(v, str) else msgspec.json.encode(v, enc_hook=str).decode()
        for v in values
    ]
    return pl.Series(name, encoded, pl.String)


def _joined(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """One frame; a column that is of several types becomes text where no type holds them all."""
    try:
        return pl.concat(frames, how="vertical_relaxed")
    except PolarsError:
        pass
    kinds = {
        name: {frame.schema[name] for frame in frames} - {pl.Null()} for name in frames[0].columns
    }
    mixed = [name for name, dtypes in kinds.items() if len(dtypes) > 1 and pl.String() in dtypes]
    return pl.concat(
        [frame.with_columns(pl.col(mixed).cast(pl.String)) for frame in frames],
        how="vertical_relaxed",
    )
