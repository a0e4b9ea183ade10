"""Expressions as strings: what the user wrote, without polars' types of literals."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from headwater.definitions.definition import expression_text

COLUMN = pl.col


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (COLUMN("hour") < 17, "hour < 17"),
        (COLUMN("share") >= 0.5, "share >= 0.5"),
        ((COLUMN("country") == "no") & (COLUMN("fee") > 1.5), '(country == "no") & (fee > 1.5)'),
        (
            (COLUMN("a") > 1) | (COLUMN("b") > 2) & (COLUMN("c") < 3),
            "(a > 1) | ((b > 2) & (c < 3))",
        ),
        ((COLUMN("a") + COLUMN("b") * 2) > -10, "(a + (b * 2)) > -10"),
        (COLUMN("at").dt.hour().is_between(6, 17), "at.dt.hour().is_between(6, 17)"),
        (COLUMN("at").dt.convert_time_zone("America/New_York").dt.hour() >= 17, "hour of at >= 17"),
        (COLUMN("kind").is_in(["a", "b"]), 'kind.is_in(["a", "b"])'),
        (COLUMN("n").is_in([1, 2]), "n.is_in([1, 2])"),
        ((COLUMN("a") + 1).abs() > 3, "(a + 1).abs() > 3"),
        (~(COLUMN("a") > 1), "(a > 1).not()"),
        (COLUMN("at") >= datetime(2024, 5, 1, tzinfo=UTC), "at >= 2024-05-01 00:00:00 UTC"),
        (COLUMN("day") == date(2024, 1, 1), "day == 2024-01-01"),
        (COLUMN("end") - timedelta(days=1) > COLUMN("start"), "(end - 1d) > start"),
        (COLUMN("two words") > 1, 'col("two words") > 1'),
        (COLUMN("text") == "dyn int: 3", 'text == "dyn int: 3"'),
        (COLUMN("text").str.contains("a(b[c"), 'text.str.contains("a(b[c")'),
        (COLUMN("flag"), "flag"),
    ],
)
def test_a_text_to_read(expression, text):
    assert expression_text(expression) == text


@pytest.mark.parametrize("text", ['a"b', "[(", ")]", "é", ""])
def test_any_string_is_shown(text):
    assert text in expression_text((COLUMN("name") == text) & (COLUMN("n") > 1))
