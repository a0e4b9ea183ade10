"""Commits as values: a dictionary stands for the store, so any split, replay or failure of a stream
is a few lines.
"""

import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headwater as hw
from headwater.ingestion.commit import CommitBatch, Skip, WriterRules, WriterState, build_commit
from headwater.ingestion.ids import WIDTH
from headwater.ingestion.sources.stream_reader import (
    RecordBatch,
    between,
    integer_position,
    offset_at,
)
from headwater.ingestion.validate import Acceptance, waiting
from headwater.stores import keyspace
from tests.effort import FULL

SECOND = 1_000_000
NOW = 1_000 * SECOND
SCHEMA = {"key": int, "n": int, "id": int, "at": datetime}


class Stored(dict):
    """The keys and values of a store, as a value."""

    def get(self, keys):
        return [dict.get(self, key) for key in keys]

    def scan(self, prefix):
        return iter([(key, self[key]) for key in sorted(self) if key.startswith(prefix)])

    def sizes(self, prefix):
        return ((key, len(value)) for key, value in self.scan(prefix))

    def after(self, commit):
        """With the changes of a commit, which expects these values."""
        assert self.get(list(commit.expect)) == list(commit.expect.values())
        return Stored(
            {key: value for key, value in {**self, **commit.changes}.items() if value is not None}
        )


def rules(partition="0", changes=None, **more):
    known = {"changes": changes, "known_at_field": "known"} if changes else {}
    schema = SCHEMA | ({changes: bool, "known": datetime} if changes else {})
    source = hw.Source(
        "events",
        stream=hw.appended("nowhere", schema=schema),
        timestamp_field="at",
        id_field="id",
        **known,
        **more,
    )
    features = [hw.count(), hw.sum("n"), hw.max("n"), hw.last("n")]
    view = hw.FeatureView(
        "v",
        source=source,
        keys=["key"],
        features=features,
        windows=["10m", "1d"],
        freshness=hw.streaming("2s"),
    )
    return WriterRules(Acceptance(source, (view,), 3600 * SECOND), partition)


def begin(some):
    return WriterState.load(some, Stored())


def poll(rows, first, partition="0"):
    """Rows as records from an offset on; times are seconds."""
    moment = lambda value: (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=value)).isoformat()  # noqa: E731
    payloads = [
        json.dumps(
            {name: moment(v) if name in ("at", "known") else v for name, v in row.items()}
        ).encode()
        for row in rows
    ]
    n = len(rows)
    offsets = np.arange(first, first + n)
    return RecordBatch(
        [partition],
        np.zeros(n, np.int64),
        offsets,
        np.full(n, NOW),
        {partition: between(first, first + n)},
        payloads,
    )


def committed(state, batch, now=NOW):
    """The state once a commit is in the store, and its result."""
    commit = build_commit(state, batch, now)
    return replace(commit.state, stored=state.stored.after(commit)), commit.result


def contents(state):
    """What the store holds of events, without what says in which commit each came."""
    stored = state.stored
    records = {key: value[:8] + value[16:] for key, value in stored.scan(keyspace.RECORD)}
    ids = sorted(
        np.frombuffer(b"".join(v for _, v in stored.scan(keyspace.IDS)), np.int64)
        .reshape(-1, WIDTH)
        .tolist()
    )
    held = [
        row
        for _, value in stored.scan(keyspace.HELD)
        for row in waiting(value, state.progress.at).rows()
    ]
    archive = [
        row
        for _, value in stored.scan(keyspace.ARCHIVE)
        for row in pl.read_ipc_stream(value).drop("headwater_sequence").rows()
    ]
    return records, ids, sorted(held), sorted(archive), dict(state.positions)


EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "key": st.integers(0, 3),
            "n": st.integers(-5, 5),
            "id": st.integers(0, 30),
            "at": st.sampled_from([1, 100, 700, 998, 1005, 1050]),
        }
    ),
    max_size=40,
)
STEPS = st.lists(
    st.tuples(st.integers(1, 9), st.integers(0, 12), st.sampled_from(["go", "fail", "restart"])),
    min_size=40,
    max_size=40,
)


@pytest.mark.slow
@settings(max_examples=60 if FULL else 15, deadline=None)
@given(EVENTS, STEPS)
def test_however_a_stream_is_split_replayed_and_restarted_it_counts_once(rows, steps):
    some = rules()
    expected, _ = committed(begin(some), CommitBatch([poll(rows, 0)]))
    state, done = begin(some), 0
    for size, again, how in steps:
        first = max(0, done - again)
        # what was read before comes again, and more
        before = [poll(rows[first : done + size], first)] if first < done else []
        batch = CommitBatch([*before, poll(rows[done : done + size], done), *before])
        if how == "fail":
            build_commit(state, batch, NOW)
            continue
        state, _ = committed(state, batch)
        done = min(len(rows), done + size)
        if how == "restart":
            state = WriterState.load(some, state.stored)
    state, _ = committed(state, CommitBatch([poll(rows[done:], done)]))
    assert contents(state) == contents(expected)
    later = 1060 * SECOND
    assert contents(committed(state, CommitBatch(), later)[0]) == contents(
        committed(expected, CommitBatch(), later)[0]
    )


def test_the_same_arguments_give_the_same_bytes_and_are_left_as_they_were():
    rows = [{"key": n % 3, "n": n, "id": n, "at": 990 + n} for n in range(30)]
    state, _ = committed(begin(rules()), CommitBatch([poll(rows[:10], 0)]))
    before = contents(state), len(state.ids), state.held.due
    one, other = (
        build_commit(state, CommitBatch([poll(rows[10:], 10)]), NOW + 5 * SECOND) for _ in range(2)
    )
    assert one.changes == other.changes
    assert one.expect == other.expect
    assert (contents(state), len(state.ids), state.held.due) == before
    assert len(one.state.ids) == 15, "ids of held events are known when these are released"
    assert one.state.held.due == (NOW + 5 * SECOND)
    after = replace(one.state, stored=state.stored.after(one))
    assert build_commit(after, CommitBatch(), NOW + 60 * SECOND).result.counts["released"] == 15
    assert (
        build_commit(state, CommitBatch(), NOW + 60 * SECOND).result.counts.get("released", 0) == 0
    ), "the older state is still whole"


def test_a_batch_that_comes_twice_changes_nothing():
    batch = CommitBatch(
        [poll([{"key": 1, "n": 2, "id": 3, "at": 10}, {"key": 1, "n": 2, "id": 4, "at": 1005}], 0)]
    )
    state, first = committed(begin(rules()), batch)
    again, second = committed(state, batch)
    assert (first.counts["accepted"], first.counts["held"]) == (1, 1)
    assert dict(second.counts) == {"read_before": 2}
    assert contents(again) == contents(state)
    assert len(again.ids) == 1


def test_a_copy_at_a_new_offset_is_a_duplicate_and_what_is_wrong_a_dead_letter():
    state, _ = committed(
        begin(rules()), CommitBatch([poll([{"key": 1, "n": 2, "id": 3, "at": 10}], 0)])
    )
    wrong = [{"key": 1, "n": 2, "id": 3, "at": 10}, {"key": 1, "n": 2, "id": None, "at": 10}]
    state, result = committed(state, CommitBatch([poll(wrong, 1)]))
    assert (result.counts["copies"], result.counts["dead"], result.dead["reason"].to_list()) == (
        1,
        1,
        ["no id"],
    )
    assert sum(1 for _ in state.stored.scan(keyspace.DEAD)) == 1


def test_lost_records_are_counted_and_a_store_that_has_moved_is_expected_where_it_was():
    state, _ = committed(
        begin(rules()), CommitBatch([poll([{"key": 1, "n": 2, "id": 3, "at": 10}], 0)])
    )
    skipped, result = committed(state, CommitBatch(known=0, skip=Skip("0", integer_position(9), 8)))
    assert (result.counts["lost"], offset_at(skipped.positions["0"]), skipped.progress.gap) == (
        8,
        9,
        NOW,
    )
    stale = build_commit(state, CommitBatch([poll([], 1)]), NOW)
    with pytest.raises(AssertionError):  # as a store, which refuses it
        skipped.stored.after(stale)


def test_images_retract_what_they_take_back_without_a_store():
    some = rules(changes="before")
    image = {"key": 1, "n": 2, "id": 3, "at": 10, "known": 20, "before": False}
    state, _ = committed(begin(some), CommitBatch([poll([image], 0)]))
    assert len(contents(state)[0]) == 1
    gone = image | {"known": 30, "before": True}
    one, other = (build_commit(state, CommitBatch([poll([gone], 1)]), NOW + 1) for _ in range(2))
    assert one.changes == other.changes
    state, result = committed(state, CommitBatch([poll([gone], 1)]), NOW + 1)
    assert (result.counts["deleted"], contents(state)[0]) == (1, {})
    assert len(state.changes.due) == 2


def test_records_that_skip_some_or_come_late_are_left_out_and_their_partition_is_named():
    state, _ = committed(
        begin(rules(None)),
        CommitBatch([poll([{"key": 1, "n": 1, "id": 1, "at": 10}], 0), poll([], 0, "1")]),
    )
    some = [poll([{"key": 1, "n": 1, "id": 10 + n, "at": 10}], n) for n in (2, 1)]
    after, result = committed(
        state, CommitBatch([*some, poll([{"key": 2, "n": 1, "id": 9, "at": 10}], 0, "1")])
    )
    assert (result.misplaced, result.counts["accepted"], result.counts["read_before"]) == (
        {"0"},
        2,
        1,
    )
    assert {name: offset_at(position) for name, position in after.positions.items()} == {
        "0": 2,
        "1": 1,
    }


def test_positions_are_bytes_that_only_the_stream_reads():
    """Sequence numbers of 56 digits, whose order as bytes is not that of the stream."""
    row = {"key": 1, "n": 1, "at": 10}
    number = [
        b"49590338271490256608559692538361571095921575989136588898",
        b"9" * 56,
        b"1" + b"0" * 55,
    ]
    batch = [
        CommitBatch([replace(poll([row | {"id": n}], n), positions={"0": (first, end)})])
        for n, (first, end) in enumerate(itertools.pairwise(number))
    ]
    state = begin(rules())
    for one in (batch[0], batch[1], batch[0], batch[1]):
        state, result = committed(state, one)
    assert state.positions == {"0": number[2]}
    assert state.stored.get([keyspace.offset("events", "0")]) == [number[2]]
    assert (
        state.progress.counts["accepted"],
        state.progress.counts["read_before"],
        result.misplaced,
    ) == (2, 2, {"0"})
    assert [
        int.from_bytes(record[8:16], "little") for _, record in state.stored.scan(keyspace.RECORD)
    ] == [2], "the second commit's"
