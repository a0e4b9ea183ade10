"""Planted edges of tiles: events at the tail of a window, at T, and one microsecond off; tiles made
coarser just when they may be.
"""

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.events.read_events import TIME
from headwater.state import tiles as ladders
from headwater.state.record import key_bytes
from headwater.state.tiles import ALL, UNREACHED, of_windows
from headwater.state.view_state import ViewTiles

S, MIN, H, D = 10**6, 60 * 10**6, 3600 * 10**6, 86400 * 10**6
BASE = 20_000 * D  # a midnight


class Stream:
    """A view of one key whose records are written again at each batch."""

    def __init__(self, *windows, features=None):
        source = hw.Source("s", timestamp_field="at")
        self.view = hw.FeatureView(
            "v",
            source=source,
            keys=["k"],
            features=features or [hw.count(), hw.sum("x")],
            windows=list(windows),
            freshness=hw.on_request(),
        )
        self.tiles = ViewTiles(self.view, {"k": pl.Int64(), "x": pl.Int64(), TIME: pl.Int64()})
        (self.key,) = key_bytes(pl.DataFrame({"k": [7]}))
        self.record = b""

    def add(self, times, T):
        events = pl.DataFrame(
            {"k": [7] * len(times), "x": [1] * len(times), TIME: [BASE + t for t in times]}
        )
        self.record = self.tiles.update(
            events, BASE + T, 0, lambda keys: [self.record for _ in keys]
        )[self.key]
        return self

    def counts(self, T):
        """The count of each window as of T."""
        features, _ = self.tiles.values([[self.record]], np.array([BASE + T]), np.array([BASE + T]))
        return [
            f.to_list()[0]
            for f, name in zip(features, self.view.feature_names, strict=True)
            if "count" in name
        ]

    @property
    def starts(self):
        """Where its tiles begin."""
        start = self.tiles.records.load([self.record])[0].start
        return [int(s) - BASE if s > ALL else int(s) for s in start]


@pytest.mark.parametrize(
    ("given", "at", "T", "counted"),
    [
        (hw.window("10m"), 0, 10 * MIN, 1),  # at the tail
        (hw.window("10m"), -1, 10 * MIN, 0),
        (hw.window("10m"), 0, 10 * MIN + 10 * S - 1, 1),  # the tail moves in hops of 10 s
        (hw.window("10m"), 0, 10 * MIN + 10 * S, 0),
        (hw.window("10m"), 9, 10, 1),
        (hw.window("10m"), 10, 11, 1),
        # the head of a window with an offset is floored too
        (hw.window("1h", offset="10m"), 0, 10 * MIN, 0),
        (hw.window("1h", offset="10m"), 0, 11 * MIN - 1, 0),
        (hw.window("1h", offset="10m"), 0, 11 * MIN, 1),
        (hw.window("1h", offset="10m"), 0, 70 * MIN, 1),
        (hw.window("1h", offset="10m"), -1, 70 * MIN, 0),
        (hw.window("lifetime"), -10_000 * D, 1, 1),
        (hw.window("lifetime", offset="1m"), 0, MIN, 0),
        (hw.window("lifetime", offset="1m"), -1, MIN, 1),
        (hw.window("70m", hop="7m"), 0, 70 * MIN + 7 * MIN - 1, None),
    ],
)
def test_an_event_at_the_edges_of_a_window(given, at, T, counted):
    if counted is None:  # by the rule: the grid of 7 minutes does not begin at midnight
        counted = int(BASE + at >= (BASE + T - 70 * MIN) // (7 * MIN) * 7 * MIN)
    assert Stream(given).add([at], at + 1).counts(T) == [counted]
    # written as late as it is read
    assert Stream(given).add([at], max(T, at + 1)).counts(T) == [counted]


def test_tiles_become_coarser_just_when_no_finer_tail_will_cut_them():
    stream = Stream("10m", "1h")  # hops of 10 s and 1 min
    stream.add([0, 10 * S, 50 * S], 51 * S)
    assert stream.starts == [0, 10 * S, 50 * S]
    # the 10 minutes may still begin at 0:50
    assert stream.add([11 * MIN - 11 * S], 11 * MIN - 10 * S).starts[:3] == [0, 10 * S, 50 * S]
    assert stream.add([11 * MIN - 1], 11 * MIN).starts[0] == 0
    assert stream.starts[1] > 9 * MIN  # one tile for the first minute
    assert stream.counts(11 * MIN) == [2, 5]


def test_hops_that_do_not_nest_meet_in_a_finer_step():
    given = [hw.window("70m", hop="7m"), hw.window("60m", hop="10m")]
    assert of_windows(given).steps == (MIN, 10 * MIN)
    times = [n * 30 * S for n in range(300)]
    stream = Stream(*given)
    for n in range(0, 300, 20):
        stream.add(times[n : n + 20], times[n + 19] + 1)
    for T in (times[-1] + 1, times[-1] + 7 * MIN, times[-1] + 10 * MIN + 1, times[-1] + 64 * MIN):
        expected = [
            sum((BASE + T - w.length) // w.hop * w.hop <= BASE + t < BASE + T for t in times)
            for w in given
        ]
        assert stream.counts(T) == expected


def test_what_no_window_reaches_is_dropped():
    stream = Stream("10m").add([0], 1)
    assert len(stream.starts) == 1
    assert stream.add([11 * MIN], 11 * MIN + 1).starts == [11 * MIN]
    stream = Stream("10m").add([0], 20 * MIN)
    assert stream.record == b""
    assert stream.counts(20 * MIN) == [0]


def test_a_lifetime_keeps_one_tile_for_all_that_no_other_window_reaches():
    stream = Stream("10m", "lifetime").add([n * 10 * S for n in range(200)], 2000 * S)
    assert stream.starts[0] == ALL
    assert stream.counts(2000 * S)[1] == 200
    assert stream.add([5 * S], 3000 * S).starts == [ALL]  # late by far
    assert stream.counts(3000 * S) == [0, 201]


def test_a_late_event_goes_to_the_coarse_tile_that_its_time_is_in_by_now():
    stream = Stream("10m", "1h").add([0, 30 * MIN], 30 * MIN + 1)
    stream.add([1], 30 * MIN + 2)
    assert stream.starts == [0, 30 * MIN]
    assert stream.counts(30 * MIN + 2) == [1, 3]


@pytest.mark.parametrize("t", [ALL, -1, 0, 59 * S, MIN, 10 * MIN - 1, 10 * MIN, H - 1, H, D])
def test_placing_again_changes_nothing_that_placing_later_would_not(t):
    """Tiles move only upwards: placed as of an earlier T and again as of a later one is placed as
    of the later one.
    """
    ladder = of_windows([hw.window("10m"), hw.window("1h"), hw.window("1d")])
    for early in (D, D + 10 * S, D + H):
        for late in (early, early + 10 * S, early + MIN, early + 10 * MIN, early + 3 * D):
            once = ladder.tile_start(ladder.tile_start(np.array([t]), early), late)
            assert (
                once.tolist() == ladder.tile_start(np.array([t]), late).tolist()
                or ladder.tile_start(np.array([t]), early)[0] == UNREACHED
            )


def test_steps_divide_each_other():
    ladder = of_windows(
        [hw.window("10m"), hw.window("70m", hop="7m"), hw.window("1d"), hw.window("lifetime")]
    )
    assert all(
        coarse % fine == 0 for fine, coarse in zip(ladder.steps, ladder.steps[1:], strict=False)
    )
    assert ladders.of_windows([hw.window("lifetime")]).steps == ()


@pytest.mark.parametrize(
    "windows",
    [
        [hw.window("10m")],
        [hw.window("10m"), hw.window("1h"), hw.window("1d")],
        [hw.window("1h", offset="10m"), hw.window("lifetime")],
        [hw.window("lifetime")],
    ],
    ids=["one", "three", "an offset and a lifetime", "a lifetime"],
)
def test_what_a_tile_spans_is_what_belongs_to_it(windows):
    ladder, rng = of_windows(windows), np.random.default_rng(1)
    for T in (BASE + rng.integers(0, 2 * D, 20)).tolist():
        t = T - rng.integers(0, 2 * D, 200)
        place = ladder.tile_start(t, T)
        t, place = t[place != UNREACHED], place[place != UNREACHED]
        for bound, inside in zip(ladder.spans(t, T), (0, -1), strict=True):
            finite = np.abs(bound) < 2**60
            assert (ladder.tile_start(bound[finite] + inside, T) == place[finite]).all()
            beyond = ladder.tile_start(bound[finite] + inside + (1 if inside else -1), T)
            assert (beyond != place[finite]).all()
        assert (np.abs(ladder.spans(t, T)[0][place == ALL]) > 2**60).all()
