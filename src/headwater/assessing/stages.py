"""The staged plan: first predictions on request with the existing features, then fresher features,
view by view.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from headwater.results.assessment_parts import Stage, StagedPlan, State
from headwater.results.decision_result import NEEDS, Decision, Evidence, shown
from headwater.results.lift_result import Lift
from headwater.results.measurement import Missing, Number, Reading
from headwater.results.readiness_result import REACHES, Blocker, Ladder, Reach


def staged(evidence: Evidence, decision: Decision) -> StagedPlan:
    """The plan of a verdict."""
    if decision.action == "not decided":
        return StagedPlan([], [], "No stage is planned without a verdict.")
    stay = [view for view in evidence.views if view not in decision.views]
    first = _on_request(evidence, decision)
    views = [_view(evidence, decision, names) for names in _together(evidence, decision.views)]
    note = ""
    if not views:
        note = "No view has to be fresher: no step is shown to pay."
    elif not decision.attributed and len(views) > 1:
        note = (
            "The views are in the order of their definition; an attribution would order them by "
            "what each gains."
        )
    return StagedPlan([first, *views], stay, note)


def _on_request(evidence: Evidence, decision: Decision) -> Stage:
    """Transition 1."""
    costs: Reading = (
        evidence.cost
        if isinstance(evidence.cost, Missing)
        else evidence.cost.way("on request").total
    )
    gives = (
        _coverage(evidence.lift)
        if isinstance(evidence.lift, Lift)
        else "not known: no backtest is available"
    )
    if isinstance(evidence.readiness, Missing):
        state: State = "not known"
        blocker, remedy = evidence.readiness.reason, "run headwater assess readiness"
    else:
        state, blocker, remedy = _rung(
            evidence.readiness.online, {f.check: f.remedy for f in evidence.readiness.findings}
        )
    if decision.action == "stay batch" and state != "ready":
        state = "not needed"
    does = "predict at each request, from the features that batch jobs keep"
    return Stage(1, "on request, batch features", does, gives, costs, state, blocker, remedy)


def _rung(ladder: Ladder, remedies: Mapping[str, str]) -> tuple[State, str, str]:
    """Whether the ladder's second rung is reached, and its blocker."""
    if ladder.reached >= 1:
        return "ready", "", ""
    blockers = "; ".join(ladder.bars[:2]) + (
        f"; and {len(ladder.bars) - 2} more" if len(ladder.bars) > 2 else ""
    )
    remedy = next(
        (
            remedies[bar.partition(" ")[0]]
            for bar in ladder.bars
            if bar.partition(" ")[0] in remedies
        ),
        "",
    )
    return ("not known" if ladder.possible >= 1 else "blocked"), blockers, remedy


def _coverage(lift: Lift) -> str:
    """The gain of predicting on request, from the backtest's transitions."""
    step = next(
        (transition for transition in lift.backtest.transitions if transition.number == 1), None
    )
    if step is None:
        return "not measured: the backtest has no level with precomputed predictions"
    before, after = step.coverage
    new = lift.backtest.new_keys
    sentence = (
        f"answers {before:.1%} to {after:.1%} of requests"
        if math.isfinite(before + after)
        else "coverage not known"
    )
    if new is not None and math.isfinite(new.per_day):
        sentence += f"; {new.per_day:,.1f} new {', '.join(new.keys)} a day"
    return sentence


def _together(evidence: Evidence, views: Sequence[str]) -> list[list[str]]:
    """The views, grouped if the attribution made them fresh together: one value needs them all, or
    they share a source.
    """
    gains = (
        {}
        if isinstance(evidence.lift, Missing) or evidence.lift.earned is None
        else evidence.lift.earned.gains
    )
    groups: dict[int, list[str]] = {}
    for view in views:
        groups.setdefault(id(gains.get(view, view)), []).append(view)
    return list(groups.values())


def _view(evidence: Evidence, decision: Decision, names: Sequence[str]) -> Stage:
    """A stage of transition 2: one view, or a group of views."""
    wanted = NEEDS[decision.action]
    pronoun = "it" if len(names) == 1 else "them"
    verb = {
        "hourly": f"compute {pronoun} every hour",
        "streaming": f"keep {pronoun} from the stream",
    }.get(
        wanted,
        f"compute {pronoun} from {'its' if len(names) == 1 else 'their'} events at request time",
    )
    barred = [_barred(evidence, name, wanted) for name in names]
    state, blocker, remedy = min(
        barred, key=lambda state_of: ("blocked", "not known", "ready").index(state_of[0])
    )
    costs = (
        _cost(evidence, names[0])
        if len(names) == 1
        else Missing("the cost of each alone includes the cores that always run")
    )
    return Stage(
        2, ", ".join(names), verb, _gain(evidence, names[0]), costs, state, blocker, remedy
    )


def _barred(evidence: Evidence, name: str, wanted: Reach) -> tuple[State, str, str]:
    if isinstance(evidence.readiness, Missing):
        return "not known", evidence.readiness.reason, "run headwater assess readiness"
    view = next((ready for ready in evidence.readiness.views if ready.view == name), None)
    if view is None:
        return "not known", f"view {name!r} is not in the readiness result", ""
    bars: list[Blocker] = [
        b for b in view.blockers if REACHES.index(b.level) <= REACHES.index(wanted)
    ]
    if not bars:
        return "ready", "", ""
    first = next((b for b in bars if b.state == "red"), bars[0])
    more = f" (and {len(bars) - 1} more)" if len(bars) > 1 else ""
    return (
        ("blocked" if first.state == "red" else "not known"),
        f"{first.check}: {first.what}{more}",
        first.remedy,
    )


def _gain(evidence: Evidence, name: str) -> str:
    if isinstance(evidence.lift, Missing) or evidence.lift.earned is None:
        return "not known for a single view: no attribution"
    earned = evidence.lift.earned
    if name in earned.gains:
        step = earned.gains[name]
        first = name == next(iter(earned.gains))
        return f"{shown(step)}, {step.verdict_words}{'' if first else ', beyond those above it'}"
    if name in earned.alone:
        step = earned.alone[name]
        return f"{shown(step)} alone, {step.verdict_words}"
    return "not attributed"


def _cost(evidence: Evidence, name: str) -> Reading:
    if isinstance(evidence.cost, Missing):
        return evidence.cost
    total = next(
        (view.total for view in evidence.cost.views if view.view == name),
        Missing("no cost of this view"),
    )
    return (
        total
        if isinstance(total, Missing)
        else Number(
            total.value, total.unit, total.origin, "streamed alone, cores that always run included"
        )
    )
