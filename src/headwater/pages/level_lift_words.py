"""Lift by freshness in words. "Earned nothing" stands only where an interval that holds at every
look lies wholly below break-even.
"""

from __future__ import annotations

import math

import msgspec

from headwater.pages import wording
from headwater.results.estimate import Estimate
from headwater.results.level_lift_result import Alternative, LevelLiftResult

RULE = (
    "Intervals of the table of levels and views hold at every daily look of a year together, for "
    "all of them: at most {alpha:.0%} of projects whose freshness keeps earning its cost get one "
    "false alarm in a year. Days may depend on the day before. A view is judged with all others "
    "as they are served, so a view that another one replaces costs nothing."
)


def with_words(result: LevelLiftResult) -> LevelLiftResult:
    """The result with each state, and all of it, in a sentence."""
    alternatives = [
        msgspec.structs.replace(alternative, sentence=_sentence(result, alternative))
        for alternative in result.alternatives
    ]
    said = msgspec.structs.replace(result, alternatives=alternatives)
    return msgspec.structs.replace(said, first_line=_first_line(said))


def estimate(value: Estimate) -> str:
    """A lift with its interval."""
    return (
        f"{wording.number(value.value, 4, signed=True)} "
        f"{wording.interval(value.low, value.high, 4)}"
    ).strip()


def rule(result: LevelLiftResult) -> str:
    """How to read the intervals."""
    return RULE.format(alpha=result.alpha)


def trained(result: LevelLiftResult) -> str:
    """What the models of the levels are, and what training them took."""
    versions = len({model.served_version for model in result.models})
    took = sum(result.seconds.values())
    new = (
        f"{len(result.seconds)} of them were trained for this, in {took:,.1f} s"
        if result.seconds
        else "none had to be trained"
    )
    return (
        f"{len(result.models)} models scored, one for each level and each of {versions} served "
        f"versions, of the same training cutoff and seed as that version; {new}."
    )


def _label(result: LevelLiftResult) -> str:
    return wording.metric_label(result.metric)


def _named(alternative: Alternative) -> str:
    if alternative.kind in ("staler", "fresher"):
        return alternative.name
    return f"{alternative.name} ({alternative.now})"


def _sentence(result: LevelLiftResult, alternative: Alternative) -> str:
    lift, even = estimate(alternative.lift), wording.number(alternative.break_even, 4)
    experiment = (
        ""
        if alternative.experiment is None
        else f" An experiment found {estimate(alternative.experiment)}."
    )
    if alternative.state == "too early":
        return (
            f"{_named(alternative)}: too early, {alternative.days} days have a lift and an "
            "interval needs "
            f"14.{experiment}"
        )
    since = f"since {alternative.since}"
    if alternative.state == "earned nothing":
        subject = (
            f"{result.served} over {alternative.name}"
            if alternative.kind == "staler"
            else f"{alternative.name} over {result.served}"
            if alternative.kind == "fresher"
            else _named(alternative)
        )
        return (
            f"{subject} has earned nothing {since}: {lift} of {_label(result)}, wholly below "
            f"break-even {even}.{experiment}"
        )
    size = wording.number(abs(alternative.lift.value), 4)
    if alternative.kind == "fresher":
        verb = f"would now gain {size}" if alternative.lift.low > 0 else "shows no gain yet"
    else:
        verb = f"would now lose {size}" if alternative.lift.low > 0 else "shows no loss yet"
    without = (
        alternative.name
        if alternative.kind in ("staler", "fresher")
        else f"{alternative.name} as at {result.stalest}"
    )
    return f"{without} {verb}: {lift} of {_label(result)} {since}, break-even {even}.{experiment}"


def _first_line(result: LevelLiftResult) -> str:
    if not result.alternatives:
        return (
            f"Nothing to compare: {result.model} is served at {result.served}, and no other level "
            "can be scored"
        )
    decayed = [
        alternative
        for alternative in result.alternatives
        if alternative.state == "earned nothing" and alternative.kind != "fresher"
    ]
    if decayed:
        together = [
            alternative for alternative in decayed if alternative.kind in ("together", "staler")
        ]
        return (together or decayed)[0].sentence
    if all(alternative.state == "too early" for alternative in result.alternatives):
        return (
            f"Too early: {len(result.judged)} days of {result.model} have their outcomes, and an "
            "interval needs 14"
        )
    pays = [
        alternative
        for alternative in result.alternatives
        if alternative.kind == "fresher" and alternative.state == "earns"
    ]
    if pays:
        return pays[0].sentence
    losing = [
        alternative
        for alternative in result.alternatives
        if alternative.kind == "staler"
        and not math.isnan(alternative.lift.low)
        and alternative.lift.low > 0
    ]
    if losing:
        return losing[0].sentence
    return (
        "No change shown: nothing has been shown to earn less than it costs, and no level to "
        f"lose or gain, in {len(result.judged)} days"
    )
