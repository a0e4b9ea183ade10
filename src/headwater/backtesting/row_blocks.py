"""The blocks that a bootstrap draws: what they are, how they are chosen, and how many periods of
time they span.

Rows of one block may depend on one another, rows of two blocks should not. Whether they do shows in
the paired differences of two
levels: the share d of each block in the difference of the metric (its jackknife pseudo-value), and
the correlation of d between successive blocks. The shortest blocks are taken whose successive
differences are not correlated: r at most 1.64 / sqrt(pairs), which it exceeds in 5 % of cases under
independence. Widths of intervals are not looked at. A few dozen noisy blocks do not show a weak
dependence, so intervals over blocks of time allow for it at any r: see `serial_dependence`. Where
even the longest blocks are correlated, the periods are too few to speak of others.

| days with test rows | lengths that are tried |
|---|---|
| 8 or more | 1, 2, 3, 7, 14 and 28 days, as long as 8 blocks remain |
| fewer | 1, 2, 3, 6 and 12 hours, as long as 8 blocks remain; it holds on these days only |

Source: Künsch, "The jackknife and the bootstrap for general stationary observations", 1989
(pseudo-values and blocks of time).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from headwater.backtesting.sign_flips import effective
from headwater.definitions.checks import DAY, HOUR, Duration, text
from headwater.definitions.evaluations import block_length
from headwater.kernel.arrays import F64, I64, Bool
from headwater.metrics import Blocks
from headwater.results.blocks_result import BlocksResult

MIN_BLOCKS = 8  # with fewer blocks an interval covers far less than it says
_LIMIT = 1.64  # standard errors of r under independence
_LENGTHS = tuple(days * DAY for days in (1, 2, 3, 7, 14, 28))
_SHORT = tuple(hours * HOUR for hours in (1, 2, 3, 6, 12))

Metric = Callable[[Blocks], F64]
"""A metric's value in each column of the blocks' weights: float64 (1 + resamples,)."""


@dataclass(frozen=True)
class RowBlocks:
    """The block of each test row, int64 (test rows), and the period of time that it is of: a day,
    or a longer block.

    successive: the blocks are periods of time. alone: even the longest depend on one another, so
    that they say nothing of other periods.
    """

    index: I64
    period: I64
    unit: str
    result: BlocksResult
    successive: bool = True
    alone: bool = False

    @property
    def dependent(self) -> bool:
        """Whether days, or hours, were shown to depend on one another, so that blocks are
        longer.
        """
        return self.successive and (self.alone or len(self.result.autocorrelation) > 1)

    @property
    def needs(self) -> str:
        """What an interval lacks to hold in other periods too, where it does not."""
        return (
            "they depend on one another, so they say nothing of others"
            if self.alone
            else f"other days need at least {MIN_BLOCKS} of them"
        )

    def on(self, mask: Bool) -> str:
        """Where alone an interval of these rows holds, such as "on these 2 days"; empty where it
        covers other periods.
        """
        return holds_on(len(np.unique(self.period[mask])), self.unit, alone=self.alone)


def holds_on(periods: int, unit: str = "days", *, alone: bool = False) -> str:
    """The part of a sentence that says where an interval holds; `alone`: on these periods, however
    many.

    >>> holds_on(2), holds_on(1), holds_on(8)
    ('on these 2 days', 'on this 1 day', '')
    """
    if periods >= MIN_BLOCKS and not alone:
        return ""
    return (
        f"on this 1 {unit.replace('days', 'day', 1).replace('blocks', 'block', 1)}"
        if periods == 1
        else f"on these {periods} {unit}"
    )


def given_blocks(t: I64, blocks: Duration, column: I64 | None, why: str = "") -> RowBlocks:
    """Blocks as an evaluation names them.

    Args:
        t: when each test row asks, int64 (test rows), microseconds.
        blocks: a length of time; "auto" is a day.
        column: where a column is named, an integer for each of its values: int64 (test rows).
    """
    if column is not None:
        of_column = _row_blocks(
            column, t // DAY, "days", f"values of {blocks!r}", why or _of_column(str(blocks))
        )
        return replace(of_column, successive=False)
    length = block_length(blocks)
    return _of_length(t, length, why or f"{_named(length)} were asked for")


def chosen_blocks(t: I64, metric: Metric) -> RowBlocks:
    """The blocks of time over which paired differences are not correlated; see the module.

    Args:
        t: when each test row asks, int64 (test rows), microseconds.
        metric: the difference of two levels in the headline metric.
    """
    days = len(np.unique(t // DAY))
    lengths = [
        length
        for length in (_LENGTHS if days >= MIN_BLOCKS else _SHORT)
        if len(np.unique(t // length)) >= MIN_BLOCKS
    ]
    if not lengths:
        return _of_length(
            t,
            DAY,
            f"{days} days have test rows, too few for blocks of hours" if days < MIN_BLOCKS else "",
        )
    tried: dict[str, float] = {}
    for length in lengths:
        r, pairs = autocorrelation(t // length, metric)
        tried[text(length)] = r
        if not r > _LIMIT / np.sqrt(max(pairs, 1)):
            correlation = (
                "have no defined correlation"
                if np.isnan(r)
                else f"are not correlated (r = {r:.2f}, {pairs} pairs)"
            )
            return _of_length(
                t,
                length,
                f"{_named(length)}: paired differences of successive ones "
                f"{correlation}{_before(tried)}",
                tried,
            )
    warns = (
        f"{_named(lengths[-1])}, the longest that leave {MIN_BLOCKS} blocks: paired differences "
        "of successive ones are correlated"
    )
    return _of_length(
        t, lengths[-1], f"{warns} (r = {r:.2f}), so intervals are too narrow", tried, alone=True
    )


def autocorrelation(block: I64, metric: Metric) -> tuple[float, int]:
    """The correlation between successive blocks of their pseudo-values, and the pairs of blocks
    behind it; NaN where it is undefined.

    Args:
        block: int64 (rows), a number of a period of time.
        metric: see `Metric`.
    """
    distinct, index = np.unique(block, return_inverse=True)
    n = len(distinct)
    weights = np.hstack([np.ones((n, 1)), 1.0 - np.eye(n)])
    values = metric(Blocks(index.astype(np.int64), weights))
    pseudo = n * values[0] - (n - 1) * values[1:]
    following = np.flatnonzero(np.diff(distinct) == 1)
    present = ~np.isnan(pseudo)
    following = following[present[following] & present[following + 1]]
    centred = pseudo - np.nanmean(pseudo) if present.any() else pseudo
    variance = float(np.nanmean(centred**2)) if present.any() else 0.0
    if not len(following) or variance <= 0:
        return float("nan"), len(following)
    return float((centred[following] * centred[following + 1]).mean() / variance), len(following)


def _before(tried: dict[str, float]) -> str:
    earlier: Sequence[tuple[str, float]] = list(tried.items())[:-1]
    return (
        f"; those of {', '.join(f'{length} are (r = {r:.2f})' for length, r in earlier)}"
        if earlier
        else ""
    )


def _of_length(
    t: I64, length: int, why: str, tried: dict[str, float] | None = None, *, alone: bool = False
) -> RowBlocks:
    period, unit = (t // length, _named(length)) if length > DAY else (t // DAY, "days")
    blocks = _row_blocks(t // length, period, unit, _named(length), why, tried)
    if not alone:
        return blocks
    on = holds_on(blocks.result.periods, unit, alone=True)
    return replace(blocks, result=msgspec.structs.replace(blocks.result, on=on), alone=True)


def _row_blocks(
    index: I64, period: I64, unit: str, named: str, why: str, tried: dict[str, float] | None = None
) -> RowBlocks:
    periods = len(np.unique(period))
    _, block = np.unique(index, return_inverse=True)
    result = BlocksResult(
        named,
        len(np.unique(index)),
        periods,
        holds_on(periods, unit),
        why,
        effective(block),
        tried or {},
    )
    return RowBlocks(index, period, unit, result)


def _named(length: int) -> str:
    return {DAY: "days", HOUR: "hours"}.get(length) or f"blocks of {text(length)}"


def _of_column(name: str) -> str:
    return (
        f"values of {name!r} were asked for: what rows of different values share, such as a day, "
        "is not in the intervals"
    )
