"""The unit in which a source reads event times that are numbers, and what it says of numbers in
another unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl

from headwater.definitions.source import Source, bottom_of, output_name, root_columns
from headwater.errors import HeadwaterError
from headwater.events.read_events import timestamp_micros
from headwater.ingestion.serde.json import EXAMPLE, LATEST

UNITS: Final = {"s": 1e6, "ms": 1e3, "us": 1.0, "ns": 1e-3}
"""Microseconds of each unit that a time may be counted in."""

# microseconds: an event that was sent in another unit happened about when it was received
_NEAR: Final = 366 * 86_400_000_000
# microseconds: now as a number of one unit, read in a smaller one, is before April 1970
_EARLY: Final = 10_000_000_000_000
_PROBES: Final = (1_000_000_000, 2_000_000_000)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class TimeNumber:
    """An event time that records write as a number.

    column: of the record. unit: in which the source reads it, a key of `UNITS`.
    """

    column: str
    unit: str

    @staticmethod
    def of(source: Source, schema: Mapping[str, pl.DataType]) -> TimeNumber | None:
        """That of a source whose records have these columns; None where it is none, or made of
        several columns.

        >>> from headwater.definitions.connectors import push
        >>> millis = [pl.from_epoch("ts", time_unit="ms").dt.replace_time_zone("UTC").alias("at")]
        >>> TimeNumber.of(
        ...     Source("a", timestamp_field="at", select=millis, stream=push(schema={"ts": int})),
        ...     {"ts": pl.Int64()},
        ... )
        TimeNumber(column='ts', unit='ms')
        """
        source = bottom_of(source)
        name, item, roots = (
            source.timestamp_field,
            _item(source, source.timestamp_field),
            made_of(source, source.timestamp_field),
        )
        if len(roots) != 1 or not roots <= schema.keys() or source.stream is None:
            return None
        (column,) = roots
        if isinstance(schema[column], pl.Datetime):
            return (
                None
                if source.stream.timestamps == "iso"
                else TimeNumber(column, source.stream.timestamps)
            )
        if not schema[column].is_numeric():
            return None
        with suppress(HeadwaterError, pl.exceptions.PolarsError):
            made = pl.DataFrame(pl.Series(column, _PROBES, schema[column], strict=False)).select(
                item
            )
            micros = (
                made.select(timestamp_micros(name, made.schema, source.timezone, ""))
                .to_series()
                .to_list()
            )
            for unit, length in UNITS.items():
                if micros == [probe * length for probe in _PROBES]:
                    return TimeNumber(column, unit)
        return None

    @property
    def described(self) -> str:
        """What a value of the column has to be, with an example."""
        return f"a timestamp in {self.unit} since 1970, such as {self.number(EXAMPLE)}"

    def number(self, when: datetime) -> int:
        """A time as the number that records write."""
        micros = (when - _EPOCH) // timedelta(microseconds=1)
        return micros * 1000 if self.unit == "ns" else micros // int(UNITS[self.unit])

    def numbers(self, rows: pl.DataFrame) -> pl.Series:
        """The numbers that records wrote; of a timestamp, those of its unit."""
        column = rows[self.column]
        return (
            column.dt.epoch("us") // int(UNITS[self.unit])
            if isinstance(column.dtype, pl.Datetime)
            else column
        )

    def are_usual(self, numbers: pl.Series) -> bool:
        """Whether no number can be one of another unit: all are times after April 1970, and before
        the year 10000.
        """
        low, high, length = numbers.min(), numbers.max(), UNITS[self.unit]
        return (
            isinstance(low, int | float)
            and isinstance(high, int | float)
            and low * length > _EARLY
            and high * length < LATEST
        )

    def in_other_unit(self, numbers: pl.Series, received: pl.Series) -> dict[int, str]:
        """Which of n numbers are of another unit, and why: in that one they are about when the
        record was received.

        Args:
            numbers: as of `numbers`, (n).
            received: when each record was taken in, int64 (n), microseconds.
        """
        reasons: dict[int, str] = {}
        for unit, length in UNITS.items():
            if unit != self.unit:
                for n in ((numbers.cast(pl.Float64) * length - received).abs() < _NEAR).arg_true():
                    reasons[n] = self._reason(int(numbers[n]), unit)
        return reasons

    def _reason(self, number: int, unit: str) -> str:
        own, sent = UNITS[self.unit], UNITS[unit]
        right = number * round(sent / own) if sent > own else number // round(own / sent)
        micros = number * own
        read = (
            f"{_EPOCH + timedelta(microseconds=micros):%Y-%m-%dT%H:%M:%SZ}"
            if abs(micros) <= LATEST
            else "beyond the year 9999"
        )
        return (
            f"{self.column} was sent in {unit} since 1970, and is read in {self.unit}: {number} "
            f"is {read}; send {right}"
        )


def made_of(source: Source, name: str) -> frozenset[str]:
    """The columns of a record that a column of a source is made of."""
    return root_columns(_item(source, name))


def _item(source: Source, name: str) -> str | pl.Expr:
    return next((item for item in source.select or () if output_name(item) == name), name)
