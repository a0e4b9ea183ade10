"""Answers that are kept and shared, calls that are given up, repeated, limited and not made: on a
clock, with a real server.
"""

import asyncio
import time

import pytest

from headwater.events.columns import STATUSES
from headwater.serving.third_party.circuit_breaker import CircuitBreaker
from headwater.serving.third_party.fetcher import ThirdPartyFetcher
from tests.serving.third_party.parties import ask, closes, hangs, in_turn, says

pytestmark = pytest.mark.alone
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
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it never came to hold"
        await asyncio.sleep(0.002)


def numbered():
    """0.0, 1.0, 2.0, ... call after call."""
    numbers = iter(range(1_000_000))
    return says(lambda path: {"score": next(numbers)})


# ---------------------------------------------------------------- kept and shared


def test_equal_rows_are_asked_once(party, ip):
    party.behaviour = says(lambda path: {"score": float(path[-1])})
    called, _ = ask(ip(), "1", "2", "1", "1", "2")
    assert called.values["ip__score"] == [1.0, 2.0, 1.0, 1.0, 2.0]
    assert len(party.calls) == 2


def test_an_answer_is_kept_for_the_time_of_the_cache(party, ip):
    party.behaviour, clock = numbered(), Clock()

    async def steps(third, get):
        found = []
        for at in (100, 160, 160.1, 220):
            clock.at = at
            found.append(await get("a"))
        called = await third.get({"ip_address": ["a"]}, 1)
        return found, called.ages

    found, ages = run(ip(cache="1m"), steps, now=clock)
    kept, fetched = {"kept": 1}, {"fetched": 1}
    present = ["present"]
    assert found == [
        ([0.0], present, fetched),
        ([0.0], present, kept),
        ([1.0], present, fetched),
        ([1.0], present, kept),
    ]
    assert ages["ip"] == [pytest.approx(59.9)]


def test_without_a_cache_every_request_asks(party, ip):
    party.behaviour = numbered()

    async def steps(third, get):
        return [(await get("a"))[0] for _ in range(3)]

    assert run(ip(), steps) == [[0.0], [1.0], [2.0]]


def test_a_stale_answer_is_given_while_a_new_one_is_fetched(party, ip):
    party.behaviour, clock = numbered(), Clock()

    async def steps(third, get):
        await get("a")
        clock.at += 90
        stale = [await get("a") for _ in range(3)]
        await until(lambda: third.counts["ip"].calls["answered"] == 2)
        fresh = await get("a")
        clock.at += 121
        return stale, fresh, await get("a")

    stale, fresh, later = run(ip(cache="1m", stale_while_revalidate="1m"), steps, now=clock)
    assert stale == [([0.0], ["present"], {"stale": 1})] * 3
    assert fresh == ([1.0], ["present"], {"kept": 1})
    assert later == ([2.0], ["present"], {"fetched": 1})
    assert len(party.calls) == 3


def test_a_stale_answer_stands_in_while_the_third_party_fails(party, ip):
    party.behaviour, clock = in_turn(says({"score": 0.5}), says({}, status="503 Down")), Clock()

    async def steps(third, get):
        await get("a")
        clock.at += 90
        first = await get("a")
        await until(lambda: third.counts["ip"].calls["status 503"] == 1)
        return first, await get("a")

    found = run(ip(cache="1m", stale_while_revalidate="1m", retries=0), steps, now=clock)
    assert found == (([0.5], ["present"], {"stale": 1}),) * 2


def test_what_was_not_there_is_kept_too(party, ip):
    party.behaviour = says(b"", status="404 Not Found")

    async def steps(third, get):
        return [await get("a") for _ in range(2)]

    assert run(ip(cache="1m"), steps) == [
        ([None], ["missing"], {"fetched": 1}),
        ([None], ["missing"], {"kept": 1}),
    ]
    assert len(party.calls) == 1


def test_a_failure_is_not_kept(party, ip):
    party.behaviour = in_turn(says({}, status="500 Oh"), says({"score": 0.5}))

    async def steps(third, get):
        return [(await get("a"))[0] for _ in range(2)]

    assert run(ip(cache="1m", retries=0), steps) == [[None], [0.5]]


def test_the_least_lately_used_answer_makes_room(party, ip):
    party.behaviour = says(lambda path: {"score": 1.0})

    async def steps(third, get):
        for address in ("a", "b", "a", "c"):  # b goes
            await get(address)
        return [(await get(address))[2] for address in ("a", "c", "b")]

    assert run(ip(cache="1m", cache_entries=2), steps) == [{"kept": 1}, {"kept": 1}, {"fetched": 1}]


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


def test_what_is_cut_off_is_there_for_the_next(party, ip):
    party.behaviour = says({"score": 0.5}, after=0.1)

    async def steps(third, get):
        first = await get("a", seconds=0.01)
        await until(lambda: third.counts["ip"].calls["answered"] == 1)
        return first, await get("a", seconds=0.01)

    first, second = run(ip(cache="1m"), steps)
    assert first == ([None], ["fallback"], {"fallback": 1})
    assert second == ([0.5], ["present"], {"kept": 1})


def test_what_nobody_waits_for_and_nobody_keeps_is_ended(party, ip):
    party.behaviour = hangs

    async def steps(third, get):
        await get("a", seconds=0.02)
        await until(lambda: third.counts["ip"].calls["cut off"] == 1)
        return third._third_parties[0].flights, third.counts["ip"].rows

    flights, rows = run(ip(timeout="60s"), steps)
    assert flights == {}
    assert rows == {"fallback": 1, "fallback: cut off": 1}


def test_no_time_is_no_call(party, ip):
    called, _ = ask(ip(cache="1m"), "a", seconds=-0.001)
    assert called.cut_off
    assert party.calls == []


def test_third_parties_are_asked_at_once(party, ip):
    party.behaviour = says(lambda path: {"score": 0.5}, after=0.2)
    others = [
        ip(name=name, url=f"{party.url}/{name}") for name in ("ip", "mail", "phone", "device")
    ]
    start = time.monotonic()
    called, _ = ask(others, "a", "b")
    assert time.monotonic() - start < 1.4, "eight calls of 0.2 s each, one after the other"
    assert [called.values[f"{http.name}__score"] for http in others] == [[0.5, 0.5]] * 4
    assert party.most == 8
    assert all(0.2 <= called.contacts[http.name].seconds < 1.4 for http in others)


def test_a_slow_third_party_does_not_hold_up_what_a_quick_one_says(party, ip):
    async def behave(party, path, body, writer):
        await (hangs if path.startswith("/slow") else says({"score": 0.5}))(
            party, path, body, writer
        )

    party.behaviour = behave
    called, _ = ask([ip(), ip(name="slow", url=f"{party.url}/slow")], "a", seconds=0.1)
    assert called.values == {"ip__score": [0.5], "slow__score": [None]}
    assert called.contacts["ip"].seconds < called.contacts["slow"].seconds
    assert called.contacts["slow"].reasons == {"cut off": 1}


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


def test_repetitions_end_with_the_timeout(party, ip):
    party.behaviour = says({}, after=0.05, status="503 Busy")
    start = time.monotonic()
    called, _ = ask(ip(timeout="200ms", retries=10), "a")
    assert time.monotonic() - start < 1.0
    assert 2 <= len(party.calls) <= 5
    assert called.statuses["ip__score"] == bytes([STATUSES.index("fallback")])


# ---------------------------------------------------------------- limited


def test_no_more_calls_than_places(party, ip):
    party.behaviour = says({"score": 0.5}, after=0.02)
    called, _ = ask(ip(concurrency=3), *map(str, range(12)))
    assert called.values["ip__score"] == [0.5] * 12
    assert party.most == 3


def test_who_finds_no_place_in_time_goes_without_and_blames_nobody(party, ip):
    party.behaviour = says({"score": 0.5}, after=1.0)
    called, third = ask(ip(concurrency=1, timeout="1500ms"), *map(str, range(20)))
    assert called.contacts["ip"].reasons == {"no place": 18, "timeout": 1}
    assert third.states() == {"ip": "closed"}


def test_a_pool_survives_many_calls_that_are_cut_off(party, ip):
    """Each place and each connection is given back."""
    party.behaviour = hangs

    async def steps(third, get):
        for number in range(40):
            await get(f"{number}", f"{number}b", seconds=0.005)
        party.behaviour = says({"score": 0.5})
        return (await get(*map(str, range(10))))[0]

    assert run(ip(concurrency=2, breaker=None), steps) == [0.5] * 10


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


def test_a_breaker_that_never_opens():
    breaker = CircuitBreaker(None)
    for _ in range(100):
        breaker.record(succeeded=False)
    assert breaker.allows()


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


def test_a_third_party_that_flaps_is_asked_now_and_then(party, ip):
    """Up and down by the second, 20 requests a second for 30 s: whenever it is up for long, it is
    found again within the pause.
    """
    clock = Clock()

    async def behave(party, path, body, writer):
        up = int(clock.at) % 10 < 5
        await says({"score": 0.5}, status="200 OK" if up else "500 Oh")(party, path, body, writer)

    party.behaviour = behave

    async def steps(third, get):
        found = []
        for number in range(600):
            clock.at = 100 + number / 20
            found.append((await get(str(number)))[1] == ["present"])
        return found

    found = run(ip(retries=0), steps, now=clock)
    down = 300
    assert sum(found) >= 600 - down - 3 * 21, "up, and not asked for longer than the pause"
    assert len(party.calls) < sum(found) + 3 * (20 + 5), "down, and asked all the time"


def test_requests_that_are_at_fault_open_no_breaker(party, ip):
    party.behaviour = says({}, status="400 Bad Request")

    async def steps(third, get):
        for number in range(30):
            await get(str(number))
        return third.states()

    assert run(ip(), steps) == {"ip": "closed"}
    assert len(party.calls) == 30


def test_a_third_party_that_hangs_is_left_alone_although_requests_are_cut_off_before_its_timeout(
    party, ip
):
    party.behaviour = hangs

    async def steps(third, get):
        for number in range(30):
            await get(str(number), seconds=0.06)
        return third.states()

    assert run(ip(timeout="100ms", breaker="60s"), steps) == {"ip": "open"}
    assert 10 <= len(party.calls) <= 12, "one ends a turn of the loop after its request does"


def test_requests_that_had_hardly_time_open_no_breaker(party, ip):
    party.behaviour = says({"score": 0.5}, after=0.05)

    async def steps(third, get):
        for number in range(30):
            await get(str(number), seconds=0.002)
        return third.states()

    assert run(ip(timeout="10s"), steps) == {"ip": "closed"}


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
