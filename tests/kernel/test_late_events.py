"""Layers, ranges and blocks against plain sets: which events an ask sees, and how folds may cut
them.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.definitions.windows import Window
from headwater.kernel.arrays import LASTS, NOTHING, Events, RequestTimes
from headwater.kernel.late_events import layers
from headwater.kernel.layers import ADD, Ranges, _fold, _walk, blocks, window_bounds

WINDOWS = [
    Window.in_micros(None),
    Window.in_micros(40, 10),
    Window.in_micros(12, 1),
    Window.in_micros(20, 5, offset=5),
    Window.in_micros(None, 10, offset=10),
]


def made(random, n, *, delays, lives):
    """Events of three keys, and asks whose K is near T or far from it."""
    key = np.sort(np.array([random.randrange(3) for _ in range(n)], np.int64))
    t = np.array([random.randrange(100) for _ in range(n)], np.int64)
    t = t[np.lexsort((t, key))]
    known = t + np.array([random.choice(delays) for _ in range(n)], np.int64)
    lasting = np.array([random.choice(lives) for _ in range(n)])
    gone = np.where(lasting < 0, LASTS, known + lasting)
    starts = np.searchsorted(key, np.arange(4))
    T = np.sort(
        np.array([[random.randrange(160) for _ in range(20)] for _ in range(3)], np.int64)
    ).ravel()
    K = T - np.array([random.choice([0, 0, 3, 30, -5]) for _ in T], np.int64)
    return Events(starts, t, known, 0, NOTHING, {}, removed_at=gone), RequestTimes(
        np.arange(4) * 20, T, K
    )


def visible(events, asks, window, j):
    key = np.searchsorted(asks.starts, j, side="right") - 1
    T, K = asks.T[j] - window.offset, asks.K[j]
    head = asks.T[j] if window.offset == 0 else T // window.hop * window.hop
    tail = -(10**9) if window.length is None else (T - window.length) // window.hop * window.hop
    a, b = events.starts[key], events.starts[key + 1]
    return {
        i
        for i in range(a, b)
        if tail <= events.t[i] < head and events.known[i] <= K < events.removed_at[i]
    }


@pytest.mark.slow
@pytest.mark.parametrize("window", WINDOWS, ids=str)
@given(
    random=st.randoms(use_true_random=False),
    delays=st.sampled_from([[0], [1], [0, 0, 0, 30], [0, 5, 50]]),
    lives=st.sampled_from([[-1, 7], [10], [-1, 0, 1, 40], [3, 60], [-1]]),
)
def test_the_layers_of_an_ask_hold_what_it_sees_each_in_one_range(window, random, delays, lives):
    events, asks = made(random, 60, delays=delays, lives=lives)
    seen = [[] for _ in asks.T]
    for layer in layers(events):
        for times in (layer.known, layer.removed_at):
            for a, b in zip(layer.starts[:-1], layer.starts[1:], strict=True):
                assert (np.diff(times[a:b]) >= 0).all()
        row = layer.row if len(layer.row) else np.arange(len(layer.t))
        lo, hi = window_bounds(layer, asks, window)
        for j in range(len(asks.T)):
            seen[j] += row[lo[j] : hi[j]].tolist()
    for j in range(len(asks.T)):
        assert len(seen[j]) == len(set(seen[j]))
        assert set(seen[j]) == visible(events, asks, window, j), j


@pytest.mark.slow
@pytest.mark.parametrize("window", WINDOWS, ids=str)
@given(
    random=st.randoms(use_true_random=False), lives=st.sampled_from([[10], [3, 60], [-1, 0, 1, 40]])
)
def test_a_range_reaches_into_two_blocks_at_most_and_folds_right(window, random, lives):
    events, asks = made(random, 60, delays=[1], lives=lives)
    for layer in layers(events):
        lo, hi = window_bounds(layer, asks, window)
        block = blocks(layer, window)
        values = np.array([random.randrange(1, 100) / 7 for _ in layer.t])
        found = np.zeros(len(lo))
        ranges = Ranges(lo, hi, block, len(layer.removed_at) > 0)
        _fold(values, ADD, *ranges, values.copy(), values.copy(), found)
        walked = np.zeros(len(lo))
        _walk(values, ADD, *ranges, walked)
        for j in range(len(lo)):
            assert len(set(block[lo[j] : hi[j]].tolist())) <= 2
            assert found[j] == walked[j] == pytest.approx(values[lo[j] : hi[j]].sum())


def test_where_each_event_is_gone_some_time_later_no_range_lies_inside_a_block():
    """A fold walks such ranges: a history whose events are all deleted in the end would take the
    square of its length.
    """
    t = np.arange(1000) * 10
    events = Events(np.array([0, 1000]), t, t + 1, 0, NOTHING, {}, removed_at=t + 1 + 2000)
    asks = RequestTimes(np.array([0, 3000]), np.arange(3000) * 4, np.arange(3000) * 4)
    _, layer = layers(events)
    lo, hi = window_bounds(layer, asks, Window.in_micros(None))
    block = blocks(layer, Window.in_micros(None))
    ends = np.append(block, len(block))  # where a block begins, the one before it ends
    some = hi > lo
    inside = (block[hi[some] - 1] < lo[some]) & (ends[hi[some]] != hi[some])
    assert some.sum() > 2000
    assert not inside.any()


def test_events_that_last_need_as_few_layers_as_they_do_without_corrections():
    """Those that are taken back come in layers of their own."""
    t = np.arange(100)
    events = Events(
        np.array([0, 100]), t, t, 0, NOTHING, {}, removed_at=np.where(t % 10 == 0, t + 30, LASTS)
    )
    assert [len(layer.t) for layer in layers(events)] == [90, 10]
    assert [len(layer.removed_at) for layer in layers(events)] == [0, 10]


def test_the_first_layer_is_of_what_lasts_even_if_that_is_nothing():
    """Else the bits of -0.0 would depend on which keys are taken together."""
    t = np.arange(4)
    events = Events(np.array([0, 4]), t, t, 0, NOTHING, {}, removed_at=t + 9)
    assert [len(layer.t) for layer in layers(events)] == [0, 4]
