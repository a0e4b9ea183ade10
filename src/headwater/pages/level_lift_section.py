"""The section on lift by freshness: a figure over time, a table of levels and views, and a
table of days.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from headwater.pages import figures, level_lift_words, wording
from headwater.pages.document import Block, Bullets, Cell, Figure, Section, Table, Text
from headwater.results.level_lift_result import Alternative, LevelLiftResult, LiftDay


def to_section(result: LevelLiftResult) -> Section:
    """Lift by freshness over time."""
    blocks: list[Block] = [Text(f"Served: {result.levels.get(result.served, result.served)}.")]
    if result.judged:
        blocks.append(_figure(result))
    blocks += [alternatives(result), days(result)]
    blocks += [
        Text(level_lift_words.trained(result), "quiet"),
        Text(level_lift_words.rule(result), "quiet"),
    ]
    if result.agreement < 1:
        share = wording.share(result.agreement)
        blocks.append(
            Text(
                f"{share} of the computed scores at {result.served} are those that were served, "
                "within 1e-9.",
                "quiet",
            )
        )
    if result.notes:
        blocks.append(Bullets(list(result.notes)))
    if result.left_out:
        counts = (f"{wording.count(n)} {reason}" for reason, n in result.left_out.items())
        blocks.append(Text(f"Not counted: {'; '.join(counts)}.", "quiet"))
    return Section("level-lift", "Lift by freshness over time", blocks)


def alternatives(result: LevelLiftResult) -> Table:
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


def days(result: LevelLiftResult) -> Table:
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
    return Figure(
        picture,
        says,
        f"{says}, computed afterwards for the served requests.",
    )
