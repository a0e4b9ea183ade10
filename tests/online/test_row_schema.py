"""The struct that a feature service makes of its requests' rows: one judgement for JSON and for
plain values.
"""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import polars as pl
import pytest

from headwater.errors import DataError
from headwater.online.key_encoder import KeyColumn
from headwater.online.row_schema import Declared, RowField, RowSchema

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def key(name, dtype):
    return RowField([f"view {name!r}"], [(f"feature view {name!r}", KeyColumn(name, name, dtype))])


def field(name, dtype):
    return RowField([f"request field {name!r}"], (), [Declared(f"request field {name!r}", dtype)])


FIELDS = {
    "user": key("user", pl.Int64()),
    "a day": key("a day", pl.Date()),
    "amount": field("amount", float),
    "from": field("from", datetime),
}
ROW = {"user": 1, "a day": date(2024, 5, 1), "amount": 2.5, "from": NOON}
SCHEMA = RowSchema("shop", FIELDS)


def test_json_and_plain_values_become_the_same():
    decoded = SCHEMA.values(msgspec.json.decode(msgspec.json.encode(ROW), type=SCHEMA.row))
    assert decoded == SCHEMA.from_row(ROW) == ROW
    assert (
        SCHEMA.from_rows([ROW, ROW])
        == SCHEMA.from_columns({name: [v, v] for name, v in ROW.items()})
        == {n: [v, v] for n, v in ROW.items()}
    )


def test_a_number_is_a_float_where_it_is_declared_and_numpy_is_plain():
    assert type(SCHEMA.from_row({**ROW, "amount": 2})["amount"]) is float
    assert SCHEMA.from_row({**ROW, "user": np.int64(3)})["user"] == 3


def test_timestamps_are_in_utc_unless_their_zone_has_a_name():
    oslo = ZoneInfo("Europe/Oslo")
    assert SCHEMA.from_row({**ROW, "from": NOON.astimezone(oslo)})["from"].tzinfo is oslo
    assert SCHEMA.from_row({**ROW, "from": "2024-05-01T14:00:00+02:00"})["from"].tzinfo == ZoneInfo(
        "UTC"
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"usr": 1}, "a field 'usr', which 'shop' does not read; did you mean 'user'"),
        ({"user": ...}, "no field 'user', which view 'user' needs"),
        ({"user": "1"}, "feature view 'user': the key 'user' is Int64 in the source and String"),
        ({"user": 1.0}, "feature view 'user': the key 'user' is a float"),
        ({"amount": "5"}, "request field 'amount' is declared float, and the column is String"),
        (
            {"amount": [1]},
            "the field 'amount': .*; a field is a string, a number, true, false or null",
        ),
        ({"a day": "2024-13-01"}, "the field 'a day': .*; give a date"),
        (
            {"from": "2024-05-01T12:00:00"},
            "the field 'from': .*; give a timestamp, ISO 8601 with a UTC offset",
        ),
    ],
)
def test_errors_name_row_and_field(change, says):
    row = {name: value for name, value in (ROW | change).items() if value is not ...}
    with pytest.raises(DataError, match=says):
        SCHEMA.from_row(row)
    with pytest.raises(DataError, match=f"row 1: .*{says}"):
        SCHEMA.from_rows([ROW, row])


def test_optional_fields_are_in_all_rows_or_in_none():
    some = SCHEMA.optional({"item": RowField(["the ranking"])}, "_some")
    assert some.from_row({"item": "a"}) == {"item": "a"}
    with pytest.raises(
        DataError, match="row 1 and row 0 have different fields: only one has 'user'"
    ):
        some.from_rows([{"item": "a"}, {"item": "b", "user": 1}])


def test_a_field_with_two_declarations_is_what_both_allow():
    both = {
        "amount": [Declared("a", float), Declared("b", int)],
        "name": [Declared("a", str), Declared("b", int)],
    }
    schema = RowSchema(
        "shop", {name: RowField(["a"], (), declared) for name, declared in both.items()}
    )
    assert schema.from_row({"amount": 2, "name": None}) == {"amount": 2, "name": None}
    assert schema.whole == {"amount"}
    for row in (
        {"amount": 2.5, "name": None},
        {"amount": 2, "name": "a"},
        {"amount": 2, "name": 1},
    ):
        with pytest.raises(DataError):
            schema.from_row(row)
