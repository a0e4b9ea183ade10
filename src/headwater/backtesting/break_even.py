"""A backtest judged by money: what each level costs a day replaces the least lift worth having, in
its verdicts and its recommendation.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from headwater.backtesting.verdicts import judged_again
from headwater.pages.recommending import money_break_even, with_recommendation, worth_of
from headwater.results.backtest_result import BacktestResult


def recommended(result: BacktestResult) -> BacktestResult:
    """The backtest with its recommendation, by money where the worth of a decision and the costs of
    all levels were given.
    """
    value = result.value
    if value is None or result.headline != worth_of(value).metric:
        return with_recommendation(result)
    return by_break_even(
        result,
        money_break_even(result, value.costs),
        "the costs of levels, and the worth of a decision, as given",
    )


def by_break_even(result: BacktestResult, even: Mapping[str, float], source: str) -> BacktestResult:
    """Judge the backtest by the break-even of each level. Nothing changes where a break-even is not
    known, or days are too few.
    """
    few = result.blocks is not None and not result.blocks.covers_other_periods
    if not even or few or any(level.name not in even for level in result.levels):
        return with_recommendation(result)
    today = result.compared_with
    again = [judged_again(step, even[step.to] - even[today]) for step in result.comparisons]
    return with_recommendation(msgspec.structs.replace(result, comparisons=again), even, source)
