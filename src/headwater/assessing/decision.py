"""The verdict, by rules on the evidence.

leak        a leak in the backtest: no verdict until it is fixed
unknown     no backtest, or one level only: no verdict
lift        from the stalest level on, the freshest one that a LIFT leads to, before any harm; only a LIFT counts. If no single step
            is one and the first level to the last is, the last
money       if both the gain and the extra cost a day of a level are known and it costs more than it earns: the LIFT before it
views       those that the attribution chose; all without an attribution
readiness   never changes what pays, but names views that cannot be so fresh yet, and why
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headwater.assessing.decision_words import sentence
from headwater.results.decision_result import NEEDS, POINT, Action, Barred, Decision, Evidence, alike
from headwater.results.lift_result import MODES, Lift, Mode, Stand
from headwater.results.measurement import Missing, Number, Reading
from headwater.results.readiness_result import REACHES, Reach, Readiness

_ACTIONS: Mapping[Mode, Action] = {
    "no history": "stay batch",
    "batch": "stay batch",
    "hourly": "go hourly",
    "streaming": "stream these views",
    "at request time": "compute these at request time",
}


def decide(evidence: Evidence) -> Decision:
    """The verdict on the evidence."""
    lift = evidence.lift
    if isinstance(lift, Missing):
        return _undecided("unknown", f"without a backtest the gain of fresher features is not known: {lift.reason}")
    if lift.leaks:
        return _undecided("leak", f"the backtest has a leak, which may cause every lift: {'; '.join(lift.leaks)}")
    if not lift.steps:
        return _undecided("unknown", f"the backtest compares no two levels in {lift.headline}")
    ways = _ways(lift)
    rules = [("lift", _walked(lift, ways))]
    for position in ways:
        choice = _priced(evidence, lift, position)
        if isinstance(choice.earns, Number) and isinstance(choice.extra, Number) and choice.earns.value < choice.extra.value:
            rules.append(
                (
                    "money",
                    f"{choice.level} earns {choice.earns.value:,.3g} a day and costs {choice.extra.value:,.3g} more, so it does not pay",
                )
            )
            continue
        return _finished(evidence, lift, choice, rules)
    return _finished(evidence, lift, _priced(evidence, lift, _base(lift.levels, len(lift.levels) - 1)), rules)


def _undecided(rule: str, reason: str) -> Decision:
    none = Missing("there is no verdict")
    return Decision(
        "not decided", (), "", "", math.nan, "not decided", none, none, none, (), ((rule, reason),), f"Not decided: {reason.rstrip('.')}."
    )


def _ways(lift: Lift) -> list[int]:
    """The positions of the levels that a LIFT leads to, the freshest first, none beyond a harm."""
    positions: list[int] = []
    harmed = False
    for position, step in enumerate(lift.steps, start=1):
        harmed = step.verdict == "harm"
        if harmed:
            break
        positions += [position] if step.lifts else []
    if not positions and not harmed and lift.whole is not None and lift.whole.lifts:
        positions = [len(lift.levels) - 1]
    return positions[::-1]


def _walked(lift: Lift, ways: Sequence[int]) -> str:
    steps = "; ".join(f"{step.from_} to {step.to}: {step.sentence}" for step in lift.steps)
    if not ways:
        return f"no step is a LIFT: {steps}"
    last = lift.levels[ways[0]].name
    if not any(step.lifts for step in lift.steps) and lift.whole is not None:
        return f"no single step is a LIFT, but all of them together are ({lift.whole.sentence}): {last}"
    return f"the freshest level that a LIFT leads to is {last}: {steps}"


def _base(levels: Sequence[Stand], position: int) -> int:
    """The baseline of a level: the last one before it that a nightly job could serve."""
    return max((n for n in range(position + 1) if MODES.index(levels[n].mode) <= 1), default=0)


@dataclass(frozen=True)
class _Priced:
    """One level as a choice: its views, its gain over batch, and its money a day."""

    action: Action
    base: str
    level: str
    gain: float
    views: Sequence[str]
    attributed: bool
    earns: Reading
    extra: Reading
    per_point: Reading


def _priced(evidence: Evidence, lift: Lift, position: int) -> _Priced:
    level = lift.levels[position]
    at = _base(lift.levels, position)
    action = _ACTIONS[level.mode]
    at = max(0, position - 1) if at == position and position else at
    gain = sum(step.delta for step in lift.steps[at:position])
    views, attributed = _views(evidence, lift, level.mode)
    extra: Reading = Missing("batch, as today")
    if action == "go hourly":
        extra = Missing("the cost formulas distinguish ways to serve, not how often a job runs")
    elif action != "stay batch":
        extra = _extra(evidence, views)
    per_point: Reading = extra
    if isinstance(extra, Number):
        source = f"for {POINT} of {lift.headline}"
        per_point = Number(extra.value / (gain / POINT), extra.unit, "computed", source) if gain > 0 else Missing("the gain is not above 0")
    return _Priced(
        action, lift.levels[at].name, level.name, gain, views, attributed, _earns(evidence, lift, at, position, gain), extra, per_point
    )


def _views(evidence: Evidence, lift: Lift, mode: Mode) -> tuple[Sequence[str], bool]:
    """The views to make fresh, and whether an attribution chose them."""
    if MODES.index(mode) <= 1:
        return (), lift.earned is not None
    if lift.earned is not None and lift.earned.chosen:
        return tuple(lift.earned.chosen), True
    return tuple(evidence.views), False


def _extra(evidence: Evidence, views: Sequence[str]) -> Reading:
    """The extra cost a day of serving on request with these views streamed, over the cheaper way with batch features."""
    cost = evidence.cost
    if isinstance(cost, Missing):
        return cost
    scored, on_request, streamed = (cost.way(name).total for name in ("precompute for all", "on request", "streaming"))
    each = [view.total for view in cost.views if view.view in views]
    known = [reading.value for reading in each if isinstance(reading, Number)]
    if isinstance(streamed, Number) and len(known) == len(views):
        streamed = Number(min(streamed.value, sum(known)), streamed.unit, "computed", "streaming only the views that earn")
    if isinstance(scored, Number) and isinstance(on_request, Number) and isinstance(streamed, Number):
        value = on_request.value + streamed.value - min(scored.value, on_request.value)
        return Number(value, f"{cost.currency}/day", "computed", "on request + streaming - the cheaper of precomputing and on request")
    totals = {"precomputing": scored, "serving on request": on_request, "streaming": streamed}
    return Missing("; ".join(f"{name}: {reading.reason}" for name, reading in totals.items() if isinstance(reading, Missing)))


def _earns(evidence: Evidence, lift: Lift, at: int, position: int, gain: float) -> Reading:
    """The value a day of a gain: from `worth` if given, else from the costs of errors in the backtest."""
    if evidence.worth is not None:
        return Number(gain / POINT * evidence.worth, "a day", "given", f"{evidence.worth:g} a day for {POINT} of {lift.headline}, as given")
    steps = lift.money[at:position]
    if not steps:
        return Missing(f"the value a day of {POINT} of {lift.headline} is not known; give --worth, or costs= in the backtest")
    if not any(step.lifts for step in steps):
        return Missing("the backtest shows no LIFT in the cost of errors")
    rate = Missing("the cost is not known") if isinstance(evidence.cost, Missing) else evidence.cost.inputs["R"]
    if isinstance(rate, Missing):
        return Missing(f"requests a day are not known: {rate.reason}")
    value = sum(step.delta for step in steps) / 1000 * rate.value
    return Number(value, "a day", "computed", f"cost saved per 1,000 requests, times {rate.value:,.6g} requests a day")


def _finished(evidence: Evidence, lift: Lift, choice: _Priced, rules: list[tuple[str, str]]) -> Decision:
    barred = barriers(evidence.readiness, choice.views, NEEDS[choice.action])
    if choice.views:
        chosen_views = f"{', '.join(choice.views)}: " + (_chosen(lift, choice))
        rules.append(("views", chosen_views))
    if isinstance(evidence.readiness, Missing):
        rules.append(("readiness", f"not known: {evidence.readiness.reason}"))
    elif choice.views:
        blockers = "; ".join(f"{', '.join(names)}: {b.reachable}, by {b.blocker.check} {b.blocker.state}" for names, b in alike(barred))
        rules.append(("readiness", blockers or "no blocker was found"))
    decision = Decision(
        action=choice.action,
        views=choice.views,
        base=choice.base,
        level=choice.level,
        gain=choice.gain,
        until=_until(lift, choice, barred),
        earns=choice.earns,
        extra=choice.extra,
        per_point=choice.per_point,
        barred=barred,
        rules=rules,
        sentence="",
        attributed=choice.attributed,
    )
    return dataclasses.replace(decision, sentence=sentence(evidence, lift, decision))


def _chosen(lift: Lift, choice: _Priced) -> str:
    """How the views were chosen."""
    if choice.attributed:
        return "by the attribution"
    return "all, since there is no attribution" if lift.earned is None else "all, since the attribution is not certain of any"


def barriers(readiness: Readiness | Missing, views: Sequence[str], needed: Reach) -> list[Barred]:
    """The first blocker of each of these views on the way to the required freshness."""
    if isinstance(readiness, Missing):
        return []
    barred = []
    for view in readiness.views:
        wanted = [b for b in view.blockers if REACHES.index(b.level) <= REACHES.index(needed)]
        if view.view in views and wanted:
            barred.append(Barred(view.view, view.reachable, next((b for b in wanted if b.state == "red"), wanted[0])))
    return barred


def _until(lift: Lift, choice: _Priced, barred: Sequence[Barred]) -> Action:
    """What pays and is possible meanwhile: hourly, if it is a LIFT by itself and no view that earns is blocked from it."""
    if not barred:
        return choice.action
    hourly = [step for step in lift.steps if step.lifts and lift.level(step.to).mode == "hourly"]
    reach = min(REACHES.index(b.reachable) for b in barred)
    return "go hourly" if hourly and choice.action != "go hourly" and reach >= REACHES.index("hourly") else "stay batch"
