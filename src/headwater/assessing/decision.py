"""The verdict, by rules over what the parts have found.

leak        a leak in the backtest: nothing is decided until it is taken out
unknown     no backtest, or one level only: nothing is decided
lift        from the stalest level on, the freshest one that a LIFT leads to, before any harm; only a LIFT counts. Where no single step
            is one and the first level to the last is, the last
money       what a level earns a day and costs more a day are both known, and it costs more than it earns: the LIFT before it
views       those that the attribution chose; all where none was made
readiness   never changes what pays, but says which views cannot be so fresh yet, and why
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


def decide(found: Evidence) -> Decision:
    """The verdict on what was found."""
    lift = found.lift
    if isinstance(lift, Missing):
        return _undecided("unknown", f"there is no backtest, so nothing says what fresher features gain: {lift.reason}")
    if lift.leaks:
        return _undecided("leak", f"the backtest has a leak, and every lift may be its doing: {'; '.join(lift.leaks)}")
    if not lift.steps:
        return _undecided("unknown", f"the backtest compares no two levels in {lift.headline}")
    ways = _ways(lift)
    rules = [("lift", _walked(lift, ways))]
    for place in ways:
        made = _priced(found, lift, place)
        if isinstance(made.earns, Number) and isinstance(made.extra, Number) and made.earns.value < made.extra.value:
            rules.append(
                ("money", f"{made.level} earns {made.earns.value:,.3g} a day and costs {made.extra.value:,.3g} more, so it is not taken")
            )
            continue
        return _finished(found, lift, made, rules)
    return _finished(found, lift, _priced(found, lift, _base(lift.levels, len(lift.levels) - 1)), rules)


def _undecided(rule: str, said: str) -> Decision:
    none = Missing("nothing is decided")
    return Decision(
        "not decided", (), "", "", math.nan, "not decided", none, none, none, (), ((rule, said),), f"Not decided: {said.rstrip('.')}."
    )


def _ways(lift: Lift) -> list[int]:
    """The places of the levels that a LIFT leads to, the freshest first, none beyond a harm."""
    found: list[int] = []
    harmed = False
    for place, step in enumerate(lift.steps, start=1):
        harmed = step.verdict == "harm"
        if harmed:
            break
        found += [place] if step.lifts else []
    if not found and not harmed and lift.whole is not None and lift.whole.lifts:
        found = [len(lift.levels) - 1]
    return found[::-1]


def _walked(lift: Lift, ways: Sequence[int]) -> str:
    steps = "; ".join(f"{step.from_} to {step.to}: {step.sentence}" for step in lift.steps)
    if not ways:
        return f"no step is a LIFT: {steps}"
    last = lift.levels[ways[0]].name
    if not any(step.lifts for step in lift.steps) and lift.whole is not None:
        return f"no single step is a LIFT, and all of them together are ({lift.whole.sentence}): {last}"
    return f"the freshest level that a LIFT leads to is {last}: {steps}"


def _base(levels: Sequence[Stand], place: int) -> int:
    """The level that a level is measured against: the last one before it that a nightly job could serve."""
    return max((n for n in range(place + 1) if MODES.index(levels[n].mode) <= 1), default=0)


@dataclass(frozen=True)
class _Priced:
    """One level as a choice: its views, its gain over what batch gives, and its money a day."""

    action: Action
    base: str
    level: str
    gain: float
    views: Sequence[str]
    attributed: bool
    earns: Reading
    extra: Reading
    per_point: Reading


def _priced(found: Evidence, lift: Lift, place: int) -> _Priced:
    level = lift.levels[place]
    at = _base(lift.levels, place)
    action = _ACTIONS[level.mode]
    at = max(0, place - 1) if at == place and place else at
    gain = sum(step.delta for step in lift.steps[at:place])
    views, attributed = _views(found, lift, level.mode)
    extra: Reading = Missing("batch as it is today")
    if action == "go hourly":
        extra = Missing("the cost formulas tell ways of serving apart, not how often a job runs")
    elif action != "stay batch":
        extra = _extra(found, views)
    per_point: Reading = extra
    if isinstance(extra, Number):
        said = f"for {POINT} of {lift.headline}"
        per_point = (
            Number(extra.value / (gain / POINT), extra.unit, "computed", said) if gain > 0 else Missing("there is no gain to pay for")
        )
    return _Priced(
        action, lift.levels[at].name, level.name, gain, views, attributed, _earns(found, lift, at, place, gain), extra, per_point
    )


def _views(found: Evidence, lift: Lift, mode: Mode) -> tuple[Sequence[str], bool]:
    """The views to make fresh, and whether an attribution chose them."""
    if MODES.index(mode) <= 1:
        return (), lift.earned is not None
    if lift.earned is not None and lift.earned.chosen:
        return tuple(lift.earned.chosen), True
    return tuple(found.views), False


def _extra(found: Evidence, views: Sequence[str]) -> Reading:
    """What answering on request with these views streamed costs more a day than the cheaper way to answer with batch features."""
    cost = found.cost
    if isinstance(cost, Missing):
        return cost
    scored, asked, streamed = (cost.way(name).total for name in ("precompute for all", "on request", "streaming"))
    each = [view.total for view in cost.views if view.view in views]
    known = [one.value for one in each if isinstance(one, Number)]
    if isinstance(streamed, Number) and len(known) == len(views):
        streamed = Number(min(streamed.value, sum(known)), streamed.unit, "computed", "streaming the views that earn")
    if isinstance(scored, Number) and isinstance(asked, Number) and isinstance(streamed, Number):
        value = asked.value + streamed.value - min(scored.value, asked.value)
        return Number(value, f"{cost.currency}/day", "computed", "on request + streaming - the cheaper of precomputing and on request")
    totals = {"precomputing": scored, "answering on request": asked, "streaming": streamed}
    return Missing("; ".join(f"{name}: {one.reason}" for name, one in totals.items() if isinstance(one, Missing)))


def _earns(found: Evidence, lift: Lift, at: int, place: int, gain: float) -> Reading:
    """What a gain is worth a day: as somebody said, else by the costs of false answers that the backtest was given."""
    if found.worth is not None:
        return Number(gain / POINT * found.worth, "a day", "given", f"{found.worth:g} a day for {POINT} of {lift.headline}, as given")
    steps = lift.money[at:place]
    if not steps:
        return Missing(f"nobody said what {POINT} of {lift.headline} is worth a day: --worth, or costs= in the backtest")
    if not any(step.lifts for step in steps):
        return Missing("the backtest shows no LIFT in the costs of its answers")
    rate = Missing("there is no cost") if isinstance(found.cost, Missing) else found.cost.inputs["R"]
    if isinstance(rate, Missing):
        return Missing(f"requests a day are not known: {rate.reason}")
    value = sum(step.delta for step in steps) / 1000 * rate.value
    return Number(value, "a day", "computed", f"what answers cost less per 1,000 requests, times {rate.value:,.6g} requests a day")


def _finished(found: Evidence, lift: Lift, made: _Priced, rules: list[tuple[str, str]]) -> Decision:
    barred = barriers(found.readiness, made.views, NEEDS[made.action])
    if made.views:
        some = f"{', '.join(made.views)}: " + (_chosen(lift, made))
        rules.append(("views", some))
    if isinstance(found.readiness, Missing):
        rules.append(("readiness", f"not known: {found.readiness.reason}"))
    elif made.views:
        said = "; ".join(f"{', '.join(names)}: {b.reachable}, by {b.blocker.check} {b.blocker.state}" for names, b in alike(barred))
        rules.append(("readiness", said or "nothing that was measured or answered is in the way"))
    decision = Decision(
        action=made.action,
        views=made.views,
        base=made.base,
        level=made.level,
        gain=made.gain,
        until=_until(lift, made, barred),
        earns=made.earns,
        extra=made.extra,
        per_point=made.per_point,
        barred=barred,
        rules=rules,
        sentence="",
        attributed=made.attributed,
    )
    return dataclasses.replace(decision, sentence=sentence(found, lift, decision))


def _chosen(lift: Lift, made: _Priced) -> str:
    """Who chose the views."""
    if made.attributed:
        return "by the attribution"
    return "all, since none was attributed" if lift.earned is None else "all, since the attribution is sure of none"


def barriers(found: Readiness | Missing, views: Sequence[str], needed: Reach) -> list[Barred]:
    """What bars each of these views first from being as fresh as is needed."""
    if isinstance(found, Missing):
        return []
    made = []
    for view in found.views:
        wanted = [b for b in view.blockers if REACHES.index(b.level) <= REACHES.index(needed)]
        if view.view in views and wanted:
            made.append(Barred(view.view, view.reachable, next((b for b in wanted if b.state == "red"), wanted[0])))
    return made


def _until(lift: Lift, made: _Priced, barred: Sequence[Barred]) -> Action:
    """What pays and can be done meanwhile: hourly, where it is a LIFT by itself and no view that earns is barred from it."""
    if not barred:
        return made.action
    hourly = [step for step in lift.steps if step.lifts and lift.level(step.to).mode == "hourly"]
    reach = min(REACHES.index(b.reachable) for b in barred)
    return "go hourly" if hourly and made.action != "go hourly" and reach >= REACHES.index("hourly") else "stay batch"
