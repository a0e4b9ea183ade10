"""What follows the recommendation of an assessment, and what would change it."""

from __future__ import annotations

import math

from headwater.reports.recommendation_words import more_days
from headwater.reports.recommending import days_tested
from headwater.reports.wording import listed
from headwater.results.assessment_parts import Change
from headwater.results.backtest_result import Mode
from headwater.results.decision_result import NEEDS, Decision, Evidence, alike, shown
from headwater.results.estimate import Comparison
from headwater.results.lift_result import Lift
from headwater.results.measurement import Missing, Number, amount

_THEN: dict[Mode, str] = {
    "no history": "leave history out",
    "batch": "stay batch",
    "hourly": "go hourly",
    "streaming": "stream",
    "at request time": "compute at request time",
}


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


def changes(evidence: Evidence, decision: Decision) -> list[Change]:
    """What would change the verdict: each input, its value, and its threshold."""
    lift = evidence.lift
    if isinstance(lift, Missing):
        return [
            Change("a backtest", "none", "one with two levels or more", "a verdict by its lifts")
        ]
    if (
        decision.action == "not decided"
        and lift.backtest.recommendation is not None
        and lift.backtest.recommendation.answer == "cannot decide"
    ):
        return _of_lift(lift, decision)
    if decision.action == "not decided":
        return [
            Change(
                "the backtest",
                "not reliable",
                "no leak, and two levels or more",
                "a verdict by its lifts",
            )
        ]
    parts = [
        *_of_lift(lift, decision),
        *_of_money(evidence, decision),
        *_of_readiness(evidence, decision),
    ]
    if len(decision.views) > 1 and not decision.attributed:
        parts.append(
            Change(
                "which views earn",
                "not attributed",
                "an attribution that chooses fewer",
                "fewer views to make fresh",
            )
        )
    return parts


def _of_lift(lift: Lift, decision: Decision) -> list[Change]:
    changed = []
    recommendation = lift.backtest.recommendation
    if recommendation is not None and math.isfinite(recommendation.days):
        changed.append(
            Change(
                "days of test",
                f"{days_tested(lift.backtest):,.0f}",
                more_days(recommendation.days, recommendation.days_most),
                "a decision, if the differences stay",
            )
        )
    for step in lift.steps:
        if step.to == decision.level:
            changed.append(
                Change(
                    _named(step),
                    shown(step),
                    "an interval that includes 0, in another period or after retraining",
                    f"stay with {decision.base}",
                )
            )
        elif step.verdict == "not measurable":
            needs = "timestamps that are fine enough to tell"
            changed.append(
                Change(_named(step), step.verdict_words, needs, _THEN[lift.level(step.to).mode])
            )
        elif not step.lifts:
            needs = (
                f"an interval above 0; a lift of {step.mde:.3g} would have been detected"
                if math.isfinite(step.mde)
                else "more days"
            )
            changed.append(
                Change(
                    _named(step),
                    f"{shown(step)}, {step.verdict_words}",
                    needs,
                    _THEN[lift.level(step.to).mode],
                )
            )
    return changed


def _of_money(evidence: Evidence, decision: Decision) -> list[Change]:
    parts = []
    if isinstance(decision.extra, Number) and isinstance(decision.earns, Number):
        now, most = (
            f"{amount(decision.extra.value)} {decision.extra.unit}",
            f"above {amount(decision.earns.value)}",
        )
        parts.append(
            Change(f"what {decision.level} costs more", now, most, f"stay with {decision.base}")
        )
    if not isinstance(evidence.cost, Missing):
        even, rate = evidence.cost.break_even, evidence.cost.inputs.get("R")
        if isinstance(even, Number):
            now = str(rate) if isinstance(rate, Number) else "not measured"
            parts.append(
                Change(
                    "requests a day (R)",
                    now,
                    f"{even.value:,.0f}",
                    "above it, batch features cost less precomputed than on request",
                )
            )
        swing = next((s for s in evidence.cost.swings if s.way == "streaming"), None)
        if swing is not None and decision.action in (
            "stream these views",
            "compute these at request time",
        ):
            now = f"{(swing.low * 2):,.4g}"
            tips = (
                f"streaming costs {amount(swing.cost_low)} at half and {amount(swing.cost_high)} "
                "at twice"
            )
            parts.append(
                Change(
                    f"{swing.input}, which moves streaming most", now, tips, "another break-even"
                )
            )
    return parts


def _of_readiness(evidence: Evidence, decision: Decision) -> list[Change]:
    if isinstance(evidence.readiness, Missing):
        return (
            [
                Change(
                    "readiness", "not known", "no gate red or unknown", "the plan without blockers"
                )
            ]
            if decision.views
            else []
        )
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


def _named(step: Comparison) -> str:
    return f"lift of {step.from_} to {step.to}"
