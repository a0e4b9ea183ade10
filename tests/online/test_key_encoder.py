"""Keys of requests become the bytes that those of events have, for any dtype and form of the
request.
"""

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from headwater.errors import DataError
from headwater.online.key_encoder import KeyColumn, KeyEncoder
from headwater.state.record import decoded_keys, key_bytes
from headwater.stores import keyspace

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
VALUES = {
    pl.Int64(): [1, -1, 2**63 - 1, -(2**63)],
    pl.Int8(): [3, -128],
    pl.UInt64(): [0, 2**63 - 1, 2**63, 2**64 - 1],
    pl.Boolean(): [True, False],
    pl.String(): ["", "é", "a" * 99, "b" * 101, "c" * 1000, "ü" * 300],
    pl.Categorical(): ["x", "y"],
    pl.Enum(["x", "y"]): ["y", "x"],
    pl.Date(): [date(2024, 5, 1), date(1969, 1, 1)],
    pl.Datetime("us", "UTC"): [NOON],
    pl.Datetime("us"): [NOON.replace(tzinfo=None)],
    pl.Datetime("ms", "Europe/Berlin"): [NOON, datetime(1969, 12, 31, tzinfo=UTC)],
    pl.Datetime("ns", "UTC"): [NOON],
    pl.Int128(): [1, -1, 2**63, -(2**63) - 1, 2**64, 2**126],
    pl.Decimal(12, 2): [
        Decimal("1.50"),
        Decimal("-1.5"),
        Decimal("1.51"),
        Decimal(3),
        Decimal("1e3"),
    ],
    pl.Decimal(38, 4): [Decimal(2**70), Decimal("-12345678901234567890.1234")],
    pl.Time(): [time(1, 2, 3, 4), time(0)],
    pl.Duration("ms"): [timedelta(days=-1, milliseconds=3), timedelta(0)],
    pl.Duration("ns"): [timedelta(microseconds=7)],
    pl.Binary(): [b"", b"\0a", b"a" * 600],
}


def encoder(*dtypes):
    return KeyEncoder(
        [KeyColumn(f"k{n}", f"c{n}", dtype) for n, dtype in enumerate(dtypes)], "the view"
    )


def stored(*columns):
    return keyspace.shortened(
        key_bytes(
            pl.DataFrame(
                [pl.Series(f"k{n}", values, dtype) for n, (dtype, values) in enumerate(columns)]
            )
        )
    )


@pytest.mark.parametrize("dtype", VALUES, ids=str)
def test_a_key_is_encoded_as_that_of_events(dtype):
    values, expected = VALUES[dtype], stored((dtype, VALUES[dtype]))
    made = encoder(dtype)
    assert list(made.many({"c0": values}, len(values))) == expected
    assert list(made.many({"c0": pl.Series(values, dtype=dtype)}, len(values))) == expected
    assert [made.one({"c0": value}) for value in values] == expected
    assert list(made.many({"c0": [*values, None]}, len(values) + 1)) == [*expected, None]
    assert made.one({"c0": None}) is None


@pytest.mark.parametrize("dtype", VALUES, ids=str)
def test_a_stored_key_says_its_value(dtype):
    stored_keys = key_bytes(pl.DataFrame({"k": pl.Series(VALUES[dtype], dtype=dtype)}))
    assert [decoded_keys(key, dtype) for key in stored_keys] == VALUES[dtype]


@pytest.mark.parametrize("other", [pl.String(), pl.Date()], ids=str)
@pytest.mark.parametrize("dtype", VALUES, ids=str)
def test_keys_of_several_columns(dtype, other):
    values = VALUES[dtype]
    second = (VALUES[other] * 4)[: len(values)]
    made, expected = encoder(dtype, other), stored((dtype, values), (other, second))
    assert list(made.many({"c0": values, "c1": second}, len(values))) == expected
    assert [made.one({"c0": a, "c1": b}) for a, b in zip(values, second, strict=True)] == expected
    assert made.one({"c0": values[0], "c1": None}) is None


def test_a_timestamp_is_the_same_key_in_any_zone():
    berlin, fixed = ZoneInfo("Europe/Berlin"), timezone(timedelta(hours=-5, minutes=-30))
    for dtype in (pl.Datetime("us", "UTC"), pl.Datetime("ms", "America/New_York")):
        expected = stored((dtype, [NOON]))
        made = encoder(dtype)
        assert [
            made.one({"c0": NOON.astimezone(zone)}) for zone in (UTC, berlin, fixed)
        ] == expected * 3
        assert (
            list(made.many({"c0": pl.Series([NOON], dtype=pl.Datetime("us", "Europe/Berlin"))}, 1))
            == expected
        )


def test_a_decimal_that_the_source_cannot_hold_is_no_key():
    assert [
        encoder(pl.Decimal(12, 2)).one({"c0": Decimal(text)})
        for text in ("1.505", "NaN", "1e99", "1e-99")
    ] == [None] * 4


def test_scalars_of_numpy_are_what_they_hold():
    assert encoder(pl.Int64()).one({"c0": np.int32(5)}) == encoder(pl.Int64()).one({"c0": 5})
    assert encoder(pl.String()).one({"c0": np.str_("a")}) == b"a"


@pytest.mark.parametrize(
    ("dtype", "value", "says"),
    [
        (pl.Int64(), "1", "the key 'k0' is Int64 in the source and String"),
        (pl.Int64(), True, "the key 'k0' is Int64 in the source and Boolean"),
        (pl.Int64(), 1.0, "the key 'k0' is a float"),
        (pl.Int64(), 2**70, "the field 'c0' holds an integer of 71 bits"),
        (pl.String(), 1, "the key 'k0' is String in the source and Int64"),
        (pl.Boolean(), 1, "the key 'k0' is Boolean in the source and Int64"),
        (pl.Date(), "2024-05-01", "the key 'k0' is Date in the source and String"),
        (pl.String(), b"a", "the key 'k0' is String in the source and Binary"),
        (pl.Datetime("us", "UTC"), NOON.replace(tzinfo=None), "the key 'k0' is Datetime"),
        (pl.Datetime("us"), NOON, "the key 'k0' is Datetime"),
        (pl.Date(), NOON, "the key 'k0' is Date in the source and Datetime"),
        (pl.Decimal(12, 2), 1, "the key 'k0' is Decimal"),
        (pl.Binary(), "a", "the key 'k0' is Binary in the source and String"),
    ],
)
def test_a_value_of_another_type_is_refused_by_row(dtype, value, says):
    made, good = encoder(dtype), VALUES[dtype][0]
    with pytest.raises(DataError, match=says):
        made.one({"c0": value})
    if dtype != pl.Date():
        with pytest.raises(DataError, match="row 1: .*" + says if "bits" not in says else says):
            made.many({"c0": [good, value]}, 2)
    with pytest.raises(DataError, match="has no 'c0', which the view is looked up by; known: c1"):
        made.many({"c1": [1]}, 1)
