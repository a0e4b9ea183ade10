"""Estimators that read columns by name or dtype: which these are, and the frames that they get.

All others get a float64 matrix, which costs less to make for one row.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import polars as pl

from headwater.definitions.model import Estimator
from headwater.errors import MissingExtraError
from headwater.models.feature_encoding import Encoding
from headwater.models.formats.model_format import Fixed

if TYPE_CHECKING:
    import pandas as pd

Frames = Literal["", "pandas", "polars", "catboost"]
"""The library of the frames that an estimator gets, "" for a matrix; "catboost" is pandas with ""
for a missing text, not null.
"""


def frames_for(estimator: Estimator, encoding: Encoding) -> Frames:
    """Which frames the estimator gets: of pandas where it is installed, else of polars; "" where it
    does not look for names.

    It looks for names if it, or a part of it, is a `ColumnTransformer` over columns by name or a
    selector, has `categorical_features` by name below the top, is of CatBoost and has text columns,
    or has an attribute `takes_frames` that is true.

    Raises:
        MissingExtraError: CatBoost and scikit-learn's `make_column_selector` take only frames of
            pandas, and that is not installed.
    """
    if isinstance(estimator, Fixed) or not _looks(estimator, encoding):
        return ""
    if all(importlib.util.find_spec(name) for name in ("pandas", "pyarrow")):
        return "catboost" if is_catboost(estimator) else "pandas"
    for name, needs in (
        ("CatBoost", is_catboost(estimator)),
        ("make_column_selector", any(map(_is_selector, _parts(estimator)))),
    ):
        if needs:
            raise MissingExtraError(f"pandas, which {name} needs,", "pandas")
    return "polars"


def named(encoding: Encoding, frame: pl.DataFrame, library: Frames) -> pl.DataFrame | pd.DataFrame:
    """The encoded features as a frame: numbers float64, NaN where they are missing; strings as
    categories.

    A text that training did not see is null.

    >>> from headwater.models.feature_encoding import fit_encoding
    >>> rows = pl.DataFrame({"amount": [1, 2, None], "country": ["no", "se", "no"]})
    >>> named(fit_encoding(rows[:1]), rows, "polars").to_dict(as_series=False)
    {'amount': [1.0, 2.0, nan], 'country': ['no', None, 'no']}

    Raises:
        MissingExtraError: frames of pandas, and it is not installed.
    """
    matrix = encoding.transform(frame)
    columns = [
        frame[name].cast(pl.String).cast(pl.Enum(list(encoding.categories[name])), strict=False)
        if name in encoding.categories
        else pl.Series(name, matrix[:, i])
        for i, name in enumerate(encoding.inputs)
    ]
    encoded = pl.DataFrame(columns)
    if library == "polars":
        return encoded
    if library == "catboost":
        encoded = encoded.with_columns(
            pl.col(list(encoding.categories)).cast(pl.String).fill_null("")
        )
    try:
        return encoded.to_pandas()
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "pandas") from error


def _looks(estimator: Estimator, encoding: Encoding) -> bool:
    """Whether the estimator looks for names or categories."""
    if getattr(estimator, "takes_frames", False):
        return True
    if is_catboost(estimator) and (
        encoding.categorical or by_name(parameter(estimator, "cat_features"))
    ):
        return True
    return any(
        _by_name(step)
        for step in _parts(estimator)
        if step is not estimator or not _has_categories(step)
    )


def is_catboost(estimator: object) -> bool:
    """Whether the estimator is one of CatBoost's."""
    return any(kind.__module__.partition(".")[0] == "catboost" for kind in type(estimator).__mro__)


def by_name(columns: object) -> bool:
    """Whether columns are given by name, or by a function of the frame."""
    if isinstance(columns, list | tuple):
        return any(isinstance(column, str) for column in columns)
    return isinstance(columns, str) or callable(columns)


def _by_name(step: object) -> bool:
    transformers = getattr(step, "transformers", None)
    if isinstance(transformers, list) and any(
        kind.__name__ == "ColumnTransformer" for kind in type(step).__mro__
    ):
        return any(by_name(columns) for _, _, columns in transformers)
    return (
        _has_categories(step)
        and isinstance(part_columns := parameter(step, "categorical_features"), list | tuple)
        and by_name(part_columns)
    )


def _has_categories(step: object) -> bool:
    return type(step).__name__.startswith("HistGradientBoosting")


def parameter(step: object, name: str) -> object:
    """A parameter of an estimator as scikit-learn names them; None where it has none of that
    name.
    """
    return step.get_params(deep=False).get(name) if hasattr(step, "get_params") else None


def _parts(value: object) -> Iterator[object]:
    """An estimator and all that its parameters hold, to any depth."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from _parts(item)
    elif hasattr(value, "get_params") and not isinstance(value, type):
        yield value
        for item in value.get_params(deep=False).values():
            yield from _parts(item)
    elif _is_selector(value):
        yield value


def _is_selector(value: object) -> bool:
    return type(value).__name__ == "make_column_selector"
