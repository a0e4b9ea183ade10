"""The page of lift by freshness over time: what the served level earns, and the days."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from headwater.definitions.level import at_level
from headwater.pages import figures, level_lift_words, wording
from headwater.pages.document import Cell, Figure, Table, Text
from headwater.pages.page import Condition, Fold, Page, Row, Rows, Tone, split_sentence
from headwater.results.level_lift_result import Alternative, LevelLiftResult, LiftDay

_MOST_ROWS: Final = 6
_TONES: Final[Mapping[str, Tone]] = {"earned nothing": "worse", "earns": "wins"}


def to_page(result: LevelLiftResult) -> Page:
    """The page; each level and view that was compared is a row."""
    sentence, effect = split_sentence(result.first_line)
    left_out = "; ".join(f"{wording.count(n)} {why}" for why, n in result.left_out.items())
    foot = {"checked": result.checked_at[:16].replace("T", " "), "not counted": left_out}
    alike = (
        [
            Condition(
                f"{wording.share(result.agreement)} of the computed scores at {result.served} are "
                "those that were served, within 1e-9.",
                "contradicted",
            )
        ]
        if result.agreement < 1
        else []
    )
    sentences = [alternative.sentence for alternative in result.alternatives]
    return Page(
        "Lift by freshness",
        [at_level(result.model, result.served), result.levels.get(result.served, "")],
        sentence,
        effect,
        picture=_figure(result) if result.judged else None,
        rows=_rows(result),
        conditions=alike,
        notes=[*(line for line in sentences if line != result.first_line), *result.notes],
        folds=[
            Fold("Every comparison", "", [_alternatives(result)]),
            Fold("Every day", f"{len(result.days)} days", [_days(result)]),
            Fold(
                "How it is judged",
                "",
                [
                    Text(level_lift_words.trained(result)),
                    Text(level_lift_words.rule(result)),
                ],
            ),
        ],
        foot=[(name, text) for name, text in foot.items() if text],
    )


def _rows(result: LevelLiftResult) -> Rows | None:
    rows = [
        Row(
            one.name,
            one.freshness,
            [one.since or wording.NO_VALUE, str(one.days)],
            one.lift if math.isfinite(one.lift.value) else None,
            one.state,
            _TONES.get(one.state, "not proven"),
            chosen=one.state == "earned nothing",
        )
        for one in result.alternatives[:_MOST_ROWS]
    ]
    least = {one.break_even for one in result.alternatives[:_MOST_ROWS]}
    title = f"lift in {wording.metric_label(result.metric)}"
    headings = ["compared", "instead", "since", "days"]
    even = least.pop() if len(least) == 1 else 0.0
    caption = f"What {result.served} earns"
    return Rows(caption, headings, rows, title, 4, even) if rows else None


def _alternatives(result: LevelLiftResult) -> Table:
    """A row for each level and view."""
    headings: list[str | Cell] = [
        "compared",
        "instead",
        Cell("lift of the fresher", "holds at every look"),
        "break-even",
        "since",
        "days",
        Cell("worst week", "lift"),
        Cell("money a day", "saved by the staler"),
        "experiment",
        "state",
    ]
    return Table(
        f"What {result.served} earns, in {wording.metric_label(result.metric)}",
        headings,
        [_row(alternative) for alternative in result.alternatives],
    )


def _row(alternative: Alternative) -> list[str | Cell]:
    return [
        alternative.name,
        alternative.freshness,
        Cell(
            wording.number(alternative.lift.value, 4, signed=True),
            wording.interval(alternative.lift.low, alternative.lift.high, 4),
        ),
        wording.number(alternative.break_even, 4),
        alternative.since or wording.NO_VALUE,
        str(alternative.days),
        Cell(
            alternative.worst_week or wording.NO_VALUE,
            wording.number(alternative.worst_lift, 4, signed=True),
        ),
        wording.NO_VALUE if alternative.saved is None else wording.number(alternative.saved, 2),
        wording.NO_VALUE
        if alternative.experiment is None
        else level_lift_words.estimate(alternative.experiment),
        Cell(alternative.state, "", "chip harm" if alternative.state == "earned nothing" else ""),
    ]


def _days(result: LevelLiftResult) -> Table:
    """A row for each day."""
    names = list(result.values) or list(result.levels)
    headings: list[str | Cell] = [
        "day",
        "requests",
        "with outcome",
        "weight",
        "delivered",
        *names,
        "state",
    ]
    caption = (
        f"{wording.metric_label(result.metric)} of each level by day, UTC; below, its lift over "
        f"{result.served} with a 95 % interval of that day"
    )
    return Table(caption, headings, [_day(day, names) for day in result.days])


def _day(day: LiftDay, names: Sequence[str]) -> list[str | Cell]:
    return [
        day.day,
        wording.count(day.requests),
        wording.count(day.with_outcome),
        wording.number(day.weight, 0),
        wording.number(day.delivered, 4),
        *(_value(day, name) for name in names),
        day.state,
    ]


def _value(day: LiftDay, name: str) -> str | Cell:
    value, lift = wording.number(day.values.get(name, math.nan), 4), day.lifts.get(name)
    if lift is None or math.isnan(lift.value):
        return value
    return Cell(
        value,
        f"{wording.number(lift.value, 4, signed=True)} "
        f"{wording.interval(lift.low, lift.high, 4)}".strip(),
    )


def _figure(result: LevelLiftResult) -> Figure:
    label = wording.metric_label(result.metric)
    values = {day.day: day.values for day in result.judged}
    picture = figures.levels_by_day(result.levels, values, label)
    says = f"{label} of each level by day, from {result.judged[0].day} to {result.judged[-1].day}"
    title = f"{label} by day"
    return Figure(picture, says, "Computed afterwards for the served requests.", title)
