"""The simulation: known results of queueing theory, and nothing is lost or made in it."""

from dataclasses import replace

import numpy as np
import pytest

from bench.simulation.ingest_fleet import IngestPlan, ingest
from bench.simulation.kernel import Processors, Queue, Servers, Simulation, Thread
from bench.simulation.machine import Cost, IngestUnits, ServingUnits, ingested, served
from bench.simulation.serving_fleet import ServingPlan, Slow, serve

FILES = ServingUnits(Cost(20e-6, 40e-6), Cost(0.0, 15e-6))
REMOTE = ServingUnits(Cost(100e-6, 90e-6), Cost(0.0, 15e-6), Cost(10e-6, 7e-6))
EVENTS = IngestUnits(
    decode=0.7e-6,
    broker=0.3e-6,
    commit=Cost(1e-3, 1e-6),
    store=Cost(0.2e-3, 0.5e-6),
    partitions=12,
    together=12.0,
    locked=0.0,
)


def _mean_wait(service, rate=0.7, count=60_000):
    """Of jobs that come at random times to one server whose mean time is 1."""
    simulation, random, waits = Simulation(), np.random.default_rng(1), []
    servers = Servers(simulation)

    def job(seconds):
        came = simulation.now
        yield servers.acquire()
        waits.append(simulation.now - came)
        yield simulation.wait(seconds)
        servers.release()

    def arrivals():
        for gap in random.exponential(1 / rate, count).tolist():
            yield simulation.wait(gap)
            simulation.start(job(service(random)))

    simulation.start(arrivals())
    simulation.run(until=float("inf"))
    assert len(waits) == count
    return np.mean(waits)


def test_waits_are_those_of_queueing_theory():
    """M/M/1: rho / (1 - rho); M/D/1: half of it."""
    assert _mean_wait(lambda random: random.exponential()) == pytest.approx(0.7 / 0.3, rel=0.06)
    assert _mean_wait(lambda _: 1.0) == pytest.approx(0.7 / 0.3 / 2, rel=0.06)


def _ends(*threads):
    """When threads end that begin after so many seconds and run for so many, on two processors."""
    simulation, ends = Simulation(), {}
    processors = Processors(simulation, 2)

    def work(number, begin, seconds):
        thread = Thread(processors)
        yield simulation.wait(begin)
        yield from thread.run(seconds)
        thread.pause()
        ends[number] = simulation.now

    for number, thread in enumerate(threads):
        simulation.start(work(number, *thread))
    simulation.run(until=1.0)
    return [ends[number] for number in range(len(threads))]


def test_threads_in_one_line_share_a_processor_by_ticks():
    assert _ends((0, 0.030), (0, 0.050), (0, 0.006)) == pytest.approx([0.036, 0.050, 0.014])


def test_an_idle_processor_takes_from_the_line_of_another_at_a_tick():
    """The third waits for the first, although the second's processor is idle from .002 on; the next
    tick is at .004.
    """
    assert _ends((0.001, 0.020), (0, 0.002), (0.001, 0.002)) == pytest.approx([0.021, 0.002, 0.006])


@pytest.mark.parametrize(("locked", "end"), [(0.0, 0.02), (1.0, 0.04), (0.5, 0.03)])
def test_threads_of_one_interpreter_share_its_lock(locked, end):
    simulation = Simulation()
    processors, lock, ends = Processors(simulation, 2), Servers(simulation), []

    def work():
        yield from Thread(processors, lock).run(0.02, locked)
        ends.append(simulation.now)

    for _ in range(2):
        simulation.start(work())
    simulation.run(until=1.0)
    assert max(ends) == pytest.approx(end, abs=0.001)


def test_a_full_queue_drops_and_counts():
    simulation = Simulation()
    queue = Queue(simulation, most=2)
    assert [queue.put(n) for n in range(3)] == [True, True, False]
    assert queue.dropped == 1


def test_one_worker_is_bound_by_its_own_time_and_two_by_the_processors():
    one, two = (served(FILES, workers, 64, seconds=0.5)["rate"] for workers in (1, 2))
    assert one == pytest.approx(1 / 40e-6, rel=0.05)
    assert 0.9 < two * 55e-6 / 2 <= 1.0  # a processor may be idle while threads wait for the other


def test_a_lone_request_takes_what_its_parts_take():
    assert served(REMOTE, 1, 1, seconds=0.5)["p50"] == pytest.approx(
        (190 + 17 + 15) / 1e3, rel=1e-3
    )


def test_one_process_is_bound_by_its_commits_and_three_by_the_processors():
    one, three = ingested(EVENTS, 1, events=5e6, processors=4), ingested(EVENTS, 3, events=15e6)
    commit = 12 * 1.2e-3 + 50_000 * 1.5e-6
    assert one["rate"] == pytest.approx(50_000 / commit, rel=0.03)
    assert three["rate"] == pytest.approx(2 / (2.5e-6 + 4 * 1.2e-3 / 50_000), rel=0.05)


def test_a_store_with_a_process_for_each_of_ours_waits_for_its_disk_side_by_side():
    disk = replace(
        EVENTS,
        decode=1e-8,
        broker=1e-8,
        commit=Cost(0.0, 0.0),
        store=Cost(0.0, 0.0),
        wait=Cost(10e-3, 0.0),
    )
    shared, apart = (
        ingested(replace(disk, apart=apart), 3, events=15e6, processors=4)["rate"]
        for apart in (False, True)
    )
    # 12 commits of a poll of each, one after the other
    assert shared == pytest.approx(150_000 / (12 * 10e-3), rel=0.03)
    assert apart == pytest.approx(50_000 * 3 / (4 * 10e-3), rel=0.03)


SIZES = {
    "commit_10000": {"events": 50_000, "commits": 10},
    "commit_50000": {"events": 100_000, "commits": 10},
}
TIMES = {"wall": 30.0, "busy": 9.0, "store": 8.0, "waits": 7.4}
APART = {name: each | TIMES for name, each in SIZES.items()} | {
    "decode": {"busy": 1.0, "broker": 0.3},
    "partitions": 12,
}
ALONE = {"busy": 1.9, "committer": 0.9, "store": 0.8, "broker": 0.2, "commit_events": 10_000.0}


def test_what_no_processor_does_of_a_commit_is_the_wait_for_its_disk():
    assert IngestUnits.measured(APART, ALONE, apart=True).wait.of(5_000) == pytest.approx(13e-3)
    assert IngestUnits.measured(
        {**APART, **{name: each | TIMES | {"wall": 16.0} for name, each in SIZES.items()}}, ALONE
    ).wait == Cost(0.0, 0.0)


def test_parts_take_together_what_one_process_takes():
    units = IngestUnits.measured(APART, ALONE)
    assert (units.decode, units.commit.of(10_000), units.store.of(10_000)) == pytest.approx(
        (1e-6, 9e-3, 8e-3)
    )
    assert (units.together, units.trips) == (5.0, 7)
    dearer = IngestUnits.measured(
        APART, ALONE | {"busy": 3.8, "committer": 1.8, "store": 1.6, "broker": 0.4}
    )
    assert (dearer.decode, dearer.commit.of(10_000), dearer.store.of(10_000)) == pytest.approx(
        (2e-6, 18e-3, 16e-3)
    )
    assert dearer.broker == pytest.approx(0.4e-6)


@pytest.mark.slow
def test_a_commit_that_gives_up_the_lock_often_waits_for_the_reader_each_time():
    shared = replace(EVENTS, locked=1.0, commit=Cost(5e-3, 0.0), store=Cost(5e-3, 0.0))
    rates = [
        ingested(replace(shared, trips=trips), 1, events=15e6, processors=4)["rate"]
        for trips in (1, 30)
    ]
    assert rates[1] < 0.9 * rates[0]


def test_commits_of_a_poll_may_be_five_and_a_half():
    events = 10_000_000
    seen = ingested(replace(EVENTS, together=5.5), 1, events=events)
    assert seen["commit_events"] in (50_000 / 5, 50_000 / 6)


@pytest.mark.parametrize(
    "plan",
    [
        ServingPlan(FILES, 20_000, workers=3),
        ServingPlan(FILES, 90_000, workers=3),  # more than they can
        ServingPlan(REMOTE, 12_000, workers=3, lost=0.3, noticed=0.2),
        ServingPlan(REMOTE, 12_000, workers=3, slow=Slow(0.2, 0.5, 0.2)),
    ],
)
def test_requests_are_answered_refused_failed_or_waiting(plan):
    seen = serve(plan, seconds=0.8)
    assert seen.arrived == len(seen.answered) + len(seen.refused) + len(seen.failed) + seen.waiting
    assert seen.arrived == pytest.approx(plan.rate * 0.8, rel=0.05)


def test_a_slow_store_fills_lanes_and_then_requests_are_refused():
    seen = serve(ServingPlan(REMOTE, 12_000, workers=3, slow=Slow(0.3, 0.8, 0.3)), seconds=1.2)
    before, during = seen.between(0.0, 0.3), seen.between(0.5, 0.8)
    assert before["refused"] == 0.0
    assert before["p99"] < 20
    assert during["refused"] > 0.1
    assert during["p50"] > 300


def test_a_lost_zone_fails_a_third_until_it_is_noticed():
    seen = serve(ServingPlan(FILES, 20_000, workers=3, lost=0.3, noticed=0.3), seconds=0.9)
    assert seen.between(0.0, 0.3)["failed"] == 0.0
    assert seen.between(0.3, 0.6)["failed"] == pytest.approx(1 / 3, abs=0.03)
    assert seen.between(0.65, 0.9)["failed"] == 0.0


@pytest.mark.parametrize(
    "also",
    [{}, {"lost": (2.0, 4)}, {"added": 2.0}, {"slow": Slow(2.0, 4.0, 0.05)}, {"rate": 12e6}],
)
def test_events_are_committed_or_behind(also):
    plan = IngestPlan(EVENTS, **{"rate": 3e6, "session": 2.0, "handover": 0.5, **also})
    seen = ingest(plan, seconds=6.0)
    assert seen.arrived == pytest.approx(seen.committed + seen.behind)


def test_partitions_of_lost_processes_wait_for_the_session_and_catch_up():
    seen = ingest(
        IngestPlan(EVENTS, rate=3e6, session=2.0, handover=0.5, lost=(2.0, 4)), seconds=8.0
    )
    assert seen.between(0.5, 2.0)["most"] < 500
    assert seen.between(4.5, 8.0)["most"] == pytest.approx(2500, rel=0.2)
    assert 2.5 <= seen.caught_up(2.0, within=1.0) < 5.0


def test_more_than_they_can_is_never_caught_up():
    assert ingest(IngestPlan(EVENTS, rate=12e6), seconds=5.0).caught_up(0.0, within=0.2) == float(
        "inf"
    )
