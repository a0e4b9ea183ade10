"""The result as HTML for a notebook: small, without scripts, for light and dark themes."""

from __future__ import annotations

import math

from headwater.reports import static_curve, wording
from headwater.reports.markup import EMPTY, Html, esc, join
from headwater.results.backtest_result import BacktestResult, LevelResult

_CELL = (
    "padding:4px 12px 4px 0;text-align:left;vertical-align:top;"
    "white-space:nowrap;background:none;color:inherit;border-bottom:1px solid rgba(128,128,128,.25)"
)


def to_notebook(result: BacktestResult) -> str:
    """A fragment of HTML for `_repr_html_`: the verdict, its conditions, a static lift curve and the levels.

    It has no scripts (a notebook may strip them) and no style sheets (a notebook would apply them to other cells).
    """
    sentences = wording.rest(result), wording.in_practice(result), wording.together(result), wording.new_keys(result), wording.money(result)
    lines = [line for line in sentences if line]
    leaks = [f"Leak: do not trust these numbers until it is fixed. {message}" for message in wording.leaks(result)]
    conditions = [f"{where}: {what}" for where, what in wording.exceptions(result)]
    return join(
        [
            Html('<div style="max-width:760px;font-family:system-ui,sans-serif;line-height:1.45">'),
            Html(f'<p style="font-size:1.15em;font-weight:600;margin:.4em 0">{esc(wording.verdict(result))}</p>'),
            *(Html(f'<p style="margin:.3em 0;font-weight:600">{esc(line)}</p>') for line in leaks),
            *(Html(f'<p style="margin:.3em 0">{esc(line)}</p>') for line in lines),
            _list(conditions),
            static_curve.lift_curve(result),
            *(Html(f'<div style="overflow-x:auto;margin:.4em 0">{table}</div>') for table in (_levels(result), _steps(result)) if table),
            Html(f'<p style="margin:.4em 0;opacity:.75;font-size:.9em">{esc(_foot(result))}</p>'),
            Html("</div>"),
        ]
    )


def _list(conditions: list[str]) -> Html:
    if not conditions:
        return EMPTY
    items = "".join(f"<li>{esc(condition)}</li>" for condition in conditions)
    return Html(f'<p style="margin:.3em 0">The verdict differs in:</p><ul style="margin:.2em 0">{items}</ul>')


def _levels(result: BacktestResult) -> Html:
    metrics = sorted(result.levels[0].metrics if result.levels else [], key=lambda name: (name != result.headline, name != "cost"))[:3]
    return _table(
        ["level", *(wording.metric_label(metric) for metric in metrics), "kind", "mean age", "covered"],
        [_row(result, level, metrics) for level in result.levels],
    )


def _steps(result: BacktestResult) -> Html:
    """The steps in the headline metric, with their verdicts."""
    whole = wording.whole_way(result, result.headline)
    known = wording.steps(result.levels, result.paired, result.headline) + ([whole] if whole else [])
    if not known:
        return EMPTY
    decimals = wording.places(result, result.headline)
    label = f"gain in {wording.metric_label(result.headline)}"
    rows = [[esc(f"{step.from_} {wording.ARROW} {step.to}"), esc(wording.gain(step, decimals)), esc(step.verdict)] for step in known]
    return _table(["step", label, "verdict"], rows)


def _table(headings: list[str], rows: list[list[Html]]) -> Html:
    """A table whose rows start with their name."""
    head = "".join(f'<th scope="col" style="{_CELL};font-weight:600">{esc(heading)}</th>' for heading in headings)
    body = "".join(
        f'<tr><th scope="row" style="{_CELL};font-weight:600">{first}</th>'
        + "".join(f'<td style="{_CELL}">{cell}</td>' for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return Html(
        '<table style="border-collapse:collapse;font-size:.92em;color:inherit;font-variant-numeric:tabular-nums">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _row(result: BacktestResult, level: LevelResult, metrics: list[str]) -> list[Html]:
    values = [_value(result, level, metric) for metric in metrics]
    return [esc(level.name), *values, esc(level.kind), esc(wording.duration(level.age_seconds)), esc(wording.share(level.coverage))]


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
    brackets = f"Brackets are {wording.intervals(result)} " if _bracketed(result) else ""
    return f"{brackets}{rows}. Leak audit: {wording.audit_line(result)}."


def _bracketed(result: BacktestResult) -> bool:
    """Whether any number that is shown has an interval in brackets."""
    ends = [(value.low, value.high) for level in result.levels for value in level.metrics.values()]
    return any(math.isfinite(low) and math.isfinite(high) for low, high in [*ends, *((step.low, step.high) for step in result.paired)])
