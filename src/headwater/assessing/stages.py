"""The staged plan: first predictions on request with the existing features, then fresher features, view by view."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

from headwater.results.assessment_parts import Plan, Stage, State
from headwater.results.decision_result import NEEDS, Decision, Evidence, shown
from headwater.results.lift_result import Lift
from headwater.results.measurement import Missing, Number, Reading
from headwater.results.readiness_result import REACHES, Blocker, Ladder, Reach


def staged(found: Evidence, made: Decision) -> Plan:
    """The plan of a verdict."""
    stay = [view for view in found.views if view not in made.views]
    if made.action == "not decided":
        return Plan([], stay, "No stage is planned without a reliable backtest.")
    first = _on_request(found, made)
    views = [_view(found, made, names) for names in _together(found, made.views)]
    note = ""
    if not views:
        note = "No view has to be fresher: no step is shown to pay."
    elif not made.attributed and len(views) > 1:
        note = "The views are in the order of their definition; an attribution would order them by what each gains."
    return Plan([first, *views], stay, note)


def _on_request(found: Evidence, made: Decision) -> Stage:
    """Transition 1."""
    costs: Reading = found.cost if isinstance(found.cost, Missing) else found.cost.way("on request").total
    gives = _coverage(found.lift) if isinstance(found.lift, Lift) else "not known: no backtest is available"
    if isinstance(found.readiness, Missing):
        state: State = "not known"
        blocker, remedy = found.readiness.reason, "run headwater assess readiness"
    else:
        state, blocker, remedy = _rung(found.readiness.online, {f.check: f.remedy for f in found.readiness.findings})
    if made.action == "stay batch" and state != "ready":
        state = "not needed"
    does = "predict at each request, from the features that batch jobs keep"
    return Stage(1, "on request, batch features", does, gives, costs, state, blocker, remedy)


def _rung(ladder: Ladder, remedies: Mapping[str, str]) -> tuple[State, str, str]:
    """Whether the ladder's second rung is reached, and its blocker."""
    if ladder.reached >= 1:
        return "ready", "", ""
    said = "; ".join(ladder.bars[:2]) + (f"; and {len(ladder.bars) - 2} more" if len(ladder.bars) > 2 else "")
    remedy = next((remedies[bar.partition(" ")[0]] for bar in ladder.bars if bar.partition(" ")[0] in remedies), "")
    return ("not known" if ladder.possible >= 1 else "blocked"), said, remedy


def _coverage(lift: Lift) -> str:
    """The gain of predicting on request, from the backtest's transitions."""
    steps = [one for one in cast("Sequence[Mapping[str, object]]", lift.said.get("transitions") or []) if one["number"] == 1]
    if not steps:
        return "not measured: the backtest has no level with precomputed predictions"
    before, after = cast("tuple[float | None, float | None]", steps[0]["coverage"])
    new = cast("Mapping[str, object] | None", lift.said.get("new_keys"))
    said = f"answers {before:.1%} to {after:.1%} of requests" if before is not None and after is not None else "coverage not known"
    if new is not None and isinstance(new["per_day"], float) and math.isfinite(new["per_day"]):
        said += f"; {new['per_day']:,.1f} new {', '.join(cast('Sequence[str]', new['keys']))} a day"
    return said


def _together(found: Evidence, views: Sequence[str]) -> list[list[str]]:
    """The views, grouped if the attribution made them fresh together: one value needs them all, or they share a source."""
    gains = {} if isinstance(found.lift, Missing) or found.lift.earned is None else found.lift.earned.gains
    groups: dict[int, list[str]] = {}
    for view in views:
        groups.setdefault(id(gains.get(view, view)), []).append(view)
    return list(groups.values())


def _view(found: Evidence, made: Decision, names: Sequence[str]) -> Stage:
    """A stage of transition 2: one view, or a group of views."""
    wanted = NEEDS[made.action]
    what = "it" if len(names) == 1 else "them"
    verb = {"hourly": f"compute {what} every hour", "streaming": f"keep {what} from the stream"}.get(
        wanted, f"compute {what} from {'its' if len(names) == 1 else 'their'} events at request time"
    )
    each = [_barred(found, name, wanted) for name in names]
    state, blocker, remedy = min(each, key=lambda one: ("blocked", "not known", "ready").index(one[0]))
    costs = _cost(found, names[0]) if len(names) == 1 else Missing("the cost of each alone includes the cores that always run")
    return Stage(2, ", ".join(names), verb, _gain(found, names[0]), costs, state, blocker, remedy)


def _barred(found: Evidence, name: str, wanted: Reach) -> tuple[State, str, str]:
    if isinstance(found.readiness, Missing):
        return "not known", found.readiness.reason, "run headwater assess readiness"
    view = next((one for one in found.readiness.views if one.view == name), None)
    if view is None:
        return "not known", f"view {name!r} is not in the readiness result", ""
    bars: list[Blocker] = [b for b in view.blockers if REACHES.index(b.level) <= REACHES.index(wanted)]
    if not bars:
        return "ready", "", ""
    first = next((b for b in bars if b.state == "red"), bars[0])
    more = f" (and {len(bars) - 1} more)" if len(bars) > 1 else ""
    return ("blocked" if first.state == "red" else "not known"), f"{first.check}: {first.what}{more}", first.remedy


def _gain(found: Evidence, name: str) -> str:
    if isinstance(found.lift, Missing) or found.lift.earned is None:
        return "not known for a single view: no attribution"
    earned = found.lift.earned
    if name in earned.gains:
        step = earned.gains[name]
        first = name == next(iter(earned.gains))
        return f"{shown(step)}, {step.verdict}{'' if first else ', beyond those above it'}"
    if name in earned.alone:
        step = earned.alone[name]
        return f"{shown(step)} alone, {step.verdict}"
    return "not attributed"


def _cost(found: Evidence, name: str) -> Reading:
    if isinstance(found.cost, Missing):
        return found.cost
    each = next((view.total for view in found.cost.views if view.view == name), Missing("no cost of this view"))
    return (
        each if isinstance(each, Missing) else Number(each.value, each.unit, each.origin, "streamed alone, cores that always run included")
    )
