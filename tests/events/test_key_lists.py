"""Lists of keys: elements as rows, and their values as lists again."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import DataError
from headwater.events.columns import EMPTY, EXPIRED, FALLBACK, MISSING, OVERFLOW, PRESENT
from headwater.events.key_lists import key_lists, plain_key_lists

LISTS = st.lists(
    st.one_of(st.none(), st.lists(st.one_of(st.none(), st.integers(0, 9)), max_size=4)), max_size=6
)


@given(LISTS)
def test_elements_come_back_as_the_same_lists(given_lists):
    column = pl.Series("ids", given_lists, pl.List(pl.Int64))
    lists, elements = key_lists(column, 4, "view")
    assert lists.lists(elements).equals(column, null_equal=True)
    plain, values = plain_key_lists(given_lists, 4, "ids", "view")
    assert plain.plain_lists(values) == given_lists
    assert values == elements.to_list()
    assert plain.rows.tolist() == lists.rows.tolist()


@pytest.mark.parametrize(
    "values",
    [
        pl.Series("v", [True, None, False]),
        pl.Series("v", ["a", None, "é"]),
        pl.Series("v", [[1], [], None]),
        pl.Series("v", [datetime(2024, 1, 1, tzinfo=UTC), None, None]),
        pl.Series("v", ["a", "b", None], pl.Enum(["a", "b"])),
        pl.Series("v", [{"a": 1}, None, {"a": 2}]),
        pl.Series("v", [None, None, None]),
    ],
)
def test_values_of_any_dtype_become_lists(values):
    lists, _ = key_lists(pl.Series("ids", [[1, 2], None, [], [3]]), 2, "view")
    made = lists.lists(values)
    assert made.dtype == pl.List(values.dtype)
    assert made.name == "v"
    assert made.to_list() == [values[:2].to_list(), None, [], values[2:].to_list()]


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([MISSING, PRESENT], PRESENT),
        ([EMPTY, MISSING], EMPTY),
        ([EXPIRED, EMPTY], EXPIRED),
        ([PRESENT, FALLBACK], FALLBACK),
        ([FALLBACK, OVERFLOW], OVERFLOW),
        ([MISSING, MISSING], MISSING),
    ],
)
def test_the_status_of_a_list_is_the_first_of_its_elements(codes, expected):
    lists, _ = key_lists(pl.Series("ids", [None, [1, 2], []]), 2, "view")
    assert lists.statuses(np.array(codes, np.uint8)).tolist() == [MISSING, expected, EMPTY]


def test_lists_that_are_too_long_are_refused_by_row():
    with pytest.raises(
        DataError,
        match=r"row 1: 'ids' holds 3 keys, and feature view 'v' takes up to 2; give a shorter list, or raise each\(max_length=\)",
    ):
        key_lists(pl.Series("ids", [[1], [1, 2, 3]]), 2, "feature view 'v'")
    with pytest.raises(DataError, match=r"^'ids' holds 3 keys"):
        plain_key_lists([[1, 2, 3]], 2, "ids", "feature view 'v'")
    with pytest.raises(DataError, match="row 1: v is looked up by a list, and 'ids' is 7"):
        plain_key_lists([[1], 7], 2, "ids", "v")


def test_a_column_of_nulls_holds_no_list():
    lists, elements = key_lists(pl.Series("ids", [None, None]), 2, "view")
    assert lists.lists(elements).to_list() == [None, None]
