"""The parts of an assessment as plain text and tables, for whichever page."""

from __future__ import annotations

import math
from collections.abc import Sequence

from headwater.reports.document import Block, Bullets, Part, Table, Text
from headwater.results.assessment_parts import TABLE, AtRequest, listed
from headwater.results.assessment_result import AssessmentResult
from headwater.results.decision_result import shown
from headwater.results.measurement import Missing, Number, Reading, duration

_RULES = {
    "leak": "A leak decides nothing",
    "unknown": "Nothing to decide on",
    "lift": "Only a LIFT counts",
    "money": "It has to earn what it costs",
    "views": "Which views",
    "readiness": "What is in the way",
}


def headline(found: AssessmentResult) -> str:
    """The verdict in a few words."""
    made = found.decision
    names = listed(made.views) if 0 < len(made.views) <= 4 else f"{len(made.views)} views"
    return {
        "not decided": "Not decided yet",
        "stay batch": "Stay batch",
        "go hourly": f"Go hourly: {names}",
        "stream these views": f"Stream {names}",
    }.get(made.action, f"Compute {names} at request time")


def why(found: AssessmentResult) -> Sequence[str]:
    """Which rule said what."""
    return [f"{_RULES.get(rule, rule)}: {said.rstrip('.')}." for rule, said in found.decision.rules]


def plan(found: AssessmentResult) -> Part:
    """The staged plan."""
    rows = [
        [f"{n}. {stage.name}", str(stage.transition), stage.does, stage.gives, money(stage.costs), stage.state, stage.blocker, stage.remedy]
        for n, stage in enumerate(found.plan.stages, start=1)
    ]
    blocks: list[Block] = [
        Text("Transition 1 is from predictions made ahead to predictions on request; transition 2 makes their features fresher.", "quiet")
    ]
    if rows:
        heads = ("stage", "transition", "does", "gives", "a day", "state", "in the way", "remedy")
        blocks.append(Table("Stages, each of which can be the last", heads, rows))
    blocks.append(Text(found.plan.note))
    if found.plan.stay:
        blocks.append(Text(f"May stay as they are: {', '.join(found.plan.stay)}."))
    return Part("plan", "The plan", blocks)


def changes(found: AssessmentResult) -> Part:
    """What would change the verdict."""
    rows = [[one.input, one.now, one.threshold, one.then] for one in found.changes]
    return Part("changes", "What would change it", [Table("Inputs that the verdict hangs on", ("input", "now", "tips at", "then"), rows)])


def risks(found: AssessmentResult) -> Part:
    """What the verdict does not rule out."""
    return Part("risks", "Risks", [Bullets(found.risks)] if found.risks else [Text("None that the parts tell of.")])


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
            Table("Levels, from stale to fresh", ("level", "features", "comes about", found.lift.headline), levels),
            Table(
                "Steps (+ is a gain)",
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
        [name, shown(step), step.verdict, "fresh" if name in made.chosen else "may stay" if made.chosen else "not sure"]
        for name, step in made.alone.items()
    ]
    heads = ("view", f"{made.fresh} alone over {made.stale}", "verdict", "in the plan")
    return Part("attribution", heading, [Text(made.plan), Table("One at a time", heads, rows)])


def request_time(found: AssessmentResult) -> Part:
    """What answers take, and each feature that is made while somebody waits."""
    said = Text(f"p99 of answers: {_latency(found.latency)}. Allowed: {_latency(found.budget)}.")
    if not found.at_request:
        return Part(
            "latency", "Latency, and features at request time", [said, Text("The model has no feature that is made at request time.")]
        )
    rows = [[one.name, one.kind, _latency(one.p50), _latency(one.p99), one.fallback] for one in found.at_request]
    return Part(
        "latency",
        "Latency, and features at request time",
        [said, Table("What each takes", ("feature", "kind", "p50", "p99", "where it times out"), rows), *_timed_out(found.at_request)],
    )


def _timed_out(every: Sequence[AtRequest]) -> list[Block]:
    blocks: list[Block] = []
    for one in every:
        if isinstance(one.timed_out, Missing):
            blocks.append(Text(f"{one.name}: the lift where calls time out is not known: {one.timed_out.reason.rstrip('.')}."))
            continue
        rows = [[f"{100 * t.share:g} %", shown(t.lift), t.lift.verdict] for t in one.timed_out]
        over = one.timed_out[0].lift.from_
        blocks.append(Table(f"{one.name}: lift over {over} where a share of its calls time out", ("calls", "lift", "verdict"), rows))
    return blocks


def cost(found: AssessmentResult) -> Part:
    """What each way costs a day."""
    if isinstance(found.cost, Missing):
        return Part("cost", "Cost", [Text(f"Not known: {found.cost.reason}")])
    rows = [[way.name, money(way.total)] for way in found.cost.ways]
    facts = [f"break-even: {found.cost.break_even}", f"waste of precomputing: {found.cost.waste}"]
    return Part("cost", "Cost", [Text(found.cost.sentence), Table("A day", ("way", "total"), rows), Bullets(facts)])


def readiness(found: AssessmentResult) -> Part:
    """How fresh each view can be, and what is next."""
    if isinstance(found.readiness, Missing):
        return Part("readiness", "Readiness", [Text(f"Not known: {found.readiness.reason}")])
    rows = [
        [v.view, v.reachable, v.possible, "nothing" if v.blocker is None else v.blocker.what, "" if v.blocker is None else v.blocker.remedy]
        for v in found.readiness.views
    ]
    counts = ", ".join(f"{count} {state}" for state, count in found.readiness.counts().items())
    heads = ("view", "reachable now", "at best", "next blocker", "remedy")
    return Part("readiness", "Readiness", [Table("How fresh each view can be", heads, rows), Text(f"Checks: {counts}.")])


def network(found: AssessmentResult) -> Part:
    """Network effects, and the experiment that would tell."""
    made = found.network
    blocks: list[Block] = []
    if made.effects:
        rows = [[one.effect, f"{one.known}: {one.sign}", one.why, one.experiment] for one in made.effects]
        blocks.append(Table("The world may answer back, which no backtest sees", ("effect", "known by", "why", "what would tell"), rows))
    else:
        blocks.append(Text("None is answered." if made.answered else "Nothing in the definition hints at one."))
    blocks.append(Text(f"The experiment that would tell: {made.experiment}. Why: {made.tells}. Shadow first, in any case."))
    if made.questions:
        blocks += [Text("Questions that settle it (--network adversaries,feedback,supply, or none):"), Bullets(made.questions)]
    return Part("network", "Network effects, and which experiment would tell", blocks)


def others(found: AssessmentResult) -> Part:
    """What others have published, apart from all that was measured here."""
    heading = "Comparisons: others' figures, not yours"
    if not found.published:
        uses = ", ".join(dict.fromkeys(one.use for one in TABLE))
        return Part("others", heading, [Text(f"Nothing says which of {uses} this model is for, so nobody's figures stand beside it.")])
    rows = [
        [one.who, str(one.year), one.fresher, one.gave, "; ".join(filter(None, (one.confounded, one.through))), one.source]
        for one in found.published
    ]
    said = Text("Published by others, on their data and their models. They went into no verdict above.")
    return Part(
        "others", heading, [said, Table("Published lifts", ("who", "year", "what was fresher", "gave", "read with care", "source"), rows)]
    )


def money(reading: Reading) -> str:
    """An amount in words."""
    return "not known" if isinstance(reading, Missing) else f"{reading.value:,.3g} {reading.unit.partition('/')[0]}"


def _latency(reading: Reading) -> str:
    if isinstance(reading, Missing):
        return f"not known ({reading.reason.rstrip('.')})"
    return f"{_seconds(reading)} ({reading.origin}: {reading.source})"


def _seconds(reading: Number) -> str:
    return f"{reading.value * 1e6:,.3g} µs" if reading.value < 1e-3 else duration(reading.value)
