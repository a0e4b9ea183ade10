"""The backtest of an assessment: the object, its JSON data, or a file of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from headwater.backtesting.backtest import Backtest
from headwater.errors import UsageError
from headwater.results.backtest_result import BacktestResult
from headwater.results.lift_result import Lift

GivenBacktest = Backtest | BacktestResult | Mapping[str, object] | str | Path
"""A Backtest, its result, its JSON as a dictionary, or a file of it."""

_WRITE = "write one with: headwater backtest --json > backtest.json"


def lift_of(backtest: GivenBacktest) -> Lift:
    """The lift of a backtest.

    Raises:
        UsageError: the file does not exist, or is not the JSON of a backtest.
    """
    result = backtest_of(backtest)
    return Lift(result, result.attribution)


def backtest_of(backtest: GivenBacktest) -> BacktestResult:
    """The result of a backtest.

    Raises:
        UsageError: the file does not exist, or is not the JSON of a backtest.
    """
    if isinstance(backtest, BacktestResult):
        return backtest
    if isinstance(backtest, Backtest):
        return backtest.result
    if isinstance(backtest, str | Path):
        return _read(_parsed(Path(backtest)), str(backtest))
    if isinstance(backtest, Mapping):
        return _read(backtest, "the backtest")
    raise UsageError(
        f"backtest is {type(backtest).__name__}; give what hw.backtest() returns, its to_dict(), "
        f"or a file of it; {_WRITE}"
    )


def _parsed(path: Path) -> Mapping[str, object]:
    try:
        data = msgspec.json.decode(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(f"no backtest at {path}; {_WRITE}") from None
    except (msgspec.DecodeError, OSError) as error:
        raise UsageError(f"{path} is not the JSON of a backtest: {error}; {_WRITE}") from error
    if not isinstance(data, Mapping):
        raise UsageError(
            f"{path} holds {type(data).__name__}, but the JSON of a backtest is an object; {_WRITE}"
        )
    return data


def _read(data: Mapping[str, object], origin: str) -> BacktestResult:
    try:
        result = BacktestResult.from_dict(data)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"{origin} is not the JSON of a backtest of this version: {error}; {_WRITE}"
        ) from error
    unknown = next(
        (level.name for level in result.levels if result.headline not in level.metrics), None
    )
    if unknown is not None:
        raise UsageError(
            f"{origin} is not the JSON of a backtest: level {unknown!r} has no {result.headline}; "
            f"{_WRITE}"
        )
    return result
