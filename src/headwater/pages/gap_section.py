"""Answers of several sides in one table, and the gap of two levels: flips, metric, money."""

from __future__ import annotations

import math
from collections.abc import Mapping

from headwater.pages import replay_words, wording
from headwater.pages.document import Block, Table, Text
from headwater.pages.page import Row, Rows
from headwater.results.level_gap_result import LevelGap
from headwater.results.replay_result import Answered


def answers_table(sides: Mapping[str, Answered]) -> Table:
    """A row for each side."""
    headings = [
        "side",
        "level",
        "version",
        "answers",
        "age p50",
        "age p95",
        "latency p50",
        "latency p95",
        "errors",
        "faults",
    ]
    rows = [
        [
            name,
            side.level,
            side.version or wording.NO_VALUE,
            ", ".join(f"{origin} {wording.count(count)}" for origin, count in side.how.items())
            or "none",
            replay_words.seconds(side.age_p50),
            replay_words.seconds(side.age_p95),
            replay_words.milliseconds(side.latency_p50),
            replay_words.milliseconds(side.latency_p95),
            wording.count(side.errors),
            replay_words.faults(side.faults),
        ]
        for name, side in sides.items()
    ]
    return Table(
        "Answers. Latency: of a served request the whole of it, of a replayed one the model alone.",
        headings,
        rows,
    )


def gap_blocks(gap: LevelGap) -> list[Block]:
    """How two levels differ."""
    blocks: list[Block] = []
    if gap.lists is not None:
        shift = (
            f"; an item would have moved by {gap.lists.mean_shift:.2f} places on average"
            if gap.lists.lists
            else ""
        )
        line = f"{replay_words.lists(gap.lists)}{shift}."
        blocks.append(Text(f"{line[0].upper()}{line[1:]}"))
    if gap.flips is not None:
        headings = ["decision", "requests", "outcome known", "positive", "unknown"]
        blocks.append(
            Table(f"Decisions: {gap.flips.rule}.", headings, replay_words.flip_rows(gap.flips))
        )
    if gap.metric is not None:
        blocks.append(
            Text(
                f"{replay_words.metric(gap.metric)}, on {wording.count(gap.metric.rows)} rows: "
                f"{gap.metric.note}."
            )
        )
    if gap.money is not None:
        costs = [
            f"{name} {cost:,.2f} a day"
            for name, cost in (
                ("the served level costs", gap.money.served_level_a_day),
                ("the other", gap.money.other_level_a_day),
            )
            if math.isfinite(cost)
        ]
        after = (
            f"; {', '.join(costs)}"
            if costs
            else "; what the levels cost a day is not declared (DecisionValue(costs=))"
        )
        blocks.append(
            Text(
                "Worth of the decisions on requests with a known outcome: served "
                f"{gap.money.served:,.2f}, other {gap.money.other:,.2f}{after}."
            )
        )
    return blocks


def answers_rows(sides: Mapping[str, Answered]) -> Rows:
    """The same for the first screen."""
    rows = [
        Row(
            name,
            ", ".join(filter(None, [side.level, side.version])),
            [
                wording.count(sum(side.how.values())),
                replay_words.seconds(side.age_p50),
                replay_words.milliseconds(side.latency_p95),
                wording.count(side.errors),
            ],
        )
        for name, side in list(sides.items())[:6]
    ]
    headings = ["side", "level, version", "answers", "age p50", "latency p95", "errors"]
    return Rows("Answers", headings, rows)


def left_out_line(left_out: Mapping[str, int]) -> str:
    """Rows that are not compared; empty where all are."""
    return "; ".join(f"{wording.count(count)} {reason}" for reason, count in left_out.items())
