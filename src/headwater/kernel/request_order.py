"""The order of the requests of one call, which views with the same keys share."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np

from headwater.kernel.arrays import I64
from headwater.kernel.sorting import order_of


@dataclass(frozen=True)
class _Ordered:
    """Requests with codes and times, both int64 (l); their order, int64 (l), and where each code
    begins, int64 (keys + 1).
    """

    code: I64
    t: I64
    order: I64
    starts: I64


@dataclass
class RequestOrder:
    """The last order of requests that was computed: the next view gets it too if its codes and
    times are equal.
    """

    _last: _Ordered | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def order_of(self, code: I64, t: I64, keys: int, threads: int) -> tuple[I64, I64]:
        """As `sorting.order_of`; the arrays are shared and must not be written to.

        >>> code, t, requests = np.array([1, 0, 1]), np.array([5, 9, 4]), RequestOrder()
        >>> order, starts = requests.order_of(code, t, 2, threads=1)
        >>> again, more = requests.order_of(code.copy(), t, 3, threads=1)
        >>> order, again is order, more
        (array([1, 2, 0]), True, array([0, 1, 3, 3]))
        """
        with self._lock:
            last = self._last
        if last is None or not _equal(last.t, t) or not _equal(last.code, code):
            order, starts = order_of(code, t, keys, threads)
            with self._lock:
                self._last = _Ordered(code, t, order, starts)
            return order, starts
        more = keys + 1 - len(last.starts)  # codes behind all that requests have
        return last.order, last.starts[: keys + 1] if more <= 0 else np.concatenate(
            [last.starts, np.full(more, len(t))]
        )


def _equal(left: I64, right: I64) -> bool:
    return left is right or np.array_equal(left, right)
