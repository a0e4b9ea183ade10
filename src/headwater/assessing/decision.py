"""The verdict of an assessment: the recommendation of its backtest, with what it costs, which views
it needs and what blocks it.

leak, unknown  no reliable backtest: no verdict
recommendation the one of the backtest. Where the worth of a decision and the costs of levels are
               known, break-even is what a fresher level costs more, as a gain of the metric; it
               replaces the least lift worth having, and every difference is judged by it
views          those that the attribution chose; all without an attribution
readiness      never changes what pays, but names views that cannot be so fresh yet, and why
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from headwater.assessing.decision_words import sentence
from headwater.assessing.level_costs import known_costs
from headwater.backtesting.break_even import by_break_even
from headwater.pages.recommending import money_break_even, with_recommendation, worth_of
from headwater.results.backtest_result import MODES, BacktestResult, Mode
from headwater.results.decision_result import NEEDS, Action, Barred, Decision, Evidence, alike
from headwater.results.lift_result import Lift
from headwater.results.measurement import Missing, Number, Reading, amount
from headwater.results.readiness_result import REACHES, Reach, Readiness
from headwater.results.recommendation_result import Recommendation

_ACTIONS: Mapping[Mode, Action] = {
    "no history": "stay batch",
    "batch": "stay batch",
    "hourly": "go hourly",
    "streaming": "stream these views",
    "at request time": "compute these at request time",
}
_BY_MONEY = "what each level costs a day, and the worth of a decision"


def judged_by_money(evidence: Evidence) -> Evidence:
    """The evidence with its recommendation and verdicts by break-even where money is known; else
    unchanged.
    """
    lift = evidence.lift
    if isinstance(lift, Missing):
        return evidence
    even = _break_even(evidence, lift.backtest)
    if not even:
        return evidence
    result = by_break_even(lift.backtest, even, _BY_MONEY)
    return Evidence(evidence.views, Lift(result, lift.earned), evidence.cost, evidence.readiness)


def _break_even(evidence: Evidence, result: BacktestResult) -> Mapping[str, float]:
    """By level, its cost as a gain of the headline metric; empty where its worth is not known."""
    levels = [] if isinstance(evidence.cost, Missing) else evidence.cost.levels
    if result.value is not None and result.headline == worth_of(result.value).metric:
        return money_break_even(result, known_costs(levels, result.value.costs))
    return {}


def decide(evidence: Evidence) -> Decision:
    """The verdict on the evidence, as `judged_by_money` gives it."""
    lift = evidence.lift
    if isinstance(lift, Missing):
        return _undecided(
            "unknown",
            f"without a backtest the gain of fresher features is not known: {lift.reason}",
        )
    recommendation = (
        lift.backtest.recommendation or with_recommendation(lift.backtest).recommendation
    )
    assert recommendation is not None
    if recommendation.answer != "run":
        rule = "leak" if recommendation.withheld else "recommendation"
        why = (
            [f"{finding.message.rstrip('.')}." for finding in lift.backtest.audit.blocking]
            if recommendation.withheld
            else []
        )
        made = _undecided(rule, " ".join(why) or recommendation.sentence, recommendation)
        return msgspec.structs.replace(
            made, base=recommendation.baseline, sentence=" ".join([made.sentence, *why])
        )
    return _finished(evidence, lift, recommendation)


def _undecided(rule: str, reason: str, recommendation: Recommendation | None = None) -> Decision:
    none = Missing("no verdict")
    line = (
        f"Cannot decide: {reason.rstrip('.')}."
        if recommendation is None
        else recommendation.first_line
    )
    return Decision(
        action="not decided",
        views=(),
        base="",
        level="",
        gain=math.nan,
        until="not decided",
        earns=none,
        extra=none,
        barred=(),
        rules=((rule, reason),),
        sentence=line,
        first_line=line,
    )


def _finished(evidence: Evidence, lift: Lift, recommendation: Recommendation) -> Decision:
    mode = lift.level(recommendation.level).mode
    action = _ACTIONS[mode]
    views, attributed = _views(evidence, lift, mode)
    barred = barriers(evidence.readiness, views, NEEDS[action])
    rules = [
        (
            "recommendation",
            f"{recommendation.sentence} Break-even is {recommendation.break_even_from}",
        )
    ]
    if views:
        rules.append(("views", f"{', '.join(views)}: {_chosen(lift, attributed=attributed)}"))
    if isinstance(evidence.readiness, Missing):
        rules.append(("readiness", f"not known: {evidence.readiness.reason}"))
    elif views:
        blockers = "; ".join(
            f"{', '.join(names)}: {b.reachable}, by {b.blocker.check} {b.blocker.state}"
            for names, b in alike(barred)
        )
        rules.append(("readiness", blockers or "no blocker was found"))
    gain = next((step.delta for step in lift.steps if step.to == recommendation.level), 0.0)
    decision = Decision(
        action=action,
        views=views,
        base=recommendation.baseline,
        level=recommendation.level,
        gain=gain,
        until=_until(lift, action, barred),
        earns=_earns(evidence, lift.backtest, recommendation),
        extra=_extra(evidence, lift.backtest, recommendation),
        barred=barred,
        rules=rules,
        sentence="",
        first_line=recommendation.first_line,
        attributed=attributed,
    )
    return msgspec.structs.replace(
        decision,
        sentence=f"{recommendation.first_line} {sentence(evidence, lift, decision)}".strip(),
    )


def _views(evidence: Evidence, lift: Lift, mode: Mode) -> tuple[Sequence[str], bool]:
    """The views to make fresh, and whether an attribution chose them."""
    if MODES.index(mode) <= 1:
        return (), lift.earned is not None
    if lift.earned is not None and lift.earned.chosen:
        return tuple(lift.earned.views_of(lift.earned.chosen)), True
    return tuple(evidence.views), False


def _extra(evidence: Evidence, result: BacktestResult, recommendation: Recommendation) -> Reading:
    """What the recommended level costs a day more than the baseline."""
    if recommendation.level == recommendation.baseline:
        return Missing("nothing changes")
    if isinstance(evidence.cost, Missing):
        return evidence.cost
    declared = {} if result.value is None else result.value.costs
    costs = known_costs(evidence.cost.levels, declared)
    for name in (recommendation.level, recommendation.baseline):
        if name not in costs:
            reason = next(
                (
                    cost.a_day.reason
                    for cost in evidence.cost.levels
                    if cost.level == name and isinstance(cost.a_day, Missing)
                ),
                "",
            )
            return Missing(f"the cost of {name} is not known{': ' if reason else ''}{reason}")
    value = costs[recommendation.level] - costs[recommendation.baseline]
    return Number(
        value,
        f"{evidence.cost.currency}/day",
        "computed",
        f"{recommendation.level} costs {amount(costs[recommendation.level])}, "
        f"{recommendation.baseline} "
        f"{amount(costs[recommendation.baseline])}",
    )


def _earns(evidence: Evidence, result: BacktestResult, recommendation: Recommendation) -> Reading:
    """What the recommended level brings a day over the baseline, by the worth of a decision."""
    worth = result.value
    metric = result.headline if worth is None else worth_of(worth).metric
    step = next(
        (
            s
            for s in result.comparisons
            if (s.from_, s.to, s.metric) == (recommendation.baseline, recommendation.level, metric)
        ),
        None,
    )
    if step is None:
        return Missing(
            "nothing changes"
            if recommendation.level == recommendation.baseline
            else f"the backtest has no {metric}; name it in its metrics"
        )
    if worth is not None:
        acted = worth.volume * worth.acted_on
        late = f", {worth.late:.1%} late" if worth.late else ""
        source = (
            f"{acted:,.6g} acted on a day{late}, {worth.hit:g} a hit, {worth.false_alarm:g} a "
            "false alarm"
        )
        return Number(worth_of(worth).of_gain(step.delta), "a day", "computed", source)
    return _saved(evidence, result, recommendation)


def _saved(evidence: Evidence, result: BacktestResult, recommendation: Recommendation) -> Reading:
    """What the cost of errors saves a day, if the backtest has that metric."""
    saved = next(
        (
            s
            for s in result.comparisons
            if (s.from_, s.to, s.metric) == (recommendation.baseline, recommendation.level, "cost")
        ),
        None,
    )
    if saved is None:
        return Missing(
            "the worth of a decision is not known; give value=hw.DecisionValue(...) or --value"
        )
    rate = (
        Missing("the cost is not known")
        if isinstance(evidence.cost, Missing)
        else evidence.cost.inputs["R"]
    )
    if isinstance(rate, Missing):
        return Missing(f"requests a day are not known: {rate.reason}")
    return Number(
        saved.delta / 1000 * rate.value,
        "a day",
        "computed",
        f"cost saved per 1,000 requests, times {rate.value:,.6g} requests a day",
    )


def _chosen(lift: Lift, *, attributed: bool) -> str:
    """How the views were chosen."""
    if attributed:
        return "by the attribution"
    return (
        "all, since nothing was attributed"
        if lift.earned is None
        else "all, since the attribution is not certain of any"
    )


def barriers(readiness: Readiness | Missing, views: Sequence[str], needed: Reach) -> list[Barred]:
    """The first blocker of each of these views on the way to the required freshness."""
    if isinstance(readiness, Missing):
        return []
    barred = []
    for view in readiness.views:
        wanted = [b for b in view.blockers if REACHES.index(b.level) <= REACHES.index(needed)]
        if view.view in views and wanted:
            barred.append(
                Barred(
                    view.view,
                    view.reachable,
                    next((b for b in wanted if b.state == "red"), wanted[0]),
                )
            )
    return barred


def _until(lift: Lift, action: Action, barred: Sequence[Barred]) -> Action:
    """What pays and is possible meanwhile: hourly, if it is a LIFT and no view that earns is
    blocked from it.
    """
    if not barred:
        return action
    hourly = [step for step in lift.steps if step.lifts and lift.level(step.to).mode == "hourly"]
    reach = min(REACHES.index(b.reachable) for b in barred)
    return (
        "go hourly"
        if hourly and action != "go hourly" and reach >= REACHES.index("hourly")
        else "stay batch"
    )
