"""What follows the recommendation of an assessment, in sentences."""

from __future__ import annotations

from headwater.pages.wording import listed
from headwater.results.decision_result import Decision, Evidence, alike, shown
from headwater.results.lift_result import Lift
from headwater.results.measurement import Missing, amount


def sentence(evidence: Evidence, lift: Lift, decision: Decision) -> str:
    """What follows the recommendation: the views, the gain, the blockers, and the cost."""
    return " ".join(
        clause
        for clause in (_gained(lift, decision), _ready(evidence, decision), _money(decision))
        if clause
    )


def _gained(lift: Lift, decision: Decision) -> str:
    """The gain of the level over the baseline, and the views that it needs."""
    step = next((step for step in lift.steps if step.to == decision.level), None)
    gain = (
        ""
        if step is None
        else f"{decision.level} gives {shown(step)} over {decision.base}, {step.verdict_words}."
    )
    if not decision.views:
        return gain
    unknown = (
        ""
        if decision.attributed or len(decision.views) < 2
        else " (which of them earn is not known without an attribution)"
    )
    return f"{gain} Views to keep fresh: {listed(decision.views)}{unknown}.".strip()


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
                f"{listed(names)} {'is' if len(names) == 1 else 'are'} only at {b.reachable}: "
                f"{b.blocker.check}, {b.why}"
                for names, b in groups
            )
            clauses.append(f"{lead}: {named.rstrip('.')}.")
    return " ".join([*clauses, f"Until then: {decision.until}."])


def _money(decision: Decision) -> str:
    if decision.level == decision.base or not decision.level:
        return ""
    if isinstance(decision.extra, Missing):
        return f"The cost is not known: {decision.extra.reason.rstrip('.')}."
    currency = decision.extra.unit.partition("/")[0]
    price = f"It costs {amount(decision.extra.value)} {currency} a day more"
    if isinstance(decision.earns, Missing):
        return (
            f"{price}; whether that is worth it is not known: {decision.earns.reason.rstrip('.')}."
        )
    return f"{price}, and brings {amount(decision.earns.value)} ({decision.earns.source})."
