"""Decimals, integers of 128 bits and numeric ids: exact, or an error, offline, as a batch and as a
stream; never two ids as one.
"""

from datetime import datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError, HeadwaterError
from tests.flow import BASE, Flow, at, clock, home, project_of, store, streaming_view  # noqa: F401 (fixtures)

FIRST, SECOND = 2**53 + 1, 2**53  # which are one float
EXACT = [
    hw.first("x"),
    hw.last("x"),
    hw.min("x"),
    hw.max("x"),
    hw.count_distinct("x"),
    hw.sum("x"),
    hw.mode("x"),
    hw.last_n("x", k=3),
]
WANTED = (FIRST, SECOND, SECOND, FIRST, 2, FIRST + SECOND, SECOND, [FIRST, SECOND])
WHOLE = {
    "decimal": pl.Decimal(20, 0),
    "decimal of 38 digits": pl.Decimal(38, 0),
    "int128": pl.Int128(),
    "uint64": pl.UInt64(),
    "int64": pl.Int64(),
}


def events(dtype, *values):
    times = [BASE + timedelta(seconds=n) for n in range(len(values))]
    return pl.DataFrame(
        {"key": [1] * len(values), "x": pl.Series(values, dtype=dtype), "at": times}
    )


def view(history, features, freshness=None, keys=("key",), **source):
    return hw.FeatureView(
        "v",
        source=hw.Source("events", history=history, timestamp_field="at", **source),
        keys=list(keys),
        features=features,
        windows=["1h"],
        freshness=freshness or hw.on_request(),
    )


def values(of, rows=None):
    asked = pl.DataFrame({"key": [1]} if rows is None else rows).with_columns(
        timestamp=pl.lit(BASE + timedelta(minutes=9))
    )
    return hw.get_historical_features(of, asked).select(of.feature_names)


@pytest.mark.parametrize("kind", WHOLE)
def test_integers_are_exact_whatever_type_holds_them(tmp_path, kind):
    path = tmp_path / "events.parquet"
    events(WHOLE[kind], FIRST, SECOND).write_parquet(path)
    for history in (path, events(WHOLE[kind], FIRST, SECOND)):
        found = values(view(history, EXACT))
        assert found.row(0) == WANTED
        if "decimal" in kind:
            assert found.dtypes[:7] == [pl.Int64] * 7
    by = values(view(path, [hw.count().by("x")]))
    assert by.row(0) == ({FIRST: 1, SECOND: 1},)


@pytest.mark.parametrize("kind", WHOLE)
def test_integers_are_keys_whatever_type_holds_them(tmp_path, store, kind):
    history = events(WHOLE[kind], FIRST, SECOND, SECOND)
    asked = pl.Series([FIRST, SECOND, 5, None], dtype=pl.Int64)
    assert values(view(history, [hw.count()], keys=["x"]), {"x": asked}).to_series().to_list() == [
        1,
        2,
        0,
        0,
    ]
    if kind != "uint64":
        rows = {"x": pl.Series([FIRST, SECOND], dtype=WHOLE[kind])}
        assert values(
            view(history.cast({"x": pl.Int64}), [hw.count()], keys=["x"]), rows
        ).to_series().to_list() == [1, 2]
    batch = view(history, [hw.count()], freshness=hw.batch("1h"), keys=["x"])
    hw.materialize(project_of(batch), store=store, at=BASE + timedelta(hours=1))
    for given in ([FIRST, SECOND, 5], [Decimal(FIRST), Decimal(SECOND), Decimal(5)])[
        : 2 if "decimal" in kind else 1
    ]:
        read = hw.get_online_features(
            batch,
            [{"x": key} for key in given],
            store=store,
            at=BASE + timedelta(hours=1, minutes=1),
        )
        assert read["v__count_1h"].to_list() == [1, 2, 0]


def test_a_key_with_a_fraction_is_no_integer(store):
    batch = view(events(pl.Decimal(20, 0), 5), [hw.count()], freshness=hw.batch("1h"), keys=["x"])
    hw.materialize(project_of(batch), store=store, at=BASE + timedelta(hours=1))
    rows = [{"x": Decimal(text)} for text in ("5", "5.0", "5.5", "NaN", "Infinity")]
    read = hw.get_online_features(batch, rows, store=store, at=BASE + timedelta(hours=1, minutes=1))
    assert read["v__count_1h"].to_list() == [1, 1, 0, 0, 0]


@pytest.mark.parametrize("kind", ["decimal", "decimal of 38 digits", "int128", "uint64"])
@pytest.mark.parametrize(
    "freshness", [hw.on_request(), hw.batch("1h")], ids=["historical", "batch"]
)
def test_integers_beyond_int64_are_refused_with_the_column_and_a_remedy(store, kind, freshness):
    history = events(WHOLE[kind], 2**63, 2**63 + 1)

    def call(features, **source):
        of = view(history, features, freshness, **source)
        if isinstance(freshness, type(hw.batch("1h"))):
            hw.materialize(project_of(of), store=store, at=BASE + timedelta(hours=1))
            return hw.get_online_features(
                of, [{"key": 1}], store=store, at=BASE + timedelta(hours=1, minutes=1)
            ).row(0)[-1]
        return values(of).row(0)[0]

    for feature in (hw.last("x"), hw.sum("x"), hw.count_distinct("x")):
        with pytest.raises(HeadwaterError) as raised:
            call([feature])
        assert "'x' holds integers beyond int64, such as 9223372036854775808" in str(raised.value)
        assert "pl.col('x').cast(pl.String)" in str(raised.value)
    assert call([hw.count_distinct("x")], select=["key", pl.col("x").cast(pl.String)]) == 2


# two floats; but of 17 digits, and a float holds 15
LONG = ["12345678901234.567", "12345678901234.568"]


def test_decimals_with_a_fraction_are_floats_while_a_float_tells_them_apart(store):
    short = events(pl.Decimal(12, 2), Decimal("12.34"), Decimal("-0.05"), Decimal("99999999.99"))
    assert values(view(short, [hw.first("x"), hw.max("x"), hw.count_distinct("x")])).row(0) == (
        12.34,
        99999999.99,
        3,
    )
    tiny = events(pl.Decimal(38, 30), Decimal("1.5"), Decimal("0.3"))
    assert values(view(tiny, [hw.last("x"), hw.count_distinct("x")])).row(0) == (0.3, 2)
    long = events(pl.Decimal(20, 3), *map(Decimal, LONG))
    assert values(view(long, [hw.sum("x"), hw.mean("x"), hw.count("x")])).row(0) == pytest.approx(
        (24691357802469.135, 12345678901234.5675, 2)
    )
    for feature in EXACT[:5] + EXACT[6:]:
        with pytest.raises(DataError) as raised:
            values(view(long, [feature]))
        assert f"the column 'x': {feature.function}() is exact" in str(raised.value)
        assert "12345678901234.567 has more" in str(raised.value)
        assert "(pl.col('x') * 1000).cast(pl.Int64)" in str(raised.value)
    remedied = view(
        long, [hw.count_distinct("x")], select=["key", (pl.col("x") * 1000).cast(pl.Int64)]
    )
    assert values(remedied).row(0) == (2,)


def test_a_stream_refuses_the_records_that_history_refuses(store, tmp_path, clock):
    """The others count, exactly."""
    clock(100)
    schema = {"key": int, "x": pl.Decimal(20, 0), "price": pl.Decimal(20, 3), "at": datetime}
    of = streaming_view([*EXACT, hw.last("price"), hw.sum("price")], schema=schema)
    flow = Flow([of], store, tmp_path)
    rows = [(FIRST, 1.5), (SECOND, 2.25), (2**63, 1.5), (7, LONG[0])]
    flow.send(
        [
            {"key": 1, "at": n, "x": x if x != 2**63 else str(x), "price": price}
            for n, (x, price) in enumerate(rows)
        ],
        50,
    )
    read = hw.get_online_features(of, [{"key": 1}], store=store, at=at(51))
    assert read.row(0) == (*WANTED, 2.25, 3.75)
    dead = hw.operations.dead_letters(project_of(of), "events", store=store, data_dir=tmp_path)
    assert sorted(dead["reason"]) == ["price has more than 15 digits", "x is beyond int64"]
