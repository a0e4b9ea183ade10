"""A latency limit: what does not fit is cut off, and the answer comes in time all the same."""

import asyncio
import time

import numpy as np
import pytest

from headwater.serving.third_party.fetcher import ThirdPartyFetcher
from headwater.serving.third_party.latency_budget import Deadline, DurationQuantile, LatencyLimit
from tests.figures import figure
from tests.serving.third_party.parties import hangs, says
from tests.serving.third_party.test_fetcher import Clock

pytestmark = pytest.mark.alone
BUDGET = 0.08


def test_a_deadline_says_what_is_left_and_where_the_time_went():
    clock = Clock()
    due = Deadline(0.08, clock)
    clock.at += 0.01
    due.lap("read")
    clock.at += 0.05
    due.lap("third party")
    assert due.spent() == pytest.approx(0.06)
    assert due.remaining() == pytest.approx(0.02)
    clock.at += 0.03
    due.lap("model")
    clock.at += 0.01
    due.lap("read")
    assert due.stages == {
        "read": pytest.approx(0.02),
        "third party": pytest.approx(0.05),
        "model": pytest.approx(0.03),
    }
    assert due.remaining() == pytest.approx(-0.02)
    assert Deadline(None, clock).remaining() == float("inf")


def test_a_deadline_counts_from_when_the_request_arrived():
    clock = Clock()
    due = LatencyLimit("80ms", now=clock).start(since=99.95)
    assert due.remaining() == pytest.approx(0.03)
    due.lap("wait")
    assert due.stages == {"wait": pytest.approx(0.05)}


def test_the_pace_follows_what_is_measured():
    pace = DurationQuantile()
    assert pace.worst(0.008) == 0.008
    pace.add(0.003)
    assert pace.worst(0.008) == 0.008, "one is not a measure"
    for _ in range(200):
        pace.add(0.003)
    assert pace.worst(0.008) == 0.003
    pace.add(1.0)
    assert pace.worst(0.008) == 0.003, "one pause of 200 is none"
    pace.add(1.0)
    assert pace.worst(0.008) == 1.0
    for _ in range(512):
        pace.add(0.003)
    assert pace.worst(0.008) == 0.003, "old calls are forgotten"
    rng, pace = np.random.default_rng(0), DurationQuantile()
    times = rng.gamma(4, 0.001, 2_000)
    late = 0
    for seconds in times:
        late += seconds > pace.worst(0)
        pace.add(seconds)
    assert late / len(times) < 0.01, "it is meant to hold nearly always"


@pytest.mark.parametrize(("takes", "left"), [(0.004, 0.074), (0.0, 0.078), (1.0, 0.038)])
def test_third_parties_get_what_the_rest_does_not_need(takes, left):
    """Of 80 ms, 2 ms after the request; never less than half, or one pause of the machine would end
    all calls.
    """
    clock = Clock()
    limit = LatencyLimit("80ms", now=clock)
    for _ in range(100):
        due = limit.start()
        due.lap("third party")
        clock.at += takes / 2
        due.lap("read")
        clock.at += takes / 2
        due.lap("model")
        limit.done(due)
    due = limit.start()
    clock.at += 0.002
    assert limit.for_calls(due) == pytest.approx(left, abs=1e-4)
    assert limit.late == (100 if takes > 0.08 else 0)


def test_waking_up_too_late_is_part_of_what_the_rest_takes():
    clock = Clock()
    limit = LatencyLimit("80ms", now=clock)
    for _ in range(100):
        due = limit.start()
        clock.at += limit.for_calls(due) + 0.003  # cut off, and 3 ms pass before anything goes on
        due.lap("third party")
        clock.at += 0.004
        due.lap("model")
        limit.done(due)
    assert limit.for_calls(limit.start()) == pytest.approx(0.073, abs=1e-6)


def test_without_a_budget_there_is_no_limit():
    limit = LatencyLimit(None)
    due = limit.start()
    due.lap("third party")
    limit.done(due)
    assert limit.for_calls(due) is None
    assert limit.late == 0


def works(seconds):
    """What request features and a model do: it holds the loop."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def requests(features, count, *, limit, work):
    """Of some requests that ask for features and then work, the seconds that each took; the
    ThirdPartyFetcher; and how late the machine is.

    That is, before each request, by how much a sleep of 5 ms and as much work exceed their time.
    """

    async def run():
        third = ThirdPartyFetcher(features)
        took, late = [], []
        try:
            for number in range(count):
                start = time.perf_counter()
                await asyncio.sleep(0.005)
                works(work)
                late.append(time.perf_counter() - start - 0.005 - work)
                due = limit.start()
                called = await third.get(
                    {"ip_address": [str(number)]}, 1, seconds=limit.for_calls(due)
                )
                due.lap("third party")
                works(work)
                due.lap("model")
                limit.done(due, cut_off=called.cut_off)
                took.append(due.spent())
        finally:
            await third.close()
        return np.array(took), third, np.array(late)

    return asyncio.run(run())


@pytest.mark.slow
def test_an_answer_comes_in_time_although_a_third_party_hangs(party, ip):
    party.behaviour = hangs
    limit = LatencyLimit("80ms")
    features = [ip(timeout="60s", breaker=None, fallback={"score": 0.1})]
    took, third, machine = requests(features, 150, limit=limit, work=0.005)
    p50, p99 = np.quantile(took, [0.5, 0.99]) * 1000
    figure(
        f"a third party that hangs, budget 80 ms, 5 ms of work after it: p50 {p50:.1f} ms, p99 "
        f"{p99:.1f} ms, {limit.late} of {len(took)} late; the machine itself wakes up late by "
        f"{np.quantile(machine, 0.99) * 1000:.1f} ms (p99)"
    )
    assert limit.cut_off == len(took) == third.counts["ip"].rows["fallback: cut off"]
    assert np.quantile(took, 0.9) <= BUDGET + np.quantile(machine, 0.9), "the rest had no time left"
    assert p50 >= 38, "less than half of the budget was left to third parties"


def test_a_third_party_that_hangs_costs_nothing_once_it_is_left_alone(party, ip):
    party.behaviour = hangs
    limit = LatencyLimit("80ms")
    took, _, _ = requests([ip(timeout="60ms", breaker="60s")], 60, limit=limit, work=0.001)
    figure(f"the same with its breaker open: p50 {np.quantile(took[15:], 0.5) * 1000:.1f} ms")
    assert np.quantile(took[15:], 0.5) < 0.03


def test_what_is_asked_and_kept_costs_little(party, ip):
    """The price of one call over a warm connection, and of one answer that is kept."""
    party.behaviour = says({"score": 0.5})

    async def run():
        third = ThirdPartyFetcher([ip(cache="1h")])
        took = {"fetched": [], "kept": []}
        try:
            for again in ("fetched", "kept"):
                for number in range(300):
                    start = time.perf_counter()
                    await third.get({"ip_address": [str(number)]}, 1)
                    took[again].append(time.perf_counter() - start)
        finally:
            await third.close()
        return {
            name: float(np.median(seconds)) * 1e6 for name, seconds in took.items()
        }, third.counts["ip"].rows

    found, rows = asyncio.run(run())
    figure(
        f"one row: fetched {found['fetched']:.0f} us (with the server on the same cores), kept "
        f"{found['kept']:.0f} us"
    )
    assert rows == {"fetched": 300, "kept": 300}
    assert found["kept"] * 5 < found["fetched"]
