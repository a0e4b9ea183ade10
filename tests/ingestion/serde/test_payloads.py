"""Payloads in one buffer are the same sequence as in a list."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.ingestion.serde.json import Payloads, concatenated, taken

LISTS = st.lists(st.binary(max_size=5) | st.none(), max_size=6)


@given(LISTS)
def test_a_buffer_holds_what_the_list_holds(payloads):
    buffer = Payloads.pack(payloads)
    assert list(buffer) == payloads
    assert [buffer[n] for n in range(-len(payloads), 0)] == payloads
    assert list(buffer[1:4]) == payloads[1:4]
    assert Payloads.pack(buffer) is buffer
    with pytest.raises(IndexError):
        buffer[len(payloads)]


@given(st.lists(LISTS, max_size=4), st.booleans())
def test_parts_are_concatenated(parts, listed):
    given_parts = [
        part if listed and n % 2 else Payloads.pack(part) for n, part in enumerate(parts)
    ]
    assert list(concatenated(given_parts)) == [payload for part in parts for payload in part]


@given(LISTS.filter(bool), st.data())
def test_some_are_taken(payloads, data):
    index = np.array(data.draw(st.lists(st.integers(0, len(payloads) - 1), max_size=5)), np.int64)
    for given_payloads in (payloads, Payloads.pack(payloads), Payloads.pack(payloads)[::-1][::-1]):
        assert list(taken(given_payloads, index)) == [payloads[n] for n in index.tolist()]
