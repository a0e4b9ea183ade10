"""Jobs that die between any two steps in stores that are log first: they go on, or refuse a state
that has lost commits.
"""

import itertools

import pytest

import headwater as hw
from headwater.errors import LostError
from headwater.jobs.compact_views import compact_store
from headwater.jobs.materialize import materialize_view
from headwater.stores.keyspace import RECORD
from tests.flow import Flow, frame, micros, project_of, streaming_view, view_of
from tests.stores.steps import KEYS, Dead, Steps, read, roll_back


def event(n, *, second=None, key=None):
    return {
        "key": n % KEYS if key is None else key,
        "amount": float(2 ** (n % 20)),
        "at": 10 + n if second is None else second,
    }


plain = [event(n) for n in range(120)]


def hourly():
    """A view of 90 events of 30 keys: three each, one of them before the first hour, of amount 1,
    10 and 100.
    """
    rows = [(key, 3600 * n + 0.1 + key, 10.0**n) for key in range(KEYS) for n in range(3)]
    return view_of(
        frame(rows),
        freshness=hw.batch("1h", delay="10m"),
        features=[hw.sum("amount")],
        windows=["300d"],
    )


def make(store, hours):
    return materialize_view(hourly(), store, micros(3600 * hours + 600), wait=0)


def killed(steps, job, *args):
    """Whether the job died at the step."""
    try:
        job(*args)
    except Dead:
        return True
    return steps.count > steps.die_at


def job_killed_at(die_at, opening):
    store = opening(f"job{die_at}")
    make(store, 1)
    died = killed(Steps(store, die_at), make, store, 2)
    store = opening(f"job{die_at}")
    assert read(hourly(), store, 4201)[0] == [1.0] * KEYS, (
        "the cut before is read until the job is done"
    )
    make(store, 2)
    assert read(hourly(), store, 7801)[0] == [11.0] * KEYS, f"killed before step {die_at}"
    make(store, 3)
    assert read(hourly(), store, 11401)[0] == [111.0] * KEYS
    assert store.outrun == 0
    return died


@pytest.mark.slow
def test_a_job_that_is_killed_while_its_records_are_written_is_gone_on_from(opening):
    store = opening("counted")
    make(store, 1)
    steps = Steps(store)
    make(store, 2)
    # the records are the last that a job writes to the table
    assert job_killed_at(steps.of_table[-2], opening)


@pytest.mark.slow
def test_a_job_killed_between_every_two_steps(opening):
    assert next(n for n in itertools.count() if not job_killed_at(n, opening)) > 8


@pytest.mark.slow
@pytest.mark.parametrize("hours", [1, 2])
def test_a_job_refuses_a_state_that_has_lost_its_cuts_until_it_is_repaired(hours, opening):
    """Records in both slots may be of later cuts: added to again, they would count events twice or
    not at all.
    """
    store = opening()
    make(store, hours)
    before = list(store.state.snapshot())
    for later in (3, 4, 5):
        make(store, later)
    roll_back(opening().state, before)
    for _ in range(2):
        with pytest.raises(LostError, match=r"holds records of commits that .* has lost"):
            make(opening(), 5)
    assert opening().reconcile()
    store = opening()
    assert not list(store.scan(RECORD))
    make(store, 5)
    assert read(hourly(), store, 18601)[0] == [111.0] * KEYS
    assert store.outrun == 0


def compaction_killed_at(die_at, opening, tmp_path):
    """Half of the keys have events that no window reaches; more events come afterwards."""
    view = streaming_view()
    project, name = project_of(view), f"compaction{die_at}"
    store = opening(name)
    flow = Flow([view], store, tmp_path / name)
    flow.send(plain[:40], 1000)
    flow.send([event(n, second=9000 + n, key=n) for n in range(KEYS // 2)], 9100)
    expected = read(view, store, 9101)
    steps = Steps(store, die_at)
    died = killed(steps, lambda: compact_store(project, store=store, now=micros(9100)))
    store = opening(name)
    assert read(view, store, 9101) == expected
    flow = Flow([view], store, tmp_path / name)
    flow.send([event(n, second=9200 + n, key=n) for n in range(KEYS)], 9300)
    (compacted,) = compact_store(project, store=store, now=micros(9300))
    assert compacted.compaction.busy == 0
    assert read(view, store, 9301)[0][-1] == 1
    assert store.outrun == 0
    return died


def test_a_killed_compaction_changes_no_value(opening, tmp_path):
    assert compaction_killed_at(1, opening, tmp_path)


@pytest.mark.slow
def test_a_compaction_killed_between_every_two_steps(opening, tmp_path):
    assert next(n for n in itertools.count() if not compaction_killed_at(n, opening, tmp_path)) >= 2
