"""A log-first store whose servers have lost different commits is refused; after a repair it is
filled again from the archive, exactly.
"""

import itertools

import pytest

import headwater as hw
from headwater.errors import FencedError, LostError
from headwater.testing.stores import RECORD, number, record
from tests.flow import SCHEMA, Flow, clock, project_of, streaming_view  # noqa: F401 (a fixture)
from tests.stores.split_store import RemoteState
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
    for die_at in (1, 3, 99):
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


@pytest.mark.slow
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
