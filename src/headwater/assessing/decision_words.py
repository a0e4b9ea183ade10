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


def sentence(found: Evidence, lift: Lift, made: Decision) -> str:
    """The whole verdict: what to do, the gain, the blockers, and the cost."""
    return " ".join(part for part in (_what(lift, made), _ready(found, made), _money(lift, made)) if part)


def _what(lift: Lift, made: Decision) -> str:
    taken = [step for step in lift.steps if step.to == made.level and step.lifts]
    gain = f"{made.gain:+.3g} {lift.headline} over {made.base}"
    step = f" (the last step, {taken[0].from_} to {taken[0].to}, is a LIFT of {shown(taken[0])})" if taken else ""
    if made.action == "stay batch":
        fresher = [s for s in lift.steps if lift.level(s.to).mode not in ("no history", "batch")]
        tried = "; ".join(f"{s.from_} to {s.to}: {s.verdict}, {shown(s)}" for s in fresher)
        if not fresher:
            return "Stay batch: the backtest has no level that is fresher than a nightly job."
        costs = next((said for rule, said in made.rules if rule == "money"), "")
        return f"Stay batch: {costs}." if costs else f"Stay batch: no step to fresher features is shown to pay ({tried})."
    names = listed(made.views)
    some = (
        names
        if made.attributed
        else f"{names} (which of them earn is not known: there is no attribution)"
        if len(made.views) > 1
        else names
    )
    lead = {"go hourly": f"Go hourly with {some}", "stream these views": f"Stream {some}"}.get(
        made.action, f"Compute {some} at request time"
    )
    return f"{lead}: {made.level} gives {gain}{step}."


def _ready(found: Evidence, made: Decision) -> str:
    if made.action == "stay batch":
        return ""
    if isinstance(found.readiness, Missing):
        return f"Whether you are ready is not known: {found.readiness.reason.rstrip('.')}."
    if not made.barred:
        return "No blocker was found."
    said = []
    for certain, lead in ((True, "Blocked"), (False, "Not possible yet")):
        some = alike([b for b in made.barred if b.certain is certain])
        if some:
            named = "; ".join(
                f"{listed(names)} {'is' if len(names) == 1 else 'are'} only at {b.reachable}: {b.blocker.check}, {_short(b.why)}"
                for names, b in some
            )
            said.append(f"{lead}: {named.rstrip('.')}.")
    return " ".join([*said, f"Until then: {made.until}."])


def _money(lift: Lift, made: Decision) -> str:
    if made.action == "stay batch":
        return ""
    if isinstance(made.extra, Missing):
        return f"The cost is not known: {made.extra.reason.rstrip('.')}."
    currency = made.extra.unit.partition("/")[0]
    price = f"It costs {made.extra.value:,.3g} {currency} a day more"
    if isinstance(made.per_point, Number):
        price += f", {made.per_point.value:,.3g} for each 0.01 of {lift.headline}"
    if isinstance(made.earns, Missing):
        return f"{price}; whether that is worth it is not known: {made.earns.reason.rstrip('.')}."
    return f"{price}, and earns {made.earns.value:,.3g} ({made.earns.source})."


def _short(text: str, most: int = 160) -> str:
    return text if len(text) <= most else text[: most - 3].rstrip() + "..."


def changes(found: Evidence, made: Decision) -> list[Change]:
    """What would change the verdict: each input, its value, and its threshold."""
    lift = found.lift
    if isinstance(lift, Missing):
        return [Change("a backtest", "none", "one with two levels or more", "a verdict by its lifts")]
    if made.action == "not decided":
        return [Change("the backtest", "not reliable", "no leak, and two levels or more", "a verdict by its lifts")]
    parts = [*_of_lift(lift, made), *_of_money(found, lift, made), *_of_readiness(found, made)]
    if len(made.views) > 1 and not made.attributed:
        parts.append(Change("which views earn", "not attributed", "an attribution that chooses fewer", "fewer views to make fresh"))
    return parts


def _of_lift(lift: Lift, made: Decision) -> list[Change]:
    names = [level.name for level in lift.levels]
    reached = names.index(made.level)
    found = []
    for place, step in enumerate(lift.steps, start=1):
        if place > reached or not step.lifts:
            needs = (
                f"an interval above 0; a lift of {step.detectable:.3g} would have been detected"
                if math.isfinite(step.detectable)
                else "more days"
            )
            then = _THEN[lift.levels[place].mode]
            if place > reached:
                found.append(Change(_named(step), f"{shown(step)}, {step.verdict}", needs, then))
        elif place == reached:
            then = _before(lift, reached)
            found.append(Change(_named(step), shown(step), "an interval that includes 0, in another period or after retraining", then))
    return found


def _before(lift: Lift, place: int) -> str:
    """The action without the level at `position`: the LIFT before it, else batch."""
    return next((_THEN[lift.levels[n].mode] for n in range(place - 1, 0, -1) if lift.steps[n - 1].lifts), "stay batch")


def _of_money(found: Evidence, lift: Lift, made: Decision) -> list[Change]:
    parts = []
    if isinstance(made.per_point, Number):
        now = "not given" if found.worth is None else f"{found.worth:,.3g}"
        unit = made.per_point.unit
        parts.append(
            Change(
                f"worth of 0.01 of {lift.headline}",
                now,
                f"below {made.per_point.value:,.3g} {unit}",
                _before(lift, [level.name for level in lift.levels].index(made.level)),
            )
        )
    if not isinstance(found.cost, Missing):
        even, rate = found.cost.break_even, found.cost.inputs.get("R")
        if isinstance(even, Number):
            now = str(rate) if isinstance(rate, Number) else "not measured"
            parts.append(
                Change("requests a day (R)", now, f"{even.value:,.0f}", "above it, batch features cost less precomputed than on request")
            )
        swing = next((s for s in found.cost.swings if s.way == "streaming"), None)
        if swing is not None and made.action in ("stream these views", "compute these at request time"):
            now = f"{(swing.low * 2):,.4g}"
            tips = f"streaming costs {swing.cost_low:,.3g} at half and {swing.cost_high:,.3g} at twice"
            parts.append(Change(f"{swing.input}, which moves streaming most", now, tips, "another price per 0.01"))
    return parts


def _of_readiness(found: Evidence, made: Decision) -> list[Change]:
    if isinstance(found.readiness, Missing):
        return [Change("readiness", "not known", "no gate red or unknown", "the plan without blockers")] if made.views else []
    green = {finding.check: finding.green for finding in found.readiness.findings}
    return [
        Change(
            f"{b.blocker.check} of {listed(names)}",
            b.blocker.state,
            green.get(b.blocker.check, b.blocker.remedy),
            f"{listed(names)} can be {NEEDS[made.action]}",
        )
        for names, b in alike(made.barred)
    ]


def _named(step: Step) -> str:
    return f"lift of {step.from_} to {step.to}"
