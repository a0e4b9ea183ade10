"""Dates of CSV that may have the day or the month first: refused until the definition says
which.
"""

from datetime import UTC, datetime

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError


def csv(tmp_path, *dates, name="events.csv"):
    path = tmp_path / name
    path.write_text(
        "\n".join(["user,x,at", *(f"a,{n + 1},{text}" for n, text in enumerate(dates))]) + "\n",
        encoding="utf-8",
    )
    return path


def summed(table, at, **more):
    source = hw.Source("p", history=table, timestamp_field="at", timezone="UTC", **more)
    view = hw.FeatureView(
        "v",
        source=source,
        keys=["user"],
        features=[hw.sum("x")],
        windows=["400d"],
        freshness=hw.on_request(),
    )
    return hw.get_historical_features(view, pl.DataFrame({"user": ["a"], "timestamp": [at]})).row(
        0
    )[-1]


FEBRUARY = datetime(2026, 2, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "01/02/2026",
        "1/2/2026",
        "01/02/26",
        "01.02.26",
    ],
)
def test_dates_that_may_be_both_are_refused_and_named(tmp_path, text):
    """2 January and 1 May in the United States: with the day first, a request of 10 February would
    see the event of May.
    """
    path = csv(tmp_path, text, text.replace("01", "05", 1).replace("1/2", "5/1", 1))
    for table in (path, str(path), hw.csv(path)):
        with pytest.raises(DataError) as raised:
            summed(table, FEBRUARY)
        said = str(raised.value)
        assert f"'at' (such as {text})" in said
        assert "hw.csv(path, dates='day-first') or dates='month-first'" in said


@pytest.mark.parametrize(
    "form",
    [
        "{}/{}/2026",
        "{}-{}-2026",
        "{}/{}/26",
    ],
)
def test_the_declared_order_is_read(tmp_path, form):
    path = csv(tmp_path, form.format("01", "02"), form.format("05", "01"))
    assert summed(hw.csv(path, dates="month-first"), FEBRUARY) == 1
    assert summed(hw.csv(path, dates="day-first"), FEBRUARY) == 3


@pytest.mark.parametrize(
    "dates",
    [
        ["2026-02-01", "2026-01-05"],
        ["2026/02/01", "2026/01/05"],
        ["01.02.2026", "05.01.2026"],
        ["13/01/2026", "01/02/2026"],
    ],
)
def test_dates_that_are_no_question_need_no_order(tmp_path, dates):
    """ISO 8601, dots, and a day above 12, which says that the day is first."""
    assert summed(csv(tmp_path, *dates), FEBRUARY) == 3
    assert summed(hw.csv(tmp_path / "events.csv", dates="day-first"), FEBRUARY) == 3


def test_files_of_a_folder_and_of_a_store_have_one_order(tmp_path, s3):
    for name, text in (("a.csv", "01/02/2026"), ("b.csv", "05/01/2026")):
        s3.put(f"dates/{name}", csv(tmp_path, text, name=name).read_bytes())
    with pytest.raises(DataError, match="may have the day or the month first"):
        summed(hw.csv("s3://shop/dates/", storage_options=s3.options), FEBRUARY)
    for dates, total in (("month-first", 1), ("day-first", 2)):
        assert summed(hw.csv(tmp_path, dates=dates), FEBRUARY) == total
        assert (
            summed(hw.csv("s3://shop/dates/", dates=dates, storage_options=s3.options), FEBRUARY)
            == total
        )
