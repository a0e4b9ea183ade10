"""The verdict as a sentence, and what would change it."""

from __future__ import annotations

import math

from headwater.results.assessment_parts import Change, listed
from headwater.results.decision_result import NEEDS, Decision, Evidence, alike, shown
from headwater.results.lift_result import Lift, Mode, Step
from headwater.results.measurement import Missing, Number

_THEN: dict[Mode, str] = {
    "no history": "leave history out",
    "batch": "stay batch",
    "hourly": "go hourly",
    "streaming": "stream",
    "at request time": "compute at request time",
}


def sentence(evidence: Evidence, lift: Lift, decision: Decision) -> str:
    """The whole verdict: what to do, the gain, the blockers, and the cost."""
    return " ".join(clause for clause in (_what(lift, decision), _ready(evidence, decision), _money(lift, decision)) if clause)


def _what(lift: Lift, decision: Decision) -> str:
    taken = [step for step in lift.steps if step.to == decision.level and step.lifts]
    gain = f"{decision.gain:+.3g} {lift.headline} over {decision.base}"
    step = f" (the last step, {taken[0].from_} to {taken[0].to}, is a LIFT of {shown(taken[0])})" if taken else ""
    if decision.action == "stay batch":
        fresher = [s for s in lift.steps if lift.level(s.to).mode not in ("no history", "batch")]
        tried = "; ".join(f"{s.from_} to {s.to}: {s.verdict}, {shown(s)}" for s in fresher)
        if not fresher:
            return "Stay batch: the backtest has no level that is fresher than a nightly job."
        costs = next((outcome for rule, outcome in decision.rules if rule == "money"), "")
        return f"Stay batch: {costs}." if costs else f"Stay batch: no step to fresher features is shown to pay ({tried})."
    names = listed(decision.views)
    named = (
        names
        if decision.attributed
        else f"{names} (which of them earn is not known: there is no attribution)"
        if len(decision.views) > 1
        else names
    )
    lead = {"go hourly": f"Go hourly with {named}", "stream these views": f"Stream {named}"}.get(
        decision.action, f"Compute {named} at request time"
    )
    return f"{lead}: {decision.level} gives {gain}{step}."


def _ready(evidence: Evidence, decision: Decision) -> str:
    if decision.action == "stay batch":
        return ""
    if isinstance(evidence.readiness, Missing):
        return f"Whether you are ready is not known: {evidence.readiness.reason.rstrip('.')}."
    if not decision.barred:
        return "No blocker was found."
    clauses = []
    for certain, lead in ((True, "Blocked"), (False, "Not possible yet")):
        groups = alike([b for b in decision.barred if b.certain is certain])
        if groups:
            named = "; ".join(
                f"{listed(names)} {'is' if len(names) == 1 else 'are'} only at {b.reachable}: {b.blocker.check}, {_short(b.why)}"
                for names, b in groups
            )
            clauses.append(f"{lead}: {named.rstrip('.')}.")
    return " ".join([*clauses, f"Until then: {decision.until}."])


def _money(lift: Lift, decision: Decision) -> str:
    if decision.action == "stay batch":
        return ""
    if isinstance(decision.extra, Missing):
        return f"The cost is not known: {decision.extra.reason.rstrip('.')}."
    currency = decision.extra.unit.partition("/")[0]
    price = f"It costs {decision.extra.value:,.3g} {currency} a day more"
    if isinstance(decision.per_point, Number):
        price += f", {decision.per_point.value:,.3g} for each 0.01 of {lift.headline}"
    if isinstance(decision.earns, Missing):
        return f"{price}; whether that is worth it is not known: {decision.earns.reason.rstrip('.')}."
    return f"{price}, and earns {decision.earns.value:,.3g} ({decision.earns.source})."


def _short(text: str, most: int = 160) -> str:
    return text if len(text) <= most else text[: most - 3].rstrip() + "..."


def changes(evidence: Evidence, decision: Decision) -> list[Change]:
    """What would change the verdict: each input, its value, and its threshold."""
    lift = evidence.lift
    if isinstance(lift, Missing):
        return [Change("a backtest", "none", "one with two levels or more", "a verdict by its lifts")]
    if decision.action == "not decided":
        return [Change("the backtest", "not reliable", "no leak, and two levels or more", "a verdict by its lifts")]
    parts = [*_of_lift(lift, decision), *_of_money(evidence, lift, decision), *_of_readiness(evidence, decision)]
    if len(decision.views) > 1 and not decision.attributed:
        parts.append(Change("which views earn", "not attributed", "an attribution that chooses fewer", "fewer views to make fresh"))
    return parts


def _of_lift(lift: Lift, decision: Decision) -> list[Change]:
    names = [level.name for level in lift.levels]
    reached = names.index(decision.level)
    changed = []
    for position, step in enumerate(lift.steps, start=1):
        if position > reached or not step.lifts:
            needs = (
                f"an interval above 0; a lift of {step.detectable:.3g} would have been detected"
                if math.isfinite(step.detectable)
                else "more days"
            )
            then = _THEN[lift.levels[position].mode]
            if position > reached:
                changed.append(Change(_named(step), f"{shown(step)}, {step.verdict}", needs, then))
        elif position == reached:
            then = _before(lift, reached)
            changed.append(Change(_named(step), shown(step), "an interval that includes 0, in another period or after retraining", then))
    return changed


def _before(lift: Lift, position: int) -> str:
    """The action without the level at `position`: the LIFT before it, else batch."""
    return next((_THEN[lift.levels[n].mode] for n in range(position - 1, 0, -1) if lift.steps[n - 1].lifts), "stay batch")


def _of_money(evidence: Evidence, lift: Lift, decision: Decision) -> list[Change]:
    parts = []
    if isinstance(decision.per_point, Number):
        now = "not given" if evidence.worth is None else f"{evidence.worth:,.3g}"
        unit = decision.per_point.unit
        parts.append(
            Change(
                f"worth of 0.01 of {lift.headline}",
                now,
                f"below {decision.per_point.value:,.3g} {unit}",
                _before(lift, [level.name for level in lift.levels].index(decision.level)),
            )
        )
    if not isinstance(evidence.cost, Missing):
        even, rate = evidence.cost.break_even, evidence.cost.inputs.get("R")
        if isinstance(even, Number):
            now = str(rate) if isinstance(rate, Number) else "not measured"
            parts.append(
                Change("requests a day (R)", now, f"{even.value:,.0f}", "above it, batch features cost less precomputed than on request")
            )
        swing = next((s for s in evidence.cost.swings if s.way == "streaming"), None)
        if swing is not None and decision.action in ("stream these views", "compute these at request time"):
            now = f"{(swing.low * 2):,.4g}"
            tips = f"streaming costs {swing.cost_low:,.3g} at half and {swing.cost_high:,.3g} at twice"
            parts.append(Change(f"{swing.input}, which moves streaming most", now, tips, "another price per 0.01"))
    return parts


def _of_readiness(evidence: Evidence, decision: Decision) -> list[Change]:
    if isinstance(evidence.readiness, Missing):
        return [Change("readiness", "not known", "no gate red or unknown", "the plan without blockers")] if decision.views else []
    green = {finding.check: finding.green for finding in evidence.readiness.findings}
    return [
        Change(
            f"{b.blocker.check} of {listed(names)}",
            b.blocker.state,
            green.get(b.blocker.check, b.blocker.remedy),
            f"{listed(names)} can be {NEEDS[decision.action]}",
        )
        for names, b in alike(decision.barred)
    ]


def _named(step: Step) -> str:
    return f"lift of {step.from_} to {step.to}"
