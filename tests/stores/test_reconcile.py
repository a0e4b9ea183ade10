"""A log-first store whose servers have lost different commits is refused; after a repair it is
filled again from the archive, exactly.
"""

import itertools

import pytest

import headwater as hw
from headwater.errors import FencedError, LostError
from headwater.testing.split_store import RemoteState
from headwater.testing.stores import RECORD, number, record
from tests.effort import LONG
from tests.flow import SCHEMA, Flow, clock, project_of, streaming_view  # noqa: F401 (a fixture)
from tests.stores.steps import Dead, Steps, read, roll_back
from tests.stores.test_half_commits import CASES, OWN, commit, go_on, records_of

REFUSED = r"holds records of commits that .* has lost.*Stop ingestion and jobs, and run `headwater store rewind`"


def view_of(case):
    events, schema, source = CASES[case]
    stream = hw.appended("nowhere", schema=SCHEMA | schema)
    return streaming_view(source={"stream": stream} | source), events


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_state_that_has_lost_commits_goes_on_from_those_that_it_has(
    case, opening, tmp_path, clock
):
    """While the archive has files of the lost ones. The repair is stopped before each of its steps,
    and made again.
    """
    clock(1105)
    view, events = view_of(case)
    whole = Flow([view], opening("whole"), tmp_path / "whole")
    whole.send(events[:40], 1000)
    go_on(whole, events, [120])
    expected = read(view, opening("whole"), 1401)
    assert sum(expected[0]) > 30
    for die_at in itertools.count() if LONG else (1, 3, 99):
        name, home = f"lost{die_at}", tmp_path / f"lost{die_at}"
        flow = Flow([view], opening(name), home)
        flow.send(events[:40], 1000)
        flow.ingestor.roll(least=1)
        before = list(opening(name).state.snapshot())
        flow.send(events[40:80], 1100)
        flow.ingestor.roll(least=1)
        roll_back(opening(name).state, before)
        with pytest.raises(LostError, match=REFUSED):
            Flow([view], opening(name), home)
        store, dead = opening(name), False
        found = hw.operations.rewind(project_of(view), store=store, data_dir=home, dry_run=True)
        assert found.emptied
        assert [(lost.made, lost.archived) for lost in found.sources] == [(1, 2)]
        steps = Steps(store, die_at)
        try:
            assert hw.operations.rewind(project_of(view), store=store, data_dir=home) == found
        except Dead:
            dead = True
            with pytest.raises(LostError, match="store rewind"):
                Flow([view], opening(name), home)
            hw.operations.rewind(project_of(view), store=opening(name), data_dir=home)
        store = opening(name)
        assert not hw.operations.rewind(project_of(view), store=store, data_dir=home)
        assert not list(store.scan(RECORD))
        flow = Flow([view], store, home)
        assert flow.offset == 40
        go_on(flow, events, [120])
        assert read(view, store, 1401) == expected
        assert store.outrun == 0
        if not dead:
            break
    assert steps.count > 3


@pytest.mark.parametrize("followed", [False, True])
def test_a_writer_that_was_stopped_writes_no_records_after_the_repair(followed, opening):
    """It was stopped before a step of a commit that was lost then, while the store was repaired.
    followed: another one goes on.
    """
    for stop_at in range(1, 5):
        slow = opening(f"slow{stop_at}")
        slow.mend(OWN)
        commit(slow, 1, None)
        before = list(slow.state.snapshot())
        steps, count, repaired = Steps(slow), itertools.count(1), []

        def repair(stop_at=stop_at, count=count, before=before, repaired=repaired):
            if next(count) == stop_at + 1:
                other = opening(f"slow{stop_at}")
                roll_back(other.state, before)
                repaired.append(other.reconcile())
                if followed:
                    other.mend(OWN)
                    commit(other, 2, 1)

        if isinstance(slow.state, RemoteState):
            slow.state.before = slow.table.before = repair
        else:
            steps.step = steps.table_step = repair
        with pytest.raises(FencedError):
            commit(slow, 2, 1)
        other = opening(f"slow{stop_at}")
        assert repaired == [stop_at > 1]  # before that, it had applied nothing
        if not followed and not repaired[0]:
            assert other.reconcile()  # now it has
            continue
        assert (records_of(other), other.get([OWN])) == (
            ({record(2)}, [number(2)]) if followed else (set(), [number(1)])
        )
        assert not other.reconcile(dry_run=True)


def test_a_store_that_has_lost_nothing_stays_as_it_is(opening):
    store = opening()
    for _ in range(2):
        assert not store.reconcile()
        store.mend(OWN)
    commit(store, 1, None)
    Steps(store, 2)
    with pytest.raises(Dead):
        commit(store, 2, 1)
    assert not opening().reconcile()  # half of a commit is finished, not removed
    store = opening()
    store.mend(OWN)
    assert records_of(store) == {record(2)}


def test_a_commit_that_was_decided_counts_though_its_records_are_removed(opening, tmp_path, clock):
    """Its writer died before it applied the commit, and the table has lost all that it had."""
    clock(1105)
    view, events = view_of("events with ids")
    for name, dead in (("whole", False), ("half", True)):
        flow = Flow([view], opening(name), tmp_path / name)
        flow.send(events[:40], 1000)
        if dead:
            Steps(flow.ingestor.store, 1)
            with pytest.raises(Dead):
                flow.send(events[40:80], 1100)
        else:
            flow.send(events[40:80], 1100)
    table = opening("half").table
    table.empty(list(table.writers()), 0, {})
    assert hw.operations.rewind(
        project_of(view), store=opening("half"), data_dir=tmp_path / "half"
    ).emptied
    values = []
    for name in ("whole", "half"):
        flow = Flow([view], opening(name), tmp_path / name)
        assert flow.offset == 80
        assert flow.ingestor.writer("0").progress.counts["accepted"] == 70
        go_on(flow, events, [120])
        values.append(read(view, opening(name), 1401))
    assert values[0] == values[1]
