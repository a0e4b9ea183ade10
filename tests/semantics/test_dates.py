"""A time that is a Date is the end of that day in the source's zone: offline, enriched, in labels,
materialised and streamed alike.
"""

from bisect import bisect_left
from contextlib import closing
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError
from headwater.testing.naive import agree, evaluate
from headwater.testing.naive_time import end_of_day
from tests.flow import Flow, at, micros, project_of

ZONES = [
    "UTC",
    "America/New_York",
    "Asia/Beirut",
    "Australia/Lord_Howe",
    *(
        pytest.param(zone, marks=pytest.mark.slow)
        for zone in ("Asia/Tokyo", "America/Sao_Paulo", "America/Havana", "Pacific/Apia")
    ),
]


@pytest.mark.parametrize("zone", ZONES)
def test_every_day_ends_when_the_clocks_show_the_next(zone):
    """Also where they skip midnight, show it twice, or leave out a day."""
    days = pl.date_range(date(1990, 1, 1), date(2035, 12, 31), eager=True).alias("day")
    ends = [end_of_day(day, zone) for day in days]
    assert ends == sorted(ends)
    asked_at = pl.Series(sorted({end + late for end in ends for late in (0, 1)}))
    rows = pl.DataFrame(
        {"timestamp": pl.from_epoch(asked_at, time_unit="us").dt.replace_time_zone("UTC")}
    )
    source = hw.Source("s", history=days.to_frame(), timestamp_field="day", timezone=zone)
    view = hw.FeatureView(
        "v",
        source=source,
        keys=[],
        features=[hw.count()],
        windows=["lifetime"],
        freshness=hw.on_request(),
    )
    found = hw.get_historical_features(view, rows)["v__count_lifetime"]
    assert found.to_list() == [bisect_left(ends, t) for t in asked_at]


TABLE = pl.DataFrame(
    {"k": [1, 1, 1, 1], "day": [date(2024, 3, d) for d in (8, 9, 10, 11)], "v": [1, 2, 4, 8]}
)


def view_of(source, freshness=None, windows=("3d",)):
    return hw.FeatureView(
        "v",
        source=source,
        keys=["k"],
        features=[hw.sum("v")],
        windows=list(windows),
        freshness=freshness or hw.on_request(),
    )


def source_of(table=TABLE, zone="America/New_York", **rules):
    return hw.Source(
        "s", history=table, timestamp_field="day", timezone=zone, select=["k", "v"], **rules
    )


def asked(*moments):
    return pl.DataFrame(
        {"k": [1] * len(moments), "timestamp": list(moments)},
        schema={"k": pl.Int64, "timestamp": pl.Datetime("us", "UTC")},
    )


def local(day, hour, minute=0, second=0):
    return datetime(
        2024, 3, day, hour, minute, second, tzinfo=ZoneInfo("America/New_York")
    ).astimezone(UTC)


MOMENTS = [
    local(9, 23, 59, 59),
    local(10, 0),
    local(10, 12),
    local(11, 0),
    local(12, 0),
    local(13, 0),
    local(14, 0),
]  # the tenth has 23 hours


@pytest.mark.parametrize(
    "freshness",
    [hw.on_request(), hw.streaming("1h"), hw.batch("1d", at="00:00", timezone="America/New_York")],
)
@pytest.mark.parametrize(
    "rules",
    [{}, {"known_after": "6h"}, {"window_on": "known_at", "known_after": "6h"}, {"id_field": "v"}],
)
def test_the_engine_says_what_the_naive_reference_says(freshness, rules):
    view = view_of(source_of(**rules), freshness)
    found = hw.get_historical_features(view, asked(*MOMENTS))["v__sum_v_3d"]
    for value, answer in zip(
        found, evaluate(view, TABLE.to_dicts(), asked(*MOMENTS).to_dicts()), strict=True
    ):
        assert agree(answer["v__sum_v_3d"], value)


def test_an_event_counts_from_the_end_of_its_day():
    found = hw.get_historical_features(view_of(source_of()), asked(*MOMENTS))[
        "v__sum_v_3d"
    ].to_list()
    # 3d is 72 hours, which reach an hour further back over the tenth
    assert found == [1, 3, 3, 7, 15, 14, 8]


def test_a_daily_cut_at_midnight_counts_the_day_that_has_just_ended():
    nightly = hw.batch("1d", at="00:00", timezone="America/New_York")
    found = hw.get_historical_features(
        view_of(source_of(), nightly, windows=["1d"]),
        asked(local(10, 0), local(11, 0), local(12, 0)),
    )
    assert found["v__sum_v_1d"].to_list() == [2, 6, 8]  # the tenth had 23 hours, and 1d is 24


def test_a_known_time_may_be_a_date():
    table = TABLE.with_columns(at=pl.col("day").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))
    source = hw.Source(
        "s",
        history=table,
        timestamp_field="at",
        known_at_field="day",
        timezone="America/New_York",
        select=["k", "v"],
    )
    rows = asked(*MOMENTS)
    found = hw.get_historical_features(view_of(source), rows)["v__sum_v_3d"].to_list()
    assert found == [
        answer["v__sum_v_3d"].value
        for answer in evaluate(view_of(source), table.to_dicts(), rows.to_dicts())
    ]
    assert found[:3] == [1, 3, 3]


def test_enriched_events_and_files_are_read_alike(tmp_path):
    TABLE.write_parquet(tmp_path / "t.parquet", row_group_size=1)
    for table in (TABLE, hw.parquet(tmp_path / "t.parquet")):
        source = source_of(table)
        enriched = hw.enrich(source, "e", [view_of(source)["sum_v_3d"]], select=["k", "v"])
        expected = hw.get_historical_features(view_of(source_of()), asked(*MOMENTS))
        for of in (source, enriched):
            assert hw.get_historical_features(view_of(of), asked(*MOMENTS)).equals(expected)


def test_a_label_that_is_asked_for_at_a_date_is_refused():
    table = pl.DataFrame({"k": [1], "y": [1], "known": [date(2024, 3, 10)]})
    dated = hw.Labels(
        "l",
        table=table,
        timestamp_field="known",
        label="y",
        known_after="1d",
        timezone="America/New_York",
        select=["k"],
    )
    with pytest.raises(
        DataError,
        match=(
            "'known' is a date without a time of day, and features differ within a day; say in "
            "select at which time"
        ),
    ):
        hw.get_historical_features(view_of(source_of()), dated)


def test_a_date_without_a_zone_is_refused_with_what_to_do():
    with pytest.raises(
        DataError,
        match=r"source 's'.*: the timestamp 'day' is a date, known at the end of that day, .*give timezone= ",
    ):
        hw.get_historical_features(view_of(source_of(zone=None)), asked(local(10, 0)))


def test_a_stream_of_dates_holds_each_until_its_day_is_over(tmp_path, monkeypatch):
    now = [0]
    monkeypatch.setattr("headwater.clock.now_micros", lambda: now[0])
    hour = 3600
    rules = {"timestamp_field": "day", "timezone": "Asia/Tokyo", "select": ["k", "v"]}
    source = hw.Source(
        "s", stream=hw.push(schema={"k": int, "day": date, "v": int}, at_least_once=True), **rules
    )
    view = view_of(source, hw.streaming("2s"))
    with closing(hw.operations.open_store(f"lmdb:{tmp_path}/online?size=1GB")) as store:
        flow = Flow([view], store, tmp_path)

        def value(second):
            now[0] = micros(second)
            flow.send([], second)
            (compared,) = hw.parity(project_of(view), store=store, data_dir=tmp_path, at=at(second))
            assert compared.mismatches == []
            read = hw.get_online_features(
                view, [{"k": 1}], store=store, at=at(second), details=True
            )
            return read["v__sum_v_3d"][0]

        now[0] = micros(0)  # nine in the morning of the first of May in Tokyo
        flow.send([{"k": 1, "day": "2024-04-30", "v": 1}, {"k": 1, "day": "2024-05-01", "v": 2}], 0)
        assert [value(second) for second in (1, 15 * hour - 1, 15 * hour)] == [1, 1, 3]


def test_a_batch_view_of_dates_is_materialised_alike(tmp_path):
    view = view_of(source_of(), hw.batch("1d"))
    with closing(hw.operations.open_store(f"lmdb:{tmp_path}/online?size=1GB")) as store:
        for cut in (datetime(2024, 3, 11, tzinfo=UTC), datetime(2024, 3, 12, tzinfo=UTC)):
            hw.materialize(project_of(view), store=store, at=cut)
            found = hw.get_online_features(view, [{"k": 1}], store=store, at=cut)["v__sum_v_3d"][0]
            assert found == hw.get_historical_features(view, asked(cut))["v__sum_v_3d"][0]
            (compared,) = hw.parity(project_of(view), store=store, at=cut)
            assert compared.mismatches == []
