"""Records that compiled loops write are, to the byte, those that the general way writes; and the
stored state is kept small.
"""

from dataclasses import replace
from random import Random

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headwater as hw
from headwater.events.read_events import TIME, Notes, Reach, read_events
from headwater.kernel import layers
from headwater.state import tiles as tile_kernels
from headwater.state.view_state import ViewTiles
from headwater.testing.cases import aggregations, case
from tests.effort import tries

# windows shorter than delays are meant
pytestmark = pytest.mark.filterwarnings("ignore::headwater.errors.HeadwaterWarning")

_FAR = 2**60
LOOPED = {
    "count",
    "sum",
    "mean",
    "min",
    "max",
    "std",
    "var",
    "first",
    "last",
    "latest",
    "since_last",
    "min_by",
    "max_by",
    "rate",
    "fraction",
    "ratio",
    "decayed_sum",
    "decayed_mean",
}
PAIRED = {"min_by", "max_by", "ratio"}
NUMBERS = [
    a if a.function in PAIRED else replace(a, columns=tuple(c for c in a.columns if c != "word"))
    for a in aggregations()
    if a.secondary is None
    and a.function in LOOPED
    and (
        not a.columns
        or ("word" not in a.columns if a.function in PAIRED else {*a.columns} - {"word"})
    )
]


def batches(aggregation, random):
    """The tiles of a view, and batches of its events with the moment of each."""
    found = case(random, [aggregation], late=False, changes=False)
    source = replace(
        found.view.source,
        known_after="0s",
        window_on="timestamp",
        id_field=random.choice([None, "id"]),
    )
    view = replace(found, view=replace(found.view, source=source)).readable()
    columns = sorted({c for f in view.outputs for c in (*f.columns, *f.aggregation.extra_columns)})
    events = read_events(view.source, view.keys, columns, Reach(None, _FAR, _FAR), [], Notes())
    count, now = random.choice([1, 2, 5]), -_FAR
    of = pl.Series([random.randrange(count) for _ in range(events.height)], dtype=pl.Int64)
    made = []
    for number in range(count):
        part = events.filter(of == number)
        if part.height:
            now = max(now, part[TIME].max() + 1) + random.choice([0, 1, 10**7, 6 * 10**8, 10**10])
            made.append((part, now))
    return ViewTiles(view, events.schema), made


def written(tiles, parts):
    store: dict[bytes, bytes] = {}

    def fetch(keys):
        return [store.get(key, b"") for key in keys]

    for number, (part, now) in enumerate(parts):
        store |= tiles.update(part, now, number, fetch)
    return store


@pytest.mark.parametrize("aggregation", NUMBERS, ids=lambda a: "-".join([a.function, *a.columns]))
@settings(max_examples=tries(20))
@given(random=st.randoms(use_true_random=False))
def test_loops_write_what_the_general_way_writes(random, aggregation):
    tiles, parts = batches(aggregation, random)
    general = ViewTiles(tiles.view, tiles.schema)
    general.records.__dict__["how"] = None
    assert written(tiles, parts) == written(general, parts)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("op", "left", "right", "picked"),
    [
        (layers.LESS, (2, 1), (1, 1), (1, 1)),
        (layers.LESS, (1, 1), (2, 1), (1, 1)),
        (layers.MORE, (2, 1), (1, 1), (2, 1)),
        (layers.MORE, (1, 1), (2, 1), (2, 1)),
        (layers.LESS, (2, 1), (1, 0), (2, 1)),
        (layers.LESS, (1, 0), (2, 1), (2, 1)),
        (layers.MORE, (1, 0), (2, 0), (1, 0)),
    ],
)
def test_a_state_is_picked_whole(op, whole, left, right, picked):
    words = np.array([left, right])
    floats = words.view(np.float64)
    if not whole:
        floats[:, 0] = words[:, 0]
    layers.merged(
        layers.program([[(op, whole, 0, 0), (layers.SOME, True, 1, 0)]]),
        words,
        floats,
        0,
        2,
    )
    assert ((words if whole else floats)[0, 0], words[0, 1]) == picked


@pytest.mark.parametrize(
    "function",
    [
        "count",
        "sum",
        "mean",
        "min",
        "max",
        "std",
        "var",
        "first",
        "last",
        "since_last",
        "rate",
        "fraction",
        "ratio",
    ],
)
def test_these_are_written_by_loops(function):
    aggregation = next(a for a in NUMBERS if a.function == function)
    tiles, _ = batches(
        replace(aggregation, columns=tuple(c for c in aggregation.columns if c != "moment")),
        Random(1),
    )
    assert tiles.records.plain_merges is not None


def test_counts_of_the_same_events_are_written_once():
    source = hw.Source(
        "s",
        timestamp_field="at",
        history=pl.DataFrame({"k": [1], "x": [1.0], "at": [0]}).with_columns(
            pl.col("at").cast(pl.Datetime("us", "UTC"))
        ),
    )
    features = [hw.count(), hw.sum("x"), hw.max("x"), hw.mean("x"), hw.rate()]
    view = hw.FeatureView(
        "v", source=source, keys=["k"], features=features, windows=["1h"], freshness=hw.on_request()
    )
    tiles = ViewTiles(view, {"k": pl.Int64(), "x": pl.Float64(), TIME: pl.Int64()})
    made = tiles.update(
        pl.DataFrame({"k": [1], "x": [1.0], TIME: [5]}), 6, 0, lambda keys: [b""] * len(keys)
    )
    (record,) = made.values()
    columns = ["count", "count of x", "sum of x", "max of x"]
    assert len(np.frombuffer(record, np.int64)) == tile_kernels.HEAD + 1 + len(columns)
