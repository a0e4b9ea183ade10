"""How well lists are ordered: hit rate, recall, NDCG and reciprocal rank among the first k, each a
mean over groups.

`score` is the place of the row's item in its list, 1 the first; an item that a
level did not find as a candidate has no place (infinity) and counts as missed.
Groups without a relevant item say nothing of an order and are left out. A
group belongs to the day of its first row.

Source: Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR
techniques", 2002 (NDCG, here with gain = relevance and discount 1/log2(1 + place)).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from headwater.errors import UsageError
from headwater.metrics.metric import Family, Floats, Ints, Metric, ScoredRows, ratio

_NAME = re.compile(r"(hit_rate|recall|ndcg|mrr)@(\d+)")


@dataclass(frozen=True, eq=False)
class _Groups:
    """The groups with a relevant item: `group` int64 (rows) the group of each row, `first` int64
    (groups) a row of each.
    """

    group: Ints
    first: Ints
    relevant: Floats  # rows with relevance above 0, by group


def _groups(rows: ScoredRows) -> _Groups:
    group_of = rows.context.groups
    if group_of is None:
        raise UsageError(
            f"level {rows.level!r}: metrics of lists need the group of each row; pass "
            "RowContext(groups=...)"
        )
    _, first, group = np.unique(group_of, return_index=True, return_inverse=True)
    relevant = np.bincount(group, weights=rows.y > 0, minlength=len(first)).astype(np.float64)
    return _Groups(group.astype(np.int64), first.astype(np.int64), relevant)


def _mean(rows: ScoredRows, per_group: Callable[[_Groups], Floats]) -> Floats:
    """The mean of `per_group`, float64 (groups), over the groups that have a relevant item."""
    groups = rows.once(_groups)
    counts = groups.relevant > 0
    values = np.where(counts, per_group(groups), 0.0)
    blocks = rows.blocks.index[groups.first]
    sums = [
        np.bincount(blocks, weights=v, minlength=len(rows.blocks.weights)) @ rows.blocks.weights
        for v in (values, counts)
    ]
    return ratio(*sums)


def _hit_rate(rows: ScoredRows, k: int) -> Floats:
    hits = (rows.y > 0) & (rows.score <= k)
    return _mean(
        rows,
        lambda g: (np.bincount(g.group, weights=hits, minlength=len(g.first)) > 0).astype(
            np.float64
        ),
    )


def _recall(rows: ScoredRows, k: int) -> Floats:
    hits = (rows.y > 0) & (rows.score <= k)
    return _mean(
        rows,
        lambda g: (
            np.bincount(g.group, weights=hits, minlength=len(g.first)) / np.maximum(g.relevant, 1)
        ),
    )


def _ndcg(rows: ScoredRows, k: int) -> Floats:
    """The discounted gain of the first k, over that of the best order of all that is relevant.

    >>> from headwater.metrics.metric import RowContext, Blocks
    >>> context = RowContext(groups=np.array([0, 0, 0, 1]))
    >>> rows = ScoredRows(
    ...     "a",
    ...     np.array([1.0, 0, 1, 1]),
    ...     np.array([1.0, 2, np.inf, 2]),
    ...     Blocks.whole(4),
    ...     context=context,
    ... )
    >>> _ndcg(rows, 10).round(3), _recall(rows, 10)
    (array([0.622]), array([0.75]))
    """

    def per_group(g: _Groups) -> Floats:
        gain = np.where(rows.score <= k, rows.y / np.log2(1 + rows.score), 0.0)
        order = np.lexsort((-rows.y, g.group))
        starts = np.searchsorted(g.group[order], np.arange(len(g.first)))
        rank = np.empty(len(order))
        rank[order] = np.arange(len(order)) - np.repeat(starts, np.bincount(g.group)) + 1
        ideal = np.where(rank <= k, rows.y / np.log2(1 + rank), 0.0)
        gains, best = (
            np.bincount(g.group, weights=v, minlength=len(g.first)) for v in (gain, ideal)
        )
        return np.divide(gains, best, out=np.zeros(len(best)), where=best > 0)

    return _mean(rows, per_group)


def _mrr(rows: ScoredRows, k: int) -> Floats:
    def per_group(g: _Groups) -> Floats:
        first = np.full(len(g.first), np.inf)
        np.minimum.at(first, g.group, np.where(rows.y > 0, rows.score, np.inf))
        return np.where(first <= k, 1 / first, 0.0)

    return _mean(rows, per_group)


_COMPUTE = {"hit_rate": _hit_rate, "recall": _recall, "ndcg": _ndcg, "mrr": _mrr}


def parse(name: str) -> Metric | None:
    """Read "ndcg@10", "recall@50", "hit_rate@5" or "mrr@10"; None if `name` is not of that form.

    Raises UsageError if k is 0.

    >>> parse("ndcg@10").name
    'ndcg@10'
    >>> parse("recall@10%") is None
    True
    """
    match = _NAME.fullmatch(name)
    if not match:
        return None
    compute, k = _COMPUTE[match[1]], int(match[2])
    if k == 0:
        raise UsageError(
            f"{name!r} looks at the first 0 of a list; write at least 1, as in {match[1]}@10"
        )
    return Metric(f"{match[1]}@{k}", "ranking", lambda rows: compute(rows, k))


FAMILY = Family(
    tuple(
        metric
        for name in ("ndcg@10", "hit_rate@10", "mrr@10", "recall@50")
        if (metric := parse(name))
    ),
    parse,
    "ndcg@K, hit_rate@K, mrr@K, recall@K for any K",
)
