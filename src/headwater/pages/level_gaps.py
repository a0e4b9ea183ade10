"""Which level the intervals of differences decide on, what to run until they decide, and how many
more days of test that takes.

Days of test narrow the part of an interval that comes of the test; what training adds stays as it
is. Two numbers are given: after the first, half of the tests would decide if the differences are as
they were measured, and after the second four in five. An interval 1.43 times as wide stands for the
second, (1.96 + 0.84) / 1.96.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from headwater.metrics.holm import holm

MOST_DAYS = 3_650
_GROWTH = 1.03
_ALPHA = 0.05
_Z = NormalDist().inv_cdf(1 - _ALPHA / 2)  # standard errors in half of an interval
_FOUR_IN_FIVE = (_Z + NormalDist().inv_cdf(0.8)) / _Z


@dataclass(frozen=True)
class Gap:
    """The gain from a level to a fresher one with its interval; `lift` whether it is a LIFT where
    it is judged.

    alone: the ends of the interval of the fitted models, which more days of test narrow; None where
    it is the interval itself.
    """

    delta: float
    low: float
    high: float
    least: float
    lift: bool
    alone: tuple[float, float] | None = None

    def narrowed(self, by: float, wider: float = 1.0) -> Gap:
        """The gap if the test's share of the interval were `by` times as wide, and then the
        interval `wider` times as wide.
        """
        low, high = self.alone or (self.low, self.high)
        below = _half(self.delta - self.low, self.delta - low, by) * wider
        above = _half(self.high - self.delta, high - self.delta, by) * wider
        return replace(self, low=self.delta - below, high=self.delta + above)

    @property
    def fitted(self) -> Gap:
        """Of the fitted models alone: what very many refits could show at best."""
        return (
            self
            if self.alone is None
            else replace(self, low=self.alone[0], high=self.alone[1], alone=None)
        )

    @property
    def p(self) -> float:
        """The p-value of no gain by itself, as the interval says it: below 5 % where that lies
        above 0.
        """
        if self.delta <= 0:
            return 1.0
        return (
            2 * NormalDist().cdf(-_Z * self.delta / (self.delta - self.low))
            if self.delta > self.low
            else 0.0
        )

    @property
    def state(self) -> str:
        """Of the staler level: "enough", "too stale" or "open"."""
        if self.high <= self.least:
            return "enough"
        return "too stale" if self.low >= self.least and self.low > 0 else "open"


def _half(whole: float, of_test: float, by: float) -> float:
    """Half of the interval, if the test's share of it were `by` times as wide."""
    return math.sqrt(max(whole**2 - of_test**2, 0.0) + (of_test * by) ** 2)


Gaps = Mapping[tuple[str, str], Gap]


@dataclass(frozen=True)
class Days:
    """About how many more days of test decide: `least` where half of the tests would, `most` where
    four in five.

    Infinite beyond ten years; NaN where the days of the test are not known. close: the two levels
    that stay closest to break-even.
    refits: whether more refits could decide, since the fitted models alone do. training: whether
    days would, if training added nothing.
    """

    least: float
    most: float
    close: Sequence[str] = ()
    refits: bool = False
    training: bool = False


@dataclass(frozen=True)
class Choice:
    """What the rules say. level: to run, "" if undecided. open: the levels that the data do not
    decide between.

    reason: why the intervals do not say. until: what to run until they do.
    """

    level: str
    open: Sequence[str] = ()
    reason: str = ""
    until: str = ""
    days: Days | None = None


def decided(names: Sequence[str], baseline: str, gaps: Gaps) -> Choice:
    """The choice among these levels, from stale to fresh.

    >>> hourly_is_enough = {
    ...     ("daily", "hourly"): Gap(0.1, 0.08, 0.12, 0.02, True),
    ...     ("daily", "minute"): Gap(0.11, 0.09, 0.13, 0.02, True),
    ... }
    >>> hourly_is_enough[("hourly", "minute")] = Gap(0.01, 0.008, 0.012, 0.02, False)
    >>> decided(["daily", "hourly", "minute"], "daily", hourly_is_enough).level
    'hourly'
    """
    states = {name: _state(name, names, gaps) for name in names}
    today = names.index(baseline) if baseline in names else 0
    level = next(
        name
        for name in (names if states[names[today]] == "enough" else names[today:])
        if states[name] == "enough"
    )
    at = names.index(level)
    if at > today and not gaps[names[today], level].lift:
        return Choice("", [names[today], *_open(names[today + 1 : at], states), level])
    doubtful = _open(names[today:at], states)
    if level == names[-1] and doubtful:
        return Choice("", [*doubtful, level])
    return Choice(level, _open(names[:at], states))


def _state(name: str, names: Sequence[str], gaps: Gaps) -> str:
    """Against every fresher level: enough for all of them, too stale for one, or open."""
    states = {gaps[name, fresher].state for fresher in names[names.index(name) + 1 :]}
    if "too stale" in states:
        return "too stale"
    return "open" if "open" in states else "enough"


def _open(names: Sequence[str], states: Mapping[str, str]) -> list[str]:
    return [name for name in names if states[name] == "open"]


def meanwhile(names: Sequence[str], baseline: str, gaps: Gaps, *, by_money: bool = False) -> str:
    """What to run until the data decide: the stalest level shown to be better than the baseline,
    and not worse than another such one.

    A fresher level is shown to be better by a LIFT, a staler one by an interval below 0. by_money:
    a fresher one has to be worth its cost too, by the difference as it was measured. The baseline
    itself where none is.

    >>> gaps = {
    ...     ("daily", "hourly"): Gap(0.02, -0.001, 0.041, 0.005, False),
    ...     ("daily", "minute"): Gap(0.021, 0.001, 0.041, 0.005, True),
    ... }
    >>> gaps[("hourly", "minute")] = Gap(0.001, -0.002, 0.004, 0.005, False)
    >>> (
    ...     decided(["daily", "hourly", "minute"], "daily", gaps).open,
    ...     meanwhile(["daily", "hourly", "minute"], "daily", gaps),
    ... )
    (['daily', 'hourly'], 'minute')
    """

    def better(than: str, name: str) -> bool:
        if (name, than) in gaps:
            return gaps[name, than].high < 0
        gap = gaps.get((than, name))
        if gap is None:
            return False
        shown = gap.lift if than == baseline else gap.low > 0 and gap.delta >= gap.least
        return shown and (gap.delta >= gap.least or not by_money)

    candidates = [name for name in names if name != baseline and better(baseline, name)]
    return next(
        (name for name in candidates if not any(better(name, other) for other in candidates)),
        baseline,
    )


def days_needed(
    names: Sequence[str], baseline: str, gaps: Gaps, tested: float, family: int = 1
) -> Days:
    """About how many more days of test would decide, if the differences stay as they are.

    A level counts as a LIFT over the baseline where it holds among the `family` of levels that are
    judged, by Holm's method.

    >>> gaps = {("daily", "hourly"): Gap(0.02, -0.01, 0.05, 0.005, False)}
    >>> found = days_needed(["daily", "hourly"], "daily", gaps, 30.0)
    >>> round(found.least), round(found.most)
    (90, 219)
    >>> round(days_needed(["daily", "hourly"], "daily", gaps, 30.0, family=20).least)
    132
    """
    arguments = (names, baseline, tested, family)
    fitted = {pair: gap.fitted for pair, gap in gaps.items()}
    least, refitted = _until(gaps, *arguments), fitted != gaps
    refits = refitted and bool(decided(names, baseline, _after(0.0, fitted, *arguments)).level)
    if not math.isinf(least):
        return Days(least, max(least, _until(gaps, *arguments, wider=_FOUR_IN_FIVE)), refits=refits)
    still = {
        pair: gap
        for pair, gap in _after(MOST_DAYS, gaps, *arguments).items()
        if gap.state == "open"
    }
    close = min(still, key=lambda pair: abs(still[pair].delta - still[pair].least), default=())
    training = refitted and not math.isinf(_until(fitted, *arguments))
    return Days(least, math.inf, close, refits, training)


def _until(
    gaps: Gaps, names: Sequence[str], baseline: str, tested: float, family: int, wider: float = 1.0
) -> float:
    if not tested > 0:
        return math.nan
    more, last = 1.0, 0.0
    while last < MOST_DAYS:
        last = min(more, MOST_DAYS)
        if decided(
            names, baseline, _after(last, gaps, names, baseline, tested, family, wider)
        ).level:
            return last
        more = max(more + 1, more * _GROWTH)
    return math.inf


def _after(
    more: float,
    gaps: Gaps,
    names: Sequence[str],
    baseline: str,
    tested: float,
    family: int,
    wider: float = 1.0,
) -> Gaps:
    """The differences as they would be with so many more days of test; those over the baseline are
    a LIFT where its family shows it.
    """
    narrower = math.sqrt(tested / (tested + more))
    narrow = {pair: gap.narrowed(narrower, wider) for pair, gap in gaps.items()}
    today = baseline if baseline in names else names[0]
    judged = {pair: gap for pair, gap in narrow.items() if pair[0] == today}
    together = holm([*(gap.p for gap in judged.values()), *[1.0] * (family - len(judged))])
    for (pair, gap), p in zip(judged.items(), together, strict=False):
        shown = gap.low > 0 and not gap.high <= gap.least and p < _ALPHA
        narrow[pair] = replace(gap, lift=gap.lift or shown)
    return narrow
