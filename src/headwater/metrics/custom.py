"""A user's own metric: a function of plain arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from headwater.errors import DataError, UsageError
from headwater.metrics.metric import Floats, Metric, ScoredRows, ratio

Function = Callable[..., float | NDArray[np.float64]]


def metric(
    name: str,
    function: Function,
    *,
    higher_is_better: bool = True,
    min_lift: float = 0.005,
    relative: bool = False,
    columns: Sequence[str] = (),
) -> Metric:
    """A metric of your own, for `backtest(metrics=[...])`.

    Args:
        name: how it is called in results.
        function: takes `y` and `score` of the rows, then an array for each of `columns`, and gives
            one number, or one number a row. `y` is float64 (rows): 0 or 1, the class's position,
            the value or the relevance. `score` is float64 (rows), of a multiclass task (rows,
            classes), of a ranking the place in the list (1 the first, infinity where the item is
            not in it).
        higher_is_better: False for errors and costs.
        min_lift: the smallest change worth having, in the metric's unit; a share of the first
            level's value where `relative`.
        columns: columns of the labels that the function reads, such as an amount.

    Numbers a row are averaged, and resampled together. A function that returns one number is called
    on the rows of each resample (a row that was drawn three times occurs three times), as often as
    there are resamples and levels: at 20 ms a call and 2,000 resamples 40 s a level. Give fewer
    `resamples`, or numbers a row, where that is long. NaN says that the metric is undefined on
    these rows.

    Raises:
        UsageError: an empty name, an invalid function, or an invalid min_lift.

    >>> squared = metric("squared", lambda y, score: (y - score) ** 2, higher_is_better=False)
    >>> from headwater.metrics.metric import Blocks
    >>> squared.compute(
    ...     ScoredRows("daily", np.array([1.0, 0.0]), np.array([0.5, 0.0]), Blocks.whole(2))
    ... )
    array([0.125])
    """
    if not isinstance(name, str) or not name:
        raise UsageError(f"metric({name!r}): give it a name, such as 'saved'")
    if not callable(function):
        raise UsageError(
            f"metric({name!r}): {function!r} is not a function; give one of (y, score) that "
            "returns a number, or one a row"
        )
    if not isinstance(min_lift, int | float) or not 0 <= min_lift < math.inf:
        raise UsageError(
            f"metric({name!r}): min_lift is {min_lift!r}; give 0 or more, in the metric's unit"
        )
    if isinstance(columns, str):
        raise UsageError(
            f"metric({name!r}): columns is the text {columns!r}; give a list, such as [{columns!r}]"
        )

    def compute(rows: ScoredRows) -> Floats:
        values = _values(name, function, rows, np.arange(len(rows.y)), columns)
        if values.ndim:
            return ratio(rows.total(values), rows.total(np.ones(len(values))))
        draws = rows.blocks.weights[rows.blocks.index].astype(np.int64)  # (rows, 1 + resamples)
        again = [
            _values(name, function, rows, np.repeat(np.arange(len(rows.y)), d), columns)
            for d in draws.T[1:]
        ]
        return np.array([float(values), *map(float, again)])

    return Metric(
        name,
        None,
        compute,
        higher_is_better,
        float(min_lift),
        relative,
        tuple(columns),
        span=(-math.inf, math.inf),
    )


def _values(
    name: str,
    function: Function,
    rows: ScoredRows,
    drawn: NDArray[np.int64],
    columns: Sequence[str],
) -> Floats:
    arrays = [rows.context.columns[column][drawn] for column in columns]
    values = np.asarray(function(rows.y[drawn], rows.score[drawn], *arrays), np.float64)
    if values.ndim and values.shape != drawn.shape:
        raise DataError(
            f"metric {name!r} gave an array of shape {values.shape} for {len(drawn)} rows; give "
            "one number, or one a row"
        )
    return values
