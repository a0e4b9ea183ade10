"""Keys of several columns and of every type: those that a store shortens are told apart as training
does.
"""

from contextlib import closing
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.testing import clock
from tests.laws.streams import TIME, project

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
VALUES = {  # the type of a column, and values that differ in their last part alone
    "binary": (pl.Binary, [b"k", b"k" * 450, b"k" * 449 + b"l", b""]),
    "text": (pl.String, ["k", "k" * 450, "k" * 449 + "l", ""]),
    "date": (pl.Date, [date(2024, 5, 1), date(1969, 12, 31), date(2024, 5, 2), date(1, 1, 1)]),
    "time": (
        TIME,
        [
            NOON,
            NOON + timedelta(microseconds=1),
            NOON - timedelta(days=30_000),
            NOON + timedelta(days=1),
        ],
    ),
    "flag": (pl.Boolean, [True, False, True, False]),
    "whole": (pl.Int64, [0, -1, 2**63 - 1, -(2**63)]),
}


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("kind", VALUES)
def test_a_key_is_its_own(kind, alone, tmp_path, monkeypatch):
    """As rows of a frame, as plain values, one at a time and many; a key of nothing has nothing."""
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    dtype, values = VALUES[kind]
    columns = {"key": dtype} if alone else {"key": dtype, "shop": pl.Int64}
    rows = [{"key": value, "shop": shop} for value in values for shop in (1, 2)]
    events = [{**row, "n": 1 << n, "at": NOON - timedelta(minutes=1)} for n, row in enumerate(rows)]
    table = pl.DataFrame(events, schema={"key": dtype, "shop": pl.Int64, "n": pl.Int64, "at": TIME})
    source = hw.Source("s", history=table, timestamp_field="at", select=["key", "shop", "n"])
    view = hw.FeatureView(
        "v",
        source=source,
        keys=list(columns),
        features=[hw.sum("n"), hw.count()],
        windows=["1d"],
        freshness=hw.batch("1h"),
    )
    asked = pl.DataFrame(
        [*rows, {"key": None, "shop": 1}], schema={"key": dtype, "shop": pl.Int64}
    ).select(*columns)
    with (
        clock.at(NOON + timedelta(days=2)),
        closing(hw.operations.open_store(f"lmdb:{tmp_path}/store?size=64MB")) as store,
    ):
        hw.materialize(project([view]), store=store, at=NOON)
        reader = hw.operations.OnlineFeatures(hw.FeatureService("service", [view]), store)
        names = list(view.feature_names)
        expected = (
            hw.get_historical_features(
                view, asked.with_columns(pl.lit(NOON).cast(TIME).alias("timestamp"))
            )
            .select(names)
            .rows()
        )
        assert len(set(expected[:-1])) == len({tuple(row.items()) for row in asked[:-1].to_dicts()})
        assert reader.read(asked, at=NOON).select(names).rows() == expected
        for _ in range(5):
            assert reader.read(asked.to_dicts() * 9, at=NOON).select(names).rows() == expected * 9
        t = int(NOON.timestamp()) * 1_000_000
        assert [tuple(reader.row(row, t=t).values) for row in asked.to_dicts()] == expected
