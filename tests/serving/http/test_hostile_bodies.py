"""One request, however its body is made, neither stops a worker nor takes its memory."""

import asyncio
import contextlib
import resource
import socket
import threading
import time

import pytest

from headwater.serving.http.asgi import Refused
from headwater.serving.http.body import BodyBudget, BodyTimeouts, read_body
from tests.serving.apart import served_apart
from tests.waiting import until

FEATURES, RANK, FEED = "/v1/features/churn_v1", "/v1/rank/feed", "/v1/features/feed_v1"
MANY = 4_200  # slow requests; 4,096 may be in progress
# seconds, on a machine that others use; what this guards against took minutes to days
ANSWERED = 20.0
LEVEL = b'{"row":{"user":1},"level":"%b"}'
BODIES = {
    "brackets, then an unterminated string of escaped quotes": (
        b"[" * 33 + b'"' + b'\\"' * 500_000,
        {400, 422},
    ),
    "an unterminated string of escaped quotes in a row": (
        b'{"row":{"user":' + b'"' + b'\\"' * 500_000,
        {400},
    ),
    "10 MB of opening brackets": (b"[" * 9_999_000, {400, 422}),
    "10 MB of opening braces": (b'{"row":' * 1_400_000, {400, 422}),
    "9.9 MB of empty arrays": (b'{"rows":[' + b"[]," * 3_290_000 + b"1]}", {422}),
    "a string of 9.9 MB as a level": (LEVEL % (b"[]" * 40 + b"a" * 9_900_000), {422}),
    "a name of 9.9 MB": (b'{"row":{"user":1},"' + b"a" * 9_900_000 + b'":1}', {422}),
    "a field of 9.9 MB in a row": (b'{"row":{"user":1,"' + b"a" * 9_900_000 + b'":1}}', {422}),
    "a key of 9.9 MB": (b'{"row":{"user":1,"item":"' + b"a" * 9_900_000 + b'"}}', {200}),
    "a timestamp of 9.9 MB": (
        b'{"row":{"user":1,"amount":1,"country":"no","asked":"' + b"1" * 9_900_000 + b'"}}',
        {422},
    ),
    "an integer of 9.9 million digits": (b'{"row":{"user":' + b"1" * 9_900_000 + b"}}", {400, 422}),
    "700,000 rows": (b'{"rows":[' + b",".join([b'{"user":1}'] * 700_000) + b"]}", {422}),
}


@pytest.fixture(scope="module")
def apart(store):
    with served_apart(f"lmdb:{store.folder}?size=1GB") as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("name", BODIES)
def test_a_hostile_body_is_answered_quickly_and_health_meanwhile(apart, name):
    body, expected = BODIES[name]
    path = FEED if name.startswith("a key") else FEATURES
    before, answers = apart.reset_peak(), []

    def attack():
        begin = time.monotonic()
        answers.append((*apart.post(path, body), time.monotonic() - begin))

    threads = [threading.Thread(target=attack) for _ in range(3)]
    for one in threads:
        one.start()
    time.sleep(0.05)
    assert apart.health() < ANSWERED
    for one in threads:
        one.join()
    for status, answer, seconds in answers:
        assert status in expected, answer[:300]
        assert seconds < ANSWERED
        assert len(answer) < 10_000
    assert apart.peak() - before < 500


@pytest.mark.slow
def test_bodies_that_are_never_finished_take_bounded_memory(apart):
    """Half-sent bodies, 300 MB of them: beyond the limit they are refused, and later requests are
    answered.
    """
    head = (
        b"POST /v1/features/churn_v1 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9900000\r\n\r\n"
        b'{"row":{"user":"'
    )
    before, open_ones = apart.reset_peak(), []
    try:
        for _ in range(32):
            one = socket.create_connection(("127.0.0.1", apart.port), timeout=30)
            open_ones.append(one)
            one.sendall(head + b"a" * 9_500_000)
        assert apart.peak() - before < 250
        assert apart.post(FEED, b'{"row":{"user":1,"item":"i0"}}')[0] in (200, 503)
    finally:
        for one in open_ones:
            one.close()
    until(
        lambda: apart.post(FEED, b'{"row":{"user":1,"item":"i0"}}')[0] == 200,
        "the memory of connections that are gone is given back",
    )


# ---------------------------------------------------------------- the budget


def reading(*parts, more=True):
    """A client that sends these parts."""
    left = [
        {"type": "http.request", "body": part, "more_body": more or n < len(parts) - 1}
        for n, part in enumerate(parts)
    ]

    async def read():
        return left.pop(0) if left else {"type": "http.disconnect"}

    return read


@pytest.mark.parametrize(
    ("parts", "more", "result"),
    [
        ([b"12345678"], False, 8),
        ([b"1234", b"5678"], False, 8),
        ([b"12345678901"], False, (503, 1)),
        ([b"1234", b"5678", b"901"], False, (503, 1)),
        ([b"1234", b"5678", b"9", b"0", b"12345678901234567890"], False, 413),
        ([b"1234", b"5678"], True, 499),
    ],
)
def test_what_a_body_took_of_the_budget_is_given_back(parts, more, result):
    budget = BodyBudget(10)

    async def run():
        try:
            return len(await read_body(reading(*parts, more=more), {}, BodyTimeouts(), budget, 20))
        except Refused as error:
            return error.status if error.again is None else (error.status, error.again)

    assert asyncio.run(run()) == result
    assert budget.used == (result if result == 8 else 0)


@pytest.mark.slow
def test_slow_bodies_up_to_the_limit_stop_neither_liveness_nor_requests(apart):
    """As many requests as may be in progress, without their bodies: the health check is answered,
    and slow ones give way to others.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < MANY + 500:
        pytest.skip(f"a process may open {hard:,} files here")
    head = b"POST /v1/features/churn_v1 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{"
    with contextlib.ExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, MANY + 500), hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        slow = [
            stack.enter_context(socket.create_connection(("127.0.0.1", apart.port), timeout=60))
            for _ in range(MANY)
        ]
        for one in slow:
            one.sendall(head)
        apart.health()  # 200
        time.sleep(1.5)  # now the slow ones may give way
        apart.health()
        assert [apart.post(FEED, b'{"row":{"user":1,"item":"i0"}}')[0] for _ in range(5)] == [
            200
        ] * 5
        ended = 0
        for one in slow:
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                ended += one.recv(1 << 16).startswith(b"HTTP/1.1 503 ")
        assert 5 <= ended <= MANY - 4096 + 5, (
            "one for each request in their place, and those beyond the limit"
        )
