"""Figures of a result as plotly's own objects, which a notebook shows and its user changes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING

from headwater.errors import UsageError, nearest
from headwater.reports import figures, wording
from headwater.reports.page import part
from headwater.reports.plot_parts import Json
from headwater.results.backtest_result import BacktestResult

if TYPE_CHECKING:
    from plotly.graph_objects import Figure as PlotlyFigure

_VARIABLE = re.compile(r"var\((--[a-z0-9-]+)\)")


def to_figure(result: BacktestResult, name: str) -> PlotlyFigure:
    """A figure of the report on white paper.

    Raises:
        UsageError: no figure has this name, or the result has nothing to draw in it.
    """
    from plotly.graph_objects import Figure as PlotlyFigure

    if name not in _FIGURES:
        raise UsageError(f"no figure {name!r}; {nearest(name, _FIGURES)}")
    plot = _FIGURES[name](result)
    if plot is None:
        raise UsageError(f"this result has nothing to draw in the figure {name!r}")
    coloured = _coloured(plot)
    assert isinstance(coloured, dict)
    figure = PlotlyFigure(data=coloured["data"], layout=coloured["layout"])
    figure.update_layout(paper_bgcolor="white", plot_bgcolor="white", dragmode="zoom")
    figure.update_xaxes(fixedrange=False)
    figure.update_yaxes(fixedrange=False)
    return figure


def _slices(result: BacktestResult) -> Json | None:
    step = wording.main_step(result)
    return figures.slice_gains(result, step) if step is not None and result.slices else None


_FIGURES: Mapping[str, Callable[[BacktestResult], Json | None]] = {
    "curve": figures.lift_curve,
    "slices": _slices,
    "days": figures.rows_per_day,
    "recall": figures.precision_recall,
    "calibration": figures.calibration,
}


def _coloured(value: object) -> object:
    """The figure with the light colours of the style sheet in place of its variables."""
    if isinstance(value, str):
        return _VARIABLE.sub(lambda match: _light()[match[1]], value)
    if isinstance(value, dict):
        return {key: _coloured(item) for key, item in value.items()}
    return [_coloured(item) for item in value] if isinstance(value, list) else value


@cache
def _light() -> Mapping[str, str]:
    root = part("page.css").partition("}")[0]
    return dict(re.findall(r"(--[a-z0-9-]+): ([^;]+);", root))
