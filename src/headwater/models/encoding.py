"""Feature columns as the numbers that estimators take.

Numbers and booleans become float64, missing values NaN; times and dates become seconds since 1970, durations seconds. A text
becomes the position of its category among those of the training rows, the most frequent first (ties by the text); a text that
training did not see is missing. Estimators that know categories (LightGBM; scikit-learn's histogram gradient boosting, up to 255
a column) are told which columns these are; others see plain ordinal numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from headwater.compute.arrays import F64
from headwater.errors import DataError


@dataclass(frozen=True)
class Encoding:
    """The columns in order, and the categories of each text column."""

    columns: Sequence[str]
    categories: Mapping[str, Sequence[str]]

    @property
    def categorical(self) -> list[int]:
        """The positions of the text columns."""
        return [i for i, name in enumerate(self.columns) if name in self.categories]

    def transform(self, frame: pl.DataFrame) -> F64:
        """The frame as float64 (rows, columns), NaN where a value is missing."""
        out = np.empty((frame.height, len(self.columns)), order="F")
        for i, name in enumerate(self.columns):
            out[:, i] = self._column(frame[name])
        return out

    def _column(self, series: pl.Series) -> F64:
        known = self.categories.get(series.name)
        if known is None:
            return _number(series)
        texts = series.cast(pl.String)
        codes = texts.replace_strict(
            pl.Series(known, dtype=pl.String), pl.Series(np.arange(len(known), dtype=np.float64)), default=None, return_dtype=pl.Float64
        )
        return codes.fill_null(np.nan).to_numpy()


def fit_encoding(frame: pl.DataFrame) -> Encoding:
    """The encoding of these training rows.

    >>> fit_encoding(pl.DataFrame({"amount": [1.0, 2.0, 3.0], "country": ["no", "se", "no"]})).categories
    {'country': ['no', 'se']}
    """
    categories = {}
    for series in frame.get_columns():
        if series.dtype in (pl.String, pl.Categorical, pl.Enum):
            counts = series.cast(pl.String).drop_nulls().value_counts().sort("count", series.name, descending=[True, False])
            categories[series.name] = counts[series.name].to_list()
    return Encoding(frame.columns, categories)


def _number(series: pl.Series) -> F64:
    dtype = series.dtype
    if isinstance(dtype, pl.Datetime):
        return series.dt.epoch("us").cast(pl.Float64).fill_null(np.nan).to_numpy() / 1e6
    if dtype == pl.Date:
        return _number(series.cast(pl.Datetime("us")))
    if isinstance(dtype, pl.Duration):
        return series.dt.total_microseconds().cast(pl.Float64).fill_null(np.nan).to_numpy() / 1e6
    if not (dtype.is_numeric() or dtype in (pl.Boolean, pl.Null)):
        raise DataError(
            f"the feature {series.name!r} is {dtype}; a model takes numbers, booleans, times and texts. Give it what it needs of a list or a "
            "map through a function that reads the feature: @hw.request_feature"
        )
    return series.cast(pl.Float64).fill_null(np.nan).to_numpy()
