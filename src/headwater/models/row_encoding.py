"""One row of features as the numbers that estimators take, without a frame: what
`Encoding.transform` makes of many.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import chain

from headwater.clock import EPOCH
from headwater.errors import DataError
from headwater.models.feature_encoding import Encoding, Kind

_NAN = float("nan")
_DAY_ZERO = date(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)

Convert = Callable[[object], float]


class RowEncoding:
    """An encoding for one row at a time; the same numbers to the bit.

    >>> import polars as pl
    >>> from headwater.models.feature_encoding import fit_encoding
    >>> row = RowEncoding(
    ...     fit_encoding(pl.DataFrame({"amount": [1.0, 2.0, 3.0], "country": ["no", "se", "no"]}))
    ... )
    >>> row([7, "se"]), row([None, "dk"])
    (array('d', [7.0, 1.0]), array('d', [nan, nan]))
    """

    def __init__(self, encoding: Encoding) -> None:
        self._columns = tuple(encoding.columns)
        self._wide = bool(encoding.words)
        self._width = len(encoding.inputs)
        converters = [
            _converter(name, kind, encoding)
            for name, kind in zip(encoding.columns, encoding.kinds, strict=True)
        ]
        self._converters = [
            (i, convert) for i, convert in enumerate(converters) if convert is not None
        ]
        self._lists = [
            (i, _counter(encoding.words[name]))
            for i, name in enumerate(encoding.columns)
            if name in encoding.words
        ]

    def __call__(self, values: Sequence[object]) -> array[float]:
        """The row as float64, NaN where a value is missing.

        Args:
            values: of the features in order; None is missing. Numbers and booleans, strings,
                tz-aware datetimes, dates, timedeltas, lists.

        Raises:
            DataError: another number of values, or a value of another type than in training.
        """
        if len(values) != len(self._columns):
            raise DataError(
                f"a row has {len(values)} values, and the model takes {len(self._columns)}: "
                f"{', '.join(self._columns)}"
            )
        row: list[object] = [_NAN if value is None else value for value in values]
        try:
            for i, convert in self._converters:
                row[i] = convert(values[i])
            return array("d", self._widened(row, values) if self._wide else row)  # type: ignore[arg-type]  # it raises TypeError for a value that is not a number
        except (TypeError, AttributeError, OverflowError) as error:
            raise self._strange(values) from error

    def _widened(self, row: list[object], values: Sequence[object]) -> Iterable[object]:
        parts: list[Sequence[object]] = [[value] for value in row]
        for i, count in self._lists:
            parts[i] = count(values[i])
        return chain.from_iterable(parts)

    def _strange(self, values: Sequence[object]) -> DataError:
        """The error that names the first value that cannot be taken."""
        converters = dict(self._converters)
        counters = dict(self._lists)
        for i, value in enumerate(values):
            try:
                if i in counters:
                    counters[i](value)
                else:
                    array(
                        "d",
                        [
                            converters[i](value)
                            if i in converters
                            else _NAN
                            if value is None
                            else value
                        ],
                    )  # type: ignore[type-var]
            except (TypeError, AttributeError, OverflowError):
                return DataError(
                    f"the feature {self._columns[i]!r} is {value!r}, which is of another type "
                    "than in training"
                )
        return DataError(f"the values {list(values)!r} cannot be scored")


def _converter(name: str, kind: Kind, encoding: Encoding) -> Convert | None:
    """How a value of this kind becomes a number; None where it is one."""
    if kind == "text":
        return _coder(encoding.categories[name])
    converters: Mapping[Kind, Convert] = {
        "time": _seconds_of_time,
        "date": _seconds_of_date,
        "duration": _seconds_of_duration,
        "empty": _nothing,
        "texts": _nothing,  # they take more than one place, and are counted
    }
    return converters.get(kind)


def _coder(categories: Sequence[str]) -> Convert:
    codes: dict[object, float] = {text: float(i) for i, text in enumerate(categories)}
    get = codes.get

    def code(value: object) -> float:
        if value is not None and not isinstance(value, str):
            raise TypeError
        return get(value, _NAN)

    return code


def _counter(words: Sequence[str]) -> Callable[[object], list[float]]:
    def count(value: object) -> list[float]:
        if value is None:
            return [_NAN] * len(words)
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise TypeError
        return [float(value.count(word)) for word in words]

    return count


def _seconds_of_time(value: object) -> float:
    if value is None:
        return _NAN
    if not isinstance(value, datetime):
        raise TypeError
    since = (value if value.tzinfo is not None else value.replace(tzinfo=UTC)) - EPOCH
    return since // _MICROSECOND / 1e6


def _seconds_of_date(value: object) -> float:
    if value is None:
        return _NAN
    if not isinstance(value, date) or isinstance(value, datetime):
        raise TypeError
    return (value - _DAY_ZERO).days * 86_400.0


def _seconds_of_duration(value: object) -> float:
    if value is None:
        return _NAN
    if not isinstance(value, timedelta):
        raise TypeError
    return value // _MICROSECOND / 1e6


def _nothing(_: object) -> float:
    return _NAN
