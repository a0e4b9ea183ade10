"""A writer that dies between any two steps of a commit, in stores that are log first: every count
is exact, or the store is refused.

The stores are a cluster of Redis, and a table and a state in processes of their own.
"""

import contextlib
import itertools
import threading
from datetime import datetime

import pytest

import headwater as hw
from headwater.errors import FencedError, LostError
from headwater.testing.stores import OFFSET, RECORD, number, record, restore_into
from tests.flow import Flow, at, streaming_view
from tests.stores.split_store import RemoteState
from tests.stores.steps import KEYS, Dead, Steps, read, roll_back


def event(n, *, second=None, key=None, **more):
    return {
        "key": n % KEYS if key is None else key,
        "amount": float(2 ** (n % 20)),
        "at": 10 + n if second is None else second,
        **more,
    }


plain = [event(n) for n in range(120)]
held = [
    event(n, second=1050 + n) if n % 5 == 1 else event(n) for n in range(120)
]  # some wait when they come, some no more when they come again
twice = [event(n % 70, id=f"e{n % 70}") for n in range(120)]
# of fifty events, which move from key to key and from tile to tile, and some of them are taken back
images = [
    event(n % 50, second=10 + n % 50 + 400 * (n // 50), key=(n + 7 * (n // 50)) % KEYS)
    | {"amount": float(n), "id": f"e{n % 50}", "known": at(10 + n).isoformat(), "gone": n % 7 == 3}
    for n in range(120)
]
IDS = {"id_field": "id"}
CASES = {
    "events": (plain, {}, {}),
    "events that wait": (held, {}, {}),
    "events with ids": (twice, {"id": str}, IDS),
    "events that wait, with ids": (
        [e | {"id": f"e{n % 90}"} for n, e in enumerate(held)],
        {"id": str},
        IDS,
    ),
    "corrections": (
        images,
        {"id": str, "known": datetime, "gone": bool},
        IDS | {"known_at_field": "known", "changes": "gone"},
    ),
}


def view_of(schema, source):
    stream = hw.push(
        schema={"key": int, "amount": float, "at": datetime} | schema, at_least_once=True
    )
    return streaming_view(source={"stream": stream} | source)


SENT = {"then": [120], "in pieces": [85, 99, 120], "with nothing between": [80, 80, 120]}


KINDS = [
    *(pytest.param("cluster", case, marks=pytest.mark.services) for case in CASES),
    *(("split", case) for case in CASES),
]


@pytest.mark.slow
@pytest.mark.parametrize(("opening", "case"), KINDS, indirect=["opening"])
def test_killed_between_every_two_steps(opening, case, tmp_path):
    """Once during the commit, and once more while the next process takes over."""
    events, schema, source = CASES[case]
    view = view_of(schema, source)
    exact = {}
    for die_at in itertools.count():
        store = opening(f"at{die_at}")
        flow = Flow([view], store, tmp_path / f"archive{die_at}")
        flow.send(events[:40], 1000)
        steps = Steps(store, die_at)
        try:
            flow.send(events[40:80], 1100)
        except Dead:
            store = opening(f"at{die_at}")
            Steps(store, die_at % 9)
            with contextlib.suppress(Dead):
                Flow([view], store, tmp_path / f"archive{die_at}")
        store = opening(f"at{die_at}")
        flow = Flow([view], store, tmp_path / f"archive{die_at}")
        decided = die_at > 0
        assert flow.offset == (80 if decided else 40), "the first step decides"
        cuts = list(SENT.values())[die_at % len(SENT)]
        go_on(flow, events, cuts)
        key = (decided, *cuts)
        if key not in exact:
            whole = opening(f"whole{len(exact)}")
            other = Flow([view], whole, tmp_path / f"other{die_at}")
            other.send(events[:40], 1000)
            if decided:
                other.send(events[40:80], 1100)
            go_on(other, events, cuts)
            exact[key] = read(view, whole, 1401)
        assert read(view, store, 1401) == exact[key], f"killed before step {die_at}"
        assert store.outrun == 0
        if steps.count < die_at:
            break
    assert die_at > 3, "it died between steps"
    assert sum(exact[key][0]) > 30


def go_on(flow, events, cuts):
    for now, end in enumerate(cuts, 1110):
        flow.send(events[flow.offset : end], now)
    flow.send([], 1400)


@pytest.mark.slow
@pytest.mark.parametrize("commits", [1, 2])
def test_a_state_that_is_rolled_back_is_refused_or_was_not_ahead(commits, opening, tmp_path):
    """After each step of the last of the commits that are forgotten; by the process that goes on,
    and by every one that comes.
    """
    view, refused = view_of({}, {}), 0
    for die_at in itertools.count():
        store = opening(f"back{die_at}")
        flow = Flow([view], store, tmp_path / f"archive{die_at}")
        flow.send(plain[:40], 1000)
        before = list(store.state.snapshot())
        steps = Steps(store)
        if commits == 2:
            flow.send(plain[40:60], 1050)
        steps.die_at = steps.count + die_at
        with contextlib.suppress(Dead):
            flow.send(plain[40 + 20 * (commits - 1) : 80], 1100)
        over, steps.die_at = steps.count < steps.die_at, None
        roll_back(opening(f"back{die_at}").state, before)
        if steps.table:
            refused += 1
            with pytest.raises(FencedError):
                flow.send(plain[80:], 1200)
            for _ in range(2):
                with pytest.raises(
                    LostError, match=r"holds records of commits that .* has lost.*store rewind"
                ):
                    Flow([view], opening(f"back{die_at}"), tmp_path / f"archive{die_at}")
        else:
            store = opening(f"back{die_at}")
            go_on(Flow([view], store, tmp_path / f"again{die_at}"), plain, [120])
            assert sum(read(view, store, 1401)[0]) == 120
        if over:
            break
    assert refused > 2


def records_of(store):
    return {value for _, value in store.scan(RECORD)}


OWN = OFFSET + b"p"
SOME = [RECORD + b"%d" % n for n in range(50)]


def commit(store, to, expected, records=SOME):
    before = None if expected is None else number(expected)
    store.commit({OWN: number(to)} | {key + b"\0p": record(to) for key in records}, {OWN: before})


@pytest.mark.slow
def test_half_of_a_commit_is_finished_once_and_for_all(opening):
    store = opening()
    store.mend(OWN)
    commit(store, 1, None, SOME[:25])
    Steps(store, 2)
    with pytest.raises(Dead):
        commit(store, 2, 1)
    other = opening()
    assert records_of(other) == {record(1), record(2)}
    with pytest.raises(FencedError):
        commit(other, 2, 1)  # it may have read what was not finished
    assert records_of(other) == {record(2)}
    for _ in range(2):
        other.mend(OWN)
        assert {key for key, _ in other.scan(RECORD)} == {key + b"\0p" for key in SOME}
        assert records_of(other) == {record(2)}
    commit(other, 3, 2)
    assert records_of(other) == {record(3)}


@pytest.mark.slow
def test_who_was_slow_writes_no_half_of_a_commit_later(opening):
    """It was stopped before each of its steps, while another took its partition."""
    for stop_at in range(1, 5):
        slow, other = opening(f"slow{stop_at}"), opening(f"slow{stop_at}")
        slow.mend(OWN)
        commit(slow, 1, None)
        steps, count, taken = Steps(slow), itertools.count(1), threading.Event()

        def overtaken(other=other, stop_at=stop_at, count=count, taken=taken):
            if next(count) == stop_at + 1:
                other.mend(OWN)
                assert records_of(other) == {record(2)}
                commit(other, 3, 2)
                taken.set()

        steps.step = overtaken
        if not isinstance(slow.state, RemoteState):
            steps.table_step = overtaken
        else:
            slow.state.before = slow.table.before = overtaken
        with pytest.raises(FencedError):
            commit(slow, 2, 1)
        # shards are written side by side, and the first that is refused ends the commit
        assert taken.wait(60)
        assert records_of(other) == {record(3)}
        for expected in (1, 2, 3):
            with pytest.raises(FencedError):
                commit(slow, 4, expected)
        slow.mend(OWN)
        with pytest.raises(FencedError):
            commit(other, 4, 3)
        commit(slow, 4, 3)


def test_a_backup_has_no_half_of_a_commit(opening, tmp_path):
    store = opening()
    store.mend(OWN)
    commit(store, 1, None)
    Steps(store, 2)
    with pytest.raises(Dead):
        commit(store, 2, 1)
    opening().backup(tmp_path / "backup")
    other = opening("restored")
    restore_into(tmp_path / "backup", other)
    assert (records_of(other), other.get([OWN])) == ({record(2)}, [number(2)])
    other.mend(OWN)
    commit(other, 3, 2)
