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


def headline(found: AssessmentResult) -> str:
    """The verdict as a heading."""
    made = found.decision
    names = listed(made.views) if 0 < len(made.views) <= 4 else f"{len(made.views)} views"
    return {
        "not decided": "Not decided yet",
        "stay batch": "Stay batch",
        "go hourly": f"Go hourly: {names}",
        "stream these views": f"Stream {names}",
    }.get(made.action, f"Compute {names} at request time")


def why(found: AssessmentResult) -> Sequence[str]:
    """Each rule that was applied, with its outcome."""
    return [f"{_RULES.get(rule, rule)}: {said.rstrip('.')}." for rule, said in found.decision.rules]


def plan(found: AssessmentResult) -> Part:
    """The staged plan."""
    rows = [
        [f"{n}. {stage.name}", str(stage.transition), stage.does, stage.gives, money(stage.costs), stage.state, stage.blocker, stage.remedy]
        for n, stage in enumerate(found.plan.stages, start=1)
    ]
    blocks: list[Block] = [
        Text("Transition 1 replaces precomputed predictions by predictions on request; transition 2 makes their features fresher.", "quiet")
    ]
    if rows:
        heads = ("stage", "transition", "what to do", "gain", "cost a day", "state", "blocker", "remedy")
        blocks.append(Table("Stages; you can stop after any of them", heads, rows))
    blocks.append(Text(found.plan.note))
    if found.plan.stay:
        blocks.append(Text(f"Can stay as they are: {', '.join(found.plan.stay)}."))
    return Part("plan", "The plan", blocks)


def changes(found: AssessmentResult) -> Part:
    """What would change the verdict."""
    rows = [[one.input, one.now, one.threshold, one.then] for one in found.changes]
    return Part(
        "changes",
        "What would change the verdict",
        [Table("Inputs that the verdict depends on", ("input", "now", "threshold", "then"), rows)],
    )


def risks(found: AssessmentResult) -> Part:
    """The risks that remain."""
    return Part("risks", "Risks", [Bullets(found.risks)] if found.risks else [Text("None found.")])


def lift(found: AssessmentResult) -> Part:
    """The levels and steps of the backtest."""
    heading = "Lift: your own figures"
    if isinstance(found.lift, Missing):
        return Part("lift", heading, [Text(f"Not known: {found.lift.reason}")])
    levels = [
        [one.name, one.describes, one.mode, f"{one.value:.4g}" if math.isfinite(one.value) else "not known"] for one in found.lift.levels
    ]
    steps = [*found.lift.steps, *([found.lift.whole] if found.lift.whole else []), *found.lift.money]
    return Part(
        "lift",
        heading,
        [
            Table("Levels, from stale to fresh", ("level", "features", "computed by", found.lift.headline), levels),
            Table(
                "Steps between levels (+ is a gain)",
                ("step", "lift", "verdict", "in words"),
                [[f"{s.from_} to {s.to}", shown(s), s.verdict, s.sentence] for s in steps],
            ),
        ],
    )


def earned(found: AssessmentResult) -> Part:
    """Which views earn from freshness, in short."""
    heading = "Which views earn from freshness"
    if isinstance(found.lift, Missing) or found.lift.earned is None:
        said = found.attribution.reason if isinstance(found.attribution, Missing) else "not attributed"
        return Part("attribution", heading, [Text(f"Not known: {said}.")])
    made = found.lift.earned
    rows = [
        [name, shown(step), step.verdict, "make fresh" if name in made.chosen else "can stay" if made.chosen else "not certain"]
        for name, step in made.alone.items()
    ]
    heads = ("view", f"{made.fresh} alone over {made.stale}", "verdict", "plan")
    return Part("attribution", heading, [Text(made.plan), Table("One at a time", heads, rows)])


def request_time(found: AssessmentResult) -> Part:
    """Latency of responses, and of each feature that is computed at request time."""
    said = Text(f"p99 latency of responses: {_latency(found.latency)}. Allowed: {_latency(found.budget)}.")
    if not found.at_request:
        return Part(
            "latency", "Latency, and features at request time", [said, Text("The model has no feature that is computed at request time.")]
        )
    rows = [[one.name, one.kind, _latency(one.p50), _latency(one.p99), one.fallback] for one in found.at_request]
    return Part(
        "latency",
        "Latency, and features at request time",
        [
            said,
            Table("Latency of each feature", ("feature", "kind", "p50", "p99", "fallback after a timeout"), rows),
            *_timed_out(found.at_request),
        ],
    )


def _timed_out(every: Sequence[AtRequest]) -> list[Block]:
    blocks: list[Block] = []
    for one in every:
        if isinstance(one.timed_out, Missing):
            blocks.append(Text(f"{one.name}: the lift when calls time out is not known: {one.timed_out.reason.rstrip('.')}."))
            continue
        rows = [[f"{100 * t.share:g} %", shown(t.lift), t.lift.verdict] for t in one.timed_out]
        over = one.timed_out[0].lift.from_
        blocks.append(Table(f"{one.name}: lift over {over} when a share of its calls time out", ("calls", "lift", "verdict"), rows))
    return blocks


def cost(found: AssessmentResult) -> Part:
    """The cost a day of each way to serve."""
    if isinstance(found.cost, Missing):
        return Part("cost", "Cost", [Text(f"Not known: {found.cost.reason}")])
    rows = [[way.name, money(way.total)] for way in found.cost.ways]
    facts = [f"break-even: {found.cost.break_even}", f"share of precomputed predictions that are never requested: {found.cost.waste}"]
    return Part("cost", "Cost", [Text(found.cost.sentence), Table("Cost a day", ("way to serve", "total"), rows), Bullets(facts)])


def readiness(found: AssessmentResult) -> Part:
    """How fresh each view can be, and its next blocker."""
    if isinstance(found.readiness, Missing):
        return Part("readiness", "Readiness", [Text(f"Not known: {found.readiness.reason}")])
    rows = [
        [v.view, v.reachable, v.possible, "none" if v.blocker is None else v.blocker.what, "" if v.blocker is None else v.blocker.remedy]
        for v in found.readiness.views
    ]
    counts = ", ".join(f"{count} {state}" for state, count in found.readiness.counts().items())
    heads = ("view", "reachable now", "at best", "next blocker", "remedy")
    return Part("readiness", "Readiness", [Table("How fresh each view can be", heads, rows), Text(f"Checks: {counts}.")])


def network(found: AssessmentResult) -> Part:
    """Network effects, and the experiment that would measure them."""
    made = found.network
    blocks: list[Block] = []
    if made.effects:
        rows = [[one.effect, f"{one.known}: {one.sign}", one.why, one.experiment] for one in made.effects]
        blocks.append(
            Table("People may react to the model, which no backtest can see", ("effect", "known from", "why", "experiment"), rows)
        )
    else:
        blocks.append(Text("None, as you answered." if made.answered else "The definition suggests none."))
    blocks.append(Text(f"Recommended experiment: {made.experiment}. Why: {made.tells}. Run in shadow mode first in any case."))
    if made.questions:
        blocks += [Text("Questions that settle it (answer with --network adversaries,feedback,supply, or none):"), Bullets(made.questions)]
    return Part("network", "Network effects, and the right experiment", blocks)


def others(found: AssessmentResult) -> Part:
    """Lifts that others have published, separate from everything measured here."""
    heading = "Published comparisons: not your data"
    if not found.published:
        uses = ", ".join(dict.fromkeys(one.use for one in TABLE))
        return Part("others", heading, [Text(f"The use case of this model is not known ({uses}), so no published figures are shown.")])
    rows = [
        [one.who, str(one.year), one.fresher, one.gave, "; ".join(filter(None, (one.confounded, one.through))), one.source]
        for one in found.published
    ]
    said = Text("Published by others, for their data and models. The verdict above does not use them.")
    return Part("others", heading, [said, Table("Published lifts", ("who", "year", "what was fresher", "lift", "caution", "source"), rows)])


def money(reading: Reading) -> str:
    """An amount with its currency."""
    return "not known" if isinstance(reading, Missing) else f"{reading.value:,.3g} {reading.unit.partition('/')[0]}"


def _latency(reading: Reading) -> str:
    if isinstance(reading, Missing):
        return f"not known ({reading.reason.rstrip('.')})"
    return f"{_seconds(reading)} ({reading.origin}: {reading.source})"


def _seconds(reading: Number) -> str:
    return f"{reading.value * 1e6:,.3g} µs" if reading.value < 1e-3 else duration(reading.value)
