"""Files that are not there."""

import pytest

from headwater.connectors.files import found
from headwater.errors import DataError


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(DataError, match=r"folder .* is empty"):
        found(str(tmp_path / "events.parquet"), ".parquet")
    with pytest.raises(DataError, match="its folder does not exist"):
        found(str(tmp_path / "none" / "events.parquet"), ".parquet")
    (tmp_path / "event.parquet").touch()
    with pytest.raises(DataError, match=r"did you mean 'event\.parquet'"):
        found(str(tmp_path / "events.parquet"), ".parquet")
