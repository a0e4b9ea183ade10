"""The sections of the page, in reading order."""

from __future__ import annotations

import math
from collections.abc import Sequence

from headwater.reports import axis, figures, static_curve, wording
from headwater.reports.markup import (
    EMPTY,
    Html,
    bullets,
    card,
    esc,
    figure,
    grid,
    join,
    pairs,
    paragraph,
    section,
    value_cell,
)
from headwater.results.backtest_result import BacktestResult, LevelResult, SliceResult
from headwater.results.estimate import LeakFinding, Paired

_CHIPS = {"LIFT": "chip lift", "harm": "chip harm"}


def verdict(result: BacktestResult) -> Html:
    """The verdict section: the lift of fresher features, and its conditions."""
    leaks = bullets(wording.leaks(result))
    warning = f'<div class="note leak"><h3>Leak found: do not trust these numbers until it is fixed</h3>{leaks}</div>' if leaks else ""
    lead = " ".join(line for line in (wording.rest(result), wording.in_practice(result)) if line)
    return Html(
        f'<section id="verdict" aria-labelledby="verdict-title">\n{warning}'
        f'<p class="eyebrow">Feature freshness backtest of <strong>{esc(result.model)}</strong>{esc(_tested(result))}</p>\n'
        f'<h1 id="verdict-title">{_headline(result)}</h1>\n'
        f"{paragraph(lead, 'lead')}{_conditions(result)}\n</section>"
    )


def _tested(result: BacktestResult) -> str:
    split = result.split
    return f", tested on {wording.count(split.test_rows)} rows from {_day(split.split)} to {_day(split.test_end)}"


def _headline(result: BacktestResult) -> Html:
    """The verdict, with its interval in a lighter style than the number."""
    text, end = esc(wording.verdict(result)), "]."
    if not text.endswith(end):
        return text
    sentence, _, bounds = text.removesuffix(".").rpartition(" [")
    return Html(f'{sentence} <span class="bounds">[{bounds}</span>')


def _conditions(result: BacktestResult) -> Html:
    if len(result.levels) < 2:
        return EMPTY
    if not result.slices:
        return Html(f'<div class="note">{paragraph("This holds on average over all test rows; no slices were tested.")}</div>')
    differing = wording.exceptions(result)
    if not differing:
        return Html(f'<div class="note">{paragraph("Every slice has the same verdict.")}</div>')
    items = "".join(f"<li><strong>{esc(where)}</strong>: {esc(what)}</li>" for where, what in differing)
    return Html(f'<div class="note warn"><h3>Where the verdict differs</h3><ul>{items}</ul></div>')


def curve(result: BacktestResult) -> Html:
    """The headline metric over feature age."""
    label = wording.metric_label(result.headline)
    plot = figures.lift_curve(result)
    meaning = paragraph(wording.metric_meaning(result.headline), "meaning")
    if plot is None:
        return section("curve", f"{label} by feature age", paragraph("No level reads history, so there is no curve."), meaning)
    base = axis.reference(result)
    line = f" The dashed line is {base.name}, which reads no history." if base else ""
    caption = f"Bars are 95 % intervals. A filled dot is computed in real time, a hollow one in batch.{line}"
    picture = figure("curve", plot, axis.summary(result), caption, static_curve.lift_curve(result))
    return section("curve", f"{label} by feature age", picture, meaning)


def levels(result: BacktestResult) -> Html:
    """The tables of levels and steps."""
    metrics = list(result.levels[0].metrics) if result.levels else []
    replayed = any(level.replayed for level in result.levels)
    headings = [esc(text) for text in ("level", "kind, mean age", *map(wording.metric_label, metrics), "covered")]
    rows = [_level_row(result, level, metrics, replayed=replayed) for level in result.levels]
    if replayed:
        headings.append(Html(f"{esc(wording.metric_label(result.headline))} replayed<small>overstates the lift</small>"))
    note = (
        "Replayed: the freshest level's model, not retrained, on this level's features. It overstates the lift, "
        "because that model was not trained on older features."
    )
    table = grid(f"Levels. Brackets are {wording.intervals(result)}", headings, rows)
    return section("levels", "Levels and steps", table, paragraph(note if replayed else "", "quiet"), _steps(result, metrics))


def _level_row(result: BacktestResult, level: LevelResult, metrics: Sequence[str], *, replayed: bool) -> list[Html]:
    trained = f"{wording.count(level.train_rows)} training rows" if level.train_rows != result.levels[-1].train_rows else ""
    about = "; ".join(text for text in (level.describes, level.note, trained) if text)
    cells = [
        Html(f"{esc(level.name)}<small>{esc(about)}</small>"),
        value_cell(level.kind, "" if level.age_seconds is None else wording.duration(level.age_seconds)),
        *(_estimate(result, level, metric) for metric in metrics),
        esc(wording.share(level.coverage)),
    ]
    if replayed:
        value = level.replayed.get(result.headline, math.nan)
        cells.append(esc(wording.number(value, wording.places(result, result.headline))) if math.isfinite(value) else EMPTY)
    return cells


def _estimate(result: BacktestResult, level: LevelResult, metric: str) -> Html:
    if metric not in level.metrics:
        return esc(wording.NO_VALUE)
    value, places = level.metrics[metric], wording.places(result, metric)
    return value_cell(wording.number(value.value, places), wording.interval(value.low, value.high, places))


def _steps(result: BacktestResult, metrics: Sequence[str]) -> Html:
    whole = wording.whole_way(result, result.headline)
    known = wording.steps(result.levels, result.paired, result.headline) + ([whole] if whole else [])
    if not known:
        return EMPTY
    others = {(step.from_, step.to, step.metric): step for step in result.paired}
    names = [result.headline, *(metric for metric in metrics if metric != result.headline)]
    label = wording.metric_label(result.headline)
    headings = [esc(text) for text in ("step", f"verdict on {label}", *(f"{wording.metric_label(name)} gain" for name in names))]
    rows = [[_arrow(step), _chip(step), *(_gain(result, others.get((step.from_, step.to, name))) for name in names)] for step in known]
    least = result.min_lift.get(result.headline)
    worth = (
        f" A lift in {label} below {wording.number(least, wording.places(result, result.headline))} is not worth having." if least else ""
    )
    lower = [wording.metric_label(name) for name in names if not result.higher_is_better.get(name, True)]
    signs = f" A fall of {' and '.join(lower)} counts as a gain." if lower else ""
    table = grid(f"Steps. A gain is positive: the level on the right is better.{signs}{worth}", headings, rows)
    return join([table, paragraph(wording.together(result), "quiet")])


def _arrow(step: Paired) -> Html:
    return Html(f"{esc(step.from_)} {wording.ARROW} {esc(step.to)}")


def _chip(step: Paired) -> Html:
    return Html(f'<span class="{_CHIPS.get(step.verdict, "chip")}">{esc(step.verdict)}</span>')


def _gain(result: BacktestResult, step: Paired | None) -> Html:
    if step is None:
        return esc(wording.NO_VALUE)
    places = wording.places(result, step.metric)
    return value_cell(wording.number(step.delta, places, signed=True), wording.interval(step.low, step.high, places))


def trust(result: BacktestResult) -> Html:
    """The trust section: split, label maturity, rows left out, leak audit and power."""
    split, plot = result.split, figures.rows_per_day(result)
    says = (
        f"Rows a day: training from {_day(split.train_start)} to {_day(split.split)} with {wording.count(split.train_rows)} rows, "
        f"test from then to {_day(split.test_end)} with {wording.count(split.test_rows)} rows."
    )
    cards = join([_split_card(result), _labels_card(result), _left_out_card(result), _audit_card(result), _power_card(result)])
    picture = figure("days", plot, says, "Rows of each day by their use.") if plot else EMPTY
    return section("trust", "Can these numbers be trusted?", picture, Html(f'<div class="cards">{cards}</div>'))


def _split_card(result: BacktestResult) -> Html:
    split = result.split
    rows = [
        ("training from", _day(split.train_start)),
        ("training rows", wording.count(split.train_rows)),
        ("split at", _day(split.split)),
        ("test rows", wording.count(split.test_rows)),
        ("test until", _day(split.test_end)),
    ]
    rate = result.positive_rate
    return card("Split by time", pairs([*rows, *([("positive rate", wording.share(rate))] if rate is not None else [])]))


def _labels_card(result: BacktestResult) -> Html:
    names = {"p50": "50 % known within", "p90": "90 % known within", "p99": "99 % known within", "max": "slowest"}
    delays = [(names.get(name, name), wording.duration(delay)) for name, delay in result.split.label_delay_seconds.items()]
    text = "A row trains only if its label was known at the split."
    return card("Label maturity", paragraph(text), pairs(delays))


def _left_out_card(result: BacktestResult) -> Html:
    reasons = [(reason, wording.count(rows)) for reason, rows in result.split.left_out.items() if rows]
    return card("Rows left out", pairs(reasons) if reasons else paragraph("None."))


def _audit_card(result: BacktestResult) -> Html:
    if not result.leak_audit:
        return card("Leak audit", paragraph("Not run."), wide=True)
    text = "Checks for features that read the label's own row, and for single features that predict implausibly well."
    return card("Leak audit", paragraph(text), *(_finding(finding) for finding in result.leak_audit), wide=True)


def _finding(finding: LeakFinding) -> Html:
    kind = {"ok": "chip lift", "leak": "chip harm"}.get(finding.severity, "chip")
    name = {"ok": "clean"}.get(finding.severity, finding.severity)
    columns = f" ({', '.join(finding.columns)})" if finding.columns else ""
    where = "" if finding.severity == "ok" else f"{finding.subject}{columns}, {wording.share(finding.share)} of rows: "
    return Html(f'<p><span class="{kind}">{esc(name)}</span> {esc(where + finding.message)}</p>')


def _power_card(result: BacktestResult) -> Html:
    places = wording.places(result, result.headline)
    known = wording.steps(result.levels, result.paired, result.headline)
    rows = [
        (f"{step.from_} {wording.ARROW} {step.to}", wording.number(step.detectable, places, signed=True))
        for step in known
        if math.isfinite(step.detectable)
    ]
    text = f"The lift in {wording.metric_label(result.headline)} that this test would detect in 80 % of cases:"
    return card("Power", paragraph(text), pairs(rows)) if rows else card("Power", paragraph("Not known: no step has an interval."))


def slices(result: BacktestResult) -> Html:
    """The slices section: coverage, and the step on each slice."""
    step = wording.main_step(result)
    plot, label = EMPTY, wording.metric_label(result.headline)
    if step is not None and result.slices:
        says = "; ".join(
            f"{slice_result.name}: {wording.judged(difference, wording.places(result, step.metric))}"
            for slice_result in result.slices
            for difference in wording.steps(slice_result.levels, slice_result.paired, step.metric)
            if (difference.from_, difference.to) == (step.from_, step.to)
        )
        caption = f"The step from {step.from_} to {step.to} on each slice. Grey: too small to be worth having."
        plot = figure("slices", figures.slice_gains(result, step), f"Gain in {label}. {says}", caption)
    none = "No slices were requested. Cold starts, segments and hours of the day are worth testing: an average can hide large differences there."
    table = _slice_table(result) if result.slices else paragraph(none)
    return section("slices", "Cold start, coverage and slices", paragraph(_coverage(result)), plot, table)


def _coverage(result: BacktestResult) -> str:
    if all(level.coverage == 1 for level in result.levels):
        return "Every level answered every request."
    return "Share of requests answered: " + ", ".join(f"{level.name} {wording.share(level.coverage)}" for level in result.levels) + "."


def _slice_table(result: BacktestResult) -> Html:
    label, names = wording.metric_label(result.headline), [level.name for level in result.levels]
    rows = [
        [
            esc("all rows"),
            esc(wording.count(result.split.test_rows)),
            *(_estimate(result, level, result.headline) for level in result.levels),
        ]
    ]
    rows += [_slice_row(result, slice_result, names) for slice_result in result.slices]
    return grid(f"{label} of each level on each slice.", [esc(text) for text in ("slice", "rows", *names)], rows)


def _slice_row(result: BacktestResult, slice_result: SliceResult, names: Sequence[str]) -> list[Html]:
    about = "; ".join(text for text in (slice_result.describes, slice_result.note) if text)
    level_of = {level.name: level for level in slice_result.levels}
    values = [_estimate(result, level_of[name], result.headline) if name in level_of else esc(wording.NO_VALUE) for name in names]
    return [Html(f"{esc(slice_result.name)}<small>{esc(about)}</small>"), esc(wording.count(slice_result.rows)), *values]


def curves(result: BacktestResult) -> Html:
    """The curves section: precision over recall, and calibration; empty if no level has curves, as in a regression."""
    ranking, calibrated = figures.precision_recall(result), figures.calibration(result)
    if ranking is None or calibrated is None:
        return EMPTY
    names = ", ".join(level.name for level in result.levels if level.curves)
    left = figure("recall", ranking, f"Precision over recall for {names}.", "Higher and further right is better.")
    right = figure(
        "calibration",
        calibrated,
        f"Observed rate over predicted score for {names}.",
        "On the dotted line, a score of 0.3 is right in 3 of 10 cases.",
    )
    return section("curves", "Precision, recall and calibration", Html(f'<div class="two">{left}{right}</div>'))


def assumptions(result: BacktestResult) -> Html:
    """The assumptions section: what a backtest cannot measure."""
    text = "A backtest replays the past. Its numbers hold in production only if the world does not react to the model:"
    end = "An experiment in production measures what this page cannot."
    return section(
        "world",
        "If the world does not react",
        paragraph(text),
        bullets([*result.assumptions, *wording.not_in_training(result)]),
        paragraph(end),
    )


def definitions(result: BacktestResult) -> Html:
    """The definitions section: definitions, fingerprint and versions of the run."""
    seen = [(f"{column} (categories seen in training)", wording.count(kinds)) for column, kinds in result.encoded.items()]
    took = [(phase, wording.duration(seconds)) for phase, seconds in result.seconds.items()]
    cards = [
        card("Estimator", paragraph(result.estimator), pairs(seen)),
        card("Time taken", pairs(took)),
        card("Versions", pairs(list(result.versions.items()))),
    ]
    return section(
        "definitions",
        "Definitions, fingerprint and versions",
        Html(f'<pre tabindex="0">{esc(result.definitions)}</pre>'),
        Html(f"<p>Fingerprint <code>{esc(result.fingerprint)}</code></p>"),
        Html(f'<div class="cards">{join(cards)}</div>'),
    )


def _day(moment: str) -> str:
    return moment[:10]
