"""Posted outcomes are values of their label's type; others are refused one by one."""

from datetime import UTC, datetime

import polars as pl
import pytest

import headwater as hw

TYPES = {
    "boolean": (pl.Boolean, [True, 0, 1.0], [True, False, True], [2, -1, "true", 0.5, None]),
    "integer": (pl.Int8, [3, 2.0, True], [3, 2, 1], [2.5, "3", float("nan"), None]),
    "float": (pl.Float64, [3, 2.5, True], [3.0, 2.5, 1.0], ["3", float("inf"), None]),
    "text": (pl.String, ["a", "", "3"], ["a", "", "3"], [3, True, 2.5, None]),
}


def labels_of(dtype):
    rows = {
        "user": [1],
        "at": [datetime(2024, 5, 1, tzinfo=UTC)],
        "y": pl.Series([None], dtype=dtype),
    }
    return hw.Labels(
        "paid",
        table=pl.DataFrame(rows),
        timestamp_field="at",
        label="y",
        known_after="1h",
    )


@pytest.mark.parametrize("name", TYPES)
def test_an_outcome_has_the_type_of_its_label(tmp_path, name):
    dtype, taken, expected, refused = TYPES[name]
    labels = labels_of(dtype)
    journal = hw.operations.Outcomes(tmp_path, labels)
    try:
        rows = [
            {"request_id": f"r{n}", "outcome": value} for n, value in enumerate([*taken, *refused])
        ]
        added = journal.add(rows)
    finally:
        journal.close()
    assert added.accepted == len(taken)
    assert [index for index, _ in added.refused] == list(range(len(taken), len(rows)))
    assert all("outcome" in error for _, error in added.refused)
    found = hw.operations.outcomes(tmp_path, labels).sort("headwater_request")
    assert found["headwater_request"].to_list() == ["r0", "r1", "r2"]
    assert found["headwater_outcome"].to_list() == expected
