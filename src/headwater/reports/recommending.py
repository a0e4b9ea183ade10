"""The one recommendation: which level to run, by rules on the intervals of a backtest.

A level is *enough* if its loss to each fresher level is shown to be below break-even: the upper end of the 95 % interval is not above it.
It is *too stale* if the loss is shown to be at least that, *open* otherwise. The first rule that holds:

withheld       the audit found a leak, or no events; or production did not deliver what was promised, and nobody acknowledged it
cannot decide  the levels are not in order from stale to fresh; fewer than two can be compared, since others were not tested or
               timestamps are too coarse for them; a difference has no interval; or the test has fewer than eight days, and the
               intervals say nothing of other days
run            the stalest level that is enough, from the baseline on unless that is enough itself. A level that is fresher than the
               baseline has to be a LIFT over it (Holm). The freshest level has nothing to lose to, so it is taken only if all between
               the baseline and it are too stale
cannot decide  anything else, with about how many more days of test would decide if the differences stayed as they are: an interval's
               width falls with the square root of the days

Break-even is the least lift worth having, or where money is known the gain that pays for what the fresher level costs more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import combinations, pairwise
from statistics import NormalDist

import msgspec

from headwater.definitions.decision_value import DecisionValue
from headwater.kernel.holm import holm
from headwater.reports import recommendation_words, wording
from headwater.results.audit_result import replaced_headline
from headwater.results.backtest_result import BacktestResult, Value
from headwater.results.estimate import Comparison
from headwater.results.recommendation_result import Answer, Recommendation

LEAST = "the least lift worth having"
_MOST_DAYS = 3_650
_GROWTH = 1.03
_OLDER = 1.5  # times the age of the level before it: views of one level may differ, so its mean age is no exact order
MIN_PERIODS = 8
_ALPHA = 0.05
_Z = NormalDist().inv_cdf(1 - _ALPHA / 2)  # standard errors in half of an interval

BreakEven = Callable[[str, str], float]
"""The least gain from one level to a fresher one that is worth having."""


@dataclass(frozen=True)
class Choice:
    """What the rules say. level: to run, "" if undecided. open: the levels that the data do not decide between. days: NaN if not known.

    close: the levels that would still be open after ten years.
    """

    level: str
    open: Sequence[str] = ()
    days: float = math.nan
    reason: str = ""
    close: Sequence[str] = ()


@dataclass(frozen=True)
class _Gap:
    """The gain from a level to a fresher one with its interval; `lift` whether it is a LIFT where it is judged."""

    delta: float
    low: float
    high: float
    least: float
    lift: bool

    def narrowed(self, by: float) -> _Gap:
        """With an interval `by` times as wide."""
        low, high = self.delta - (self.delta - self.low) * by, self.delta + (self.high - self.delta) * by
        return replace(self, low=low, high=high)

    @property
    def p(self) -> float:
        """The p-value of no gain by itself, as the interval says it: below 5 % where that lies above 0."""
        if self.delta <= 0:
            return 1.0
        return 2 * NormalDist().cdf(-_Z * self.delta / (self.delta - self.low)) if self.delta > self.low else 0.0

    @property
    def state(self) -> str:
        """Of the staler level: "enough", "too stale" or "open"."""
        if self.high <= self.least:
            return "enough"
        return "too stale" if self.low >= self.least and self.low > 0 else "open"


Gaps = Mapping[tuple[str, str], _Gap]


def choose(result: BacktestResult, baseline: str, break_even: BreakEven, measurable: Sequence[str]) -> Choice:
    """The level to run, of those that can be measured, from stale to fresh."""
    names = [level.name for level in result.levels if level.name in measurable]
    if disorder := out_of_order(result):
        return Choice("", reason=disorder)
    if len(result.levels) < 2:
        return Choice("", reason="only one level was tested, so there is no comparison")
    if len(names) < 2:
        return Choice("", reason="no fresher level can be told from the staler one by the timestamps of these data")
    known = {(step.from_, step.to): step for step in result.comparisons if step.metric == result.headline}
    pairs = list(combinations(names, 2))
    lacking = [pair for pair in pairs if pair not in known]
    if lacking:
        return Choice("", reason=f"{lacking[0][0]} and {lacking[0][1]} were not compared; run the backtest again")
    unknown = next((known[pair] for pair in pairs if not math.isfinite(known[pair].high)), None)
    if unknown is not None:
        return Choice("", names, reason=_absence(unknown))
    gaps = {pair: _gap(known[pair], break_even(*pair)) for pair in pairs}
    choice = decided(names, baseline, gaps)
    family = max(known[pair].family for pair in pairs)
    tested = days_tested(result)
    days = math.nan if choice.level else days_needed(names, baseline, gaps, tested, family)
    close = decided(names, baseline, _after(_MOST_DAYS, names, baseline, gaps, tested, family)).open if math.isinf(days) else ()
    return Choice(choice.level, choice.open, days, choice.reason, close)


def out_of_order(result: BacktestResult) -> str:
    """That a level is clearly older than the one before it, though levels are compared from stale to fresh; empty if none is."""
    known = [level for level in result.levels if level.age_seconds is not None]
    for before, level in pairwise(known):
        assert before.age_seconds is not None
        assert level.age_seconds is not None
        if level.age_seconds > _OLDER * before.age_seconds + 60:
            ages = (
                f"{level.name} ({wording.duration(level.age_seconds)}) comes after {before.name} ({wording.duration(before.age_seconds)})"
            )
            return f"levels are compared from stale to fresh, and {ages}; give them in that order"
    return ""


def _gap(step: Comparison, least: float) -> _Gap:
    return _Gap(step.delta, step.low, step.high, least, step.lifts)


def _absence(step: Comparison) -> str:
    return step.sentence.rpartition(": ")[2] or "the differences have no intervals"


def decided(names: Sequence[str], baseline: str, gaps: Gaps) -> Choice:
    """The choice among these levels, from stale to fresh.

    >>> hourly_is_enough = {("daily", "hourly"): _Gap(0.1, 0.08, 0.12, 0.02, True), ("daily", "minute"): _Gap(0.11, 0.09, 0.13, 0.02, True)}
    >>> hourly_is_enough[("hourly", "minute")] = _Gap(0.01, 0.008, 0.012, 0.02, False)
    >>> decided(["daily", "hourly", "minute"], "daily", hourly_is_enough).level
    'hourly'
    """
    states = {name: _state(name, names, gaps) for name in names}
    today = names.index(baseline) if baseline in names else 0
    level = next(name for name in (names if states[names[today]] == "enough" else names[today:]) if states[name] == "enough")
    at = names.index(level)
    if at > today and not gaps[names[today], level].lift:
        return Choice("", [names[today], *_open(names[today + 1 : at], states), level], reason="lift")
    doubtful = _open(names[today:at], states)
    if level == names[-1] and doubtful:
        return Choice("", [*doubtful, level], reason="open")
    return Choice(level, _open(names[:at], states))


def _state(name: str, names: Sequence[str], gaps: Gaps) -> str:
    """Against every fresher level: enough for all of them, too stale for one, or open."""
    states = {gaps[name, fresher].state for fresher in names[names.index(name) + 1 :]}
    if "too stale" in states:
        return "too stale"
    return "open" if "open" in states else "enough"


def _open(names: Sequence[str], states: Mapping[str, str]) -> list[str]:
    return [name for name in names if states[name] == "open"]


def days_tested(result: BacktestResult) -> float:
    """The days between the split and the last test row."""
    try:
        first, last = (datetime.fromisoformat(text) for text in (result.split.split, result.split.test_end))
    except ValueError:
        return math.nan
    return (last - first).total_seconds() / 86_400


def days_needed(names: Sequence[str], baseline: str, gaps: Gaps, tested: float, family: int = 1) -> float:
    """About how many more days of test would decide, if the differences stayed as they are; infinite beyond ten years.

    A level counts as a LIFT over the baseline where it holds among the `family` of levels that are judged, by Holm's method.

    >>> gaps = {("daily", "hourly"): _Gap(0.02, -0.01, 0.05, 0.005, False)}
    >>> round(days_needed(["daily", "hourly"], "daily", gaps, 30.0))
    90
    >>> round(days_needed(["daily", "hourly"], "daily", gaps, 30.0, family=20))
    132
    """
    if not tested > 0:
        return math.nan
    more = 1.0
    while more <= _MOST_DAYS:
        if decided(names, baseline, _after(more, names, baseline, gaps, tested, family)).level:
            return more
        more = max(more + 1, more * _GROWTH)
    return math.inf


def _after(more: float, names: Sequence[str], baseline: str, gaps: Gaps, tested: float, family: int) -> Gaps:
    """The differences as they would be with so many more days of test; those over the baseline are a LIFT where its family shows it."""
    narrower = math.sqrt(tested / (tested + more))
    narrow = {pair: gap.narrowed(narrower) for pair, gap in gaps.items()}
    today = baseline if baseline in names else names[0]
    judged = {pair: gap for pair, gap in narrow.items() if pair[0] == today}
    together = holm([*(gap.p for gap in judged.values()), *[1.0] * (family - len(judged))])
    for (pair, gap), p in zip(judged.items(), together, strict=False):
        narrow[pair] = replace(gap, lift=gap.lift or (gap.low > 0 and not gap.high <= gap.least and p < _ALPHA))
    return narrow


def recommend(result: BacktestResult, break_even: Mapping[str, float] | None = None, source: str = "") -> Recommendation:
    """The one recommendation of a backtest.

    Args:
        result: the backtest, its differences judged against `result.baseline`.
        break_even: by level, the least gain over the stalest level that is worth having, which rises with what a level costs; None takes
            the least lift worth having for every pair of levels.
        source: where the break-even comes from, in words.
    """
    baseline = result.baseline or (result.levels[0].name if result.levels else "")
    least = result.min_lift.get(result.headline, 0.0)
    even = break_even or {}

    def pays(stale: str, fresh: str) -> float:
        return even[fresh] - even[stale] if stale in even and fresh in even else least

    def made(
        answer: Answer, level: str, sentence: str, practice: str = "", open_: Sequence[str] = (), days: float = math.nan
    ) -> Recommendation:
        over = {known.name: pays(baseline, known.name) for known in result.levels[_at(result, baseline) + 1 :]}
        limits = _limits(result, level, open_) + ([recommendation_words.by_money(result, baseline, over, source)] if even and over else [])
        return Recommendation(answer, level, baseline, sentence, practice, over, source or LEAST, open_, days, limits)

    replaced = replaced_headline(result.audit)
    if replaced:
        return made("withheld", "", replaced)
    choice = choose(result, baseline, pays, _measurable(result))
    if (choice.level or choice.open) and result.blocks is not None and not result.blocks.covers_other_periods:
        choice = Choice("", reason=too_few_periods(result.blocks.periods))
    if choice.level:
        words = recommendation_words.to_run(result, choice.level, baseline)
        return made("run", choice.level, words, recommendation_words.in_practice(result, choice.level, baseline), choice.open)
    reason = choice.reason if choice.reason not in ("lift", "open") else ""
    until = _meanwhile(result, baseline, choice.open, pays)
    doing = f"stay with {baseline}" if until == baseline else f"run {until}, which is shown to be better than {baseline}"
    words = recommendation_words.not_decided(
        choice.open, doing, reason, choice.days, refitted=bool(result.fixed_models), close=choice.close
    )
    return made("cannot decide", "", words, "", choice.open, choice.days)


def _meanwhile(result: BacktestResult, baseline: str, undecided: Sequence[str], pays: BreakEven) -> str:
    """What to run until more days decide: the stalest open level that is a LIFT over the baseline and pays, else the baseline.

    The baseline itself may be one of them: then nothing is shown to be better.
    """
    if baseline in undecided:
        return baseline
    judged = {step.to: step for step in wording.judged(result)}
    lifting = (name for name in undecided if name in judged and judged[name].lifts and judged[name].low >= pays(baseline, name))
    return next(lifting, baseline)


def _measurable(result: BacktestResult) -> Sequence[str]:
    """The levels that the timestamps of the data can tell from the staler one, at least of some views."""
    lost = {measurable.level for measurable in result.measurable if measurable.state == "not measurable"}
    return [level.name for level in result.levels if level.name not in lost]


def too_few_periods(periods: int) -> str:
    """That so few periods of test say nothing of others.

    >>> too_few_periods(2)
    'the intervals speak of these 2 days only; at least 6 more days of test would speak of others'
    >>> too_few_periods(12)
    'the intervals speak of these 12 days only, as each depends on those before; many more days of test would speak of others'
    """
    if periods >= MIN_PERIODS:
        return f"the intervals speak of these {periods} days only, as each depends on those before; many more days of test would speak of others"
    more = max(1, MIN_PERIODS - periods)
    days, further = ("day" if count == 1 else "days" for count in (periods, more))
    return f"the intervals speak of these {periods} {days} only; at least {more} more {further} of test would speak of others"


def _at(result: BacktestResult, name: str) -> int:
    return next((at for at, level in enumerate(result.levels) if level.name == name), 0)


def _limits(result: BacktestResult, level: str, undecided: Sequence[str]) -> list[str]:
    """What the recommendation does not cover."""
    measurable = _measurable(result)
    lines = [recommendation_words.unmeasurable([known for known in result.levels if known.name not in measurable])]
    if level and undecided:
        lines.append(f"Whether {wording.listed(undecided, 'or')} would be enough is not shown.")
    lines += [recommendation_words.missed(known.coverage) for known in result.levels if known.name == level]
    if not result.baseline and len(result.levels) > 1:
        lines.append(f"What serves today was not said, so levels are compared with {result.levels[0].name}; name it with baseline.")
    return [line for line in lines if line]


def with_recommendation(result: BacktestResult, break_even: Mapping[str, float] | None = None, source: str = "") -> BacktestResult:
    """The backtest with its recommendation; `break_even` as for `recommend`."""
    recommendation = recommend(result, break_even, source)
    return msgspec.structs.replace(result, recommendation=recommendation, verdict=recommendation.first_line)


def money_break_even(result: BacktestResult, costs: Mapping[str, float]) -> Mapping[str, float]:
    """By level, its cost a day as a gain in the precision that the worth of a decision depends on."""
    assert result.value is not None
    value = worth_of(result.value)
    return {name: value.break_even(cost) for name, cost in costs.items()}


def worth_of(value: Value) -> DecisionValue:
    """The worth of a decision as it was given."""
    return DecisionValue(value.volume, value.acted_on, value.hit, value.false_alarm, value.late)
