"""What a request may hold: keys of every type in any form, and fields; what does not fit is refused
by row, with the field, its type and what is allowed.
"""

from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError
from headwater.testing.examples import temporary_store

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
VALUES = {
    pl.Int64(): [1, -1, 2**63 - 1, -(2**63)],
    pl.Int8(): [3, -128],
    pl.UInt16(): [0, 65_535],
    pl.UInt64(): [0, 2**63 - 1, 2**63, 2**64 - 1],
    pl.Int128(): [1, -1, 2**63, -(2**63) - 1, 2**64, 2**126],
    pl.Boolean(): [True, False],
    pl.String(): ["", "é", "a" * 99, "b" * 101, "c" * 1000, "ü" * 300],
    pl.Categorical(): ["x", "y"],
    pl.Enum(["x", "y"]): ["y", "x"],
    pl.Date(): [date(2024, 5, 1), date(1969, 1, 1)],
    pl.Datetime("us", "UTC"): [NOON],
    pl.Datetime("us"): [NOON.replace(tzinfo=None)],
    pl.Datetime("ms", "Europe/Berlin"): [NOON, datetime(1969, 12, 31, tzinfo=UTC)],
    pl.Datetime("ns", "UTC"): [NOON],
    pl.Decimal(12, 2): [Decimal("1.50"), Decimal("-1.5"), Decimal("1.51"), Decimal(3)],
    pl.Decimal(38, 4): [Decimal(2**70), Decimal("-12345678901234567890.1234")],
    pl.Time(): [time(1, 2, 3, 4), time(0)],
    pl.Duration("ms"): [timedelta(days=-1, milliseconds=3), timedelta(0)],
    pl.Duration("ns"): [timedelta(microseconds=7)],
    pl.Binary(): [b"", b"\0a", b"a" * 600],
}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))


def view_of(columns, name="v", **more):
    """A view of one event for the first key, two for the second, and so on."""
    (count,) = {len(values) for _, values in columns.values()}
    rows = [n for n in range(count) for _ in range(n + 1)]
    table = pl.DataFrame(
        {
            key: pl.Series([values[n] for n in rows], dtype=dtype)
            for key, (dtype, values) in columns.items()
        }
    ).with_columns(at=pl.lit(NOON - timedelta(hours=1)))
    rules = {"timestamp_field": "at", "select": list(columns)}
    source = hw.Source(f"s_{name}", history=table, **rules)
    given = {"features": [hw.count()], "windows": ["1d"], "freshness": hw.batch("1h")} | more
    return hw.FeatureView(name, source=source, keys=list(columns), **given)


@contextmanager
def served(*members):
    """The online features of a service, of views that are materialized at noon."""
    service = hw.FeatureService("shop", list(members))
    asked = {
        name: [None] for name in ("amount", "since", *(k for v in service.views for k in v.keys))
    }
    table = pl.DataFrame({"asked": [NOON], "y": [True], **asked})
    labels = hw.Labels("l", table=table, timestamp_field="asked", label="y", known_after="1d")
    model = hw.Model("m", task="binary", features=service, labels=labels)
    with temporary_store() as store:
        hw.materialize(hw.Project("p", [model]), store=store, at=NOON)
        yield hw.operations.OnlineFeatures(service, store)


AT = int(NOON.timestamp() * 1_000_000) + 1


@pytest.mark.parametrize("dtype", VALUES, ids=str)
def test_a_key_of_any_type_is_found_however_it_is_asked_for(dtype):
    """As plain values, one and many, as a column, among nulls; and beside a second key."""
    values = VALUES[dtype]
    counts = list(range(1, len(values) + 1))
    second = [f"s{n}" for n in counts]
    pair = view_of({"a": (dtype, values), "b": (pl.String(), second)}, name="pair")
    with served(view_of({"a": (dtype, values)}), pair) as online:
        asked = {"a": [*values, None], "b": [*second, "s1"]}
        found = [[*counts, 0], [*counts, 0]]
        assert online.rows(asked, t=AT).values == found
        column = pl.Series(asked["a"], dtype=dtype)
        assert online.rows({"a": column, "b": asked["b"]}, t=AT).values == found
        frame = pl.DataFrame({"a": column, "b": asked["b"]})
        assert online.read(frame, at=NOON).to_dict(as_series=False) == dict(
            zip(online.names, found, strict=True)
        )
        for n, row in enumerate(zip(*asked.values(), strict=True)):
            assert online.row(dict(zip("ab", row, strict=True)), t=AT).values == [
                counts_of[n] for counts_of in found
            ]


def test_a_decimal_that_the_source_cannot_hold_is_no_key_and_numpy_is_plain():
    with served(view_of({"a": (pl.Decimal(12, 2), [Decimal("1.5")])})) as online:
        for text, count in (("1.500", 1), ("1.505", 0), ("NaN", 0), ("1e99", 0), ("1e-99", 0)):
            assert online.row({"a": Decimal(text)}, t=AT).values == [count]
    with served(view_of({"a": (pl.Int64(), [5])})) as online:
        assert online.row({"a": np.int32(5)}, t=AT).values == [1]


WRONG_KEYS = [
    (pl.Int64(), "1", "the key 'a' is Int64 in the source and String"),
    (pl.Int64(), True, "the key 'a' is Int64 in the source and Boolean"),
    (pl.Int64(), 1.0, "the key 'a' is a float"),
    (pl.Int64(), 2**70, "the field 'a' holds an integer of 71 bits"),
    (pl.String(), 1, "the key 'a' is String in the source and Int64"),
    (pl.Boolean(), 1, "the key 'a' is Boolean in the source and Int64"),
    (pl.String(), b"a", "the key 'a' is String in the source and Binary"),
    (pl.Datetime("us", "UTC"), NOON.replace(tzinfo=None), "the key 'a' is Datetime"),
    (pl.Datetime("us"), NOON, "the key 'a' is Datetime"),
    (pl.Date(), NOON, "the key 'a' is Date in the source and Datetime"),
    (pl.Decimal(12, 2), 1, "the key 'a' is Decimal"),
    (pl.Binary(), "a", "the key 'a' is Binary in the source and String"),
]


@pytest.mark.parametrize(("dtype", "value", "says"), WRONG_KEYS)
def test_a_key_of_another_type_is_refused_by_row(dtype, value, says):
    good = VALUES[dtype][0]
    with served(view_of({"a": (dtype, [good])})) as online:
        with pytest.raises(DataError, match=says):
            online.row({"a": value}, t=AT)
        if dtype != pl.Date():
            with pytest.raises(DataError, match=says if "bits" in says else f"row 1: .*{says}"):
                online.rows({"a": [good, value]}, t=AT)
        with pytest.raises(DataError, match=r"no (column|field) 'a', which .*view 'v'"):
            online.row({"b": 1}, t=AT)


# ---------------------------------------------------------------- rows as mappings

ROW = {"user": 1, "day": date(2024, 5, 1), "amount": 2.5, "since": NOON}


@pytest.fixture
def shop():
    users = view_of({"user": (pl.Int64(), [1])}, name="users")
    days = view_of({"day": (pl.Date(), [date(2024, 5, 1)])}, name="days")

    @hw.request_feature
    def spent(amount: float, n: int = users["count_1d"]) -> float:
        return amount * n

    fields = [hw.RequestField("amount", float), hw.RequestField("since", datetime)]
    with served(users, days, *fields, spent) as online:
        yield online


def test_json_and_plain_values_are_one_row(shop):
    """Text is a date or a time as in JSON; a whole number is a float where one is declared."""
    written = {
        **ROW,
        "day": "2024-05-01",
        "since": "2024-05-01T14:00:00+02:00",
        "user": np.int64(1),
    }
    names = ["users__count_1d", "days__count_1d", "amount", "spent"]
    for row, amount in ((ROW, 2.5), (written, 2.5), ({**written, "amount": 2}, 2.0)):
        found = hw.get_online_features(shop.service, [row], store=shop.store, at=NOON)
        assert found.select(names).row(0) == (1, 1, amount, amount)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"usr": 1}, "a field 'usr', which 'shop' does not read; did you mean 'user'"),
        ({"user": ...}, "no field 'user', which"),
        ({"user": "1"}, "the key 'user' is Int64 in the source and String"),
        ({"user": 1.0}, "the key 'user' is a float"),
        ({"amount": "5"}, "'amount' is declared float, and the column is String"),
        ({"amount": [1]}, "'amount': .*; a field is a string, a number, true, false or null"),
        ({"day": "2024-13-01"}, "the field 'day': .*; give a date"),
        (
            {"since": "2024-05-01T12:00:00"},
            "the field 'since': .*; give a timestamp, ISO 8601 with a UTC offset",
        ),
    ],
)
def test_errors_name_row_and_field(shop, change, says):
    row = {name: value for name, value in (ROW | change).items() if value is not ...}
    with pytest.raises(DataError, match=f"row 1: .*{says}"):
        hw.get_online_features(shop.service, [ROW, row], store=shop.store, at=NOON)
