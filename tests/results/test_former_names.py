"""Results that the release before wrote, and the names that it gave their fields."""

import json
from pathlib import Path

import pytest

from headwater.reports import wording
from headwater.results.backtest_result import BacktestResult
from headwater.results.estimate import Comparison

FORMAT_2 = json.loads((Path(__file__).parent / "backtest_format_2.json").read_text(encoding="utf-8"))


def test_a_backtest_of_the_release_before_is_read_with_the_names_of_today():
    """The file was written by the release before; its fields and verdicts have other names."""
    result = BacktestResult.from_dict(FORMAT_2)
    assert [(c.from_, c.to, c.delta, c.mde) for c in result.comparisons] == [
        (c["from"], c["to"], c["delta"], c["detectable"]) for c in FORMAT_2["paired"]
    ]
    words = [c.verdict_words for c in [*result.comparisons, *result.slices[0].comparisons]]
    assert words == [c["verdict"].replace("not shown", "not proven") for c in [*FORMAT_2["paired"], *FORMAT_2["slices"][0]["paired"]]]
    assert {"LIFT", "no lift worth having", "not proven"} <= set(words)
    assert wording.verdict(result) == "No recommendation: the result was made by an earlier release. Run the backtest again."


def test_what_is_written_again_has_the_names_of_today():
    again = BacktestResult.from_dict(FORMAT_2).to_dict()
    assert not {"paired", "detectable"} & {*again, *again["comparisons"][0]}
    assert BacktestResult.from_dict(again) == BacktestResult.from_dict(FORMAT_2)


def test_a_level_that_is_called_as_a_former_name_keeps_it():
    level = {**FORMAT_2["levels"][0], "name": "paired", "metrics": {"detectable": FORMAT_2["levels"][0]["metrics"]["auc"]}}
    (read, *_) = BacktestResult.from_dict({**FORMAT_2, "levels": [level]}).levels
    assert (read.name, [*read.metrics]) == ("paired", ["detectable"])


def test_fields_have_their_former_names_for_one_release():
    result = BacktestResult.from_dict(FORMAT_2)
    with pytest.warns(
        DeprecationWarning, match=r"BacktestResult\.paired is BacktestResult\.comparisons now; the next release removes the old name"
    ):
        assert result.paired is result.comparisons
    with pytest.warns(DeprecationWarning, match=r"SliceResult\.paired is SliceResult\.comparisons now"):
        assert result.slices[0].paired is result.slices[0].comparisons
    with pytest.warns(DeprecationWarning, match=r"Comparison\.detectable is Comparison\.mde now"):
        assert result.comparisons[0].detectable == result.comparisons[0].mde
    with pytest.raises(AttributeError, match="'BacktestResult' object has no attribute 'pared'"):
        _ = result.pared


def test_an_unknown_verdict_is_refused():
    data = {**BacktestResult.from_dict(FORMAT_2).comparisons[0].to_dict(), "verdict": "perhaps"}
    with pytest.raises(ValueError, match="perhaps"):
        Comparison.from_dict(data)
