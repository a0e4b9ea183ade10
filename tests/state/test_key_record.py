"""Records of several views: each section is replaced, dropped and found by itself, and the others
stay to the byte.
"""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import StoreError
from headwater.state.record import (
    EMPTY,
    GroupedRecords,
    KeyRecords,
    alone,
    fingerprints,
    section,
    section_at,
    sections,
    size_of,
    through_of,
    with_section,
)
from headwater.state.tiles import FORMAT as SECTION_FORMAT
from headwater.stores import keyspace

GROUP = "ab" * 8
# as integers, the last two are below zero
NAMES = ["00" * 8, "01" * 8, "7f" + "ff" * 7, "80" + "00" * 7, "ff" * 8]


def part(number, words=3):
    """A section of some words, told apart by a number."""
    return struct.pack(f"<{4 + words}q", SECTION_FORMAT, 0, 1, 0, *[number] * words)


def stored(values):
    return lambda keys: [values.get(key) for key in keys]


commits = st.lists(
    st.dictionaries(
        st.sampled_from(NAMES),
        st.dictionaries(
            st.sampled_from([b"a", b"b", b"c", b"d"]),
            st.tuples(st.integers(0, 99), st.integers(0, 5)),
            min_size=1,
        ),
        min_size=1,
    ),
    max_size=6,
)


@given(commits=commits, kept=st.sets(st.sampled_from(NAMES)))
def test_sections_are_replaced_as_a_dictionary_is(commits, kept):
    """Commits that each replace sections of some views for some keys; a section of an even number
    is dropped.
    """
    store, model = {}, {}
    for sequence, views in enumerate(commits, 1):
        records = KeyRecords(stored(store), GROUP, "7")
        touched = {key for new in views.values() for key in new}
        for tiles, new in views.items():
            old = records.fetcher(tiles)(list(new))
            assert list(old) == [model.get((tiles, key), b"") for key in new]
            records.put(
                tiles, {key: part(n, words) if n % 2 else b"" for key, (n, words) in new.items()}
            )
            model |= {
                (tiles, key): part(n, words) if n % 2 else b"" for key, (n, words) in new.items()
            }
        for place, record in records.changes(sequence, kept).items():
            store.pop(place, None)
            if record is not None:
                store[place] = record
                assert through_of(record) == sequence
        if kept:
            for tiles, key in list(model):
                if key in touched and tiles not in views and tiles not in kept:
                    model[tiles, key] = b""
        for tiles in NAMES:
            for key in (b"a", b"b", b"c", b"d"):
                record = store.get(keyspace.record(GROUP, key, "7"))
                assert section(record, tiles) == model.get((tiles, key), b"")
        assert set(store) == {
            keyspace.record(GROUP, key, "7") for (_, key), held in model.items() if held
        }


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 99), st.integers(0, 4)), max_size=8)
)
def test_one_section_is_replaced_as_many_are(changes):
    """`with_section` and the loop write the same bytes; the loop that reads finds the same
    words.
    """
    one, store = b"", {}
    place = keyspace.record(GROUP, b"k")
    for tiles, n, words in changes:
        new = part(n, words) if n % 3 else b""
        one = with_section(one or None, tiles, new)
        records = KeyRecords(stored(store), GROUP, None)
        records.put(tiles, {b"k": new})
        store = {key: value for key, value in records.changes(0).items() if value is not None}
    assert one == store.get(place, b"")
    if one:
        words_of = np.frombuffer(one, np.int64)
        assert size_of(words_of[0]) == len(words_of)
        assert fingerprints(one) == sorted(
            fingerprints(one),
            key=lambda name: int.from_bytes(bytes.fromhex(name), "big", signed=True),
        )
        for tiles in NAMES:
            begin = section_at(
                words_of, 0, int.from_bytes(bytes.fromhex(tiles), "big", signed=True)
            )
            held = section(one, tiles)
            assert (begin >= 0) == bool(held)
            assert not held or words_of[begin : begin + len(held) // 8].tobytes() == held
        assert sections([one, b"", one], NAMES[0]) == [
            section(one, NAMES[0]),
            b"",
            section(one, NAMES[0]),
        ]


def test_views_of_one_group_are_read_once():
    """Three views read and write the records of the same keys: one read of the store, one record a
    key.
    """
    asked = []

    class View:
        record_group = GROUP

    def get(keys):
        asked.append(list(keys))
        return [None] * len(keys)

    grouped = GroupedRecords(get, None)
    for n, tiles in enumerate(NAMES[:3]):
        records = grouped.of_view(View())
        assert list(records.fetcher(tiles)([b"a", b"b"])) == [b"", b""]
        records.put(tiles, {b"a": part(n), b"b": part(n)})
    changes = grouped.changes(4)
    assert asked == [[keyspace.record(GROUP, b"a"), keyspace.record(GROUP, b"b")]]
    assert [fingerprints(record) for record in changes.values()] == [NAMES[:3], NAMES[:3]]


@pytest.mark.parametrize(
    "record", [part(5), struct.pack("<4q", 3, 0, 0, 0)], ids=["earlier", "later"]
)
def test_a_record_of_another_format_is_refused(record):
    for read in (
        section,
        lambda record, tiles: sections([record], tiles),
        lambda record, tiles: with_section(record, tiles, b""),
    ):
        with pytest.raises(StoreError, match="a format that this version does not read"):
            read(record, NAMES[0])


def test_nothing_has_no_sections():
    assert (
        section(None, NAMES[0]),
        section(EMPTY, NAMES[0]),
        with_section(None, NAMES[0], b""),
        alone(b"", NAMES[0]),
    ) == (
        b"",
        b"",
        b"",
        b"",
    )
    assert KeyRecords(stored({}), GROUP, None).changes(1) == {}
