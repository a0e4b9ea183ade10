"""Definitions and results show themselves in a notebook: small HTML, words of users escaped, and no
numbers of microseconds.
"""

import re

import polars as pl
import pytest

import headwater as hw

EVENTS = pl.DataFrame({"user": [1], "at": [0], "kind": ["a"]})
SOURCE = hw.Source(
    "clicks", history=EVENTS, timestamp_field="at", filter=pl.col("kind") == "<b>", known_after="1h"
)
VIEW = hw.FeatureView(
    "user",
    source=SOURCE,
    keys=["user"],
    windows=["2d"],
    features=[hw.count()],
    freshness=hw.batch("1d", delay="4h"),
)


@pytest.mark.parametrize(
    "value",
    [
        SOURCE,
        VIEW,
        hw.batch("1h"),
        hw.streaming("2s"),
        hw.Level(hw.never()),
        hw.Evaluation(refits=5),
        hw.count(),
    ],
)
def test_a_definition_shows_itself(value):
    page = value._repr_html_()
    assert f"<b>{type(value).__name__}</b>" in page
    assert page.count("<b>") == 1
    assert not re.search(r"\d{7}", page), "microseconds"
    assert "dyn int" not in page
    assert len(page) < 5_000
