"""Figures of a backtest as frames, as CSV and as plotly's figures; what a page folds; the order of
its tables.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

import polars as pl
import pytest
from msgspec import structs
from plotly.graph_objects import Figure

from headwater.backtesting.backtest import Backtest
from headwater.errors import UsageError
from headwater.reports import result_frames, to_html, to_notebook
from headwater.reports.backtest_page import to_sections
from headwater.reports.document import FoldedBlocks, Table
from tests.backtesting.sample_result import METRICS, flights
from tests.reports.test_reports import changed, every_shape, every_task


def of(task="binary"):
    """A backtest whose headline is the last of its metrics."""
    result = flights(task)
    levels = [
        structs.replace(level, metrics=dict(reversed(level.metrics.items())))
        for level in result.levels
    ]
    return Backtest(structs.replace(result, levels=levels))


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


def test_the_headline_is_the_first_metric_of_every_table():
    backtest = of()
    metrics = [name for name in backtest.levels.columns if name in METRICS["binary"]]
    assert metrics[:2] == ["auc", "precision@10%"]
    assert backtest.levels.filter(pl.col("level") == "hourly").select(
        "auc", "auc_low", "auc_high"
    ).row(0) == (0.764, 0.749, 0.780)
    assert backtest.steps["metric"][0] == "auc"
    assert backtest.steps.row(0)[-1] == "LIFT"
    (levels, steps), fold = [
        [block for block in section.blocks if isinstance(block, kind)]
        for section in to_sections(backtest.result) if section.name == "levels" for kind in (Table, FoldedBlocks)
    ]  # fmt: skip
    assert [str(heading) for heading in levels.headings[2:4]] == ["AUC", "precision@10%"]
    assert [str(heading) for heading in steps.headings[1:4]] == [
        "verdict on AUC",
        "AUC gain",
        "precision@10% gain",
    ]
    assert "recall@10%" in [str(heading) for heading in fold[0].blocks[0].headings]
    heads = re.findall(r"<th scope=\"col\"[^>]*>(.*?)</th>", to_notebook(backtest.result))
    assert heads[:3] == ["level", "AUC", "precision@10%"]
    assert heads.index("AUC") < heads.index("kind")


def test_csv_files_are_the_frames_beside_the_page_and_in_it(tmp_path):
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
    page = to_html(backtest.result)
    link = re.search(
        r'<a download="late-levels.csv" href="data:text/csv;charset=utf-8,([^"]*)">levels</a>', page
    )
    assert link is not None
    assert unquote(link[1]) == files[0].read_text(encoding="utf-8")
    assert "· 2026-11-27</p>" in re.sub(r"\s+", " ", page)


def test_details_are_folded_and_the_contents_lead_to_each_section():
    sections, page = to_sections(flights()), to_html(flights())
    assert [section.name for section in sections if not section.folded] == [
        "curve",
        "levels",
        "slices",
        "world",
    ]
    assert re.findall(r'<li><a href="#(\w+)">', page) == [section.name for section in sections]
    assert (
        page.count("<details>")
        == page.count("</details>")
        == sum(section.folded for section in sections) + 1
    )


@pytest.mark.parametrize("name", ["curve", "slices", "days", "recall", "calibration"])
def test_a_figure_is_plotlys_own_in_colours_that_it_knows(name):
    figure = of().figure(name)
    assert isinstance(figure, Figure)
    assert "var(--" not in figure.to_json()
    figure.update_layout(title="mine")
    assert figure.layout.title.text == "mine"


def test_a_figure_that_there_is_not_is_named():
    with pytest.raises(UsageError, match="no figure 'curves'; did you mean 'curve'"):
        of().figure("curves")
    with pytest.raises(UsageError, match="nothing to draw in the figure 'calibration'"):
        of("regression").figure("calibration")
