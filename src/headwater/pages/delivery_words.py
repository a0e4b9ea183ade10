"""Promise against delivery in words. No sentence says that a promise was kept: data can only fail
to show a miss.
"""

from __future__ import annotations

import msgspec

from headwater.definitions.level import at_level
from headwater.pages import wording
from headwater.results.promise_result import DeliveryResult, Promise

CAUSES = (
    "A leak that no audit can see: the backtest read something that was not known at the request",
    (
        "Values that are served differently from how they were trained; run `headwater parity "
        "--served`"
    ),
    "Predictions that came too late or from defaults; see the column of defaults",
    "A change in the data since the test period; run the backtest on recent requests",
)
"""What a miss may come from, in the order in which to check."""

RANKING = (
    (
        "the serving log has outcomes of the returned items only, where the backtest ranks every "
        "candidate"
    ),
    (
        "The served order decides which items have an outcome: an item that was not returned "
        "cannot be chosen, and the first ones are chosen more often"
    ),
    "The log does not hold how many candidates a list had",
    (
        "A metric of the returned lists is thus of this model's own choice: it may be high where "
        "the model is bad, and estimates no other"
    ),
)
"""Why a ranking is not compared with its promise; the first also stands in the first line."""


def places(promise: Promise) -> int:
    """How many decimals show the metric."""
    return wording.places_of([promise.promised.value])


def with_first_line(result: DeliveryResult) -> DeliveryResult:
    """The result with its verdict in a sentence."""
    return msgspec.structs.replace(result, first_line=_first_line(result))


def promised(promise: Promise) -> str:
    """The promise in a sentence."""
    tested = (
        f"on {wording.count(promise.test_rows)} test requests from {promise.tested_from[:10]} to "
        f"{promise.tested_until[:10]}"
    )
    return (
        f"The backtest promised {_label(promise)} "
        f"{wording.estimate(promise.promised, places(promise))} at {promise.level}, {tested}."
    )


def withdrawal(result: DeliveryResult) -> str:
    """That the recommendation was withdrawn, for the pages of later backtests: a sentence without
    its full stop.
    """
    promise, decimals = result.promise, places(result.promise)
    miss = next(week for week in result.weeks if week.state == "missed")
    until = f" on data until {promise.tested_until[:10]}" if promise.tested_until else ""
    return (
        f"The recommendation{until} was withdrawn: promised {_label(promise)} "
        f"{wording.number(promise.promised.value, decimals)}, delivered "
        f"{wording.number(miss.delivered.value, decimals)} in the weeks from {miss.window_from} "
        f"to that of {miss.week}"
    )


def _label(promise: Promise) -> str:
    return wording.metric_label(promise.metric)


def _first_line(result: DeliveryResult) -> str:
    promise, decimals = result.promise, places(result.promise)
    if result.withdrawn:
        miss = next(week for week in result.weeks if week.state == "missed")
        return (
            f"Withdrawn: {promise.model} delivers less in production than its backtest promised. "
            f"{_label(promise)} {wording.estimate(miss.delivered, decimals)} instead of "
            f"{wording.number(promise.promised.value, decimals)}, in the weeks {miss.window_from} "
            f"to {miss.week}."
        )
    if result.state == "no miss shown":
        last = result.judged[-1]
        return (
            f"No miss shown: {promise.model} is not shown to deliver less than its backtest "
            f"promised. {_label(promise)} {wording.estimate(last.delivered, decimals)} in the "
            f"weeks {last.window_from} to {last.week}, promised "
            f"{wording.number(promise.promised.value, decimals)}."
        )
    if result.unjudged:
        return (
            f"Not judged: {result.unjudged} ({result.promise.model}). The promise stands "
            "untested; compare levels in an experiment."
        )
    if result.state == "not judged":
        return (
            f"Not judged: {result.promise.model} is a ranking, and {RANKING[0]}. The promise "
            "stands untested; compare rankings in an experiment."
        )
    return f"Too early: no week can be judged yet. {_why(result)}"


def _why(result: DeliveryResult) -> str:
    """Why the latest matured week, else the first one, is not judged."""
    matured = [week for week in result.weeks if week.state == "not judged"]
    week = matured[-1] if matured else result.weeks[0]
    return f"Week of {week.week}: {week.reason}."


def status_line(result: DeliveryResult) -> str:
    """One line for `headwater status`."""
    return (
        f"promise of {at_level(result.promise.model, result.served_level)}, checked "
        f"{result.checked_at[:10]}: {result.first_line}"
    )


def reasons(result: DeliveryResult) -> list[str]:
    """Why weeks are not judged, one line each."""
    return [
        f"Week of {week.week}, {week.state}: {week.reason}." for week in result.weeks if week.reason
    ]


def from_table(result: DeliveryResult) -> str:
    """How the labels' table has outcomes that were not posted; empty where none is from it."""
    counts = [f"{wording.count(n)} {reason}" for reason, n in result.from_table.items()]
    return (
        (
            "Outcomes that were not posted are from the labels' table, by keys and time: "
            f"{'; '.join(counts)}."
        )
        if counts
        else ""
    )


def rule(result: DeliveryResult) -> str:
    """How weeks are judged, in sentences."""
    if result.unjudged:
        return (
            "Declare an approve-anyway holdout, hw.censored(..., holdout=, unit=), or compare "
            "levels in an experiment."
        )
    if result.state == "not judged":
        return f"{'. '.join(RANKING[1:])}."
    return (
        "Each week is judged once, together with the weeks before it that make at least 28 days "
        f"and 8 blocks ({result.promise.unit}), and only when the outcome of its last request "
        "could be known. A miss is a shortfall that is shown, by the uncertainty of both the "
        f"backtest and production, to exceed {result.promise.margin:.3g}, the least change worth "
        "having. Days may depend on the days before. All looks together withdraw a kept promise "
        "in at most 5 % of models."
    )
