"""States as rows of numbers: two of them become one, and many become one, in compiled loops.

A row is int64 words; a float64 stands in its word bit by bit. How each column is merged is a
program: int64 (k, 3), rows of (operation, column, whether float64). SOME, LESS and MORE columns of
one state follow a row (PICK, their first column, how many): of two states one is taken whole, the
one that is there and goes before by the columns in turn. DECAY has its half-life in place of the
last.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba as nb
import numpy as np

from headwater.kernel import folds
from headwater.kernel.arrays import I64

ADD, LEAST, GREATEST = folds.ADD, folds.LEAST, folds.GREATEST
MOMENTS = 3
"""Three columns: n, mean and sum of squared deviations."""
SOME, LESS, MORE = 4, 5, 6
"""Operations of a state that is taken whole: presence; a column whose lesser, or greater, value
wins.
"""
PICK = 7
"""Goes before the columns of such a state."""
DECAY = 8
"""Four columns: n, the time of the last value, and the sum and the weights as of that time, which
halve with every half-life.
"""


def program(states: Sequence[Sequence[tuple[int, bool, int, int]]]) -> I64:
    """The program for some states: of each its numbers, as an operation, whether it is int64, its
    column, and its parameter.

    Numbers that several states share are merged once.

    >>> program([[(ADD, True, 0, 0), (GREATEST, False, 1, 0)], [(ADD, True, 0, 0)]]).tolist()
    [[0, 0, 0], [2, 1, 1]]
    """
    steps: list[tuple[int, int, int]] = []
    known: set[int] = set()
    for numbers in states:
        op, _, first, parameter = numbers[0]
        if any(number[0] == SOME for number in numbers):
            steps.append((PICK, first, len(numbers)))
        if op == DECAY:
            steps.append((DECAY, first, parameter))
        else:
            fields = numbers[:1] if op == MOMENTS else numbers
            steps += [
                (op, column, int(not whole))
                for op, whole, column, _ in fields
                if column not in known
            ]
        known |= {number[2] for number in numbers}
    return np.array(steps, np.int64).reshape(-1, 3)


@nb.njit(nogil=True, cache=True)
def merged(program, rows, floats, first, last):  # type: ignore[no-untyped-def]  # noqa: ANN201 (compiled)
    """The rows first:last as one, in row `first`; in pairs of neighbours, then in pairs of these,
    and so on.

    program: as `program` makes it. rows: int64 (m, columns); floats: the same words as float64.
    """
    while last - first > 1:
        count = last - first
        for pair in range(count // 2):
            a, b = first + 2 * pair, first + 2 * pair + 1
            joined(program, rows, floats, a, b)
            if pair:
                rows[first + pair] = rows[a]
        if count % 2:
            rows[first + count // 2] = rows[last - 1]
        last = first + (count + 1) // 2


@nb.njit(nogil=True, cache=True)
def paired(op, numbers, count):  # type: ignore[no-untyped-def]  # noqa: ANN201 (compiled)
    """The first `count` numbers, float64, as one, which becomes the first: what `merged` makes of a
    column of them, to the bit.
    """
    while count > 1:
        half = count // 2
        for k in range(half):
            x, y = numbers[2 * k], numbers[2 * k + 1]
            if op == ADD:
                x += y
            elif (op == LEAST and y < x) or (op == GREATEST and y > x):
                x = y
            numbers[k] = x
        if count % 2:
            numbers[half] = numbers[count - 1]
        count = half + count % 2
    return numbers[0]


@nb.njit(nogil=True, cache=True)
def joined(program, rows, floats, a, b):  # type: ignore[no-untyped-def]  # noqa: ANN201 (compiled)
    """Row b into row a."""
    i = 0
    while i < len(program):
        op, c, real = program[i, 0], program[i, 1], program[i, 2]
        if op == PICK:
            if _goes_before(program, rows, floats, a, b, i + 1, i + 1 + real):
                for k in range(c, c + real):
                    rows[a, k] = rows[b, k]
            i += real
        elif op == MOMENTS:
            _moments(rows, floats, a, b, c)
        elif op == DECAY:
            rows[a, c], rows[a, c + 1], floats[a, c + 2], floats[a, c + 3] = decayed(
                *(rows[a, c], rows[a, c + 1], floats[a, c + 2], floats[a, c + 3]),
                *(rows[b, c], rows[b, c + 1], floats[b, c + 2], floats[b, c + 3]),
                real,
            )
        elif real:
            x, y = floats[a, c], floats[b, c]
            if op == ADD:
                floats[a, c] = x + y
            elif (op == LEAST and y < x) or (op == GREATEST and y > x):
                floats[a, c] = y
        else:
            v, w = rows[a, c], rows[b, c]
            if op == ADD:
                rows[a, c] = v + w
            elif (op == LEAST and w < v) or (op == GREATEST and w > v):
                rows[a, c] = w
        i += 1


@nb.njit(nogil=True, cache=True)
def _goes_before(program, rows, floats, a, b, first, last):  # type: ignore[no-untyped-def]
    """Whether b is taken and not a."""
    for i in range(first, last):
        if program[i, 0] == SOME:
            if rows[b, program[i, 1]] == 0:
                return False
            if rows[a, program[i, 1]] == 0:
                return True
    for i in range(first, last):
        op, c = program[i, 0], program[i, 1]
        if op == SOME:
            continue
        if program[i, 2]:
            x, y = floats[a, c], floats[b, c]
            if x != y:
                return y > x if op == MORE else y < x
        else:
            v, w = rows[a, c], rows[b, c]
            if v != w:
                return w > v if op == MORE else w < v
    return False


@nb.njit(nogil=True, cache=True)
def _moments(rows, floats, a, b, c):  # type: ignore[no-untyped-def]
    """As `aggregations.std_var` merges, to the bit."""
    n, k = rows[a, c], rows[b, c]
    mean, other = floats[a, c + 1], floats[b, c + 1]
    total = max(n + k, 1)
    apart = other - mean if n > 0 and k > 0 else 0.0
    if n == 0:
        mean = other
    elif k > 0:
        mean = mean + apart * (k / total)
    rows[a, c] = n + k
    floats[a, c + 1] = mean
    floats[a, c + 2] = floats[a, c + 2] + floats[b, c + 2] + apart * apart * (n * k / total)


@nb.njit(nogil=True, cache=True)
def decayed(n, t, total, weight, k, u, more, heavier, half_life):  # type: ignore[no-untyped-def]  # noqa: ANN201 (compiled)
    """Two states of DECAY as one, as of the later of their last values."""
    last = u if n == 0 else t if k == 0 else max(t, u)
    a, b = remaining(t, last, n, half_life), remaining(u, last, k, half_life)
    return n + k, last, total * a + more * b, weight * a + heavier * b


@nb.njit(nogil=True, cache=True)
def remaining(since, until, n, half_life):  # type: ignore[no-untyped-def]  # noqa: ANN201 (compiled)
    """The share of a weight that is left after some time; all of it where there are no values (n is
    0).
    """
    return np.exp2(-(until - since) / half_life) if n > 0 else 1.0
