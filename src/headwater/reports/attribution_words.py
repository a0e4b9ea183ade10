"""An attribution in sentences: the plan, and notes on its limits."""

from __future__ import annotations

import math
from collections.abc import Sequence

from headwater.reports import wording
from headwater.results.attribution_result import AttributionResult, SliceLift
from headwater.results.estimate import Estimate, Paired


def plan(found: AttributionResult, kind: str) -> str:
    """The plan in a sentence or two: views to make fresh and views that can stay; `kind` is that of the fresh level, batch or real-time."""
    metric = wording.metric_label(found.metric)
    where = f"in {metric} of {found.fresh} over {found.stale}"
    leaks = [finding for finding in found.leak_audit if finding.severity == "leak"]
    if leaks:
        return f"No plan: the data has a leak. Fix it first; no lift can be trusted before. {leaks[0].message}"
    if found.lift is None or found.rest is None:
        return f"Keep all views {found.stale}: on the days used to choose, none of them adds anything when it is {found.fresh}."
    tried = listed(list(found.path[-1].units))
    if math.isnan(found.lift.low):
        return (
            f"No plan: {tried} had {_gain(found, found.lift)} of {_gain(found, found.whole)} {where}, and {found.reporting_days} days are too few "
            "for an interval; test on 16 days or more."
        )
    if not found.chosen:
        return f"Keep all views {found.stale}: no lift {where} is shown. {_of_set(tried, found.lift)}."
    verb = "Stream" if kind == "real-time" else f"Make {found.fresh}:"
    rest = "" if not found.stay else f"; {_others(found)} may stay {found.stale}"
    share = f"{_share(found.share)} of the lift {where}" if math.isfinite(found.share.value) else f"a lift {where}"
    sentence = f"{verb} {listed(found.chosen)}: {share} ({_gain(found, found.lift)}){rest}."
    if not found.worth:
        small = wording.number(found.min_lift, decimals(found))
        return f"{sentence} It is a lift, though it may be smaller than the smallest one worth having, {small}."
    return sentence


def notes(found: AttributionResult) -> list[str]:
    """Notes on the plan: the data behind it, and slices where it does not hold."""
    said = [
        f"All views {found.fresh}: {found.whole.sentence}, on all test days.",
        *(
            [f"Making the others {found.fresh} too: {found.rest.sentence}."]
            if found.rest is not None and found.chosen and found.stay
            else []
        ),
        *(said for part in found.slices if (said := _slice(found, part))),
        *(f"{finding.severity}: {finding.message}" for finding in found.leak_audit if finding.severity != "ok"),
        *found.joined,
        (
            f"The path was chosen on {found.choosing_days} test days, every other one; its lifts are measured on the {found.reporting_days} days "
            f"between. Single views are tested on all days, {2 * len(found.units)} steps together (Holm). "
            f"{found.sets} sets of fresh views were trained."
        ),
    ]
    return [*said, *([found.intervals] if found.intervals else [])]


def decimals(found: AttributionResult) -> int:
    """How many decimals show the metric of this attribution."""
    return wording.places_of(value.value for value in found.values.values())


def listed(names: Sequence[str]) -> str:
    """Names as a list in a sentence.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _others(found: AttributionResult) -> str:
    return f"the other {len(found.stay)}" if len(found.stay) > 2 else listed(found.stay)


def _of_set(names: str, lift: Paired) -> str:
    return f"The best set found, {names}, is {lift.sentence}"


def _gain(found: AttributionResult, step: Paired) -> str:
    return wording.gain(step, decimals(found))


def _share(share: Estimate) -> str:
    if not math.isfinite(share.low):
        return f"{100 * share.value:.0f} %"
    return f"{100 * share.value:.0f} % [{100 * share.low:.0f} %, {100 * share.high:.0f} %]"


def _slice(found: AttributionResult, part: SliceLift) -> str:
    """A note for a slice where the step, or else the plan, is not a lift; empty if both are."""
    if part.whole is not None and part.whole.verdict != "LIFT":
        return f"{part.name}: {found.stale} {wording.ARROW} {found.fresh} is not a lift ({part.whole.sentence})."
    if found.chosen and part.lift is not None and part.lift.verdict != "LIFT":
        return f"{part.name}: the plan is not a lift ({part.lift.sentence})."
    return ""
