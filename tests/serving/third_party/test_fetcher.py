"""Answers that are kept and shared, calls that are given up, repeated, limited and not made: on a
clock, with a real server.
"""

import asyncio

import pytest

from headwater.events.columns import STATUSES
from headwater.serving.third_party.circuit_breaker import CircuitBreaker
from headwater.serving.third_party.fetcher import ThirdPartyFetcher
from tests.serving.third_party.parties import ask, closes, hangs, in_turn, says

PATIENCE = 10.0


class Clock:
    """A clock that a test moves."""

    def __init__(self):
        self.at = 100.0

    def __call__(self):
        return self.at


def run(features, steps, **more):
    """Runs a coroutine function of a ThirdPartyFetcher and `get`, which asks it for addresses and
    gives (values, statuses, where from).
    """

    async def all_steps():
        third = ThirdPartyFetcher(features if isinstance(features, list) else [features], **more)

        async def get(*addresses, **how):
            called = await third.get({"ip_address": list(addresses)}, len(addresses), **how)
            statuses = [STATUSES[code] for code in called.statuses["ip__score"]]
            return called.values["ip__score"], statuses, dict(called.contacts["ip"].rows)

        try:
            return await steps(third, get)
        finally:
            await third.close()

    return asyncio.run(all_steps())


async def until(condition):
    """Waits until it holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 (a test server says nothing when it is asked)
            await asyncio.sleep(0.002)


# ---------------------------------------------------------------- kept and shared


def test_a_failure_is_not_kept(party, ip):
    party.behaviour = in_turn(says({}, status="500 Oh"), says({"score": 0.5}))

    async def steps(third, get):
        return [(await get("a"))[0] for _ in range(2)]

    assert run(ip(cache="1m", retries=0), steps) == [[None], [0.5]]


@pytest.mark.parametrize("cache", ["0s", "1m"])
def test_concurrent_equal_requests_share_one_call(party, ip, cache):
    party.behaviour = says({"score": 0.5}, after=0.05)

    async def steps(third, get):
        return await asyncio.gather(*(get("a") for _ in range(50)))

    assert {values[0] for values, _, _ in run(ip(cache=cache), steps)} == {0.5}
    assert len(party.calls) == 1


def test_whoever_gives_up_takes_nothing_from_the_others(party, ip):
    """The request that began a call is cut off and another gone altogether; those who joined get
    the answer.
    """
    party.behaviour = says({"score": 0.5}, after=0.2)

    async def steps(third, get):
        first = asyncio.create_task(get("a", seconds=0.02))
        await asyncio.sleep(0)
        second, gone = asyncio.create_task(get("a")), asyncio.create_task(get("a"))
        await until(lambda: party.under_way == 1)
        gone.cancel()
        return await first, await second

    first, second = run(ip(), steps)
    assert first == ([None], ["fallback"], {"fallback": 1})
    assert second == ([0.5], ["present"], {"fetched": 1})
    assert len(party.calls) == 1


# ---------------------------------------------------------------- in time


def test_no_time_is_no_call(party, ip):
    called, _ = ask(ip(cache="1m"), "a", seconds=-0.001)
    assert called.cut_off
    assert party.calls == []


# ---------------------------------------------------------------- repeated


@pytest.mark.parametrize("failure", [closes, says({}, status="503 Busy")], ids=["closed", "503"])
@pytest.mark.parametrize(
    ("more", "calls"),
    [
        ({}, 2),
        ({"retries": 0}, 1),
        ({"method": "POST"}, 1),
        ({"method": "POST", "idempotent": True}, 2),
        ({"idempotent": False}, 1),
    ],
)
def test_what_broke_off_is_repeated_where_that_is_safe(party, ip, failure, more, calls):
    party.behaviour = in_turn(failure, says({"score": 0.5}))
    called, third = ask(ip(**more), "a")
    assert called.values["ip__score"] == [0.5 if calls == 2 else None]
    assert len(party.calls) == calls
    assert third.counts["ip"].repeated == calls - 1


@pytest.mark.parametrize("status", ["400 Bad", "401 Who", "429 Slow down", "500 Oh"])
def test_what_would_go_no_better_is_not_repeated(party, ip, status):
    party.behaviour = says({}, status=status)
    ask(ip(retries=3), "a")
    assert len(party.calls) == 1


# ---------------------------------------------------------------- limited


def test_no_more_calls_than_places(party, ip):
    party.behaviour = says({"score": 0.5}, after=0.02)
    called, _ = ask(ip(concurrency=3), *map(str, range(12)))
    assert called.values["ip__score"] == [0.5] * 12
    assert party.most == 3


# ---------------------------------------------------------------- left alone


def test_a_breaker_opens_after_half_of_the_calls_failed_and_lets_one_try():
    clock = Clock()
    breaker = CircuitBreaker(1.0, now=clock)

    def calls(*succeeded):
        for one in succeeded:
            assert breaker.allows()
            breaker.record(succeeded=one)

    calls(*[True] * 20, *[False] * 9)
    assert breaker.state == "closed"
    calls(False)
    assert (breaker.state, breaker.allows()) == ("open", False)
    breaker.record(succeeded=True)  # a call from before
    assert breaker.state == "open"
    clock.at += 1.0
    assert breaker.state == "half-open"
    assert [breaker.allows() for _ in range(3)] == [True, False, False]
    breaker.record(succeeded=False)
    assert (breaker.state, breaker.allows()) == ("open", False)
    clock.at += 1.0
    assert breaker.allows()
    breaker.release()  # it was given up: another may try
    assert [breaker.allows() for _ in range(2)] == [True, False]
    breaker.record(succeeded=True)
    assert (breaker.state, breaker.allows()) == ("closed", True)
    calls(*[False] * 9)
    assert breaker.state == "closed", "what was before it opened counts no more"


def test_a_third_party_that_fails_is_left_alone_and_asked_again(party, ip):
    party.behaviour, clock = says({}, status="500 Oh"), Clock()

    async def steps(third, get):
        for number in range(30):
            await get(str(number))
        failing = len(party.calls)
        party.behaviour = says({"score": 0.5})
        closed = await get("x")
        clock.at += 1.0
        return (
            failing,
            closed,
            await get("y"),
            third.states(),
            third.counts["ip"].rows["fallback: open"],
        )

    failing, closed, again, states, rows = run(ip(retries=0), steps, now=clock)
    assert failing == 10
    assert closed == ([None], ["fallback"], {"fallback": 1})
    assert again == ([0.5], ["present"], {"fetched": 1})
    assert states == {"ip": "closed"}
    assert rows == 21


def test_requests_that_are_at_fault_open_no_breaker(party, ip):
    party.behaviour = says({}, status="400 Bad Request")

    async def steps(third, get):
        for number in range(30):
            await get(str(number))
        return third.states()

    assert run(ip(), steps) == {"ip": "closed"}
    assert len(party.calls) == 30


# ---------------------------------------------------------------- told


def test_answers_are_told_once(party, ip):
    told = []

    async def steps(third, get):
        await get("a", "b", "a", t=5)
        await get("a", t=6)
        party.behaviour = hangs
        await get("c", t=7, seconds=0.01)

    run(
        ip(cache="1m"),
        steps,
        on_answer=lambda http, fields, columns, t: told.append((http.name, fields, columns, t)),
    )
    assert sorted(told) == [("ip", ("a",), (0.5,), 5), ("ip", ("b",), (0.5,), 5)]


def test_a_defect_costs_the_features_and_never_the_prediction(party, ip):
    def fail(*_):
        raise RuntimeError("a defect")

    async def steps(third, get):
        return await get("a"), third.counts["ip"].calls

    found, calls = run(ip(), steps, on_answer=fail)
    assert found == ([None], ["fallback"], {"fallback": 1})
    assert calls["RuntimeError"] == 1
