"""A window that slides over events, and the best values in it: the walk behind mode, top_k,
collect_set, first_n and last_n.

Events come in and go out as each request's ranges move; a tournament tree over the codes of values
keeps every score's greatest, so a change takes log(codes) steps and an answer a few steps for each
value listed. Asks of one key are sorted by T, so over all of them the walk is proportional to
events and requests (where K jitters, as measured ages do, to the events that come and go with it).
"""

from __future__ import annotations

import numpy as np

from headwater.aggregations.base import I32, VisibleRanges
from headwater.kernel.arrays import I64, NOTHING, ListColumn
from headwater.kernel.compile_cache import njit

COUNT, PRESENCE, NEWEST = 0, 1, 2
_NO_I32: I32 = np.empty(0, np.int32)


def best(
    visible: VisibleRanges,
    codes: I32,
    kinds: int,
    score: int,
    k: int,
    ranks: I64 = NOTHING,
    near: I64 | None = None,
    *,
    flip: bool = False,
) -> ListColumn:
    """The `k` codes of the greatest score for each request, the smaller code first among equals;
    `flip`: in reverse.

    Args:
        visible: what each request sees.
        codes: int32 (n) in the order of `visible.order`, -1 for what does not count.
        kinds: how many codes there are.
        score: COUNT the occurrences of a code, PRESENCE 1 where it occurs at all, NEWEST the
            greatest rank among its occurrences.
        k: how many codes at most.
        ranks: for NEWEST, int64 (n) in the same order, all different.
        near: for NEWEST, where it is known already, for each event the one before it by rank of the
            same code, or -1.
        flip: whether the best comes last.
    """
    list_index, starts = (
        np.empty(len(visible.lo), np.int64),
        np.zeros(len(visible.lo) + 1, np.int64),
    )
    if near is None:
        near = NOTHING if score != NEWEST else _near(codes, ranks)
    items, lists = _slide(
        codes, ranks, near, kinds, score, k, flip, visible.lo, visible.hi, list_index, starts
    )
    return ListColumn(list_index, starts[: lists + 1].copy(), items)


def _near(codes: I32, ranks: I64) -> I64:
    order = np.lexsort((ranks, codes))
    near = np.full(len(codes), -1, np.int64)
    same = codes[order[1:]] == codes[order[:-1]]
    near[order[1:][same]] = order[:-1][same]
    return near


@njit()
def _raise(tree, p, v):  # type: ignore[no-untyped-def]
    tree[p] = v
    p >>= 1
    while p > 0 and tree[p] < v:
        tree[p] = v
        p >>= 1


@njit()
def _lower(tree, p, v):  # type: ignore[no-untyped-def]
    tree[p] = v
    p >>= 1
    while p > 0:
        m = max(tree[2 * p], tree[2 * p + 1])
        if tree[p] == m:
            return
        tree[p] = m
        p >>= 1


@njit()
def _add(i, codes, ranks, score, base, tree, count, here):  # type: ignore[no-untyped-def]
    c = codes[i]
    if c < 0:
        return
    p = base + c
    if score == COUNT:
        _raise(tree, p, tree[p] + 1)
        return
    count[c] += 1
    if score == PRESENCE:
        if count[c] == 1:
            _raise(tree, p, 1)
        return
    here[i] = True
    if ranks[i] + 1 > tree[p]:
        _raise(tree, p, ranks[i] + 1)


@njit()
def _remove(i, codes, ranks, near, score, base, tree, count, here):  # type: ignore[no-untyped-def]
    c = codes[i]
    if c < 0:
        return
    p = base + c
    if score == COUNT:
        _lower(tree, p, tree[p] - 1)
        return
    count[c] -= 1
    if score == PRESENCE:
        if count[c] == 0:
            _lower(tree, p, 0)
        return
    here[i] = False
    if count[c] == 0:
        _lower(tree, p, 0)
    elif tree[p] == ranks[i] + 1:
        q = near[i]
        while not here[q]:
            q = near[q]
        _lower(tree, p, ranks[q] + 1)


@njit()
def _push(key, node, size, k, n):  # type: ignore[no-untyped-def]
    i = size
    while i > 0:
        up = (i - 1) >> 1
        if key[up] >= k:
            break
        key[i], node[i] = key[up], node[up]
        i = up
    key[i], node[i] = k, n


@njit()
def _pop(key, node, size):  # type: ignore[no-untyped-def]
    """Take the first entry out of a heap of `size`."""
    k, n = key[size - 1], node[size - 1]
    i = 0
    while 2 * i + 1 < size - 1:
        down = 2 * i + 1
        if down + 1 < size - 1 and key[down + 1] > key[down]:
            down += 1
        if key[down] <= k:
            break
        key[i], node[i] = key[down], node[down]
        i = down
    key[i], node[i] = k, n


@njit()
def _top(tree, base, k, out, begin, key, node):  # type: ignore[no-untyped-def]
    """The leaves of the greatest scores into out[begin:], best first; how many. The heap holds
    subtrees not yet looked into.
    """
    if tree[1] == 0:
        return 0
    low = (1 << 32) - 1
    key[0], node[0] = (np.int64(tree[1]) << 32) | low, 1
    size, taken = 1, 0
    while size > 0 and taken < k:
        p = node[0]
        _pop(key, node, size)
        size -= 1
        half = 0
        while (p << half) < base:
            half += 1
        while p < base:
            half -= 1
            p *= 2
            sibling = p + 1
            if tree[p] < tree[sibling]:
                p, sibling = sibling, p
            if tree[sibling] > 0:
                _push(
                    key,
                    node,
                    size,
                    (np.int64(tree[sibling]) << 32) | (low - ((sibling << half) - base)),
                    sibling,
                )
                size += 1
        out[begin + taken] = p - base
        taken += 1
    return taken


@njit()
def _leftmost(tree, base, k, out, begin):  # type: ignore[no-untyped-def]
    """The first leaves with a score into out[begin:], in rising order; how many."""
    taken, p = 0, 1
    if tree[1] == 0:
        return 0
    while True:
        while p < base:
            p *= 2
            if tree[p] == 0:
                p += 1
        out[begin + taken] = p - base
        taken += 1
        while p > 1 and (p & 1 == 1 or tree[p + 1] == 0):
            p >>= 1
        if p == 1 or taken == k:
            return taken
        p += 1


@njit()
def _slide(codes, ranks, near, kinds, score, k, flip, lo, hi, list_index, starts):  # type: ignore[no-untyped-def]
    requests, depth = lo.shape
    base, levels = 1, 1
    while base < kinds:
        base *= 2
        levels += 1
    k = min(k, base)
    tree = np.zeros(2 * base, np.int32)
    count = np.zeros(0 if score == COUNT else kinds, np.int32)
    here = np.zeros(len(codes) if score == NEWEST else 0, np.bool_)
    room = 0 if score == PRESENCE else min(k * levels + 2, 2 * base)
    key, node = np.empty(room, np.int64), np.empty(room, np.int64)
    first, last = np.zeros(depth, np.int64), np.zeros(depth, np.int64)
    items = np.empty(max(k, 1024), np.int64)
    lists = 0
    for j in range(requests):
        moved = j == 0
        for d in range(depth):  # all that go out before any that come in, so that no two keys meet
            a, b, x, y = first[d], last[d], lo[j, d], hi[j, d]
            for i in range(a, min(b, x)):
                moved = True
                _remove(i, codes, ranks, near, score, base, tree, count, here)
            for i in range(b - 1, max(a, y) - 1, -1):
                moved = True
                _remove(i, codes, ranks, near, score, base, tree, count, here)
        for d in range(depth):
            a, b, x, y = first[d], last[d], lo[j, d], hi[j, d]
            for i in range(x, min(y, a)):
                moved = True
                _add(i, codes, ranks, score, base, tree, count, here)
            for i in range(max(x, b), y):
                moved = True
                _add(i, codes, ranks, score, base, tree, count, here)
            first[d], last[d] = x, y
        if moved:
            begin = starts[lists]
            if begin + k > len(items):
                longer = np.empty(max(2 * len(items), begin + k), np.int64)
                longer[:begin] = items[:begin]
                items = longer
            taken = (
                _leftmost(tree, base, k, items, begin)
                if score == PRESENCE
                else _top(tree, base, k, items, begin, key, node)
            )
            if flip:
                items[begin : begin + taken] = items[begin : begin + taken][::-1].copy()
            lists += 1
            starts[lists] = begin + taken
        list_index[j] = lists - 1
    return items[: starts[lists]].copy(), lists


@njit()
def stretch(section, a, b, x, y):  # type: ignore[no-untyped-def]  # noqa: ANN201 (compiled)
    """The changes as a window moves from a:b to x:y, in four sections: two stretches leave (-1),
    two enter (+1); some are empty.
    """
    if section == 0:
        return a, min(b, x), -1
    if section == 1:
        return max(a, y), b, -1
    if section == 2:
        return x, min(y, a), 1
    return max(x, b), y, 1
