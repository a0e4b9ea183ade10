"""Files that are not there, and CSV with other separators."""

import pytest

import headwater as hw
from headwater.connectors import find_files, scan
from headwater.errors import DataError, DefinitionError


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(DataError, match=r"folder .* is empty"):
        find_files(str(tmp_path / "events.parquet"), ".parquet")
    with pytest.raises(DataError, match="its folder does not exist"):
        find_files(str(tmp_path / "none" / "events.parquet"), ".parquet")
    (tmp_path / "event.parquet").touch()
    with pytest.raises(DataError, match=r"did you mean 'event\.parquet'"):
        find_files(str(tmp_path / "events.parquet"), ".parquet")


@pytest.mark.parametrize("separator", [";", "\t", "|", ","])
def test_csv_has_the_separator_that_is_given(tmp_path, separator):
    path = tmp_path / "events.csv"
    path.write_text(f"user{separator}n\nann{separator}1\n")
    assert scan(hw.csv(path, separator=separator)).collect().rows() == [("ann", 1)]
    other = ";" if separator == "," else ","
    with pytest.raises(DataError, match="seem to be separated by") as raised:
        scan(hw.csv(path, separator=other))
    assert f"Give hw.csv(path, separator={separator!r})" in str(raised.value)
    assert (hw.csv(path, separator=separator) == hw.csv(path)) == (separator == ",")


@pytest.mark.parametrize("separator", ["", ";;", "\n", '"', "é", 5])
def test_other_separators_are_refused(separator):
    with pytest.raises(DefinitionError, match="give one character of ASCII"):
        hw.csv("events.csv", separator=separator)
