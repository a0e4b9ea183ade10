"""A writer that dies amid a commit on a cluster: whatever is read next, and however it is cut into commits, every count is exact."""

import contextlib
import itertools
from datetime import datetime

import polars as pl
import pytest

import headwater as hw
from headwater.errors import FencedError, LostError
from headwater.online.feature_reader import OnlineView
from headwater.online_stores import open_store
from headwater.online_stores.keyspace import OFFSET, RECORD, number
from headwater.online_stores.redis import lua as scripts
from headwater.online_stores.redis.commands import RedisCall
from headwater.testing.stores import record
from tests.flow import Flow, at, micros, streaming_view

KEYS = 30
NUMBERS = itertools.count()


@pytest.fixture
def opening(cluster_url):
    """Opens stores of a cluster: the same one again and again, or another one by its name."""
    prefix = f"half{next(NUMBERS)}"
    with contextlib.ExitStack() as stack:
        yield lambda name="": stack.enter_context(contextlib.closing(open_store(f"{cluster_url}?prefix={prefix}{name}")))


class Dead(BaseException):
    """What a process that was killed meets: nothing of it runs on, and nothing reaches a server."""


def dies(store, when):
    """Have the store's process die at its next commit of records: when the first group, some, or all of them are written."""
    run, dead = store._servers.run, []

    def dying(calls, **how):
        if dead:
            raise Dead
        groups = calls[0].command is scripts.GROUP
        if groups and when != "before its offsets":
            run(calls[: 1 if when == "after a group" else len(calls) // 2], **how)
        if groups and when == "before its offsets":
            run(calls, **how)
        if groups:
            dead.append(True)
            raise Dead
        return run(calls, **how)

    store._servers.run = dying


WHEN = ["after a group", "amid its groups", "before its offsets"]


def event(n, *, second=None, key=None, **more):
    return {"key": n % KEYS if key is None else key, "amount": float(2 ** (n % 20)), "at": 10 + n if second is None else second, **more}


def read(view, store, second):
    served = OnlineView(view, store).read(pl.DataFrame({"key": range(KEYS)}), micros(second))
    return [series.to_list() for series in served.features]


plain = [event(n) for n in range(120)]
held = [
    event(n, second=1050 + n) if n % 5 == 1 else event(n) for n in range(120)
]  # some wait when they come, some no more when they come again
twice = [event(n % 70, id=f"e{n % 70}") for n in range(120)]
images = [  # of fifty events, which move from key to key and from tile to tile, and of which some are taken back
    event(n % 50, second=10 + n % 50 + 400 * (n // 50), key=(n + 7 * (n // 50)) % KEYS)
    | {"amount": float(n), "id": f"e{n % 50}", "known": at(10 + n).isoformat(), "gone": n % 7 == 3}
    for n in range(120)
]
IDS = {"id_field": "id"}
CASES = {
    "events": (plain, {}, {}),
    "events that wait": (held, {}, {}),
    "events with ids": (twice, {"id": str}, IDS),
    "events that wait, with ids": ([e | {"id": f"e{n % 90}"} for n, e in enumerate(held)], {"id": str}, IDS),
    "corrections": (images, {"id": str, "known": datetime, "gone": bool}, IDS | {"known_at_field": "known", "changes": "gone"}),
}
CUTS = {"as before": [40, 80, 120], "shorter": [45, 61, 79, 80, 120], "longer": [95, 120], "all at once": [120]}


def view_of(schema, source):
    stream = hw.push(schema={"key": int, "amount": float, "at": datetime} | schema, at_least_once=True)
    return streaming_view(source={"stream": stream} | source)


@pytest.mark.parametrize("cuts", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("when", WHEN)
@pytest.mark.parametrize(("events", "schema", "source"), CASES.values(), ids=CASES)
def test_what_is_read_again_counts_once(events, schema, source, when, cuts, opening, tmp_path):
    view = view_of(schema, source)
    store = opening()
    flow = Flow([view], store, tmp_path / "archive")
    flow.send(events[:40], 1000)
    dies(store, when)
    with pytest.raises(Dead):
        flow.send(events[40:80], 1100)
    store = opening()
    flow = Flow([view], store, tmp_path / "archive")
    assert flow.offset == 40
    for now, end in enumerate(cuts, 1110):
        flow.send(events[flow.offset : end], now)
    flow.send([], 1400)
    whole = opening("whole")
    other = Flow([view], whole, tmp_path / "other")
    other.send(events[:40], 1000)
    for now, end in enumerate(cuts, 1110):
        other.send(events[other.offset : end], now)
    other.send([], 1400)
    assert read(view, store, 1401) == read(view, whole, 1401)
    assert sum(read(view, whole, 1401)[0]) > 30
    assert store.outrun == 0


def records_of(store):
    return {value for _, value in store.scan(RECORD)}


OWN = OFFSET + b"p"
SOME = [RECORD + b"%d" % n for n in range(50)]


def commit(store, to, expected, records=SOME):
    before = None if expected is None else number(expected)
    store.commit({OWN: number(to)} | {key + b"\0p": record(to) for key in records}, {OWN: before})


def half(store, to, expected, when="amid its groups"):
    dies(store, when)
    with pytest.raises(Dead):
        commit(store, to, expected)


def test_half_of_a_commit_is_undone_once_and_for_all(opening):
    store = opening()
    store.mend(OWN)
    commit(store, 1, None, SOME[:25])
    half(store, 2, 1)
    other = opening()
    assert records_of(other) == {record(1), record(2)}
    with pytest.raises(FencedError):
        commit(other, 2, 1)  # it may have read what is to be undone
    dies_undoing(opening())
    for _ in range(2):
        other.mend(OWN)
        assert {key for key, _ in other.scan(RECORD)} == {key + b"\0p" for key in SOME[:25]}, "what was not there is not there"
        assert records_of(other) == {record(1)}
    commit(other, 2, 1)
    other.mend(OWN)
    assert records_of(other) == {record(2)}


def dies_undoing(store):
    run = store._servers.run

    def dying(calls, **how):
        if calls[0].command is not scripts.UNDO:
            return run(calls, **how)
        run(calls[:128], **how)
        raise Dead

    store._servers.run = dying
    with pytest.raises(Dead):
        store.mend(OWN)


def test_who_was_slow_writes_no_half_of_a_commit_later(opening):
    """It was stopped between its groups, or before its offsets, while another took its partition."""
    slow, other = opening(), opening()
    slow.mend(OWN)
    commit(slow, 1, None)
    run = slow._servers.run
    for stop in (scripts.GROUP, scripts.COMMIT):

        def stopped(calls, stop=stop, **how):
            if calls[0].command is stop:
                slow._servers.run = run
                if stop is scripts.GROUP:
                    run(calls[:5], **how)
                other.mend(OWN)
                assert records_of(other) == {record(1)}
            return run(calls, **how)

        slow._servers.run = stopped
        with pytest.raises(FencedError):
            commit(slow, 2, 1)
        assert records_of(other) == {record(1)}
        slow.mend(OWN)
    with pytest.raises(FencedError):
        commit(other, 2, 1)
    commit(slow, 2, 1)


@pytest.mark.parametrize("forgotten", [1, 2])
def test_offsets_that_are_forgotten_while_records_are_not(forgotten, opening):
    """As a master that writes to its disk once a second forgets them. One commit can be undone; that there were more, everybody finds."""
    store = opening()
    store.mend(OWN)
    for to in (1, 2, 3):
        if to == 4 - forgotten:
            names = [store._base + end for end in (b":state", b":turns", b":done")]
            kept = [store._servers.run([RedisCall(name, ("DUMP", name))])[0] for name in names]
        commit(store, to, None if to == 1 else to - 1)
    for name, value in zip(names, kept, strict=True):
        store._servers.run([RedisCall(name, ("RESTORE", name, 0, value, "REPLACE"))])
    if forgotten == 1:
        store = opening()
        store.mend(OWN)
        assert records_of(store) == {record(2)}
        commit(store, 3, 2)
    for _ in range(5 * (forgotten - 1)):
        with pytest.raises(LostError, match="has lost offsets that records depend on"):
            opening().mend(OWN)
        with pytest.raises(FencedError):
            commit(opening(), 2, 1)
