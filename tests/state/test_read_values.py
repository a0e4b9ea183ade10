"""Integers of the kernel become the values that polars makes of them; strings of several records
are numbered together.
"""

from random import Random

import numpy as np
import polars as pl
import pytest

from headwater.events.columns import decode, encode
from headwater.kernel.arrays import Column
from headwater.state import tiles
from headwater.state.read_plan import SpelledStrings, from_word

DAY = 86_400 * 10**9
DTYPES = {
    pl.Boolean(): (0, 2),
    pl.Int8(): (-128, 128),
    pl.UInt64(): (0, 2**63 - 1),
    pl.Date(): (-30_000, 30_000),
    pl.Time(): (0, DAY),
    **{
        pl.Datetime(unit, zone): (-2 * 10**15, 2 * 10**15)
        for unit, zone in [("us", "UTC"), ("ms", None), ("ns", "Europe/Berlin")]
    },
    **{pl.Duration(unit): (-(10**15), 10**15) for unit in ("ms", "us", "ns")},
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_an_integer_is_the_value_that_polars_makes_of_it(dtype):
    random, (least, end) = Random(1), DTYPES[dtype]
    numbers = [least, end - 1, *(random.randrange(least, end) for _ in range(200))]
    expected = decode(
        Column(np.array(numbers)), "last", encode(pl.Series(dtype=dtype))[1], ""
    ).to_list()
    convert = from_word(dtype) or (lambda number: number)
    assert repr([convert(number) for number in numbers]) == repr(expected)


def record(strings, ordinals):
    """A record of one array of ordinals, a tile each."""
    spelt = [text.encode() for text in strings]
    letters = b"".join(spelt)
    head = [
        tiles.FORMAT,
        0,
        len(ordinals),
        len(strings),
        *range(len(ordinals)),
        *ordinals,
        *np.cumsum([len(s) for s in spelt]),
    ]
    return np.array(head, np.int64).tobytes() + letters + b"\0" * (-len(letters) % 8)


def test_strings_of_several_records_are_numbered_together():
    own = [["", "a", "é"], [], ["a", "ab", "z" * 20, "é"]]
    far = 2**63 - 1  # stands for no string
    records = [record(strings, [*range(len(strings)), far]) for strings in own]
    words = np.frombuffer(bytearray(b"".join(records)), np.int64)
    kinds = np.array([tiles.NUMBERS + tiles.STRINGS])
    places, starts, p = np.zeros((3, 2), np.int64), np.zeros(3, np.int64), 0
    for r in range(3):
        starts[r], p = p, tiles.located(words, p, kinds, places[r])
    assert p == len(words)
    spans = np.zeros(7, np.int64)
    every = sorted({text for strings in own for text in strings}, key=str.encode)
    assert tiles.merge_strings(words, starts, places, kinds, spans, np.zeros(7, np.int64)) == len(
        every
    )
    assert [tiles.string_at(words.tobytes(), int(span)) for span in spans[: len(every)]] == every
    for strings, (begin, end) in zip(own, places, strict=True):
        assert words[begin:end].tolist() == [*(every.index(text) for text in strings), far]


def test_a_string_of_several_windows_is_made_once():
    data = "aé".encode() + b"\0" * 5
    strings = SpelledStrings(data)
    spans = [3, 0, (1 << 31) + 2, 3, (1 << 31) + 2]
    texts = [strings[span] for span in spans]
    assert texts == ["aé", "", "é", "aé", "é"] == [tiles.string_at(data, span) for span in spans]
    assert texts[0] is texts[3]
    assert texts[2] is texts[4]
