"""A fitted model as requests are answered with it: one row of plain values, or a frame."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np
import polars as pl

from headwater.kernel.arrays import F64
from headwater.models.fit import Fitted
from headwater.models.formats.lightgbm import LightGbm, LightGbmClasses, native
from headwater.models.row_encoding import RowEncoding

if TYPE_CHECKING:
    from headwater.models.manifest import Manifest

Score = float | list[float]


class ServedModel:
    """A fitted model, ready for requests. Threads may share it.

    `fitted` is what it scores with, `manifest` says what it is made of (None for one that was not
    kept), `version` which one it is.
    """

    def __init__(
        self, fitted: Fitted, *, manifest: Manifest | None = None, version: str = ""
    ) -> None:
        self.fitted = replace(fitted, estimator=native(fitted.estimator))
        self.manifest, self.version = manifest, version
        self._score_row = (
            _frames(self.fitted) if fitted.takes_raw or fitted.frames else _rows(self.fitted)
        )

    def one(self, values: Sequence[object]) -> Score:
        """The score of one row: a number, or of a multiclass model one for each of
        `fitted.classes`.

        Args:
            values: of the features in the model's order; None is missing. The same score as `score`
                gives a frame of this row.

        Raises:
            DataError: another number of values, or a value of another type than in training.
        """
        return self._score_row(values)

    def score(self, frame: pl.DataFrame) -> F64:
        """The score of each row, as `Fitted.score` gives it."""
        return self.fitted.score(frame)


def said(score: F64) -> list[Score]:
    """Scores as plain values, one a row."""
    return cast("list[Score]", score.tolist())


def _rows(fitted: Fitted) -> Callable[[Sequence[object]], Score]:
    """One row through arrays alone; of a LightGBM booster, through its own way for one row."""
    encode = RowEncoding(fitted.encoding)
    quick = _quick(fitted)
    if quick is not None:
        scored = quick
        return lambda values: scored(encode(values))

    def one(values: Sequence[object]) -> Score:
        return said(fitted.score_inputs(np.frombuffer(encode(values)).reshape(1, -1)))[0]

    return one


def _quick(fitted: Fitted) -> Callable[[array[float]], Score] | None:
    """What a booster says of a row, where that is the score itself."""
    estimator = fitted.estimator
    whole = fitted.known is None or len(fitted.known) == len(fitted.classes)
    if not isinstance(estimator, LightGbm) or not whole:
        return None
    row = estimator.row
    outputs = estimator.booster.num_model_per_iteration()
    hashed_columns = isinstance(estimator, LightGbmClasses)
    if fitted.task.classes and outputs == len(fitted.classes):
        return lambda values: list(row(values))
    if fitted.task.classes:
        return (lambda values: _both(row(values)[0])) if hashed_columns and outputs == 1 else None
    strange = isinstance(estimator, LightGbmClasses) and (
        fitted.task.values or estimator.classes_.tolist() != [0, 1]
    )
    if outputs != 1 or strange:
        return None
    return lambda values: row(values)[0]


def _both(second: float) -> list[float]:
    """The shares of two classes; a booster gives that of the second."""
    return [1 - second, second]


def _frames(fitted: Fitted) -> Callable[[Sequence[object]], Score]:
    """One row as a frame, for an estimator that reads features by their names."""
    columns = fitted.encoding.columns

    def one(values: Sequence[object]) -> Score:
        series = [
            pl.Series(name, [value], strict=False)
            for name, value in zip(columns, values, strict=True)
        ]
        return said(fitted.score(pl.DataFrame(series)))[0]

    return one
