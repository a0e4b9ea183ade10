"""Files that are not there, and CSV with other separators."""

from datetime import UTC, datetime

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError, DefinitionError


def summed(table):
    """The sum of `n` by user, over all of a table."""
    source = hw.Source("events", history=table, timestamp_field="at", timezone="UTC")
    view = hw.FeatureView(
        "v", source=source, keys=["user"], features=[hw.sum("n")], freshness=hw.on_request()
    )
    rows = pl.DataFrame({"user": ["ann"], "timestamp": [datetime(2024, 5, 2, tzinfo=UTC)]})
    return hw.get_historical_features(view, rows)["v__sum_n"].to_list()


def test_what_is_missing_is_named(tmp_path):
    for path, words in (
        ("events.parquet", r"folder .* is empty"),
        ("none/events.parquet", "its folder does not exist"),
    ):
        with pytest.raises(DataError, match=words):
            summed(hw.parquet(tmp_path / path))
    (tmp_path / "event.parquet").touch()
    with pytest.raises(DataError, match=r"did you mean 'event\.parquet'"):
        summed(hw.parquet(tmp_path / "events.parquet"))


@pytest.mark.parametrize("separator", [";", "\t", "|", ","])
def test_csv_has_the_separator_that_is_given(tmp_path, separator):
    path = tmp_path / "events.csv"
    lines = (("user", "n", "at"), ("ann", "1", "2024-05-01T12:00:00"))
    path.write_text("".join(separator.join(line) + "\n" for line in lines))
    assert summed(hw.csv(path, separator=separator)) == [1]
    other = ";" if separator == "," else ","
    with pytest.raises(DataError, match="seem to be separated by") as raised:
        summed(hw.csv(path, separator=other))
    assert f"Give hw.csv(path, separator={separator!r})" in str(raised.value)
    assert (hw.csv(path, separator=separator) == hw.csv(path)) == (separator == ",")


@pytest.mark.parametrize("separator", ["", ";;", "\n", '"', "é", 5])
def test_other_separators_are_refused(separator):
    with pytest.raises(DefinitionError, match="give one character of ASCII"):
        hw.csv("events.csv", separator=separator)
