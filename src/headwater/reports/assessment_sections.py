"""The sections of an assessment as plain text and tables; HTML and Markdown are written from them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from headwater.reports.document import Block, Bullets, Part, Table, Text
from headwater.results.assessment_parts import TABLE, AtRequest, listed
from headwater.results.assessment_result import AssessmentResult
from headwater.results.decision_result import shown
from headwater.results.measurement import Missing, Number, Reading, duration

_RULES = {
    "leak": "No verdict while there is a leak",
    "unknown": "No verdict without a backtest",
    "lift": "Only a LIFT counts",
    "money": "The gain must exceed the cost",
    "views": "Which views",
    "readiness": "What blocks it",
}


def headline(assessment: AssessmentResult) -> str:
    """The verdict as a heading."""
    decision = assessment.decision
    names = listed(decision.views) if 0 < len(decision.views) <= 4 else f"{len(decision.views)} views"
    return {
        "not decided": "Not decided yet",
        "stay batch": "Stay batch",
        "go hourly": f"Go hourly: {names}",
        "stream these views": f"Stream {names}",
    }.get(decision.action, f"Compute {names} at request time")


def why(assessment: AssessmentResult) -> Sequence[str]:
    """Each rule that was applied, with its outcome."""
    return [f"{_RULES.get(rule, rule)}: {outcome.rstrip('.')}." for rule, outcome in assessment.decision.rules]


def plan(assessment: AssessmentResult) -> Part:
    """The staged plan."""
    rows = [
        [f"{n}. {stage.name}", str(stage.transition), stage.does, stage.gives, money(stage.costs), stage.state, stage.blocker, stage.remedy]
        for n, stage in enumerate(assessment.plan.stages, start=1)
    ]
    blocks: list[Block] = [
        Text("Transition 1 replaces precomputed predictions by predictions on request; transition 2 makes their features fresher.", "quiet")
    ]
    if rows:
        heads = ("stage", "transition", "what to do", "gain", "cost a day", "state", "blocker", "remedy")
        blocks.append(Table("Stages; you can stop after any of them", heads, rows))
    blocks.append(Text(assessment.plan.note))
    if assessment.plan.stay:
        blocks.append(Text(f"Can stay as they are: {', '.join(assessment.plan.stay)}."))
    return Part("plan", "The plan", blocks)


def changes(assessment: AssessmentResult) -> Part:
    """What would change the verdict."""
    rows = [[change.input, change.now, change.threshold, change.then] for change in assessment.changes]
    return Part(
        "changes",
        "What would change the verdict",
        [Table("Inputs that the verdict depends on", ("input", "now", "threshold", "then"), rows)],
    )


def risks(assessment: AssessmentResult) -> Part:
    """The risks that remain."""
    return Part("risks", "Risks", [Bullets(assessment.risks)] if assessment.risks else [Text("None found.")])


def lift(assessment: AssessmentResult) -> Part:
    """The levels and steps of the backtest."""
    heading = "Lift: your own figures"
    if isinstance(assessment.lift, Missing):
        return Part("lift", heading, [Text(f"Not known: {assessment.lift.reason}")])
    levels = [
        [level.name, level.describes, level.mode, f"{level.value:.4g}" if math.isfinite(level.value) else "not known"]
        for level in assessment.lift.levels
    ]
    steps = [*assessment.lift.steps, *([assessment.lift.whole] if assessment.lift.whole else []), *assessment.lift.money]
    return Part(
        "lift",
        heading,
        [
            Table("Levels, from stale to fresh", ("level", "features", "computed by", assessment.lift.headline), levels),
            Table(
                "Steps between levels (+ is a gain)",
                ("step", "lift", "verdict", "in words"),
                [[f"{s.from_} to {s.to}", shown(s), s.verdict, s.sentence] for s in steps],
            ),
        ],
    )


def earned(assessment: AssessmentResult) -> Part:
    """Which views earn from freshness, in short."""
    heading = "Which views earn from freshness"
    if isinstance(assessment.lift, Missing) or assessment.lift.earned is None:
        reason = assessment.attribution.reason if isinstance(assessment.attribution, Missing) else "not attributed"
        return Part("attribution", heading, [Text(f"Not known: {reason}.")])
    attribution = assessment.lift.earned
    rows = [
        [
            name,
            shown(step),
            step.verdict,
            "make fresh" if name in attribution.chosen else "can stay" if attribution.chosen else "not certain",
        ]
        for name, step in attribution.alone.items()
    ]
    heads = ("view", f"{attribution.fresh} alone over {attribution.stale}", "verdict", "plan")
    return Part("attribution", heading, [Text(attribution.plan), Table("One at a time", heads, rows)])


def request_time(assessment: AssessmentResult) -> Part:
    """Latency of responses, and of each feature that is computed at request time."""
    summary = Text(f"p99 latency of responses: {_latency(assessment.latency)}. Allowed: {_latency(assessment.budget)}.")
    if not assessment.at_request:
        return Part(
            "latency",
            "Latency, and features at request time",
            [summary, Text("The model has no feature that is computed at request time.")],
        )
    rows = [
        [feature.name, feature.kind, _latency(feature.p50), _latency(feature.p99), feature.fallback] for feature in assessment.at_request
    ]
    return Part(
        "latency",
        "Latency, and features at request time",
        [
            summary,
            Table("Latency of each feature", ("feature", "kind", "p50", "p99", "fallback after a timeout"), rows),
            *_timed_out(assessment.at_request),
        ],
    )


def _timed_out(every: Sequence[AtRequest]) -> list[Block]:
    blocks: list[Block] = []
    for feature in every:
        if isinstance(feature.timed_out, Missing):
            blocks.append(Text(f"{feature.name}: the lift when calls time out is not known: {feature.timed_out.reason.rstrip('.')}."))
            continue
        rows = [[f"{100 * t.share:g} %", shown(t.lift), t.lift.verdict] for t in feature.timed_out]
        over = feature.timed_out[0].lift.from_
        blocks.append(Table(f"{feature.name}: lift over {over} when a share of its calls time out", ("calls", "lift", "verdict"), rows))
    return blocks


def cost(assessment: AssessmentResult) -> Part:
    """The cost a day of each way to serve."""
    if isinstance(assessment.cost, Missing):
        return Part("cost", "Cost", [Text(f"Not known: {assessment.cost.reason}")])
    rows = [[way.name, money(way.total)] for way in assessment.cost.ways]
    facts = [
        f"break-even: {assessment.cost.break_even}",
        f"share of precomputed predictions that are never requested: {assessment.cost.waste}",
    ]
    return Part("cost", "Cost", [Text(assessment.cost.sentence), Table("Cost a day", ("way to serve", "total"), rows), Bullets(facts)])


def readiness(assessment: AssessmentResult) -> Part:
    """How fresh each view can be, and its next blocker."""
    if isinstance(assessment.readiness, Missing):
        return Part("readiness", "Readiness", [Text(f"Not known: {assessment.readiness.reason}")])
    rows = [
        [v.view, v.reachable, v.possible, "none" if v.blocker is None else v.blocker.what, "" if v.blocker is None else v.blocker.remedy]
        for v in assessment.readiness.views
    ]
    counts = ", ".join(f"{count} {state}" for state, count in assessment.readiness.counts().items())
    heads = ("view", "reachable now", "at best", "next blocker", "remedy")
    return Part("readiness", "Readiness", [Table("How fresh each view can be", heads, rows), Text(f"Checks: {counts}.")])


def network(assessment: AssessmentResult) -> Part:
    """Network effects, and the experiment that would measure them."""
    effects = assessment.network
    blocks: list[Block] = []
    if effects.effects:
        rows = [[effect.effect, f"{effect.known}: {effect.sign}", effect.why, effect.experiment] for effect in effects.effects]
        blocks.append(
            Table("People may react to the model, which no backtest can see", ("effect", "known from", "why", "experiment"), rows)
        )
    else:
        blocks.append(Text("None, as you answered." if effects.answered else "The definition suggests none."))
    blocks.append(Text(f"Recommended experiment: {effects.experiment}. Why: {effects.tells}. Run in shadow mode first in any case."))
    if effects.questions:
        blocks += [
            Text("Questions that settle it (answer with --network adversaries,feedback,supply, or none):"),
            Bullets(effects.questions),
        ]
    return Part("network", "Network effects, and the right experiment", blocks)


def others(assessment: AssessmentResult) -> Part:
    """Lifts that others have published, separate from everything measured here."""
    heading = "Published comparisons: not your data"
    if not assessment.published:
        uses = ", ".join(dict.fromkeys(item.use for item in TABLE))
        return Part("others", heading, [Text(f"The use case of this model is not known ({uses}), so no published figures are shown.")])
    rows = [
        [item.who, str(item.year), item.fresher, item.gave, "; ".join(filter(None, (item.confounded, item.through))), item.source]
        for item in assessment.published
    ]
    note = Text("Published by others, for their data and models. The verdict above does not use them.")
    return Part("others", heading, [note, Table("Published lifts", ("who", "year", "what was fresher", "lift", "caution", "source"), rows)])


def money(reading: Reading) -> str:
    """An amount with its currency."""
    return "not known" if isinstance(reading, Missing) else f"{reading.value:,.3g} {reading.unit.partition('/')[0]}"


def _latency(reading: Reading) -> str:
    if isinstance(reading, Missing):
        return f"not known ({reading.reason.rstrip('.')})"
    return f"{_seconds(reading)} ({reading.origin}: {reading.source})"


def _seconds(reading: Number) -> str:
    return f"{reading.value * 1e6:,.3g} µs" if reading.value < 1e-3 else duration(reading.value)
