"""Which rows train and which test: by when they asked, and by when their outcome was known."""

import datetime as dt

import numpy as np
import polars as pl
import pytest

from headwater.backtesting.split import split_rows
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


def test_by_default_three_quarters_have_asked():
    split = split_rows(_requests([(i, i) for i in range(8)]), None)
    assert (split.train.sum(), split.test.sum()) == (6, 2)


@pytest.mark.parametrize("rule", [{"known_at_field": "known"}, {"known_after": "2h"}])
def test_when_an_outcome_is_known_is_a_column_or_a_delay(rule):
    asked = [AT - dt.timedelta(hours=h) for h in (3, 2, 1)] + [AT]
    table = pl.DataFrame(
        {"asked": asked, "known": [a + dt.timedelta(hours=2) for a in asked], "bad": [True] * 4}
    )
    split = split_rows(read_labels(labels(table.cast({"asked": US, "known": US}), **rule)), AT)
    assert split.train.tolist() == [True, True, False, False]
    assert split.test.tolist() == [False, False, False, True]
