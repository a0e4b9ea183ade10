"""Definitions and results show themselves in a notebook: small HTML, words of users escaped, and no
numbers of microseconds.
"""

import importlib
import re

import polars as pl
import pytest

import headwater as hw
from headwater.definitions.definition import Readable
from headwater.results.result import Result
from tests.public_modules import NAMES

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


class Measured(Result, frozen=True):
    """A result that holds a frame."""

    name: str
    seen: dict[str, int]
    rows: object = None


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


def test_a_result_shows_its_fields_and_its_frames():
    page = Measured("m", {f"key {n}": n for n in range(20)}, EVENTS)._repr_html_()
    assert "key 11: 11<br>and 8 more" in page
    assert EVENTS._repr_html_() in page
    assert "<th scope='row'" in page


PUBLIC = {
    f"{module}.{name}": (module, name)
    for module in NAMES
    for name in importlib.import_module(module).__all__
}


@pytest.mark.parametrize(("module", "name"), PUBLIC.values(), ids=PUBLIC)
def test_every_public_class_of_values_shows_itself(module, name):
    """Services, clients and readers are no values; of all others a notebook shows more than an
    address.
    """
    public = getattr(importlib.import_module(module), name)
    if not isinstance(public, type) or name in NO_VALUES:
        return
    assert issubclass(public, Readable) or "_repr_html_" in vars(public), name


NO_VALUES = {
    *(
        "AsyncClient",
        "Client",
        "DynamoDB",
        "Metric",
        "ModelRegistry",
        "OnlineFeatures",
        "OnlineStore",
        "Outcomes",
    ),
    *("PrecomputedReader", "ServedLog", "Service"),
}
