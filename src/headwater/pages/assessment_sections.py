"""The sections of an assessment as plain text and tables; HTML and Markdown are written from
them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from headwater.pages import resolution_words, wording
from headwater.pages.document import Block, Bullets, Section, Table, Text
from headwater.results.assessment_parts import AtRequest
from headwater.results.assessment_result import AssessmentResult
from headwater.results.decision_result import shown
from headwater.results.measurement import Missing, Number, Reading, amount, duration

_RULES = {
    "leak": "No verdict while the audit withholds it",
    "unknown": "No verdict without a backtest",
    "recommendation": "Recommendation",
    "views": "Which views",
    "readiness": "What blocks it",
}


def headline(assessment: AssessmentResult) -> str:
    """The recommendation: the first line of the page."""
    return assessment.decision.first_line


def details(assessment: AssessmentResult) -> str:
    """The verdict without its first line: the gain, the views, the blockers and the money."""
    return assessment.verdict.removeprefix(assessment.decision.first_line).strip()


def why(assessment: AssessmentResult) -> Sequence[str]:
    """Each rule that was applied, with its outcome."""
    return [
        f"{_RULES.get(rule, rule)}: {outcome.rstrip('.')}."
        for rule, outcome in assessment.decision.rules
    ]


def lift(assessment: AssessmentResult) -> Section:
    """The levels and steps of the backtest."""
    heading = "Lift: your own figures"
    if isinstance(assessment.lift, Missing):
        return Section("lift", heading, [Text(f"Not known: {assessment.lift.reason}")])
    levels = [
        [
            level.name,
            level.describes,
            level.mode,
            f"{value:.4g}" if math.isfinite(value) else "not known",
        ]
        for level in assessment.lift.levels
        for value in [level.metrics[assessment.lift.headline].value]
    ]
    steps = wording.shown_steps(assessment.lift.backtest)
    return Section(
        "lift",
        heading,
        [
            *(
                [Bullets(blind)]
                if (blind := resolution_words.lines(assessment.lift.backtest))
                else []
            ),
            Table(
                "Levels, from stale to fresh",
                ("level", "features", "computed by", assessment.lift.headline),
                levels,
            ),
            Table(
                "Differences between levels (+ is a gain); those with the baseline are judged",
                ("difference", "gain", "verdict"),
                [
                    [
                        f"{s.from_} to {s.to}",
                        shown(s),
                        wording.verdict_word(assessment.lift.backtest, s),
                    ]
                    for s in steps
                ],
            ),
        ],
    )


def earned(assessment: AssessmentResult) -> Section:
    """Which views earn from freshness, in short."""
    heading = "Which views earn from freshness"
    if isinstance(assessment.lift, Missing) or assessment.lift.earned is None:
        reason = (
            assessment.attribution.reason
            if isinstance(assessment.attribution, Missing)
            else "not attributed"
        )
        return Section("attribution", heading, [Text(f"Not known: {reason}.")])
    attribution = assessment.lift.earned
    fresh = attribution.views_of(attribution.chosen)
    rows = [
        [
            name,
            shown(step),
            step.verdict_words,
            "make fresh"
            if name in fresh
            else "can stay"
            if fresh and step.verdict != "not measurable"
            else "not certain",
        ]
        for name, step in attribution.alone.items()
    ]
    heads = ("view", f"{attribution.fresh} alone over {attribution.stale}", "verdict", "plan")
    return Section(
        "attribution", heading, [Text(attribution.plan), Table("One at a time", heads, rows)]
    )


def request_time(assessment: AssessmentResult) -> Section:
    """Latency of responses, and of each feature that is computed at request time."""
    summary = Text(
        f"p99 latency of responses: {_latency(assessment.latency)}. Allowed: "
        f"{_latency(assessment.budget)}."
    )
    if not assessment.at_request:
        return Section(
            "latency",
            "Latency, and features at request time",
            [summary, Text("The model has no feature that is computed at request time.")],
        )
    rows = [
        [feature.name, feature.kind, _latency(feature.p50), _latency(feature.p99), feature.fallback]
        for feature in assessment.at_request
    ]
    return Section(
        "latency",
        "Latency, and features at request time",
        [
            summary,
            Table(
                "Latency of each feature",
                ("feature", "kind", "p50", "p99", "fallback after a timeout"),
                rows,
            ),
            *_timed_out(assessment.at_request),
        ],
    )


def _timed_out(every: Sequence[AtRequest]) -> list[Block]:
    blocks: list[Block] = []
    for feature in every:
        if isinstance(feature.timed_out, Missing):
            blocks.append(
                Text(
                    f"{feature.name}: the lift when calls time out is not known: "
                    f"{feature.timed_out.reason.rstrip('.')}."
                )
            )
            continue
        rows = [[f"{100 * t.share:g} %", shown(t.lift)] for t in feature.timed_out]
        over = feature.timed_out[0].lift.from_
        blocks.append(
            Table(
                f"{feature.name}: lift over {over} when a share of its calls time out",
                ("calls", "lift"),
                rows,
            )
        )
    return blocks


def cost(assessment: AssessmentResult) -> Section:
    """The cost a day of each way to serve."""
    if isinstance(assessment.cost, Missing):
        return Section("cost", "Cost", [Text(f"Not known: {assessment.cost.reason}")])
    rows = [[way.name, money(way.total)] for way in assessment.cost.ways]
    facts = [
        f"break-even: {assessment.cost.break_even}",
        f"share of precomputed predictions that are never requested: {assessment.cost.waste}",
    ]
    return Section(
        "cost",
        "Cost",
        [
            Text(assessment.cost.sentence),
            Table("Cost a day", ("way to serve", "total"), rows),
            Bullets(facts),
        ],
    )


def readiness(assessment: AssessmentResult) -> Section:
    """How fresh each view can be, and its next blocker."""
    if isinstance(assessment.readiness, Missing):
        return Section(
            "readiness", "Readiness", [Text(f"Not known: {assessment.readiness.reason}")]
        )
    rows = [
        [
            v.view,
            v.reachable,
            v.possible,
            "none" if v.blocker is None else v.blocker.what,
            "" if v.blocker is None else v.blocker.remedy,
        ]
        for v in assessment.readiness.views
    ]
    counts = ", ".join(f"{count} {state}" for state, count in assessment.readiness.counts().items())
    heads = ("view", "reachable now", "at best", "next blocker", "remedy")
    return Section(
        "readiness",
        "Readiness",
        [Table("How fresh each view can be", heads, rows), Text(f"Checks: {counts}.")],
    )


def network(assessment: AssessmentResult) -> Section:
    """Network effects, and the experiment that would measure them."""
    effects = assessment.network
    blocks: list[Block] = []
    if effects.effects:
        rows = [[effect.effect, effect.why, effect.experiment] for effect in effects.effects]
        blocks.append(
            Table(
                "By your answers: effects that no backtest can see",
                ("effect", "why", "experiment"),
                rows,
            )
        )
    elif not effects.unanswered:
        blocks.append(Text("None, as you answered."))
    reason = f" Why: {effects.tells}." if effects.tells else ""
    blocks.append(
        Text(
            f"Recommended experiment: {effects.experiment}.{reason} Run in shadow mode first in "
            "any case."
        )
    )
    if effects.unanswered:
        blocks += [
            Text(
                "Not answered; a yes may call for another experiment. `headwater assess readiness "
                "--write-questions` writes the questions:"
            ),
            Bullets(effects.unanswered),
        ]
    return Section("network", "Network effects, and the right experiment", blocks)


def money(reading: Reading) -> str:
    """An amount with its currency."""
    return (
        "not known"
        if isinstance(reading, Missing)
        else f"{amount(reading.value)} {reading.unit.partition('/')[0]}"
    )


def _latency(reading: Reading) -> str:
    if isinstance(reading, Missing):
        return f"not known ({reading.reason.rstrip('.')})"
    return f"{_seconds(reading)} ({reading.origin}: {reading.source})"


def _seconds(reading: Number) -> str:
    return f"{reading.value * 1e6:,.3g} µs" if reading.value < 1e-3 else duration(reading.value)
