"""What a backtest promises of a model at one of its levels: the headline metric with its interval,
over periods like those of the test.
"""

from __future__ import annotations

import math

from headwater.backtesting.backtest import Backtest
from headwater.errors import UsageError, nearest
from headwater.results.backtest_result import BacktestResult, LevelResult
from headwater.results.promise_result import Promise


def promised(
    backtest: Backtest | BacktestResult, level: str | None = None, *, describes: str | None = None
) -> Promise:
    """The promise of a backtest for a level, which `Trained.register(promise=)` keeps with a
    version and `watch` compares with production.

    Args:
        backtest: of the model as it is defined when it is trained.
        level: its name in the backtest. None: the level with the freshness `describes`, else the
            one that is recommended.
        describes: the freshness of the served level in words, as `Level.describe` gives it.

    Raises:
        UsageError: a level that was not tested, or none that can be chosen; scores that were made
            elsewhere, without known definitions.

    >>> import headwater as hw
    >>> from headwater.testing.examples import churn
    >>> tested = hw.backtest(
    ...     churn(),
    ...     {"daily": hw.batch("1d"), "instant": hw.on_request()},
    ...     hw.Evaluation(resamples=50),
    ... )
    >>> promise = promised(tested, "daily")
    >>> promise.metric, promise.level, promise.test_rows, promise.label_delay_seconds
    ('auc', 'daily', 25, 86400.0)
    """
    result = backtest.result if isinstance(backtest, Backtest) else backtest
    if not isinstance(result, BacktestResult):
        raise UsageError(
            f"promised() takes a Backtest or its result, and was given {type(backtest).__name__}"
        )
    if not result.fingerprint:
        raise UsageError(
            "the backtest judged scores that were made elsewhere, so nothing says which model it "
            "promises anything of"
        )
    chosen = _chosen(result, level, describes)
    blocks = result.blocks
    return Promise(
        model=result.model,
        level=chosen.name,
        describes=chosen.describes,
        metric=result.headline,
        higher_is_better=result.higher_is_better[result.headline],
        promised=chosen.metrics[result.headline],
        margin=result.min_lift.get(result.headline, 0.0),
        blocks=0 if blocks is None else blocks.count,
        unit="days" if blocks is None else blocks.describes,
        on="" if blocks is None else blocks.on,
        tested_from=result.split.split,
        tested_until=result.split.test_end,
        test_rows=result.split.test_rows,
        label_delay_seconds=result.split.label_delay_seconds.get("max", math.nan),
        fingerprint=result.fingerprint,
        labels=result.labels,
        recommendation=result.verdict,
        recommended="" if result.recommendation is None else result.recommendation.level,
        freedom=chosen.freedom,
    )


def _chosen(result: BacktestResult, level: str | None, describes: str | None) -> LevelResult:
    """The level of that name, else of that freshness, else the recommended one."""
    by_name = {level_result.name: level_result for level_result in result.levels}
    if level is not None:
        if level not in by_name:
            raise UsageError(
                f"the backtest of model {result.model!r} has no level {level!r}; "
                f"{nearest(level, by_name)}"
            )
        return by_name[level]
    alike = [level_result for level_result in result.levels if level_result.describes == describes]
    if alike:
        return alike[-1]
    recommended = (
        None if result.recommendation is None else by_name.get(result.recommendation.level)
    )
    if describes is None and recommended is not None:
        return recommended
    fresh = (
        f" as fresh as the one that is served ({describes})"
        if describes
        else " that is recommended"
    )
    raise UsageError(
        f"the backtest of model {result.model!r} has no level{fresh}; name one of "
        f"{', '.join(by_name)}"
    )
