"""Feature columns as the numbers that estimators take.

Numbers and booleans become float64, missing values NaN; times and dates become seconds since 1970,
durations seconds. A text becomes the position of its category among those of the training rows, the
most frequent first (ties by the text); a text that training did not see is missing. Estimators that
know categories (LightGBM; scikit-learn's histogram gradient boosting, up to 255 a column) are told
which columns these are; others see plain ordinal numbers. A list of strings becomes a column for
each of its most frequent strings, at most 32: its count in the list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import polars as pl

from headwater.definitions.definition import Readable
from headwater.errors import DataError
from headwater.kernel.arrays import F64

Kind = Literal["number", "time", "date", "duration", "text", "texts", "empty"]
WORDS = 32
"""The number of strings of a list that are counted."""
_TEXTS = (pl.String, pl.Categorical, pl.Enum)


@dataclass(frozen=True)
class Encoding(Readable):
    """The columns in order with their kinds, the categories of each string column, and the strings
    counted in each column of lists.
    """

    columns: Sequence[str]
    categories: Mapping[str, Sequence[str]]
    words: Mapping[str, Sequence[str]]
    kinds: Sequence[Kind]

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """The columns of the matrix that an estimator gets: one a feature, of a list one for each
        text that is counted.
        """
        return tuple(
            name
            for column in self.columns
            for name in (
                [f"{column}={word}" for word in self.words[column]]
                if column in self.words
                else [column]
            )
        )

    @cached_property
    def categorical(self) -> list[int]:
        """The positions of the text columns among the inputs."""
        return [i for i, name in enumerate(self.inputs) if name in self.categories]

    def transform(self, frame: pl.DataFrame) -> F64:
        """The frame as float64 (rows, inputs), NaN where a value is missing."""
        out = np.empty((frame.height, len(self.inputs)), order="F")
        at = 0
        for name, kind in zip(self.columns, self.kinds, strict=True):
            wide = len(self.words[name]) if kind == "texts" else 1
            out[:, at : at + wide] = self._column(frame[name], kind)
            at += wide
        return out

    def _column(self, series: pl.Series, kind: Kind) -> F64:
        if kind == "empty":
            return np.full((len(series), 1), np.nan)
        if kind == "texts":
            return _counts(series, self.words[series.name])
        if kind == "text":
            return _codes(series, self.categories[series.name])[:, None]
        return _number(series)[:, None]


def fit_encoding(frame: pl.DataFrame) -> Encoding:
    """The encoding of these training rows.

    >>> fit_encoding(
    ...     pl.DataFrame({"amount": [1.0, 2.0, 3.0], "country": ["no", "se", "no"]})
    ... ).categories
    {'country': ['no', 'se']}
    >>> fit_encoding(pl.DataFrame({"seen": [["shoes", "hats"], ["shoes"], []]})).inputs
    ('seen=shoes', 'seen=hats')

    Raises:
        DataError: a list of anything but strings, or a map.
    """
    kinds = [kind_of(name, dtype) for name, dtype in frame.schema.items()]
    categories = {
        s.name: _frequent(s)
        for s, kind in zip(frame.get_columns(), kinds, strict=True)
        if kind == "text"
    }
    words = {
        s.name: _frequent(s.explode(empty_as_null=True, keep_nulls=True))[:WORDS]
        for s, kind in zip(frame.get_columns(), kinds, strict=True)
        if kind == "texts"
    }
    return Encoding(frame.columns, categories, words, kinds)


def kind_of(name: str, dtype: pl.DataType) -> Kind:
    """How a feature of that dtype is encoded.

    Raises:
        DataError: no estimator takes it: a list of anything but strings, or a map.
    """
    if dtype == pl.Null:
        return "empty"
    if dtype in _TEXTS:
        return "text"
    if isinstance(dtype, pl.List) and dtype.inner in _TEXTS:
        return "texts"
    if isinstance(dtype, pl.Datetime):
        return "time"
    if dtype == pl.Date:
        return "date"
    if isinstance(dtype, pl.Duration):
        return "duration"
    if not (dtype.is_numeric() or dtype == pl.Boolean):
        raise _no_number(name, dtype)
    return "number"


def _frequent(series: pl.Series) -> list[str]:
    """The strings of a column, the most frequent first, ties by the string."""
    counts = (
        series.cast(pl.String)
        .drop_nulls()
        .value_counts()
        .sort("count", series.name, descending=[True, False])
    )
    return counts[series.name].to_list()


def _codes(series: pl.Series, categories: Sequence[str]) -> F64:
    codes = series.cast(pl.String).replace_strict(
        pl.Series(categories, dtype=pl.String),
        pl.Series(np.arange(len(categories), dtype=np.float64)),
        default=None,
        return_dtype=pl.Float64,
    )
    return codes.fill_null(np.nan).to_numpy()


def _counts(series: pl.Series, words: Sequence[str]) -> F64:
    """The count of each string in each list: float64 (rows, words), NaN without a list."""
    out = np.full((len(series), len(words)), np.nan)
    if series.dtype == pl.Null or not words:
        return out
    lists = series.cast(pl.List(pl.String))
    for i, word in enumerate(words):
        out[:, i] = lists.list.count_matches(word).cast(pl.Float64).fill_null(np.nan).to_numpy()
    return out


def _number(series: pl.Series) -> F64:
    dtype = series.dtype
    if isinstance(dtype, pl.Datetime):
        return series.dt.epoch("us").cast(pl.Float64).fill_null(np.nan).to_numpy() / 1e6
    if dtype == pl.Date:
        return _number(series.cast(pl.Datetime("us")))
    if isinstance(dtype, pl.Duration):
        return series.dt.total_microseconds().cast(pl.Float64).fill_null(np.nan).to_numpy() / 1e6
    if not (dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)):
        raise _no_number(series.name, dtype)
    return series.cast(pl.Float64).fill_null(np.nan).to_numpy()


def _no_number(name: str, dtype: pl.DataType) -> DataError:
    return DataError(
        f"the feature {name!r} is {dtype}; a model takes numbers, booleans, times, strings and "
        "lists of strings. Give it what it needs of another list or a map through a function "
        "that reads the feature: @hw.request_feature"
    )
