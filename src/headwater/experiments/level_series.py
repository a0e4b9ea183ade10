"""Daily lifts of every level and view over the served requests, and what they decide."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from headwater import clock
from headwater.backtesting.delivery_weeks import MOST_MISSING, week_of
from headwater.backtesting.intervals import ResampledMetrics, evaluate
from headwater.backtesting.levels import LevelRows
from headwater.backtesting.row_blocks import chosen_blocks, given_blocks
from headwater.backtesting.view_groups import (
    Unit,
    check_levels,
    find_units,
    mixed_level,
    mixed_rows,
)
from headwater.definitions.checks import DAY, timestamp_text
from headwater.definitions.evaluations import Evaluation
from headwater.definitions.level import Level
from headwater.errors import DataError, UsageError
from headwater.experiments.level_intervals import WholePeriod, lift_over, weighted_resamples
from headwater.experiments.lift_sequence import (
    LiftWindow,
    decayed,
    lift_windows,
    share_of_error,
    shared_dependence,
)
from headwater.experiments.monitored_rows import MonitoredRows
from headwater.kernel.arrays import F64, I64, Bool
from headwater.metrics import Blocks, RowContext
from headwater.pages import level_lift_words
from headwater.results.estimate import Estimate
from headwater.results.level_lift_result import (
    Alternative,
    AlternativeKind,
    AlternativeState,
    DayState,
    LevelLiftResult,
    LiftDay,
)

_RESAMPLES = 400
_OF_A_DAY = 200
_NOW = 28
"""Days of the longest window that says what something earns now."""
_NONE = Estimate(math.nan, math.nan, math.nan)
_ADVERSARIES = (
    "adversaries react to predictions, so requests of the past do not show what a staler level "
    "would do to them: run an experiment before a change"
)


def judged(rows: MonitoredRows) -> LevelLiftResult:
    """The result of a period."""
    return _Series(rows).result()


@dataclass(frozen=True)
class _Candidate:
    """One comparison with the served level: name, kind, the units that change, and the daily lift
    of the fresher over the staler.
    """

    name: str
    kind: AlternativeKind
    units: Sequence[Unit]
    level: Level
    daily: F64


@dataclass
class _Series:
    rows: MonitoredRows

    def result(self) -> LevelLiftResult:
        rows, days = self.rows, self._days()
        levels, views = self._levels(), self._views() if len(self.counted) else []
        series = max(1, len(rows.scores) - 1 + 2 * len(self.units))
        self.error = share_of_error(rows.options.alpha / rows.options.models, series)
        self.dependence = shared_dependence(
            [self._judged(candidate)[:2] for candidate in [*levels, *views]]
        )
        alternatives = [self._alternative(candidate) for candidate in [*levels, *views]]
        alternatives += self._together(views, alternatives)
        result = LevelLiftResult(
            model=rows.model.name,
            metric=rows.metric.name,
            higher_is_better=rows.metric.higher_is_better,
            served=rows.served,
            stalest=rows.stalest,
            levels={
                name: level.describe(rows.model)
                for name, level in rows.levels.items()
                if name in rows.scores
            },
            days=days,
            values=self.whole.estimates_by_level,
            comparisons=self.whole.comparisons(rows.served, rows.stalest),
            alternatives=alternatives,
            series=series,
            alpha=rows.options.alpha,
            rows=int(self.usable.sum()),
            weight=float(rows.weight[self.usable].sum()),
            left_out=dict(+rows.left_out),
            models=rows.used,
            seconds=dict(rows.fitted.trained),
            agreement=self._agreement(),
            notes=tuple(dict.fromkeys([*rows.notes, *self._unseen(alternatives)])),
            checked_at=timestamp_text(rows.period[1]),
        )
        return level_lift_words.with_words(result)

    def _unseen(self, alternatives: Sequence[Alternative]) -> list[str]:
        """What no lift over past requests shows, where people react to predictions."""
        evaluation = self.rows.options.evaluation
        experiments = [alternative.experiment for alternative in alternatives]
        if evaluation is None or not evaluation.adversaries or None not in experiments:
            return []
        return [_ADVERSARIES]

    # ---- days

    @cached_property
    def day(self) -> I64:
        """The day number of each row."""
        return self.rows.delivered.t // DAY

    @cached_property
    def numbers(self) -> I64:
        """Every day from the first to the last with a request."""
        return np.unique(self.day)

    @cached_property
    def states(self) -> Mapping[int, DayState]:
        """The state of each day before its metric is known."""
        states: dict[int, DayState] = {}
        for number in self.numbers.tolist():
            mask = self.day == number
            missing = 1 - float((mask & self.rows.delivered.known).sum()) / float(mask.sum())
            matured = (number + 1) * DAY + self.rows.horizon <= self.rows.period[1]
            states[number] = (
                "not matured"
                if not matured
                else "lacks outcomes"
                if missing > MOST_MISSING
                else "judged"
            )
        return states

    @cached_property
    def usable(self) -> Bool:
        """The rows with an outcome of days that are judged."""
        counts = np.array(
            [number for number, state in self.states.items() if state == "judged"], np.int64
        )
        return np.asarray(self.rows.delivered.known & np.isin(self.day, counts), np.bool_)

    @cached_property
    def weight(self) -> F64:
        """The weight of each usable row, over their mean: all 1 where one sample rate holds."""
        weight = self.rows.weight[self.usable]
        return (
            weight / weight.mean()
            if len(weight) and weight.min() != weight.max()
            else np.ones(len(weight))
        )

    def values(self, scores: Mapping[str, F64]) -> F64:
        """The metric of each level on each judged day: float64 (levels, days)."""
        days, position = np.unique(self.day[self.usable], return_inverse=True)
        weights, weight_index = np.unique(self.weight, return_inverse=True)
        pairs, index = np.unique(np.stack([position, weight_index]), axis=1, return_inverse=True)
        columns = np.zeros((pairs.shape[1], 1 + len(days)))
        columns[:, 0] = weights[pairs[1]]
        columns[np.arange(pairs.shape[1]), 1 + pairs[0]] = weights[pairs[1]]
        return self._evaluated(
            scores, self.usable, Blocks(index.reshape(-1).astype(np.int64), columns)
        ).replicates[:, 0]

    def _evaluated(self, scores: Mapping[str, F64], mask: Bool, blocks: Blocks) -> ResampledMetrics:
        rows, metric = self.rows.delivered, self.rows.metric
        columns = {}
        for name in metric.columns:
            if name not in rows.frame.columns:
                raise UsageError(
                    f"metric {metric.name!r} reads {name!r}, which no request had; judge by "
                    "another headline metric"
                )
            columns[name] = rows.frame[name].to_numpy()[mask]
        return evaluate(
            [metric],
            rows.y[mask],
            {n: s[mask] for n, s in scores.items()},
            blocks,
            context=RowContext(None, columns),
        )

    @cached_property
    def by_level(self) -> Mapping[str, F64]:
        """The metric of each level on each day with a usable row, and of the served predictions."""
        if not self.usable.any():
            return {name: np.empty(0) for name in [*self.rows.scores, ""]}
        scores = {**self.rows.scores, "": self.rows.delivered.score}
        return dict(zip(scores, self.values(scores), strict=True))

    @cached_property
    def judged_days(self) -> I64:
        """The days with a usable row."""
        return np.unique(self.day[self.usable])

    @cached_property
    def counted(self) -> I64:
        """Positions of the judged days on which every level has a metric."""
        every = np.array([self.by_level[name] for name in self.rows.scores])
        return np.flatnonzero(~np.isnan(every).any(axis=0)) if every.size else np.empty(0, np.int64)

    def signed(self, fresher: F64, staler: F64) -> F64:
        """A difference, so signed that more is better."""
        return fresher - staler if self.rows.metric.higher_is_better else staler - fresher

    def _days(self) -> list[LiftDay]:
        rows, counted = self.rows, set(self.judged_days[self.counted].tolist())
        position = {number: at for at, number in enumerate(self.judged_days.tolist())}
        days = []
        for number in self.numbers.tolist():
            mask, state = self.day == number, self.states[number]
            if state == "judged" and number not in counted:
                state = "undefined"
            at, there = position.get(number), mask & rows.delivered.known
            values = {
                name: math.nan if at is None else float(self.by_level[name][at])
                for name in rows.scores
            }
            over = {
                base: self._of_day(mask & self.usable, base) if state == "judged" else {}
                for base in (rows.served, rows.stalest)
            }
            days.append(
                LiftDay(
                    day=f"{clock.timestamp(number * DAY):%Y-%m-%d}",
                    requests=int(mask.sum()),
                    with_outcome=int(there.sum()),
                    weight=float(rows.weight[there].sum()),
                    values=values,
                    delivered=math.nan if at is None else float(self.by_level[""][at]),
                    lifts=over[rows.served],
                    over_stalest=over[rows.stalest],
                    state=state,
                    versions=sorted(set(rows.delivered.version.to_numpy()[mask].tolist())),
                )
            )
        return days

    def _of_day(self, mask: Bool, base: str) -> dict[str, Estimate]:
        """The lift of each level over one on a day, with its interval over blocks of hours."""
        scores = self.rows.scores
        hours = given_blocks(self.rows.delivered.t[mask], "1h", None)
        drawn = weighted_resamples(hours, self.rows.weight[mask], _OF_A_DAY, Evaluation())
        evaluation = self._evaluated(scores, mask, drawn.blocks)
        evaluation = dataclasses.replace(evaluation, series=drawn.series, blocks=hours.result.count)
        return {
            name: lift_over(evaluation, base, name, higher=self.rows.metric.higher_is_better)
            for name in scores
            if name != base
        }

    # ---- the whole period

    @cached_property
    def whole(self) -> WholePeriod:
        if not self.usable.any():
            return WholePeriod(None)
        t, chosen_evaluation = (
            self.rows.delivered.t[self.usable],
            self.rows.options.evaluation or Evaluation(),
        )
        ends = {
            name: self.rows.scores[name]
            for name in dict.fromkeys([self.rows.stalest, list(self.rows.scores)[-1]])
        }

        def difference(blocks: Blocks) -> F64:
            evaluation = self._evaluated(ends, self.usable, blocks)
            both = np.concatenate([evaluation.values[:, :1], evaluation.replicates[:, 0]], axis=1)
            return np.asarray(both[-1] - both[0], np.float64)

        auto = chosen_evaluation.blocks == "auto" and not self.rows.metric.by_day
        blocks = (
            chosen_blocks(t, difference)
            if auto
            else given_blocks(
                t,
                "1d" if auto or not _is_length(chosen_evaluation) else chosen_evaluation.blocks,
                None,
            )
        )
        drawn = weighted_resamples(
            blocks,
            self.rows.weight[self.usable],
            min(chosen_evaluation.resamples, _RESAMPLES),
            chosen_evaluation,
        )
        evaluation = self._evaluated(self.rows.scores, self.usable, drawn.blocks)
        evaluation = dataclasses.replace(
            evaluation,
            series=drawn.series,
            blocks=blocks.result.count,
            on=blocks.result.on,
            unit=blocks.unit,
            needs=blocks.needs,
        )
        return WholePeriod(evaluation)

    def _agreement(self) -> float:
        """The share of rows whose computed score at the served level is the one that was served."""
        rows = self.rows.delivered
        recomputed, theirs = self.rows.scores[self.rows.served], rows.score
        if recomputed.shape != theirs.shape:
            return math.nan
        far = np.maximum.reduce(np.abs(recomputed - theirs).reshape(len(recomputed), -1), axis=1)
        answered = far[~rows.default]
        return float(np.mean(answered <= 1e-9)) if len(answered) else math.nan

    # ---- comparison

    def _levels(self) -> list[_Candidate]:
        names = list(self.rows.scores)
        served, candidates = names.index(self.rows.served), []
        for at, name in enumerate(names):
            if at == served:
                continue
            staler = at < served
            pair = (self.rows.served, name) if staler else (name, self.rows.served)
            daily = self.signed(*(self.by_level[level][self.counted] for level in pair))
            candidates.append(
                _Candidate(
                    name, "staler" if staler else "fresher", (), self.rows.levels[name], daily
                )
            )
        return candidates

    @cached_property
    def units(self) -> Sequence[Unit]:
        """The views that the served level reads fresher than the stalest, each a unit."""
        rows = self.rows
        if not rows.options.views or rows.served == rows.stalest:
            return ()
        try:
            stale, fresh = rows.levels[rows.stalest], rows.levels[rows.served]
            check_levels(rows.fitted.model, stale, fresh)
            units = find_units(rows.fitted.model, stale, fresh, None)
        except UsageError as error:
            rows.notes.append(f"views are not judged one by one: {error}")
            return ()
        return units if len(units) > 1 else ()  # one alone is the level itself

    def _views(self) -> list[_Candidate]:
        return [
            candidate
            for unit in self.units
            if (candidate := self._without([unit], "without")) is not None
        ]

    def _without(self, units: Sequence[Unit], kind: AlternativeKind) -> _Candidate | None:
        """The served level with these units as at the stalest."""
        rows = self.rows
        remaining = [unit for unit in self.units if unit not in units]
        stale, fresh = (rows.levels[name] for name in (rows.stalest, rows.served))
        level = mixed_level(rows.model, stale, fresh, remaining)
        features: LevelRows = mixed_rows(
            rows.over, rows.rows[rows.stalest], rows.rows[rows.served], remaining
        )
        name = ", ".join(unit.name for unit in units)
        try:
            score = rows.score(f"{rows.served} without fresh {name}", level, features)
        except DataError as error:
            rows.notes.append(f"{name} is not judged: {error}")
            return None
        value = self.values({name: score})[0]
        return _Candidate(
            name, kind, units, level, self.signed(self.by_level[rows.served], value)[self.counted]
        )

    error: float = 0.0
    dependence: float = 0.0

    def _together(
        self, views: Sequence[_Candidate], alternatives: Sequence[Alternative]
    ) -> list[Alternative]:
        """The views that have earned nothing, made stale together: views may stand in for one
        another.
        """
        by_name = {
            alternative.name: alternative
            for alternative in alternatives
            if alternative.state == "earned nothing"
        }
        chosen = [
            candidate
            for candidate in views
            if candidate.name in by_name and candidate.kind == "without"
        ]
        while len(chosen) > 1:
            joint = self._without(
                [unit for candidate in chosen for unit in candidate.units], "together"
            )
            if joint is None:
                return []
            alternative = self._alternative(joint)
            if alternative.state == "earned nothing" or len(chosen) == 2:
                return [alternative]
            chosen.remove(max(chosen, key=lambda candidate: by_name[candidate.name].lift.value))
        return []

    # ---- decision

    def _alternative(self, candidate: _Candidate) -> Alternative:
        rows, (days, daily, weights) = self.rows, self._judged(candidate)
        windows = lift_windows(days, daily, weights, self.error, self.dependence)
        even = self._break_even(candidate)
        state, window = _state(windows, even)
        weekly = _weekly(days, daily, weights)
        worst = max(weekly, key=lambda week: weekly[week], default=None)
        names = [candidate.name, *(view.name for unit in candidate.units for view in unit.views)]
        views = [view.name for unit in candidate.units for view in unit.views]
        served = rows.levels[rows.served]
        now = "; ".join(
            dict.fromkeys(str(served.freshness(v)) for unit in candidate.units for v in unit.views)
        )
        then = "; ".join(
            dict.fromkeys(
                str(candidate.level.freshness(v)) for unit in candidate.units for v in unit.views
            )
        )
        return Alternative(
            name=candidate.name,
            views=views,
            kind=candidate.kind,
            freshness=then or candidate.level.describe(rows.model),
            now=now or served.describe(rows.model),
            daily=daily.tolist(),
            state=state,
            since=""
            if window is None
            else f"{clock.timestamp(int(days[window.first]) * DAY):%Y-%m-%d}",
            days=len(daily) if window is None else window.days,
            lift=_NONE if window is None else window.lift,
            break_even=even,
            worst_week=_first_day(days, worst),
            worst_lift=math.nan if worst is None else weekly[worst],
            saved=self._saved(candidate),
            experiment=next(
                (
                    rows.options.experiments[name]
                    for name in names
                    if name in rows.options.experiments
                ),
                None,
            ),
        )

    def _judged(self, candidate: _Candidate) -> tuple[I64, F64, F64]:
        """The days on which both levels have a metric, their differences, and how many requests
        each stands for.
        """
        has_metric = ~np.isnan(candidate.daily)
        position = np.searchsorted(self.judged_days, self.day[self.usable])
        weights = np.bincount(position, weights=self.weight).astype(np.float64)[self.counted]
        return (
            self.judged_days[self.counted][has_metric],
            candidate.daily[has_metric],
            weights[has_metric],
        )

    def _break_even(self, candidate: _Candidate) -> float:
        break_even, evaluation = (
            self.rows.options.break_even,
            self.rows.options.evaluation or Evaluation(),
        )
        if isinstance(break_even, int | float):
            return float(break_even)
        usual = self.whole.least(evaluation.min_lift)
        named = break_even or {}
        names = [candidate.name, *(view.name for unit in candidate.units for view in unit.views)]
        if candidate.name in named:
            return float(named[candidate.name])
        parts = [float(named[name]) for name in names[1:] if name in named]
        return sum(parts) if parts else usual

    def _saved(self, candidate: _Candidate) -> float | None:
        costs, rows = self.rows.options.costs, self.rows
        if candidate.kind in ("staler", "fresher"):
            pair = (
                (rows.served, candidate.name)
                if candidate.kind == "staler"
                else (candidate.name, rows.served)
            )
            return costs[pair[0]] - costs[pair[1]] if all(name in costs for name in pair) else None
        parts = [
            costs.get(unit.name) if unit.name in costs else _sum(costs, unit)
            for unit in candidate.units
        ]
        return (
            None
            if any(part is None for part in parts)
            else float(sum(part for part in parts if part is not None))
        )


def _state(
    windows: Sequence[LiftWindow], even: float
) -> tuple[AlternativeState, LiftWindow | None]:
    """What the windows decide, and the one that decides."""
    if not windows:
        return "too early", None
    below = decayed(windows, even)
    if below is not None:
        return "earned nothing", below
    now = [window for window in windows if window.days <= _NOW][-1]
    return ("earns" if now.lift.low > even else "open"), now


def _first_day(days: I64, week: int | None) -> str:
    """The date of the first of `days` in this week; "" for None."""
    if week is None:
        return ""
    first = int(days[np.flatnonzero(week_of(days * DAY) == week)[0]])
    return f"{clock.timestamp(first * DAY):%Y-%m-%d}"


def _weekly(days: I64, daily: F64, weights: F64) -> dict[int, float]:
    """The mean lift of each calendar week with at least four judged days."""
    weeks = week_of(days * DAY)
    return {
        int(week): float(np.average(daily[weeks == week], weights=weights[weeks == week]))
        for week in np.unique(weeks)
        if (weeks == week).sum() >= 4
    }


def _sum(costs: Mapping[str, float], unit: Unit) -> float | None:
    parts = [costs[view.name] for view in unit.views if view.name in costs]
    return sum(parts) if len(parts) == len(unit.views) else None


def _is_length(evaluation: Evaluation) -> bool:
    from headwater.definitions.evaluations import is_column

    return not is_column(evaluation.blocks)
