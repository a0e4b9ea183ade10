"""The result as a notebook shows it: small, without scripts, at home in light and dark themes."""

from __future__ import annotations

from headwater.backtesting.report import sketch, wording
from headwater.backtesting.report.markup import EMPTY, Html, esc, join
from headwater.backtesting.result import BacktestResult, LevelResult

_CELL = (
    "padding:4px 12px 4px 0;text-align:left;vertical-align:top;"
    "white-space:nowrap;background:none;color:inherit;border-bottom:1px solid rgba(128,128,128,.25)"
)


def to_notebook(result: BacktestResult) -> str:
    """A fragment of HTML for `_repr_html_`: the verdict, its conditions, a static lift curve and the levels.

    It holds neither scripts nor style sheets, since a notebook may strip the one and share the other.
    """
    said = wording.rest(result), wording.in_practice(result), wording.together(result), wording.new_keys(result), wording.money(result)
    lines = [line for line in said if line]
    leaks = [f"Leak, do not trust these numbers before it is mended. {message}" for message in wording.leaks(result)]
    conditions = [f"{where}: {what}" for where, what in wording.exceptions(result)]
    return join(
        [
            Html('<div style="max-width:760px;font-family:system-ui,sans-serif;line-height:1.45">'),
            Html(f'<p style="font-size:1.15em;font-weight:600;margin:.4em 0">{esc(wording.verdict(result))}</p>'),
            *(Html(f'<p style="margin:.3em 0;font-weight:600">{esc(line)}</p>') for line in leaks),
            *(Html(f'<p style="margin:.3em 0">{esc(line)}</p>') for line in lines),
            _list(conditions),
            sketch.lift_curve(result),
            Html(f'<div style="overflow-x:auto">{_levels(result)}</div>'),
            Html(f'<p style="margin:.4em 0;opacity:.75;font-size:.9em">{esc(_foot(result))}</p>'),
            Html("</div>"),
        ]
    )


def _list(conditions: list[str]) -> Html:
    if not conditions:
        return EMPTY
    items = "".join(f"<li>{esc(condition)}</li>" for condition in conditions)
    return Html(f'<p style="margin:.3em 0">Called differently in:</p><ul style="margin:.2em 0">{items}</ul>')


def _levels(result: BacktestResult) -> Html:
    metrics = list(result.levels[0].metrics)[:3] if result.levels else []
    headings = ["level", "kind", "mean age", *(wording.metric_label(metric) for metric in metrics), "covered"]
    head = "".join(f'<th scope="col" style="{_CELL};font-weight:600">{esc(heading)}</th>' for heading in headings)
    body = "".join(f"<tr>{_row(result, level, metrics)}</tr>" for level in result.levels)
    return Html(
        '<table style="border-collapse:collapse;font-size:.92em;color:inherit;font-variant-numeric:tabular-nums">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _row(result: BacktestResult, level: LevelResult, metrics: list[str]) -> Html:
    values = [_value(result, level, metric) for metric in metrics]
    cells = [esc(level.kind), esc(wording.duration(level.age_seconds)), *values, esc(wording.share(level.coverage))]
    name = f'<th scope="row" style="{_CELL};font-weight:600">{esc(level.name)}</th>'
    return Html(name + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in cells))


def _value(result: BacktestResult, level: LevelResult, metric: str) -> Html:
    if metric not in level.metrics:
        return esc(wording.NO_VALUE)
    value, places = level.metrics[metric], wording.places(result, metric)
    bounds = esc(wording.interval(value.low, value.high, places))
    small = f'<br><span style="opacity:.7;font-size:.9em">{bounds}</span>' if bounds else ""
    return Html(f"{esc(wording.number(value.value, places))}{small}")


def _foot(result: BacktestResult) -> str:
    split = result.split
    rows = f"{wording.count(split.train_rows)} rows to train, {wording.count(split.test_rows)} to test"
    return f"Brackets are {wording.intervals(result)} {rows}. Leak audit: {wording.audit_line(result)}."
