"""Ids of accepted events: duplicates as a dictionary finds them, in at most 32 bytes an id; a store
of many small commits stays small.
"""

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from headwater.ingestion.ids import DedupIndex, IdBlocks
from headwater.stores import keyspace
from tests.flow import Flow, home, store, streaming_view  # noqa: F401 (fixtures)

DAY = 86_400
HORIZON = 96


# ---------------------------------------------------------------- the law


class Naive:
    """A dictionary of when each id was accepted, and with which content."""

    def __init__(self, accepted=()):
        self.accepted = dict(accepted)

    def accept(self, ids, contents, times):
        fresh, conflicts = [], 0
        for one, content, known in zip(ids, contents, times, strict=True):
            before = self.accepted.get(one)
            fresh.append(before is None or known - before[0] >= HORIZON)
            if fresh[-1]:
                self.accepted[one] = known, content
            else:
                conflicts += content != before[1]
        return fresh, conflicts


@st.composite
def batches(draw):
    """Events of a commit: few ids or many, strings or integers, known at one time or each at its
    time.
    """
    count, space = draw(st.sampled_from([(3, 4), (8, 30), (40, 30), (700, 5_000), (1_500, 600)]))
    chance = np.random.default_rng(draw(st.integers(0, 2**32)))
    ids = chance.integers(-space, space, count)
    each = (
        np.sort(chance.integers(0, 2 * HORIZON, count))
        if draw(st.booleans())
        else np.zeros(count, np.int64)
    )
    return (
        ids,
        chance.integers(0, 3, count),
        each,
        draw(st.sampled_from([0, 1, 7, HORIZON - 1, HORIZON, HORIZON + 1])),
    )


@given(
    st.lists(
        st.tuples(batches(), st.sampled_from(["go", "go", "go", "fail", "older"])), max_size=25
    ),
    st.booleans(),
)
def test_duplicates_are_those_that_a_dictionary_finds(steps, text):
    """In a batch and between batches; at exactly the horizon; while tables grow; after commits that
    failed, and from older versions.
    """
    versions = [(DedupIndex(HORIZON), Naive(), 0)]
    for (ids, contents, each, later), how in steps:
        index, naive, now = versions[len(versions) // 2 if how == "older" else -1]
        known = now + later + each
        given_ids = pl.Series([f"id {one}" for one in ids]) if text else pl.Series(ids)
        found = index.accept(given_ids, contents, known if each.any() else now + later)
        after = Naive(naive.accepted)
        fresh, conflicts = after.accept(ids.tolist(), contents.tolist(), known.tolist())
        assert found.accepted.tolist() == fresh
        assert found.conflicts == conflicts
        if how != "fail":
            versions.append((found.index, after, int(known[-1])))


def test_an_id_is_free_at_exactly_the_horizon_and_a_copy_does_not_prolong_it():
    ids, one = DedupIndex(10), pl.Series(["a"])
    seen = []
    for known in (0, 9, 10, 19, 20, 35):
        found = ids.accept(one, np.array([1]), known)
        ids = found.index
        seen.append(found.accepted.item())
    assert seen == [True, False, True, False, True, True]


def test_integers_of_any_type_are_their_value():
    """The least, the greatest and those around zero, of signed and unsigned types."""
    for dtype in (pl.Int8, pl.Int64, pl.UInt64):
        low, high = {
            pl.Int8: (-128, 127),
            pl.Int64: (-(2**63), 2**63 - 1),
            pl.UInt64: (0, 2**64 - 1),
        }[dtype]
        some = pl.Series([low, high, 0, 1, low, high, 0, 1], dtype=dtype).unique(
            maintain_order=True
        )
        twice = DedupIndex(10).accept(pl.concat([some, some]), np.zeros(2 * len(some), np.int64), 5)
        assert twice.accepted.tolist() == [True] * len(some) + [False] * len(some)


# ---------------------------------------------------------------- memory


def filled(count, batch, *, step=1, index=None, first=0):
    """An index as commits of `batch` new ids make it, after each of them."""
    index = index or DedupIndex(DAY)
    for number in range(first // batch, (first + count) // batch):
        ids = np.arange(number * batch, (number + 1) * batch)
        index = index.accept(pl.Series(ids), ids, number * step).index
        yield index


def test_an_id_takes_at_most_32_bytes_while_the_tables_grow():
    most = max(
        index.nbytes / len(index) for index in filled(300_000, 2_000) if len(index) > 100_000
    )
    assert 24 < most <= 32


# ---------------------------------------------------------------- blocks


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.lists(st.integers(0, 9), max_size=6), st.booleans()),
        max_size=120,
    )
)
def test_ids_within_the_horizon_are_known_however_blocks_were_merged(steps):
    """With restarts, which read the blocks: as a dictionary of the time when each id was accepted
    says.
    """
    values, now, horizon, accepted = {}, 0, 96, {}
    read = lambda keys: [values.get(key) for key in keys]  # noqa: E731
    ids, blocks = DedupIndex(horizon), IdBlocks(horizon)
    for step, (later, some, restart) in enumerate(steps):
        now += later
        if restart:
            ids, blocks = DedupIndex(horizon), IdBlocks(horizon)
            for key, value in sorted(values.items()):
                ids, blocks = ids.load(value, now), blocks.load(key, value)
        found = ids.accept(pl.Series(some, dtype=pl.Int64), np.zeros(len(some), np.int64), now)
        ids = found.index
        for one, fresh in zip(some, found.accepted.tolist(), strict=True):
            assert fresh == (now - accepted.get(one, -horizon) >= horizon)
            accepted |= {one: now} if fresh else {}
        changes, blocks = blocks.put(b"%08d" % step, found.block, now, read)
        for key, value in changes.items():
            if value is None:
                del values[key]
            else:
                values[key] = value
        assert len(values) == len(blocks)


def test_every_version_of_the_ids_stays_valid_whichever_was_used_last():
    """Versions share a table: against a dictionary for each, with branches, ids that are accepted
    again, and growth.
    """
    chance, horizon = np.random.default_rng(3), 50
    versions = [(DedupIndex(horizon), {}, 0)]
    for _ in range(400):
        index, accepted, now = versions[int(chance.integers(len(versions)))]
        now += int(chance.integers(0, 40))
        some = chance.integers(0, 3_000, int(chance.integers(1, 60)))
        found, after = (
            index.accept(pl.Series(some), np.zeros(len(some), np.int64), now),
            dict(accepted),
        )
        for one, fresh in zip(some.tolist(), found.accepted.tolist(), strict=True):
            assert fresh == (now - after.get(one, -horizon) >= horizon)
            after |= {one: now} if fresh else {}
        versions.append((found.index, after, now))
    assert len(found.index) > 0


def test_ids_are_known_after_many_small_commits_and_a_restart(store, tmp_path):
    view = streaming_view(windows=["1d"], source={"id_field": "amount"})
    flow = Flow([view], store, tmp_path)
    for n in range(70):
        flow.send([{"key": 1, "at": n, "amount": float(n)}], n + 1)
    assert sum(1 for _ in store.scan(keyspace.IDS)) < 40
    flow = Flow([view], store, tmp_path)
    (made,) = flow.send([{"key": 1, "at": n, "amount": float(n)} for n in range(80)], 100)
    assert (made.counts["copies"], made.counts["accepted"]) == (70, 10)
