"""The table of aggregations: a row says all of a function, and definitions have a line for each."""

from dataclasses import replace

import pytest

import headwater as hw
from headwater.aggregations.table import TABLE, family
from headwater.definitions.feature_view import FUNCTIONS
from headwater.errors import DefinitionError
from headwater.testing import cases
from headwater.testing.references import EMPTY, REFERENCES

EXAMPLES = {a.function: replace(a, secondary=None, windows=None) for a in cases.aggregations()}


def test_each_function_has_a_row_a_definition_and_a_reference():
    assert list(TABLE) == list(FUNCTIONS)
    assert set(TABLE) == set(REFERENCES) == set(EXAMPLES)
    assert {
        name: list(row.empty) if row.empty == () else row.empty
        for name, row in TABLE.items()
        if row.empty is not None
    } == EMPTY
    assert all(row.definition is FUNCTIONS[name] for name, row in TABLE.items())


@pytest.mark.parametrize("function", TABLE)
def test_a_row_names_a_family(function):
    assert family(function, dict(EXAMPLES[function].params)) == family(
        function, dict(EXAMPLES[function].params)
    )


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_can_be_split_is_what_the_table_says(function):
    made = EXAMPLES[function]
    if FUNCTIONS[function].splits:
        assert made.by("word").secondary.column == "word"
    else:
        with pytest.raises(
            DefinitionError, match=r"cannot be split by 'word'.*These can: count, decayed_mean, "
        ):
            made.by("word")


@pytest.mark.parametrize("function", FUNCTIONS)
def test_only_what_divides_by_its_window_refuses_a_lifetime(function):
    given = {
        "source": hw.Source("s", timestamp_field="at"),
        "keys": ["key"],
        "features": [EXAMPLES[function]],
    }
    if FUNCTIONS[function].needs_length:
        with pytest.raises(
            DefinitionError, match=rf"{function}\(\) divides by the length of its window"
        ):
            hw.FeatureView("v", freshness=hw.streaming("1s"), **given)
    else:
        assert hw.FeatureView("v", freshness=hw.streaming("1s"), **given).outputs
