"""Figures of a backtest as frames, as CSV and as plotly's figures; what a page folds; the order of
its tables.
"""

from __future__ import annotations

import sys

import polars as pl
import pytest
from msgspec import structs

import headwater as hw
from headwater.backtesting.backtest import Backtest
from headwater.pages import result_frames
from tests.backtesting.sample_result import flights
from tests.pages.backtest_forms import to_html
from tests.pages.test_reports import changed, every_shape, every_task


@every_shape
@every_task
def test_every_shape_of_result_has_frames(change, task):
    result = changed(change, task)
    levels, steps = result_frames.levels(result), result_frames.steps(result)
    assert levels["level"].to_list() == [level.name for level in result.levels]
    assert steps.height == len(result.comparisons)
    assert result_frames.slices(result).height == sum(
        len(level.metrics) for part in result.slices for level in part.levels
    )
    assert result_frames.slice_steps(result).height == sum(
        len(part.comparisons) for part in result.slices
    )
    for frame in (levels, steps):
        assert not any(
            frame[name].is_nan().any() for name, dtype in frame.schema.items() if dtype.is_float()
        )


def test_csv_files_are_the_frames(tmp_path):
    backtest = Backtest(structs.replace(flights(), at="2026-11-27T02:00:00+00:00"))
    files = backtest.to_csv(tmp_path / "figures")
    assert [file.name for file in files] == [
        "levels.csv",
        "steps.csv",
        "slices.csv",
        "slice_steps.csv",
    ]
    assert pl.read_csv(files[0]).equals(
        backtest.levels.with_columns(pl.col("age_seconds").cast(pl.Float64))
    )
    assert "<dd>2026-11-27 02:00</dd>" in to_html(backtest.result)


@pytest.mark.parametrize("name", ["curve", "slices", "calibration"])
def test_a_picture_as_plotly_draws_it_has_the_values_of_the_result(name):
    pytest.importorskip("plotly")
    figure = Backtest(flights()).figure(name)
    marks = [y for trace in figure.data for y in (trace.x if name == "slices" else trace.y)]
    step = next(c for c in flights().comparisons if (c.from_, c.to) == ("daily", "minute"))
    expected = {
        "curve": flights().levels[-1].metrics["auc"].value,
        "slices": step.delta,
        "calibration": flights().levels[-1].curves.observed[-1],
    }
    assert expected[name] in marks


def test_figures_that_are_unknown_or_need_plotly_say_so(monkeypatch):
    with pytest.raises(hw.errors.UsageError, match="no figure 'curv'; did you mean 'curve'"):
        Backtest(flights()).figure("curv")
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    with pytest.raises(hw.errors.MissingExtraError, match=r"headwater\[plotly\]"):
        Backtest(flights()).figure()
