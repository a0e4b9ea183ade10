"""Which rows train and which test: by when they asked, and by when their outcome was known."""

import datetime as dt

import numpy as np
import polars as pl
import pytest

from headwater.backtesting.split import describe, split_rows
from headwater.errors import UsageError
from headwater.training.label_rows import read_labels
from headwater.training.requests import Requests
from tests.backtesting.world import day, labels

AT = day(3)
US = pl.Datetime("us", "UTC")


def _requests(times, **more):
    """Requests that ask, and whose outcome is known, so many microseconds after AT."""
    asked, known = (
        np.array(column, np.int64) + int(AT.timestamp()) * 10**6
        for column in zip(*times, strict=True)
    )
    return Requests(
        pl.DataFrame({"row": range(len(times))}),
        asked,
        pl.Series("y", [0.0] * len(times)),
        known,
        **more,
    )


EITHER_SIDE = [(-10, -5), (10, 20)]  # so that there is something to train and to test on


@pytest.mark.parametrize(
    ("asked", "known", "part"),
    [
        (-1, 0, "train"),  # known at the split: known by then
        (-1, 1, "left out"),
        (-1, -1, "train"),
        (-1, -2, "train"),
        (0, 0, "test"),
        (0, 10**12, "test"),
        (1, 1, "test"),
        (-(10**9), 10**9, "left out"),
    ],
)
def test_a_row_trains_if_it_asked_before_and_was_known_by_the_split(asked, known, part):
    split = split_rows(_requests([(asked, known), *EITHER_SIDE]), AT)
    assert (split.train[0], split.test[0]) == (part == "train", part == "test")
    assert split.left_out == ({"outcome not known at the split": 1} if part == "left out" else {})
    assert not (split.train & split.test).any()


@pytest.mark.parametrize(
    "given",
    [
        "2024-03-07T00:00Z",
        "2024-03-07T00:00:00+00:00",
        "2024-03-06T19:00-05:00",
        AT,
        AT.astimezone(dt.timezone(dt.timedelta(hours=9))),
    ],
)
def test_a_split_is_a_moment_however_it_is_written(given):
    assert split_rows(_requests(EITHER_SIDE), given).at == int(AT.timestamp()) * 10**6


def test_by_default_three_quarters_have_asked():
    split = split_rows(_requests([(i, i) for i in range(8)]), None)
    assert (split.train.sum(), split.test.sum()) == (6, 2)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            "2024-03-07T00:00",
            (
                "split is 2024-03-07T00:00:00, which has no time zone; add its offset, such as "
                '"2024-03-07T00:00:00\\+00:00"'
            ),
        ),
        ("2024-03-07", "which has no time zone"),
        (AT.replace(tzinfo=None), "which has no time zone"),
        ("7 March 2024", "split is '7 March 2024'; give a timestamp as ISO 8601"),
        (dt.date(2024, 3, 7), "give an ISO 8601 text or a tz-aware datetime"),
        (day(2), "leaves no row to train on; the request times are from 2024-03-06T23:59:59"),
        (day(4), r"leaves no row to test on; the request times are from .* to 2024-03-07T00:00:00"),
    ],
)
def test_a_split_that_is_none_is_refused(given, says):
    with pytest.raises(UsageError, match=says):
        split_rows(_requests(EITHER_SIDE), given)


def test_rows_that_asked_at_one_moment_cannot_be_split_by_default():
    with pytest.raises(UsageError, match="leaves no row to train on"):
        split_rows(_requests([(0, 0)] * 5), None)


def test_outcomes_that_came_too_late_are_named():
    with pytest.raises(
        UsageError,
        match="leaves no row to train on: of 2 rows before it, no outcome was known by then",
    ):
        split_rows(_requests([(-2, 9), (-1, 9), (1, 9)]), AT)


def test_the_description_counts_every_row_once():
    times = [
        (-(86_400 * 10**6), -(3_600 * 10**6)),
        (-5, 10),
        (0, 2 * 10**6),
        (86_400 * 10**6, 86_400 * 10**6),
    ]
    requests = _requests(times)
    requests.left_out["labels: no bad"] = 2
    split = describe(requests, split_rows(requests, AT))
    assert (split.train_rows, split.test_rows) == (1, 2)
    assert split.left_out == {"labels: no bad": 2, "outcome not known at the split": 1}
    assert split.rows_per_day == [
        ("2024-03-06", 1, "left out"),
        ("2024-03-06", 1, "train"),
        ("2024-03-07", 1, "test"),
        ("2024-03-08", 1, "test"),
    ]
    assert (split.train_start, split.split, split.test_end) == tuple(
        f"2024-03-0{d}T00:00:00+00:00" for d in (6, 7, 8)
    )
    assert split.label_delay_seconds["max"] == 23 * 3600


@pytest.mark.parametrize("rule", [{"known_at_field": "known"}, {"known_after": "2h"}])
def test_when_an_outcome_is_known_is_a_column_or_a_delay(rule):
    asked = [AT - dt.timedelta(hours=h) for h in (3, 2, 1)] + [AT]
    table = pl.DataFrame(
        {"asked": asked, "known": [a + dt.timedelta(hours=2) for a in asked], "bad": [True] * 4}
    )
    split = split_rows(read_labels(labels(table.cast({"asked": US, "known": US}), **rule)), AT)
    assert split.train.tolist() == [True, True, False, False]
    assert split.test.tolist() == [False, False, False, True]
