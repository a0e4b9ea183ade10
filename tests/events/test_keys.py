"""Keys of events and requests get one code where they are equal, and only there."""

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headwater.events.keys import CODE, code_keys, string_views
from headwater.kernel.string_codes import _equal

# Lengths around the 12 bytes that a view holds, and around the words in which longer strings are
# compared.
LENGTHS = [0, 1, 4, 11, 12, 13, 16, 20, 21, 24, 40]
WORDS = st.one_of(
    st.none(),
    st.sampled_from(LENGTHS).map(lambda n: "x" * n),
    st.text(max_size=30),
    st.sampled_from(["ab\0", "ab", "é" * 6, "é" * 7]),
)


def _chunked(words, cuts):
    """A column of these words in several chunks, none begins where its memory does."""
    ends = sorted({0, len(words), *(c for c in cuts if c < len(words))})
    parts = [
        pl.Series("key", ["before", *words[a:b]], pl.String).slice(1) for a, b in pairwise(ends)
    ]
    return pl.concat(parts, rechunk=False) if parts else pl.Series("key", [], pl.String)


def _check(events, requests):
    numbered = pl.DataFrame({"key": events}).with_row_index()
    table, codes, count = code_keys(
        numbered, ["key"], [r.to_frame("key") for r in requests], "source 'x'", threads=2
    )
    wanted = {key for r in requests for key in r if key is not None}
    mine = dict(zip(table["index"], table[CODE], strict=True))
    for row, key in enumerate(events):
        for r, of in zip(requests, codes, strict=True):
            for code, other in zip(of, r, strict=True):
                assert (mine.get(row) == code) == (key is not None and key == other), (key, other)
        assert row in mine or key not in wanted
    assert all(0 <= code < count for code in [*mine.values(), *(c for of in codes for c in of)])


@given(
    st.lists(WORDS), st.lists(st.lists(WORDS), min_size=1, max_size=3), st.lists(st.integers(1, 20))
)
@example([None, "x"], [[], [None]], [])
@example(["x" * 13, "x" * 12 + "y", "y" + "x" * 12], [["x" * 12 + "y", "x" * 13]], [1])
def test_strings(events, requests, cuts):
    _check(_chunked(events, cuts), [_chunked(r, cuts) for r in requests])


def test_a_few_events_that_nobody_asks_for_are_no_null_request():
    events = pl.Series("key", ["a"] * 50 + ["b", None])
    _check(events, [pl.Series("key", ["a", None, "c"])])


@given(st.lists(WORDS.filter(bool), min_size=1))
@example(["x" * 12, "x" * 11 + "y", "y" * 12])
@example(["x" * 24, "x" * 16 + "y" + "x" * 7, "x" * 23 + "y", "x" * 8 + "y" + "x" * 15])
def test_strings_of_one_hash_are_compared(words):
    """What the table does where 32 bits of two hashes agree, which no example of the other tests
    comes to.
    """
    left, right = (string_views(pl.Series(words, dtype=pl.String)) for _ in range(2))
    for i, word in enumerate(words):
        for j, another in enumerate(words):
            assert _equal(*left.views[i], left.buffers, 0, *right.views[j], right.buffers, 0) == (
                word == another
            )


@pytest.mark.parametrize("length", [8, 36])
def test_many_strings_in_threads(length):
    random = np.random.default_rng(3)
    events, asked = (
        pl.Series("key", random.integers(0, 20_000, n)).cast(pl.String).str.pad_start(length, "k")
        for n in (100_000, 30_000)
    )
    table, (codes,), _ = code_keys(
        events.to_frame("key"), ["key"], [asked.to_frame("key")], "source 'x'", threads=2
    )
    pairs = pl.concat(
        [
            pl.DataFrame({"key": table["key"], "code": table[CODE]}),
            pl.DataFrame({"key": asked, "code": codes}),
        ]
    )
    pairs = pairs.filter(pl.col("key").is_in(asked.implode())).unique()
    assert pairs["key"].n_unique() == pairs["code"].n_unique() == pairs.height == asked.n_unique()


def test_categories_and_strings_are_equal_keys():
    events = pl.Series("key", ["a", "b", None, "a"], pl.Categorical)
    _check(events, [pl.Series("key", ["b", "a", None])])
