"""count_distinct: exact up to 512 values, beyond that HyperLogLog with 4096 registers.

HyperLogLog: Flajolet, Fusy, Gandouet and Meunier (2007); 64-bit hashes and sparse registers as
Heule, Nunkesser and Hall (2013); the estimate of Ertl (2017), which needs no tables of bias. The
standard error is 1.04 / sqrt(4096) = 1.6 %. Up to 512 values the hashes themselves are kept, which
take as much room as the registers would. The hash is SplitMix64's (Steele, Lea and Flood, 2014) of
the value's 64 bits, which no two values share, or of a string (`kernel/hashes.py`): the same
everywhere. Estimates are made of whole numbers, square roots and products only, so they too are the
same everywhere. The libraries for it take values one by one.

State: (sizes, whether exact, entries), ragged: sorted hashes, or sorted register * 64 + rank.
"""

from __future__ import annotations

import math
from typing import cast

import numpy as np

from headwater.aggregations import ragged
from headwater.aggregations.base import (
    Answers,
    FinalizeContext,
    Kinds,
    State,
    StateField,
    VisibleRanges,
    plain,
)
from headwater.aggregations.reads import DISTINCT as DISTINCT_READ
from headwater.aggregations.reads import Read, StoredColumns
from headwater.aggregations.reference import EVERY, Answer, Counted
from headwater.aggregations.sliding import stretch
from headwater.aggregations.table import Entry
from headwater.definitions.checks import spelled
from headwater.definitions.feature_view import Aggregation, Windows, made, needs
from headwater.kernel.arrays import I64, Bool, Column, Values, run_starts
from headwater.kernel.compile_cache import njit
from headwater.kernel.hashes import mixed
from headwater.kernel.layers import Spans, Use

EXACT = 512
_BITS = 12
_REGISTERS = 1 << _BITS
_RANKS = 64 - _BITS + 2  # 0 for an empty register, then 1 to 53
_ALPHA = 0.5 / math.log(2)


class _Distinct:
    def partial(self, use: Use, spans: Spans) -> State:
        rows, index = ragged.gather(use, spans)
        column = spans.layer.events.columns[use.columns[0]]
        count = len(spans.lo)
        return _state(
            rows,
            _hashes(column.values[index], column.hashes),
            np.ones(len(rows), np.bool_),
            np.ones(count, np.int64),
        )

    def merge(self, left: State, right: State) -> State:
        rows, entries = ragged.rows_of_both(left, right), np.concatenate([left[2], right[2]])
        hashed = np.concatenate(
            [np.repeat(side[1] == 1, cast("I64", side[0])) for side in (left, right)]
        )
        return _state(rows, cast("I64", entries), hashed, cast("I64", left[1] * right[1]))

    def state_fields(self, use: Use, kinds: Kinds) -> tuple[StateField, ...]:  # noqa: ARG002 (the protocol's signature)
        return StateField(), StateField(), StateField(entry=True)

    def finalize(self, state: State, context: FinalizeContext) -> Answers:  # noqa: ARG002 (the protocol's signature)
        sizes, exact, entries = cast("tuple[I64, I64, I64]", state)
        out, ends = sizes.copy(), np.cumsum(sizes)
        for row in np.flatnonzero(exact == 0):
            registers = np.bincount(
                entries[ends[row] - sizes[row] : ends[row]] & 63, minlength=_RANKS
            )
            registers[0] = _REGISTERS - sizes[row]
            out[row] = estimate(registers)
        return Column(out)

    def sweep(self, use: Use, visible: VisibleRanges, context: FinalizeContext) -> Answers:  # noqa: ARG002 (the protocol's signature)
        codes, values = visible.coded(use)
        hashes = _hashes(values, visible.whole.events.columns[use.columns[0]].hashes)
        out = np.zeros(len(visible.lo), np.int64)
        _slide(codes, hashes, _packed(hashes), visible.lo, visible.hi, out)
        return Column(out)


def _hashes(values: Values, hashes_of_strings: I64 | None) -> I64:
    if hashes_of_strings is not None:
        return (
            hashes_of_strings[values.astype(np.int64)]
            if len(hashes_of_strings)
            else np.zeros(len(values), np.int64)
        )
    return mixed(plain(values).view(np.int64))


def _packed(hashes: I64) -> I64:
    """The register of each hash, its first 12 bits, times 64, plus the rank: one more than the
    zeros that the other 52 begin with.
    """
    # below 2^53: exact, and so is its exponent
    rest = (hashes & ((1 << (64 - _BITS)) - 1)).astype(np.float64)
    ranks = (64 - _BITS + 1 - np.frexp(rest)[1]).astype(np.int64)
    return cast("I64", ((hashes >> (64 - _BITS)) & (_REGISTERS - 1)) << 6 | ranks)


def _state(rows: I64, entries: I64, hashed: Bool, exact: I64) -> State:
    """A state of `exact.size` rows; `hashed` says which entries are hashes, `exact` (0 or 1) which
    rows may stay so.
    """
    order = np.lexsort((entries, hashed, rows))
    order = order[run_starts(rows[order], hashed[order], entries[order])]
    rows, entries, hashed = rows[order], entries[order], hashed[order]
    exact = np.where(ragged.sizes_of(rows, len(exact)) > EXACT, 0, exact)
    entries = np.where(hashed & (exact[rows] == 0), _packed(entries), entries)
    order = np.lexsort((entries, rows))
    rows, entries = rows[order], entries[order]
    last = np.roll(run_starts(rows, entries >> 6), -1) if len(rows) else np.zeros(0, np.bool_)
    kept = last | (exact[rows] == 1)  # of each register the greatest rank
    return ragged.sizes_of(rows[kept], len(exact)), exact, entries[kept]


@njit()
def packed(value):  # type: ignore[no-untyped-def]  # noqa: ANN201 (compiled)
    """As `_packed`, of one hash."""
    _, exponent = math.frexp(float(value & ((1 << 52) - 1)))
    return (((value >> 52) & 4095) << 6) | (53 - exponent)


@njit()
def estimate(registers):  # type: ignore[no-untyped-def]  # noqa: ANN201 (compiled)
    """Ertl's estimate of how many values; registers: how many have each rank, int64 (54)."""
    z = 0.0
    x = 1.0 - registers[53] / 4096  # tau: the registers that are full
    if 0.0 < x < 1.0:
        y, before = 1.0, -1.0
        z = 1.0 - x
        while z != before:
            x = math.sqrt(x)
            before = z
            y *= 0.5
            z -= (1.0 - x) * (1.0 - x) * y
        z /= 3.0
    z *= 4096
    for rank in range(52, 0, -1):
        z = 0.5 * (z + registers[rank])
    x = registers[0] / 4096  # sigma: those that are empty
    if x == 1.0:
        return 0
    y, s, before = 1.0, x, -1.0
    while s != before:
        x *= x
        before = s
        s += x * y
        y += y
    below = z + 4096 * s
    most = 2.0**62  # where (nearly) every register is full, which only made-up hashes can do
    return (
        round(_ALPHA * 4096 * 4096 / below) if below * most > _ALPHA * 4096 * 4096 else round(most)
    )


@njit()
def _slide(codes, hashes, packed, lo, hi, out):  # type: ignore[no-untyped-def]
    """Count each code in the window, and the codes of each rank in each register; the greatest rank
    is the register's value.
    """
    requests, depth = lo.shape
    estimated = len(hashes) > EXACT
    count = np.zeros(len(hashes), np.int32)
    ranks = np.zeros((4096 if estimated else 0, 54), np.int32)
    register = np.zeros(4096, np.int64)
    registers = np.zeros(54, np.int64)
    registers[0] = 4096
    first, last = np.zeros(depth, np.int64), np.zeros(depth, np.int64)
    n = 0
    for j in range(requests):
        moved = j == 0
        for d in range(depth):
            for section in range(4):
                start, stop, by = stretch(section, first[d], last[d], lo[j, d], hi[j, d])
                for i in range(start, stop):
                    c = codes[i]
                    if c < 0:
                        continue
                    moved = True
                    count[c] += by
                    if count[c] != (by + 1) >> 1:  # neither the first to come nor the last to go
                        continue
                    n += by
                    if not estimated:
                        continue
                    r, rank = packed[c] >> 6, packed[c] & 63
                    ranks[r, rank] += by
                    old = register[r]
                    new = max(old, rank)
                    while new > 0 and ranks[r, new] == 0:
                        new -= 1
                    if new != old:
                        register[r] = new
                        registers[old] -= 1
                        registers[new] += 1
            first[d], last[d] = lo[j, d], hi[j, d]
        if not moved and j > 0:
            out[j] = out[j - 1]
        else:
            out[j] = n if n <= EXACT else estimate(registers)


DISTINCT = _Distinct()


@spelled
def count_distinct(
    *columns: str, windows: Windows | None = None, where: str | None = None, name: str | None = None
) -> Aggregation:
    """How many different values a column has: int64, 0 when there are none.

    Exact up to 512 values, beyond that HyperLogLog with a standard error of 1.6 %; the same for the
    same values everywhere.

    >>> from headwater.testing.examples import value_of
    >>> value_of(count_distinct("page"), page=["a", "b", None, "a"])
    2
    """
    needs("count_distinct", columns, "merchant")
    return made("count_distinct", columns, windows, where, name, each=True)


def _read(stored: StoredColumns) -> Read:
    """How many values differ, of (sizes, whether exact, hashes or registers)."""
    return Read((DISTINCT_READ, stored.columns[0]), real=False)


def _naive_count_distinct(counted: Counted) -> Answer:
    return Answer(len(set(counted.values[0])), "present")


ROWS = (
    Entry(
        "count_distinct",
        "int",
        accepts="any",
        family=DISTINCT,
        empty=0,
        hashes=True,
        read=_read,
        reference=_naive_count_distinct,
        cases=lambda: [count_distinct(*EVERY)],
    ),
)
