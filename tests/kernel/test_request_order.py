"""The order of requests that views share."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headwater.kernel.request_order import RequestOrder
from headwater.kernel.sorting import order_of


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(1, 6)), min_size=1, max_size=6
    )
)
def test_orders_are_those_of_each_call_alone(calls: list[tuple[int, int, int]]) -> None:
    shared = RequestOrder()
    for codes_of, times_of, more in calls:
        code = np.random.default_rng(codes_of).integers(0, 5, 30)
        t = np.random.default_rng(times_of).integers(0, 9, 30)
        order, starts = shared.order_of(code, t, 4 + more, threads=2)
        expected, begins = order_of(code, t, 4 + more, threads=1)
        assert order.tolist() == expected.tolist()
        assert starts.tolist() == begins.tolist()
