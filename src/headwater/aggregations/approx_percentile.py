"""approx_percentile: counts by bucket, after DDSketch (Masson, Rim and Lee, 2019), with buckets
that need no logarithm.

A bucket is the sign, the exponent and the first six bits of the mantissa of a float64: 64 to each
power of two, so the middle of a bucket is within 2^-7 (0.79 %) of every value in it. Taking bits
instead of logarithms (the paper's linear interpolation between powers of two) makes the bucket of a
value the same on every machine, and buckets are never merged: states add up exactly. A factor of
100 between values needs 425 buckets. Values nearer to 0 than 2^-1022 count as 0. The libraries for
it take values one by one.

State: (sizes, buckets, counts), ragged.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from headwater.aggregations import ragged
from headwater.aggregations.base import (
    I32,
    Answers,
    FinalizeContext,
    Kinds,
    State,
    StateField,
    VisibleRanges,
)
from headwater.aggregations.reads import PERCENTILE, Read, StoredColumns
from headwater.aggregations.reference import NUMBERS, Answer, Counted
from headwater.aggregations.sliding import stretch
from headwater.aggregations.table import Entry
from headwater.definitions.checks import check, check_number, spelled
from headwater.definitions.feature_view import Aggregation, Windows, made, needs
from headwater.kernel.arrays import F64, I64, Column, Values
from headwater.kernel.compile_cache import njit
from headwater.kernel.layers import Layer, Spans, Use

_SHIFT = 52 - 6
_MILLION = 1_000_000


class _Percentiles:
    def partial(self, use: Use, spans: Spans) -> State:
        rows, index = ragged.gather(use, spans)
        buckets = _buckets(spans.layer.events.columns[use.columns[0]].values[index])
        return ragged.counted(rows, buckets, np.ones(len(rows), np.int64), len(spans.lo))

    def merge(self, left: State, right: State) -> State:
        rows = ragged.rows_of_both(left, right)
        buckets, counts = (np.concatenate([a, b]) for a, b in zip(left[1:], right[1:], strict=True))
        return ragged.counted(rows, buckets, counts, len(left[0]))

    def state_fields(self, use: Use, kinds: Kinds) -> tuple[StateField, ...]:  # noqa: ARG002 (the protocol's signature)
        return StateField(), StateField(entry=True), StateField(entry=True)

    def finalize(self, state: State, context: FinalizeContext) -> Answers:
        sizes, buckets, counts = state
        ends = np.cumsum(sizes)
        total = np.concatenate([[0], np.cumsum(counts)])
        before = total[ends - sizes]
        nonempty = sizes > 0
        ranks = before + _rank(total[ends] - before, context)
        bucket_index = np.searchsorted(total, ranks, side="left") - 1
        rank_buckets = (
            np.where(nonempty, buckets[np.clip(bucket_index, 0, len(buckets) - 1)], 0)
            if len(buckets)
            else np.zeros(len(sizes), np.int64)
        )
        return Column(_middles(rank_buckets), nonempty)

    def sweep(self, use: Use, visible: VisibleRanges, context: FinalizeContext) -> Answers:
        codes, buckets = visible.whole.derive(("buckets", use), lambda: _coded(visible.whole, use))
        out = np.full(len(visible.lo), -1, np.int64)
        _slide(
            codes[visible.order], len(buckets), _millionths(context), visible.lo, visible.hi, out
        )
        nonempty = out >= 0
        return Column(
            _middles(
                np.where(nonempty, buckets[out], 0)
                if len(buckets)
                else np.zeros(len(out), np.int64)
            ),
            nonempty,
        )


def _buckets(values: Values) -> I64:
    floats = values.astype(np.float64)
    sizes = np.abs(floats).view(np.int64) >> _SHIFT
    sizes[sizes < 64] = 0  # no exponent: 0, or nearer to it than any bucket
    return np.where(floats < 0, -sizes, sizes)


def _middles(buckets: I64) -> F64:
    sizes = np.abs(buckets)
    middle = ((sizes << _SHIFT) | (1 << (_SHIFT - 1))).view(np.float64)
    return np.where(sizes == 0, 0.0, np.copysign(middle, buckets))


def _coded(layer: Layer, use: Use) -> tuple[I32, I64]:
    """The bucket of each event as a code, int32 (n), -1 where it does not count; the buckets that
    the codes number.
    """
    buckets, valid = _buckets(layer.events.columns[use.columns[0]].values), layer.valid(use)
    codes = np.full(len(buckets), -1, np.int32)
    distinct, inverse = np.unique(buckets[valid] if len(valid) else buckets, return_inverse=True)
    codes[valid if len(valid) else slice(None)] = inverse
    return codes, distinct


def _millionths(context: FinalizeContext) -> int:
    return round(float(context.params["q"]) * _MILLION)


def _rank(n: I64, context: FinalizeContext) -> I64:
    """The rank, from 1, of the least value that the share q of n values does not exceed."""
    return np.maximum(1, -(-(n * _millionths(context)) // _MILLION))


@njit()
def _count(tree, c, by):  # type: ignore[no-untyped-def]
    c += 1
    while c < len(tree):
        tree[c] += by
        c += c & -c


@njit()
def _slide(codes, kinds, millionths, lo, hi, out):  # type: ignore[no-untyped-def]
    """Counts by code in a binary indexed tree (Fenwick, 1994); the code of the wanted rank of each
    request.
    """
    requests, depth = lo.shape
    tree = np.zeros(kinds + 1, np.int64)
    first, last = np.zeros(depth, np.int64), np.zeros(depth, np.int64)
    half = 1
    while half * 2 <= kinds:
        half *= 2
    n = 0
    for j in range(requests):
        moved = j == 0
        for d in range(depth):
            for section in range(4):
                start, stop, by = stretch(section, first[d], last[d], lo[j, d], hi[j, d])
                for i in range(start, stop):
                    if codes[i] >= 0:
                        _count(tree, codes[i], by)
                        n += by
                        moved = True
            first[d], last[d] = lo[j, d], hi[j, d]
        if n == 0:
            continue
        if not moved:
            out[j] = out[j - 1]
            continue
        rest = max(1, -(-(n * millionths) // 1_000_000))
        position, step = 0, half
        while step > 0:
            if position + step <= kinds and tree[position + step] < rest:
                position += step
                rest -= tree[position]
            step >>= 1
        out[j] = position


PERCENTILES = _Percentiles()


@spelled
def approx_percentile(
    *columns: str,
    q: float,
    windows: Windows | None = None,
    where: str | None = None,
    name: str | None = None,
) -> Aggregation:
    """The least value that a share `q` of the values does not exceed, to within 0.8 % of it:
    float64, null when there are none.

    `q` lies between 0 and 1 and has at most six decimals. It stands in the name: q=0.95 makes
    `approx_percentile_amount_p95_1h`. A DDSketch: it merges exactly, so the value does not depend
    on how the events were split.

    >>> from headwater.testing.examples import value_of
    >>> value_of(approx_percentile("amount", q=0.5), amount=[1.0, 100.0, 7000.0])
    100.5
    """
    needs("approx_percentile", columns, "amount")
    subject, decimals = "approx_percentile(): q", "with at most six decimals, such as 0.95"
    check_number(q, subject, "a share", least=0, most=1, note=decimals)
    check(abs(q * 1e6 - round(q * 1e6)) <= 1e-6, q, subject, f"a share {decimals}")
    params, detail = (("q", float(q)),), f"p{q * 100:.6g}".replace(".", "_")
    return made(
        "approx_percentile", columns, windows, where, name, each=True, params=params, detail=detail
    )


def _read(stored: StoredColumns) -> Read:
    """The bucket of a rank, of entries (bucket, count)."""
    return Read(
        (PERCENTILE, stored.columns[0], round(float(stored.params["q"]) * 1_000_000)), real=True
    )


def _naive_approx_percentile(counted: Counted) -> Answer:
    numbers, q = sorted(counted.numbers), Fraction(str(counted.params["q"]))
    value = next(x for rank, x in enumerate(numbers, 1) if rank >= q * len(numbers))
    # a sketch: within 2^-7 of the value
    return Answer(float(value), "present", float(abs(value)) / 128 * 1e9)


ROWS = (
    Entry(
        "approx_percentile",
        "float",
        accepts="number",
        family=PERCENTILES,
        read=_read,
        reference=_naive_approx_percentile,
        cases=lambda: [
            approx_percentile(*NUMBERS, q=0.5),
            approx_percentile(*NUMBERS, q=0.999),
        ],
    ),
)
