"""The section on promise against delivery: a figure and a table of the weeks."""

from __future__ import annotations

import math

from headwater.pages import delivery_words, figures, wording
from headwater.pages.document import Block, Bullets, Cell, Figure, Section, Table, Text
from headwater.results.promise_result import DeliveryResult, WeekDelivered


def to_section(result: DeliveryResult) -> Section:
    """What was promised and delivered; with what to check where the promise was missed."""
    blocks: list[Block] = [Text(delivery_words.promised(result.promise))]
    if result.judged:
        blocks.append(_figure(result))
    blocks.append(to_table(result))
    if reasons := delivery_words.reasons(result):
        blocks.append(Bullets(reasons))
    if result.withdrawn:
        blocks += [Text("Check first:"), Bullets(delivery_words.CAUSES)]
    blocks.append(Text(delivery_words.rule(result), "quiet"))
    if line := delivery_words.from_table(result):
        blocks.append(Text(line, "quiet"))
    if result.left_out:
        counts = (f"{wording.count(n)} {reason}" for reason, n in result.left_out.items())
        blocks.append(Text(f"Not counted: {'; '.join(counts)}.", "quiet"))
    return Section("delivery", "Promise against delivery", blocks)


def to_table(result: DeliveryResult) -> Table:
    """A row for each week."""
    label = wording.metric_label(result.promise.metric)
    headings: list[str | Cell] = [
        "week of",
        "predictions",
        "with outcome",
        "defaults",
        f"{label} of the week",
        Cell(f"{label} delivered", "judged weeks"),
        Cell("shortfall", "positive: worse than promised"),
        Cell("p", "a miss below"),
        "verdict",
    ]
    return Table(
        "Weeks, Monday to Sunday, UTC. Brackets are 95 % intervals.",
        headings,
        [_row(result, week) for week in result.weeks],
    )


def _row(result: DeliveryResult, week: WeekDelivered) -> list[str | Cell]:
    places = delivery_words.places(result.promise)
    judged = math.isfinite(week.p)
    return [
        week.week,
        wording.count(week.requests),
        wording.count(week.with_outcome),
        wording.count(week.defaults),
        wording.number(week.value, places),
        Cell(wording.number(week.delivered.value, places), _bracket(week, places)),
        Cell(
            wording.number(week.shortfall.value, places, signed=True),
            wording.interval(week.shortfall.low, week.shortfall.high, places),
        ),
        Cell(_probability(week.p), _probability(week.level)) if judged else wording.NO_VALUE,
        Cell(week.state, "", "chip harm" if week.state == "missed" else ""),
    ]


def _probability(value: float) -> str:
    return "<0.0001" if value < 0.0001 else f"{value:.4f}"


def _bracket(week: WeekDelivered, places: int) -> str:
    bracket = wording.interval(week.delivered.low, week.delivered.high, places)
    return f"{bracket} from {week.window_from}" if bracket else ""


def _figure(result: DeliveryResult) -> Figure:
    label = wording.metric_label(result.promise.metric)
    caption = (
        "Dots are the judged weeks with 95 % intervals, small crosses single weeks. The band is "
        "the backtest's 95 % interval. Intervals that overlap do not decide; the shortfall in the "
        "table does."
    )
    return Figure(figures.delivered(result, label), result.first_line, caption)
