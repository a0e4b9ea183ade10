"""An attribution in sentences: the plan, and notes on its limits."""

from __future__ import annotations

import math

import msgspec

from headwater.pages import audit_words, wording
from headwater.results.attribution_result import AttributionResult, SliceLift
from headwater.results.audit_result import replaced_headline
from headwater.results.backtest_result import BacktestResult
from headwater.results.estimate import Comparison, Estimate


def plan(attribution: AttributionResult, kind: str) -> str:
    """The plan in a sentence or two: views to make fresh and views that can stay; `kind` is that of
    the fresh level, batch or real-time.
    """
    metric = wording.metric_label(attribution.metric)
    scope = f"in {metric} of {attribution.fresh} over {attribution.stale}"
    if blocking := attribution.audit.blocking:
        reason = replaced_headline(attribution.audit).removeprefix("No verdict: ").rstrip(".")
        return (
            f"No plan: {reason}; no lift can be trusted before it is fixed. "
            f"{blocking[0].message.rstrip('.')}."
        )
    if attribution.not_measurable and len(attribution.not_measurable) == len(attribution.units):
        return (
            f"No plan: {attribution.fresh} cannot be told from {attribution.stale}, since "
            f"{'; '.join(dict.fromkeys(attribution.not_measurable.values()))}."
        )
    if attribution.lift is None or attribution.rest is None:
        return (
            f"Keep {_staying(attribution)} {attribution.stale}: on the days used to choose, none "
            "of "
            f"them adds anything when it is {attribution.fresh}."
        )
    tried = wording.listed(list(attribution.path[-1].units))
    if math.isnan(attribution.lift.low):
        return (
            f"No plan: {tried} had {_gain(attribution, attribution.lift)} of "
            f"{_gain(attribution, attribution.whole)} {scope}, and {attribution.reporting_days} "
            "days are too few for an interval; test on 16 days or more."
        )
    if not attribution.chosen:
        return (
            f"Keep {_staying(attribution)} {attribution.stale}: no lift {scope} is shown. "
            f"{_of_set(tried, attribution.lift)}."
        )
    verb = "Stream" if kind == "real-time" else f"Make {attribution.fresh}:"
    rest = "" if not attribution.stay else f"; {_others(attribution)} may stay {attribution.stale}"
    share = (
        f"{_share(attribution.share)} of the lift {scope}"
        if math.isfinite(attribution.share.value)
        else f"a lift {scope}"
    )
    sentence = (
        f"{verb} {wording.listed(attribution.chosen)}: {share} "
        f"({_gain(attribution, attribution.lift)}){rest}."
    )
    if not attribution.worth:
        small = wording.number(attribution.min_lift, decimals(attribution))
        return (
            f"{sentence} It is a lift, though it may be smaller than the smallest one worth "
            f"having, {small}."
        )
    return sentence


def below_the_first_line(result: BacktestResult) -> AttributionResult | None:
    """The attribution of a backtest; its plan is a condition where the first line does not run the
    level that it makes views fresh to.
    """
    attribution, recommendation = result.attribution, result.recommendation
    if (
        attribution is None
        or recommendation is None
        or not attribution.chosen
        or recommendation.level == attribution.fresh
    ):
        return attribution
    if attribution.plan.startswith("No plan"):
        return attribution
    condition = (
        f"If {attribution.fresh} is built: {attribution.plan[:1].lower()}{attribution.plan[1:]}"
    )
    return msgspec.structs.replace(attribution, plan=condition)


def notes(attribution: AttributionResult) -> list[str]:
    """Notes on the plan: the data behind it, and slices where it does not hold."""
    sentences = [
        (
            f"All views {attribution.fresh}: {_gain(attribution, attribution.whole)}, on all test "
            "days."
        ),
        *(
            [f"Making the others {attribution.fresh} too: {_gain(attribution, attribution.rest)}."]
            if attribution.rest is not None and attribution.chosen and attribution.stay
            else []
        ),
        *(
            sentences
            for slice_lift in attribution.slices
            if (sentences := _slice(attribution, slice_lift))
        ),
        # the plan has the first
        *map(audit_words.finding_line, attribution.audit.blocking[1:]),
        *(" ".join(audit_words.condition(one)) for one in attribution.audit.conditions),
        *audit_words.further_questions(attribution.audit),
        *(
            f"{name} cannot be measured, and is credited with nothing: {reason}."
            for name, reason in attribution.not_measurable.items()
        ),
        *attribution.joined,
        (
            f"The path was chosen on {attribution.choosing_days} test days, every other one; its "
            f"lifts are measured on the {attribution.reporting_days} days between. Single views "
            f"are tested on all days, {2 * len(attribution.units)} steps together (Holm). "
            f"{attribution.sets} sets of fresh views were trained."
        ),
    ]
    return [*sentences, *([attribution.intervals] if attribution.intervals else [])]


def decimals(attribution: AttributionResult) -> int:
    """How many decimals show the metric of this attribution."""
    return wording.places_of(value.value for value in attribution.values.values())


def _staying(attribution: AttributionResult) -> str:
    return wording.listed(list(attribution.stay)) if attribution.not_measurable else "all views"


def _others(attribution: AttributionResult) -> str:
    return (
        f"the other {len(attribution.stay)}"
        if len(attribution.stay) > 2
        else wording.listed(attribution.stay)
    )


def _of_set(names: str, lift: Comparison) -> str:
    return f"The best set found, {names}, is {lift.sentence}"


def _gain(attribution: AttributionResult, step: Comparison) -> str:
    return wording.gain(step, decimals(attribution))


def _share(share: Estimate) -> str:
    if not math.isfinite(share.low):
        return f"{100 * share.value:.0f} %"
    return f"{100 * share.value:.0f} % [{100 * share.low:.0f} %, {100 * share.high:.0f} %]"


def _slice(attribution: AttributionResult, slice_lift: SliceLift) -> str:
    """A note for a slice where the step, or else the plan, is not a lift; empty if both are."""
    if slice_lift.whole is not None and slice_lift.whole.verdict != "LIFT":
        return (
            f"{slice_lift.name}: {attribution.stale} {wording.ARROW} {attribution.fresh} is not a "
            f"lift ({slice_lift.whole.sentence})."
        )
    if attribution.chosen and slice_lift.lift is not None and slice_lift.lift.verdict != "LIFT":
        return f"{slice_lift.name}: the plan is not a lift ({slice_lift.lift.sentence})."
    return ""
