"""The one recommendation: which level to run, by rules on the intervals of a backtest.

A level is *enough* if its loss to each fresher level is shown to be below break-even: the upper end
of the 95 % interval is not above it. It is *too stale* if the loss is shown to be at least that,
*open* otherwise. Levels that the timestamps cannot tell apart are left out: nothing is said for or
against them but that. The first rule that holds:

withheld       the audit found a leak, or no events; or production did not deliver what was
               promised, and no one acknowledged it
cannot decide  the levels are not in order from stale to fresh; fewer than two can be compared,
               since others were not tested or timestamps are too coarse for them; they are too
               coarse for the baseline; a difference has no interval; or the test has fewer than
               eight days, and the intervals say nothing of other days
run            the stalest level that is enough, from the baseline on unless that is enough itself.
               A level that is fresher than the baseline has to be a LIFT over it (Holm). The
               freshest level has nothing to lose to, so it is taken only if all between the
               baseline and it are too stale
cannot decide  anything else, with about how many more days of test would decide if the differences
               stayed as they are: an interval's width falls with the square root of the days, but
               for what training adds

Where it cannot decide, a level that is shown to be better than the baseline is run until then
(`level_gaps.meanwhile`).

Break-even is the least lift worth having, or where money is known the gain that pays for what the
fresher level costs more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import combinations, pairwise

import msgspec

from headwater.definitions.evaluations import DecisionValue
from headwater.pages import (
    audit_words,
    fixed_models,
    measured_levels,
    recommendation_words,
    wording,
)
from headwater.pages.level_gaps import Choice, Gap, days_needed, decided, meanwhile
from headwater.results.audit_result import replaced_headline
from headwater.results.backtest_result import BacktestResult, Value
from headwater.results.estimate import Comparison
from headwater.results.recommendation_result import Answer, Recommendation

LEAST = "the least lift worth having"
# times the age of the level before it: views of one level may differ, so its mean age is not an
# exact order
_OLDER = 1.5
MIN_PERIODS = 8
_NOTHING = Choice("")

BreakEven = Callable[[str, str], float]
"""The least gain from one level to a fresher one that is worth having."""


def choose(
    result: BacktestResult, baseline: str, break_even: BreakEven, *, by_money: bool = False
) -> Choice:
    """The level to run, of those that can be measured, from stale to fresh."""
    names = measured_levels.measured(result)
    if disorder := out_of_order(result):
        return Choice("", reason=disorder)
    if len(result.levels) < 2:
        return Choice("", reason="only one level was tested, so nothing can be compared")
    if len(names) < 2:
        return Choice("", reason=measured_levels.no_other(result))
    if blind := measured_levels.of_baseline(result, baseline):
        return Choice("", reason=blind)
    by_pair = {
        (step.from_, step.to): step for step in result.comparisons if step.metric == result.headline
    }
    pairs = list(combinations(names, 2))
    lacking = [pair for pair in pairs if pair not in by_pair]
    if lacking:
        return Choice(
            "",
            reason=f"{lacking[0][0]} and {lacking[0][1]} were not compared; run the backtest again",
        )
    alone = fixed_models.by_step(result)
    gaps = {
        pair: _gap(by_pair[pair], break_even(*pair), alone.get(pair))
        for pair in pairs
        if math.isfinite(by_pair[pair].high)
    }
    until = meanwhile(names, baseline, gaps, by_money=by_money)
    if len(gaps) < len(pairs):
        return Choice(
            "", names, _absence(next(by_pair[pair] for pair in pairs if pair not in gaps)), until
        )
    choice = replace(decided(names, baseline, gaps), until=until)
    if choice.level:
        return choice
    family = max(by_pair[pair].family for pair in pairs)
    return replace(choice, days=days_needed(names, baseline, gaps, days_tested(result), family))


def out_of_order(result: BacktestResult) -> str:
    """That a level is clearly older than the one before it, though levels are compared from stale
    to fresh; empty if none is.
    """
    aged = [level for level in result.levels if level.age_seconds is not None]
    for before, level in pairwise(aged):
        assert before.age_seconds is not None
        assert level.age_seconds is not None
        if level.age_seconds > _OLDER * before.age_seconds + 60:
            ages = (
                f"{level.name} ({wording.duration(level.age_seconds)}) comes after {before.name} "
                f"({wording.duration(before.age_seconds)})"
            )
            return f"levels are compared from stale to fresh, and {ages}; give them in that order"
    return ""


def _gap(step: Comparison, least: float, alone: Comparison | None) -> Gap:
    within = alone is not None and step.low <= alone.low and alone.high <= step.high
    ends = (alone.low, alone.high) if alone is not None and within else None
    return Gap(step.delta, step.low, step.high, least, step.lifts, ends)


def _absence(step: Comparison) -> str:
    return step.sentence.rpartition(": ")[2] or "the differences have no intervals"


def days_tested(result: BacktestResult) -> float:
    """The days between the split and the last test row."""
    try:
        first, last = (
            datetime.fromisoformat(text) for text in (result.split.split, result.split.test_end)
        )
    except ValueError:
        return math.nan
    return (last - first).total_seconds() / 86_400


def recommend(
    result: BacktestResult, break_even: Mapping[str, float] | None = None, source: str = ""
) -> Recommendation:
    """The one recommendation of a backtest.

    Args:
        result: the backtest, its differences judged against `result.baseline`.
        break_even: by level, the least gain over the stalest level that is worth having, which
            rises with what a level costs; None takes the least lift worth having for every pair of
            levels.
        source: where the break-even comes from, in words.
    """
    baseline = result.baseline or (result.levels[0].name if result.levels else "")
    least = result.min_lift.get(result.headline, 0.0)
    even = break_even or {}

    def pays(stale: str, fresh: str) -> float:
        return even[fresh] - even[stale] if stale in even and fresh in even else least

    def made(
        answer: Answer, level: str, sentence: str, practice: str = "", choice: Choice = _NOTHING
    ) -> Recommendation:
        over = {
            level_result.name: pays(baseline, level_result.name)
            for level_result in result.levels[_at(result, baseline) + 1 :]
        }
        limits = _limits(result, level, choice.open) + (
            [recommendation_words.by_money(result, baseline, over, source)] if even and over else []
        )
        days = (
            (math.nan, math.nan) if choice.days is None else (choice.days.least, choice.days.most)
        )
        open_ = choice.open
        return Recommendation(
            answer, level, baseline, sentence, practice, over, source or LEAST, open_, *days, limits
        )

    replaced = replaced_headline(result.audit)
    if replaced:
        return made("withheld", "", replaced)
    choice = choose(result, baseline, pays, by_money=bool(even))
    if (
        (choice.level or choice.open)
        and result.blocks is not None
        and not result.blocks.covers_other_periods
    ):
        choice = Choice("", reason=too_few_periods(result.blocks.periods))
    blind = "" if choice.reason else measured_levels.sentence(result)
    if choice.level:
        words = recommendation_words.to_run(result, choice.level, baseline)
        practice = recommendation_words.in_practice(result, choice.level, baseline)
        sentence = f"{_conditional(result, words)} {blind}".strip()
        return made("run", choice.level, sentence, practice, choice)
    words = recommendation_words.not_decided(choice, baseline)
    return made("cannot decide", "", f"{words} {blind}".strip(), "", choice)


def _conditional(result: BacktestResult, words: str) -> str:
    """What to do, after the weightiest condition that is only declared, where there is one."""
    if not result.audit.conditions:
        return words
    holds = audit_words.holds(result.audit.conditions[0])
    return f"If {holds} (declared): {words[:1].lower()}{words[1:]}"


def too_few_periods(periods: int) -> str:
    """That so few periods of test say nothing of others.

    >>> too_few_periods(2)
    'the intervals speak of these 2 days only; at least 6 more days of test would speak of others'
    >>> too_few_periods(12)
    'the intervals speak of these 12 days only, as each depends on those before; many more days of test would speak of others'
    """  # noqa: E501 (output as it is printed)
    if periods >= MIN_PERIODS:
        return (
            f"the intervals speak of these {periods} days only, as each depends on those before; "
            "many more days of test would speak of others"
        )
    more = max(1, MIN_PERIODS - periods)
    days, further = ("day" if count == 1 else "days" for count in (periods, more))
    return (
        f"the intervals speak of these {periods} {days} only; at least {more} more {further} of "
        "test would speak of others"
    )


def _at(result: BacktestResult, name: str) -> int:
    return next((at for at, level in enumerate(result.levels) if level.name == name), 0)


def _limits(result: BacktestResult, level: str, undecided: Sequence[str]) -> list[str]:
    """What the recommendation does not cover."""
    lines = []
    if level and undecided:
        lines.append(f"Whether {wording.listed(undecided, 'or')} would be enough is not shown.")
    lines += [
        recommendation_words.missed(level_result.coverage)
        for level_result in result.levels
        if level_result.name == level
    ]
    if not result.baseline and len(result.levels) > 1:
        lines.append(
            "What serves today was not said, so levels are compared with "
            f"{result.levels[0].name}; name it with baseline."
        )
    return [line for line in lines if line]


def with_recommendation(
    result: BacktestResult, break_even: Mapping[str, float] | None = None, source: str = ""
) -> BacktestResult:
    """The backtest with its recommendation; `break_even` as for `recommend`."""
    recommendation = recommend(result, break_even, source)
    return msgspec.structs.replace(
        result, recommendation=recommendation, verdict=recommendation.first_line
    )


def money_break_even(result: BacktestResult, costs: Mapping[str, float]) -> Mapping[str, float]:
    """By level, its cost a day as a gain in the precision that the worth of a decision depends
    on.
    """
    assert result.value is not None
    value = worth_of(result.value)
    return {name: value.break_even(cost) for name, cost in costs.items()}


def worth_of(value: Value) -> DecisionValue:
    """The worth of a decision as it was given."""
    return DecisionValue(value.volume, value.acted_on, value.hit, value.false_alarm, value.late)
