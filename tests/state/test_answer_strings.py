"""The strings of an answer are the same made together, and made one by one where that cannot be."""

from datetime import timedelta
from random import Random

import polars as pl
import pytest

import headwater as hw
from headwater.errors import HeadwaterWarning
from headwater.online.compiled_reader import CompiledReader
from headwater.online.key_encoder import KeyColumn, KeyEncoder
from headwater.online.read_layout import ViewPart
from headwater.online.read_versions import ReadVersion
from tests.state.test_compiled_reads import BEGIN, IDS, At, agrees, events_of, stored

pytestmark = pytest.mark.filterwarnings(
    f"ignore::{HeadwaterWarning.__module__}.{HeadwaterWarning.__name__}"
)

WORDS = {
    "short": ["a", "b", "c"],
    "empty ones": ["", "", "a"],
    "of several bytes": ["é", "日本", "🌊"],
    "with a zero byte": ["a\0b", "\0", "c"],
    "long": ["x" * 3_000, "y" * 2_999, "é" * 1_500],
    "too long for any room": ["x" * 400_000, "y", "z"],
}
FEATURES = [
    hw.last("word"), hw.max("word"), hw.last_n("word", k=3), hw.collect_set("word", max_size=5), hw.last_n("whole", k=2), hw.mode("word"),
    hw.sum("real").by("word", max_keys=2), hw.last("word").by("whole", max_keys=3), hw.last("word").by("word", max_keys=3),
]  # fmt: skip


def view_of(name="view", **more):
    # views of one source share a record
    source = hw.Source(f"events_{name}", timestamp_field="at", id_field="id")
    return hw.FeatureView(
        name,
        source=source,
        keys=["key"],
        features=FEATURES,
        windows=["10m", "1h"],
        freshness=hw.streaming("2s"),
        **more,
    )


def rows(words):
    """Nine events of two keys; the word of one event is null."""
    return [
        {"key": 1 + n % 2, "at": BEGIN + timedelta(seconds=100 * n), "id": n, "real": float(n), "whole": n % 4, "flag": True,
         "word": None if n == 4 else words[n % 3], "moment": None}
        for n in range(9)
    ]  # fmt: skip


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
@pytest.mark.parametrize("partitions", [1, 2])
def test_strings_are_what_frames_say(words, partitions):
    view = view_of()
    tiles, store, T, ends = stored(
        view, events_of(rows(words), IDS["strings"]), 2, partitions, Random(1)
    )
    for keys in ([1], [2, 1], [None, 2, 9, 1, 1]):
        assert agrees(view, tiles, store, T, T, ends, keys) == len(view.outputs)


def part(view, tiles, version):
    keys = KeyEncoder([KeyColumn("key", "key", pl.Int64())], "view")
    return ViewPart(view, version, tiles, keys, tuple(range(len(view.outputs))))


@pytest.mark.parametrize("words", [WORDS["short"], WORDS["long"]], ids=["short", "long"])
def test_room_grows_for_the_reads_that_follow(words):
    view = view_of()
    tiles, store, T, ends = stored(view, events_of(rows(words), IDS["none"]), 1, 1, Random(1))
    reader = CompiledReader(store, [part(view, tiles, At(T, T, ends))], view.feature_names)
    first = reader.one({"key": 1}, T).values
    for _ in range(8):
        assert reader.one({"key": 1}, T).values == first
    assert reader._strings.words[0] > 0  # they fit now


class Stale(At):
    """A version that is older than promised."""

    like = "another"

    def read_version(self, values, t):
        return ReadVersion(self.T, self.K, {}, stale=True)


def test_a_view_that_falls_back_takes_no_string_of_another():
    """The strings of all views were copied before the values of one were dropped."""
    fresh, dropped = view_of(), view_of("dropped", on_stale="null")
    events = events_of(rows(WORDS["short"]), IDS["none"])
    tiles, store, T, ends = stored(fresh, events, 1, 1, Random(1))
    others, more, _, _ = stored(dropped, events, 1, 1, Random(1))
    store.values |= more.values
    alone = CompiledReader(store, [part(fresh, tiles, At(T, T, ends))], fresh.feature_names)
    names = [*dropped.feature_names, *fresh.feature_names]
    both = CompiledReader(
        store, [part(dropped, others, Stale(T, T, ends)), part(fresh, tiles, At(T, T, ends))], names
    )
    expected = alone.one({"key": 1}, T).values
    assert any(expected)
    assert both.one({"key": 1}, T).values == [None] * len(expected) + expected
    many = both.read({"key": [2, 1]}, 2, T).values
    assert [column[1] for column in many] == [None] * len(expected) + expected


def test_room_stays_below_a_size():
    view = view_of()
    words = ["x" * 400_000, "y" * 400_000, "z" * 400_000]
    tiles, store, T, ends = stored(view, events_of(rows(words), IDS["none"]), 1, 1, Random(1))
    reader = CompiledReader(store, [part(view, tiles, At(T, T, ends))], view.feature_names)
    first = reader.one({"key": 1}, T).values
    for _ in range(12):
        assert reader.one({"key": 1}, T).values == first
    assert len(reader._strings.words) == 1 << 17
    assert reader._strings.words[0] < 0
