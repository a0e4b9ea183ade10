"""The sections of the page, in reading order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from headwater.reports import (
    audit_words,
    axis,
    figures,
    fixed_models,
    recommendation_words,
    wording,
)
from headwater.reports.document import (
    Block,
    Bullets,
    Card,
    Cards,
    Cell,
    Code,
    Figure,
    FoldedBlocks,
    Section,
    Table,
    Terms,
    Text,
)
from headwater.reports.recommending import LEAST
from headwater.results.audit_result import acknowledgement_note
from headwater.results.backtest_result import BacktestResult, LevelResult, SliceResult
from headwater.results.estimate import Comparison

_WIDTH = 3  # metrics that a table has room for
_CHIPS = {"LIFT": "chip lift", "harm": "chip harm"}


@dataclass(frozen=True)
class Verdict:
    """The head of the page. findings: what withholds the verdict; questions: what it depends on.
    differing: slices with another verdict.
    """

    heading: str
    findings: Sequence[str]
    questions: Sequence[str]
    model: str
    tested: str
    sentence: str
    lead: str
    limits: Sequence[str]
    differing: Sequence[tuple[str, str]]
    note: str


def verdict(result: BacktestResult) -> Verdict:
    """The verdict: the lift of fresher features, and its conditions."""
    split = result.split
    differing = wording.exceptions(result) if len(result.levels) > 1 else []
    held = (
        "Every slice has the same verdict."
        if result.slices
        else "This holds on average over all test rows; no slices were tested."
    )
    decided = result.recommendation is not None and result.recommendation.answer == "run"
    made = f" · {_day(result.at)}" if result.at else ""
    return Verdict(
        heading=audit_words.blocking_heading(result.audit),
        findings=audit_words.blocking(result.audit),
        questions=audit_words.conditions(result.audit),
        model=result.model,
        tested=(
            f", tested on {wording.count(split.test_rows)} rows from {_day(split.split)} to "
            f"{_day(split.test_end)}{made}"
        ),
        sentence=wording.verdict(result),
        lead=" ".join(
            line for line in (wording.rest(result), acknowledgement_note(result.audit)) if line
        ),
        limits=wording.limits(result),
        differing=differing,
        note=held if decided and len(result.levels) > 1 else "",
    )


def curve(result: BacktestResult) -> Section:
    """The headline metric over feature age."""
    label = wording.metric_label(result.headline)
    plot = figures.lift_curve(result)
    meaning = Text(wording.metric_meaning(result.headline), "meaning")
    if plot is None:
        why = (
            "The scores were given, and it is not known how old their features were"
            if result.levels and result.levels[0].given
            else ""
        )
        return Section(
            "curve",
            f"{label} by feature age",
            [Text(f"{why or 'No level reads history'}, so no curve can be drawn."), meaning],
        )
    base = axis.reference(result)
    line = f" The dashed line is {base.name}, which reads no history." if base else ""
    caption = (
        "Bars are 95 % intervals. A filled dot is computed in real time, a hollow one in "
        f"batch.{line}"
    )
    picture = Figure(plot, axis.summary(result), caption)
    return Section("curve", f"{label} by feature age", [picture, meaning])


def levels(result: BacktestResult) -> Section:
    """The tables of levels and steps."""
    metrics = recommendation_words.ordered_metrics(result)
    replayed = any(level.replayed for level in result.levels)
    headings: list[str | Cell] = [
        "level",
        "kind, mean age",
        *map(wording.metric_label, metrics[:_WIDTH]),
        "covered",
    ]
    rows = [
        _level_row(result, level, metrics[:_WIDTH], replayed=replayed) for level in result.levels
    ]
    if replayed:
        headings.append(Cell(f"{wording.metric_label(result.headline)} replayed", "not retrained"))
    note = (
        "Replayed: the freshest level's model, not retrained, on this level's features. Its "
        "distance to the headline's column is what training at this level changes."
    )
    table = Table("Levels", headings, rows)
    brackets = Text(f"Brackets are {wording.intervals(result)}", "quiet")
    steps, further = _steps(result, metrics[:_WIDTH]), _further(result, metrics[_WIDTH:])
    fixed = fixed_models.to_table(result)
    more: list[Text | Table] = [*further, *([fixed] if fixed else []), brackets]
    blocks = [
        table,
        Text(note if replayed else "", "quiet"),
        *steps,
        FoldedBlocks("All metrics, and how intervals were made", more),
    ]
    return Section("levels", "Levels and steps", blocks)


def _further(result: BacktestResult, metrics: Sequence[str]) -> list[Table]:
    """The metrics that the first tables have no room for."""
    if not metrics:
        return []
    labels = [wording.metric_label(name) for name in metrics]
    levels = [
        [level.name, *(estimate_cell(result, level, name) for name in metrics)]
        for level in result.levels
    ]
    others = {(step.from_, step.to, step.metric): step for step in result.comparisons}
    steps = [
        [
            step_name(step),
            *(gain_cell(result, others.get((step.from_, step.to, name))) for name in metrics),
        ]
        for step in wording.shown_steps(result)
    ]
    return [
        Table("Levels by the other metrics.", ["level", *labels], levels),
        *(
            [
                Table(
                    f"Gains in the other metrics.{_signs(result, metrics)}",
                    ["step", *labels],
                    steps,
                )
            ]
            if steps
            else []
        ),
    ]


def _level_row(
    result: BacktestResult, level: LevelResult, metrics: Sequence[str], *, replayed: bool
) -> list[str | Cell]:
    trained = (
        f"{wording.count(level.train_rows)} training rows"
        if level.train_rows != result.levels[-1].train_rows
        else ""
    )
    cells: list[str | Cell] = [
        Cell(
            level.name, "; ".join(text for text in (level.describes, level.note, trained) if text)
        ),
        Cell(
            level.kind_words,
            "" if level.age_seconds is None else wording.duration(level.age_seconds),
        ),
        *(estimate_cell(result, level, metric) for metric in metrics),
        wording.share(level.coverage),
    ]
    if replayed:
        value = level.replayed.get(result.headline, math.nan)
        cells.append(
            wording.number(value, wording.places(result, result.headline))
            if math.isfinite(value)
            else ""
        )
    return cells


def estimate_cell(result: BacktestResult, level: LevelResult, metric: str) -> str | Cell:
    """A level's value of a metric, with its interval below it."""
    if metric not in level.metrics:
        return wording.NO_VALUE
    value, places = level.metrics[metric], wording.places(result, metric)
    return Cell(
        wording.number(value.value, places), wording.interval(value.low, value.high, places)
    )


def _steps(result: BacktestResult, metrics: Sequence[str]) -> list[Block]:
    steps = wording.shown_steps(result)
    if not steps:
        return []
    others = {(step.from_, step.to, step.metric): step for step in result.comparisons}
    names = [result.headline, *(metric for metric in metrics if metric != result.headline)]
    label = wording.metric_label(result.headline)
    headings = [
        "step",
        f"verdict on {label}",
        *(f"{wording.metric_label(name)} gain" for name in names),
    ]
    rows = [
        [
            step_name(step),
            _chip(result, step),
            *(gain_cell(result, others.get((step.from_, step.to, name))) for name in names),
        ]
        for step in steps
    ]
    least = result.min_lift.get(result.headline) if not _by_money(result) else None
    worth = (
        (
            f" A lift in {label} below "
            f"{wording.number(least, wording.places(result, result.headline))} is not worth having."
        )
        if least
        else ""
    )
    table = Table(
        "Differences. A gain is positive: the level on the right is "
        f"better.{_signs(result, names)}{worth}",
        headings,
        rows,
    )
    return [table, Text(wording.together(result), "quiet")]


def _signs(result: BacktestResult, metrics: Sequence[str]) -> str:
    """That a fall of some of these metrics is a gain; empty where none is."""
    lower = [
        wording.metric_label(name)
        for name in metrics
        if not result.higher_is_better.get(name, True)
    ]
    return f" A fall of {wording.listed(lower)} counts as a gain." if lower else ""


def _by_money(result: BacktestResult) -> bool:
    """Whether verdicts are judged by the cost of levels, and not by the least lift worth having."""
    return result.recommendation is not None and result.recommendation.break_even_from not in (
        "",
        LEAST,
    )


def _chip(result: BacktestResult, step: Comparison) -> str | Cell:
    word = wording.verdict_word(result, step)
    return Cell(word, chip=_CHIPS.get(step.verdict, "chip")) if word else ""


def step_name(step: Comparison) -> str:
    """The two levels of a step."""
    return f"{step.from_} {wording.ARROW} {step.to}"


def gain_cell(result: BacktestResult, step: Comparison | None) -> str | Cell:
    """The gain of a step, with its interval below it."""
    if step is None:
        return wording.NO_VALUE
    places = wording.places(result, step.metric)
    return Cell(
        wording.number(step.delta, places, signed=True),
        wording.interval(step.low, step.high, places),
    )


def trust(result: BacktestResult) -> Section:
    """The trust section: split, label maturity, rows left out, audit and power."""
    cards = Cards(
        [
            _split_card(result),
            _labels_card(result),
            *_answers_card(result),
            _left_out_card(result),
            audit_words.card(result.audit),
            _power_card(result),
        ]
    )
    return Section("trust", "Can these numbers be trusted?", [cards])


def _split_card(result: BacktestResult) -> Card:
    split = result.split
    rows = [
        ("training from", _day(split.train_start)),
        ("training rows", wording.count(split.train_rows)),
        ("split at", _day(split.split)),
        ("test rows", wording.count(split.test_rows)),
        ("test until", _day(split.test_end)),
    ]
    rate = result.positive_rate
    return Card(
        "Split by time",
        [Terms([*rows, *([("positive rate", wording.share(rate))] if rate is not None else [])])],
    )


def _labels_card(result: BacktestResult) -> Card:
    names = {
        "p50": "50 % known within",
        "p90": "90 % known within",
        "p99": "99 % known within",
        "max": "slowest",
    }
    delays = [
        (names.get(name, name), wording.duration(delay))
        for name, delay in result.split.label_delay_seconds.items()
    ]
    return Card(
        "Label maturity",
        [Text("A row trains only if its label was known at the split."), Terms(delays)],
    )


def _answers_card(result: BacktestResult) -> list[Card]:
    """What was asked before the backtest; none for a result of an earlier release."""
    return (
        [Card("Asked before the backtest", [Text(line) for line in result.answered])]
        if result.answered
        else []
    )


def _left_out_card(result: BacktestResult) -> Card:
    reasons = [
        (reason, wording.count(rows)) for reason, rows in result.split.left_out.items() if rows
    ]
    return Card("Rows left out", [Terms(reasons) if reasons else Text("None.")])


def _power_card(result: BacktestResult) -> Card:
    places = wording.places(result, result.headline)
    steps = wording.judged(result)
    rows = [
        (step_name(step), wording.number(step.mde, places, signed=True))
        for step in steps
        if math.isfinite(step.mde)
    ]
    text = (
        f"The lift in {wording.metric_label(result.headline)} that this test would detect in 80 % "
        "of cases:"
    )
    return Card(
        "Power",
        [Text(text), Terms(rows)] if rows else [Text("Not known: no step has an interval.")],
    )


def slices(result: BacktestResult) -> Section:
    """The slices section: coverage, and the step on each slice."""
    step = wording.main_step(result)
    label, blocks = wording.metric_label(result.headline), [Text(_coverage(result))]
    if not result.slices:
        none = (
            "No slices were requested. Cold starts, segments and hours of the day are worth "
            "testing: an average can hide large differences there."
        )
        return Section("slices", "Cold start, coverage and slices", [*blocks, Text(none)])
    pictures = []
    if step is not None:
        says = "; ".join(
            f"{slice_result.name}: {wording.judged_gain(result, difference)}"
            for slice_result in result.slices
            for difference in wording.like(slice_result.comparisons, step)
        )
        caption = (
            f"The gain of {step.to} over {step.from_} on each slice. Grey: too small to be worth "
            "having."
        )
        pictures = [Figure(figures.slice_gains(result, step), f"Gain in {label}. {says}", caption)]
    return Section(
        "slices",
        "Cold start, coverage and slices",
        [*blocks, *pictures, _slice_table(result), Text(wording.survivors(result), "quiet")],
    )


def _coverage(result: BacktestResult) -> str:
    if all(level.coverage == 1 for level in result.levels):
        return "Every level answered every request."
    return (
        "Share of requests answered: "
        + ", ".join(f"{level.name} {wording.share(level.coverage)}" for level in result.levels)
        + "."
    )


def _slice_table(result: BacktestResult) -> Table:
    label, names = wording.metric_label(result.headline), [level.name for level in result.levels]
    every = [estimate_cell(result, level, result.headline) for level in result.levels]
    rows = [
        ["all rows", wording.count(result.split.test_rows), *every],
        *(_slice_row(result, part, names) for part in result.slices),
    ]
    return Table(f"{label} of each level on each slice.", ["slice", "rows", *names], rows)


def _slice_row(
    result: BacktestResult, slice_result: SliceResult, names: Sequence[str]
) -> list[str | Cell]:
    about = "; ".join(text for text in (slice_result.describes, slice_result.note) if text)
    level_of = {level.name: level for level in slice_result.levels}
    values = [
        estimate_cell(result, level_of[name], result.headline)
        if name in level_of
        else wording.NO_VALUE
        for name in names
    ]
    return [Cell(slice_result.name, about), wording.count(slice_result.rows), *values]


def curves(result: BacktestResult) -> Section | None:
    """The calibration of each level; None if no level has it, as in a regression."""
    picture = figures.calibration(result)
    if picture is None:
        return None
    names = ", ".join(level.name for level in result.levels if level.curves)
    says = f"Observed rate over predicted score for {names}."
    caption = "On the dotted line, a score of 0.3 is right in 3 of 10 cases."
    return Section("curves", "Calibration", [Figure(picture, says, caption)])


def assumptions(result: BacktestResult) -> Section:
    """The assumptions section: what a backtest cannot measure."""
    text = (
        "A backtest replays the past. Its numbers hold in production only if the world does not "
        "react to the model:"
    )
    end = "An experiment in production measures what this page cannot."
    return Section(
        "world",
        "If the world does not react",
        [Text(text), Bullets([*result.assumptions, *wording.not_in_training(result)]), Text(end)],
    )


def definitions(result: BacktestResult) -> Section:
    """The definitions section: definitions, fingerprint and versions of the run."""
    seen = [
        (f"{column} (categories seen in training)", wording.count(kinds))
        for column, kinds in result.encoded.items()
    ]
    took = [(phase, wording.duration(seconds)) for phase, seconds in result.seconds.items()]
    cards = [
        Card("Estimator", [Text(result.estimator), Terms(seen)]),
        Card("Time taken", [Terms(took)]),
        Card("Versions", [Terms(list(result.versions.items()))]),
    ]
    blocks: list[Block] = [
        Code(result.definitions),
        Text(f"Fingerprint {result.fingerprint}", "mono"),
        Cards(cards),
    ]
    return Section("definitions", "Definitions, fingerprint and versions", blocks)


def _day(timestamp: str) -> str:
    return timestamp[:10]
