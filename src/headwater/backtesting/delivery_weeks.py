"""What each calendar week delivered, and whether it is a miss of the promise.

week       Monday to Sunday, UTC
matured    a week counts once the outcome of its last request could be known: at its end plus the
           labels' `known_after`, or where a column says when outcomes are known, the longest delay
           in the backtest. So quick outcomes do not count before slow ones
lacking    a matured week in which more than 5 % of the rows have no outcome is not judged
interval   seven days are too few blocks: a week is judged together with the weeks before it, at
           least four weeks and eight blocks of the kind that the backtest resampled. Days may
           depend on the days before, as in the backtest (`serial_dependence`)
shortfall  promised minus delivered, so signed that worse is positive. The two are of other rows, so
           their variances add: standard errors of the two intervals, Student's t with the degrees
           of freedom of Welch and Satterthwaite. Over days either error has as many degrees of
           freedom as slow waves that it is read off, six to eight, and not one less than there are
           days: that would withdraw one kept promise in eight where the days' effects are
           correlated by 0.6. Production's error is never below that of single days: of six waves,
           one in forty estimates is below half of it, and a false withdrawal costs more than a
           week's delay
margin     a shortfall below the least change worth having is not a miss
family     weeks are looked at one by one, without end. The k-th look may spend 10 % / ((k + 1) (k +
           2)), in all 5 %: under any dependence between weeks, a promise that is kept is withdrawn
           in at most one of twenty models. The first look spends a third of it, since its error is
           known least

Source: Welch, "The generalization of Student's problem when several different population variances
are involved", 1947; Lan and DeMets, "Discrete sequential boundaries for clinical trials", 1983 (a
share of the error for each look; Bonferroni holds the looks together).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from headwater import clock
from headwater.backtesting.delivered_rows import DeliveredRows
from headwater.backtesting.intervals import evaluate, resample_weights
from headwater.backtesting.row_blocks import MIN_BLOCKS, RowBlocks, given_blocks
from headwater.backtesting.spread import ALPHA
from headwater.definitions.checks import DAY, timestamp_text
from headwater.errors import UsageError
from headwater.kernel.arrays import F64, I64, Bool
from headwater.metrics import Blocks, Metric, RowContext
from headwater.results.estimate import Estimate
from headwater.results.promise_result import Promise, WeekDelivered, WeekState

WEEK = 7 * DAY
_MONDAY = 4 * DAY  # the first Monday of 1970
MIN_WEEKS = 4
MOST_MISSING = 0.05
RESAMPLES = 2000
_NONE = Estimate(math.nan, math.nan, math.nan)
_JUDGED = ("no miss shown", "missed")


def week_of(t: I64) -> I64:
    """The number of the calendar week (Monday, UTC) of each time: int64, of microseconds.

    >>> week_of(np.array([_MONDAY - 1, _MONDAY, _MONDAY + WEEK])).tolist()
    [-1, 0, 1]
    """
    weeks: I64 = (t - _MONDAY) // WEEK
    return weeks


def allowed(look: int) -> float:
    """The p-value below which look number `look`, from 1 on, is a miss.

    >>> round(allowed(1), 6), round(sum(allowed(look) for look in range(1, 100_000)), 4)
    (0.016667, 0.05)
    """
    return 2 * ALPHA / ((look + 1) * (look + 2))


@dataclass(frozen=True)
class Shortfall:
    """How much worse than promised, with its interval, and the one-sided p-value of its being above
    the margin.
    """

    estimate: Estimate
    p: float


def shortfall_of(promise: Promise, delivered: Estimate, error: float, freedom: float) -> Shortfall:
    """The difference of two independent estimates; see the module.

    Args:
        promise: with its interval.
        delivered: the metric in production. error: its standard error, with so many degrees of
            `freedom`.

    >>> kept = Promise(
    ...     "m",
    ...     "l",
    ...     "",
    ...     "auc",
    ...     True,
    ...     Estimate(0.70, 0.68, 0.72),
    ...     0.005,
    ...     30,
    ...     "days",
    ...     "",
    ...     "",
    ...     "",
    ...     0,
    ...     0.0,
    ...     "",
    ...     "",
    ...     "",
    ... )
    >>> far, near = (
    ...     shortfall_of(kept, Estimate(value, value - 0.02, value + 0.02), 0.01, 27)
    ...     for value in (0.6, 0.69)
    ... )
    >>> far.p < 1e-6, round(near.p, 2), round(near.estimate.low, 3)
    (True, 0.36, -0.018)
    """
    from scipy.special import stdtr, stdtrit

    wide = max(
        promise.promised.high - promise.promised.value,
        promise.promised.value - promise.promised.low,
    )
    own_freedom = promise.blocks - 1 if promise.freedom is None else promise.freedom
    own_error = wide / float(stdtrit(own_freedom, 1 - ALPHA / 2))
    sign = 1.0 if promise.higher_is_better else -1.0
    value = sign * (promise.promised.value - delivered.value)
    variance = own_error**2 + error**2
    if not variance > 0:
        return Shortfall(Estimate(value, value, value), 0.0 if value > promise.margin else 1.0)
    both = variance**2 / (own_error**4 / own_freedom + error**4 / freedom)
    half = math.sqrt(variance) * float(stdtrit(both, 1 - ALPHA / 2))
    p = float(stdtr(both, -(value - promise.margin) / math.sqrt(variance)))
    return Shortfall(Estimate(value, value - half, value + half), p)


@dataclass
class Weeks:
    """The weeks of some rows; `earlier` are weeks as they were judged before. unjudged: why
    outcomes judge none, if so.
    """

    promise: Promise
    metric: Metric
    rows: DeliveredRows
    horizon: int
    now: int
    earlier: Sequence[WeekDelivered]
    unjudged: str = ""
    usable: list[int] = field(default_factory=list)

    def judged(self) -> list[WeekDelivered]:
        """Every week from the first with a request to the last that has begun, in order."""
        numbers = week_of(self.rows.t)
        first, last = int(numbers.min()), int(week_of(np.array([self.now - 1]))[0])
        before = {week.week: week for week in self.earlier if week.state in _JUDGED}
        weeks = [week for week in before.values() if week.week < _date(first)]
        for number in range(first, last + 1):
            if (number + 1) * WEEK + _MONDAY + self.horizon > self.now:
                if (numbers == number).any():
                    weeks.append(self._immature(number, numbers == number))
                continue
            week = self._week(
                number, numbers, 1 + sum(judged_week.state in _JUDGED for judged_week in weeks)
            )
            weeks.append(before.get(week.week, week))
        return weeks

    def _immature(self, number: int, mask: Bool) -> WeekDelivered:
        ready = timestamp_text((number + 1) * WEEK + _MONDAY + self.horizon)
        return self._plain(
            number, mask, math.nan, "not matured", f"its last outcome may come until {ready}"
        )

    def _plain(
        self, number: int, mask: Bool, value: float, state: WeekState, reason: str
    ) -> WeekDelivered:
        rows, missing = self.rows, math.nan
        counts = int(mask.sum()), int((mask & rows.known).sum()), int((mask & rows.default).sum())
        return WeekDelivered(
            _date(number),
            *counts,
            value,
            _date(number),
            _NONE,
            _NONE,
            missing,
            missing,
            state,
            reason,
        )

    def _week(self, number: int, numbers: I64, look: int) -> WeekDelivered:
        """A week that has matured."""
        mask = numbers == number
        there = mask & self.rows.known
        if not mask.any():
            return self._plain(number, mask, math.nan, "not judged", "no prediction was served")
        if self.rows.groups is not None:
            return self._lists(number, mask)
        if self.unjudged:
            return self._plain(number, mask, math.nan, "not judged", self.unjudged)
        missing = 1 - there.sum() / mask.sum()
        if missing > MOST_MISSING:
            reason = (
                f"{missing:.1%} of its predictions have no outcome, and those that have one may "
                "differ from them"
            )
            return self._plain(number, mask, math.nan, "not judged", reason)
        self.usable.append(number)
        value = float(self._evaluated(there, Blocks.whole(int(there.sum()))).value)
        if not self.promise.covers_other_periods:
            period = f" {self.promise.on}" if self.promise.on else ""
            return self._plain(
                number,
                mask,
                value,
                "not judged",
                f"the backtest's interval holds{period} only, so it promises nothing of others",
            )
        start, window, blocks = self._window(numbers)
        if blocks is None:
            few = f"an interval needs {MIN_BLOCKS} {self._unit}, and the weeks so far have fewer"
            if len(self.usable) < MIN_WEEKS:
                few = (
                    f"a verdict takes {MIN_WEEKS} weeks with their outcomes, and this is number "
                    f"{len(self.usable)}"
                )
            return self._plain(number, mask, value, "not judged", few)
        delivered = self._evaluated(
            window, resample_weights(blocks.index, RESAMPLES, successive=blocks.successive)
        )
        if not math.isfinite(delivered.low):
            return self._plain(
                number,
                mask,
                value,
                "not judged",
                f"{self.metric.name} has no interval on these rows",
            )
        short = shortfall_of(
            self.promise,
            Estimate(delivered.value, delivered.low, delivered.high),
            delivered.error,
            delivered.freedom,
        )
        state: WeekState = "missed" if short.p <= allowed(look) else "no miss shown"
        plain = self._plain(number, mask, value, state, "")
        return WeekDelivered(
            plain.week,
            plain.requests,
            plain.with_outcome,
            plain.defaults,
            value,
            _date(start),
            Estimate(delivered.value, delivered.low, delivered.high),
            short.estimate,
            short.p,
            allowed(look),
            state,
        )

    def _lists(self, number: int, mask: Bool) -> WeekDelivered:
        """A week of rankings: the metric of the returned lists whose items all have an outcome,
        never compared with the promise.
        """
        groups, has_outcome = self.rows.groups, self.rows.known
        assert groups is not None
        whole = mask & ~np.isin(groups, np.unique(groups[mask & ~has_outcome]))
        lists, complete = len(np.unique(groups[mask])), len(np.unique(groups[whole]))
        value = math.nan
        if complete:
            context = RowContext(groups[whole], {})
            rows = Blocks.whole(int(whole.sum()))
            evaluated = evaluate(
                [self.metric],
                self.rows.y[whole],
                {"delivered": self.rows.score[whole]},
                rows,
                context=context,
            )
            value = float(evaluated.values[0, 0])
        share_text = f"{complete:,} of {lists:,} lists have an outcome for every returned item"
        return self._plain(
            number,
            mask,
            value,
            "not judged",
            f"{share_text}; the value is of these lists as they were shown, and is not compared",
        )

    @property
    def _unit(self) -> str:
        return self.promise.unit if self._length is not None else "days"

    @property
    def _length(self) -> str | None:
        """The blocks that the backtest resampled, as a length of time; None where they were values
        of a column.
        """
        if self.promise.unit in ("days", "hours"):
            return {"days": "1d", "hours": "1h"}[self.promise.unit]
        return (
            self.promise.unit.removeprefix("blocks of ")
            if self.promise.unit.startswith("blocks of ")
            else None
        )

    def _window(self, numbers: I64) -> tuple[int, Bool, RowBlocks | None]:
        """The weeks that are judged with this one: the first of them, their rows, and the blocks;
        None where there are too few.
        """
        chosen: list[int] = []
        mask = np.zeros(len(numbers), np.bool_)
        for week in reversed(self.usable):
            chosen.append(week)
            mask |= (numbers == week) & self.rows.known
            if len(chosen) >= MIN_WEEKS and (blocks := self._blocks(mask)) is not None:
                return week, mask, blocks
        return chosen[-1], mask, None

    def _blocks(self, mask: Bool) -> RowBlocks | None:
        column = self.promise.unit.removeprefix("values of ").strip("'")
        codes = None
        if self._length is None and column in self.rows.frame.columns:
            codes = (
                self.rows.frame[column]
                .filter(pl.Series(mask))
                .rank("dense")
                .cast(pl.Int64)
                .fill_null(0)
                .to_numpy()
            )
        blocks = given_blocks(
            self.rows.t[mask], (self._length or "1d") if codes is None else column, codes
        )
        return blocks if blocks.result.count >= MIN_BLOCKS and not blocks.result.on else None

    def _evaluated(self, mask: Bool, blocks: Blocks) -> _Measured:
        """The metric of some rows with its interval and standard error."""
        rows = self.rows
        columns: dict[str, F64] = {}
        for name in self.metric.columns:
            if name not in rows.frame.columns:
                raise UsageError(
                    f"metric {self.metric.name!r} reads {name!r}, which no request had; promise "
                    "another headline metric"
                )
            columns[name] = rows.frame[name].to_numpy()[mask]
        if not mask.any():
            return _Measured(math.nan, math.nan, math.nan, math.nan, math.nan)
        evaluation = evaluate(
            [self.metric],
            rows.y[mask],
            {"delivered": rows.score[mask]},
            blocks,
            context=RowContext(None, columns),
        )
        spread = evaluation.spread(0, 0)
        low, high = spread.interval()
        if math.isnan(low):
            return _Measured(spread.value, low, high, math.nan, math.nan)
        # Of independent blocks; resampled ones vary a little too little.
        single = float(np.nanstd(spread.draws, ddof=1)) * math.sqrt(
            evaluation.blocks / (evaluation.blocks - 1)
        )
        if spread.series is None:
            return _Measured(spread.value, low, high, single, spread.freedom)
        error, half = max(spread.error, single), spread.value - low
        half = half * error / spread.error if spread.error > 0 else half
        return _Measured(
            spread.value, spread.value - half, spread.value + half, error, spread.freedom
        )


@dataclass(frozen=True)
class _Measured:
    value: float
    low: float
    high: float
    error: float
    freedom: float


def _date(number: int) -> str:
    return f"{clock.timestamp(number * WEEK + _MONDAY):%Y-%m-%d}"
