"""A replayed day and a shadow in words."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from headwater.definitions.level import at_level
from headwater.pages import wording
from headwater.results.level_gap_result import DecisionFlips, LevelGap, ListDifferences, MetricGap
from headwater.results.replay_result import ReplayResult, ShadowResult


def with_first_line(result: ReplayResult) -> ReplayResult:
    """The result with its first line."""
    failing = f" with {wording.listed(list(result.failed))} failing" if result.failed else ""
    line = (
        f"On {result.day}, {at_level(result.model, result.replayed.level)}{failing}: "
        f"{difference(result.gap, result.requests)}"
    )
    return msgspec.structs.replace(result, first_line=line)


def shadow_first_line(result: ShadowResult) -> ShadowResult:
    """The result with its first line."""
    parts = [
        f"{arm.arm} cannot be scored"
        if arm.gap is None
        else f"{arm.arm}: {difference(arm.gap, result.requests).rstrip('.')}"
        for arm in result.arms
    ]
    line = f"Scored in shadow next to {result.champion}, never served. {'. '.join(parts)}."
    return msgspec.structs.replace(result, first_line=line)


def difference(gap: LevelGap, requests: int) -> str:
    """How the answers differ, in a sentence."""
    if gap.lists is not None:
        sentence = lists(gap.lists)
    elif gap.flips is not None:
        sentence = (
            f"{wording.count(gap.flips.flipped)} of {wording.count(requests)} decisions would "
            "have been others"
        )
    elif math.isfinite(gap.changed):
        sentence = f"{gap.changed:.1%} of {wording.count(requests)} answers would have been others"
    else:
        sentence = f"none of {wording.count(requests)} requests has an answer"
    parts = [sentence]
    if gap.metric is not None:
        parts.append(metric(gap.metric))
    if gap.money is not None:
        worth = gap.money.other - gap.money.served
        parts.append(f"decisions would have been worth {worth:+,.0f}")
    return (
        f"{'. '.join(part[:1].upper() + part[1:] if n else part for n, part in enumerate(parts))}."
    )


def lists(differences: ListDifferences) -> str:
    """How orders differ, in a clause."""
    if not differences.lists:
        return "no list of two items or more has a score of every item"
    return (
        f"of {wording.count(differences.lists)} lists, {wording.share(differences.first_changed)} "
        "would have begun with another of the shown items, and "
        f"{wording.share(differences.order_changed)} would have had another order"
    )


def metric(gap: MetricGap) -> str:
    """The metric of both, and its gap."""
    places = wording.places_of([gap.served, gap.other])
    label = wording.metric_label(gap.metric)
    both = f"{wording.number(gap.other, places)} instead of {wording.number(gap.served, places)}"
    bounds = (
        wording.interval(gap.gap.low, gap.gap.high, places)
        if math.isfinite(gap.gap.low)
        else "(no interval)"
    )
    return f"{label} {both}, {wording.number(gap.gap.value, places, signed=True)} {bounds}"


def flip_rows(flips: DecisionFlips) -> list[list[str]]:
    """The decision-flip matrix as rows: who acts, requests, with outcome, positive, unknown."""
    cells = [
        ("both act", flips.both),
        ("only the served answer acts", flips.served_only),
        ("only the other level acts", flips.other_only),
        ("neither acts", flips.neither),
    ]
    return [
        [
            name,
            wording.count(cell.rows),
            wording.count(cell.known),
            wording.count(cell.positive),
            wording.count(cell.unknown),
        ]
        for name, cell in cells
    ]


def faults(counts: Mapping[str, int]) -> str:
    """Faults, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = [f"{name} {wording.count(count)}" for name, count in ordered[:6]]
    more = len(ordered) - len(shown)
    return ", ".join([*shown, *([f"{more} more"] if more > 0 else [])]) or "none"


def seconds(value: float) -> str:
    """An age."""
    return wording.duration(value) if math.isfinite(value) else wording.NO_VALUE


def milliseconds(value: float) -> str:
    """A latency."""
    return f"{value:.2f} ms" if math.isfinite(value) else wording.NO_VALUE
