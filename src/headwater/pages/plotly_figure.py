"""Pictures of a backtest as plotly's own objects, which a notebook shows and its user changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from headwater.errors import MissingExtraError, UsageError, nearest
from headwater.pages import figures, wording
from headwater.pages.pictures import Curve, Picture, Rows
from headwater.results.backtest_result import BacktestResult
from headwater.results.estimate import Estimate

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def to_figure(result: BacktestResult, name: str) -> Figure:
    """A picture of the report.

    Raises:
        UsageError: no picture has this name, or the result has nothing to draw in it.
        MissingExtraError: plotly is not installed.
    """
    if name not in _PICTURES:
        raise UsageError(f"no figure {name!r}; {nearest(name, _PICTURES)}")
    picture = _PICTURES[name](result)
    if picture is None:
        raise UsageError(f"this result has nothing to draw in the figure {name!r}")
    return _rows(picture) if isinstance(picture, Rows) else _curve(picture)


def _slices(result: BacktestResult) -> Rows | None:
    step = wording.main_step(result)
    return figures.slice_gains(result, step) if step is not None and result.slices else None


_PICTURES: Final[Mapping[str, Callable[[BacktestResult], Picture | None]]] = {
    "curve": figures.lift_curve,
    "slices": _slices,
    "calibration": figures.calibration,
}


def _curve(picture: Curve) -> Figure:
    figure = _empty()
    for series in picture.series:
        figure.add_scatter(
            name=series.name,
            x=[mark.at for mark in series.marks],
            y=[mark.value.value for mark in series.marks],
            error_y=_bars([mark.value for mark in series.marks]),
            mode="lines+markers" if series.joined else "markers",
            text=[mark.says for mark in series.marks],
            hoverinfo="text",
        )
    for limit in picture.limits:
        figure.add_hline(limit.value.value, line_dash="dash", annotation_text=limit.name)
    if picture.square:
        figure.add_shape(type="line", x0=0, y0=0, x1=1, y1=1, line_dash="dot")
    if picture.ticks:
        places, texts = zip(*picture.ticks, strict=True)
        figure.update_xaxes(tickvals=places, ticktext=texts)
    figure.update_xaxes(title=picture.across)
    figure.update_yaxes(title=picture.title)
    return figure.update_layout(showlegend=len(picture.series) > 1)


def _rows(picture: Rows) -> Figure:
    figure = _empty()
    figure.add_scatter(
        x=[row.value.value for row in picture.rows],
        y=[row.name for row in picture.rows],
        error_x=_bars([row.value for row in picture.rows]),
        mode="markers",
        text=[row.says for row in picture.rows],
        hoverinfo="text",
    )
    for limit in picture.limits:
        figure.add_vrect(limit.value.low, limit.value.high, opacity=0.2, layer="below")
    figure.update_xaxes(title=picture.title)
    return figure.update_yaxes(autorange="reversed")


def _empty() -> Figure:
    try:
        from plotly.graph_objects import Figure
    except ImportError as error:
        raise MissingExtraError("plotly", "plotly") from error
    return Figure()


def _bars(values: Sequence[Estimate]) -> Mapping[str, object]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [value.high - value.value for value in values],
        "arrayminus": [value.value - value.low for value in values],
    }
