"""What clients may do to a server before any handler sees a request: raw sockets against limits on
time, size and number.
"""

import asyncio
import contextlib
import json
import socket
import threading
import time

import pytest

from headwater.errors import UsageError
from headwater.serving.http.connection_limits import ConnectionLimits
from headwater.serving.process.uvicorn_server import ServerOptions, serving
from tests.serving.world import free_port

HOST = b"Host: here\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
POST = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc"
CHUNKED = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n"
QUICK = ConnectionLimits(header_seconds=0.5, idle_seconds=0.5, write_seconds=0.5)


async def echo(scope, read, send):
    """Answers with what it was asked; `/slow` after a while, `/early` before the body is there,
    `/large` with megabytes.
    """
    body = b""
    if scope["path"] != "/early":
        more = True
        while more:
            message = await read()
            if message["type"] == "http.disconnect":
                return
            body, more = body + message["body"], message["more_body"]
    if scope["path"] == "/fails":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError
    if scope["path"] == "/parts":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"b")]})
        for n in range(3):
            await send({"type": "http.response.body", "body": b"part %d," % n, "more_body": n < 2})
        return
    if scope["path"] == "/injects":
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"b\r\nx-evil: 1")]}
        )
        await send({"type": "http.response.body", "body": b"{}"})
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(0.7)
    said = {
        "path": scope["path"],
        "headers": {k.decode(): v.decode("latin-1") for k, v in scope["headers"]},
        "body": len(body),
    }
    answer = b"x" * 20_000_000 if scope["path"] == "/large" else json.dumps(said).encode()
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", b"%d" % len(answer))],
        }
    )
    await send({"type": "http.response.body", "body": answer})


class Taking:
    """Answers as `echo` does, but takes each POST that has arrived whole, which it answers in the
    next turn of the event loop.
    """

    async def __call__(self, scope, read, send):
        await echo(scope, read, send)

    def take(self, target, headers, body, respond):
        if target == b"/declined":
            return False
        told = {
            "path": target.decode(),
            "headers": {k.decode(): v.decode("latin-1") for k, v in headers.items()},
            "body": len(body),
        }
        said = json.dumps({**told, "taken": True}).encode()
        asyncio.get_running_loop().call_later(
            0.5 if target == b"/late" else 0, self.respond, respond, said
        )
        return True

    def respond(self, respond, said):
        respond(200, b"content-length: %d\r\n" % len(said), said)


APPS = [echo, Taking()]


@contextlib.contextmanager
def server(limits=None, app=echo, **options):
    port = free_port()
    with serving(
        app,
        "127.0.0.1",
        port,
        options=ServerOptions(limits=limits or ConnectionLimits(), **options),
    ):
        yield port


@pytest.fixture(scope="module", params=APPS, ids=["ASGI", "whole requests taken"])
def usual(request):
    with server(app=request.param) as port:
        yield port


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def everything(one):
    """All that comes until the server ends the connection."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := one.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def answer(one):
    """One whole answer; what there is of it where the connection ends."""
    said = b""
    while b"\r\n\r\n" not in said or not said.endswith(b"}"):
        part = one.recv(1 << 16)
        if not part:
            break
        said += part
    return said


def ask(port, *data):
    """What comes back for some bytes; the connection has to end by itself."""
    with connect(port) as one:
        for part in data:
            one.sendall(part)
        return everything(one)


def answered(port):
    """Whether another client gets an answer."""
    with connect(port) as one:
        one.sendall(GET)
        return answer(one).startswith(b"HTTP/1.1 200")


# ---------------------------------------------------------------- requests that two readers may read in two ways


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"host: there\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Authorization: Bearer a\r\nauthorization: Bearer b\r\n\r\n", 400),
        (CHUNKED + b"Content-Length: 3\r\n\r\n0\r\n\r\n" + GET, 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 43\r\n\r\nabc" + GET, 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +2\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1" + b"0" * 20 + b"\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: identity\r\n\r\nabc", 400),
        (CHUNKED + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        (CHUNKED + b"\r\nzz\r\nabc\r\n0\r\n\r\n", 400),
        (CHUNKED + b"\r\n3\nabc\n0\n\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X-A: a\r\n b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X-A: a\0b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X-A: a\rb\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: here\n\n", 400),
        (b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"CONNECT there:443 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc", 400),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X-A: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X-A: " + b"a" * 5_000_000, 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"".join(b"X-%d: a\r\n" % n for n in range(100)) + b"\r\n", 431),
    ],
)  # fmt: skip
def test_it_is_refused_once_and_nothing_after_it_is_answered(usual, data, status):
    said = ask(usual, data)
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), said[:200]
    assert said.count(b"HTTP/1.1 ") - json.loads(body)["error"].count("HTTP/1.1 ") == 1
    assert json.loads(body)["request_id"].encode() in head
    assert answered(usual)


def test_trailers_are_bounded_and_are_no_headers_of_the_request(usual):
    late = b"\r\n3\r\nabc\r\n0\r\nAuthorization: Bearer late\r\nHost: evil\r\n\r\n"
    with connect(usual) as one:
        one.sendall(CHUNKED + late)
        said = json.loads(answer(one).partition(b"\r\n\r\n")[2])
    assert said["body"] == 3
    assert said["headers"] == {"host": "here", "transfer-encoding": "chunked"}
    endless = b"".join(b"X-%d: %b\r\n" % (n, b"a" * 1000) for n in range(100))
    assert ask(usual, CHUNKED + b"\r\n0\r\n", endless).startswith(b"HTTP/1.1 431 ")


def test_what_is_allowed_is_answered(usual):
    for data, count in [
        (GET * 3, 3),
        (b"\r\n\r\n" + GET, 1),
        (
            b"GET /a%20b?c=1 HTTP/1.1\r\n"
            + HOST
            + b"".join(b"X-%d: a\r\n" % n for n in range(99))
            + b"\r\n",
            1,
        ),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 100000\r\n\r\n" + b"x" * 100_000, 1),
        (CHUNKED + b"\r\n3\r\nabc\r\n0\r\n\r\n", 1),
    ]:
        with connect(usual) as one:
            one.sendall(data)
            said = b""
            while said.count(b"HTTP/1.1 200") < count:
                said += one.recv(1 << 16)
        assert said.count(b"HTTP/1.1") == count
    assert ask(usual, b"GET / HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200")
    upgrade = (
        b"GET / HTTP/1.1\r\n"
        + HOST
        + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"
    )
    # as curl --http2 asks, which then goes on with HTTP/1.1
    assert ask(usual, upgrade).startswith(b"HTTP/1.1 200")


def test_answers_of_several_parts_and_apps_that_fail(usual, caplog):
    def get(path, method=b"GET"):
        return ask(
            usual, method + b" " + path + b" HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
        )

    assert get(b"/parts").endswith(b"7\r\npart 0,\r\n7\r\npart 1,\r\n7\r\npart 2,\r\n0\r\n\r\n")
    assert b"content-length" in get(b"/", b"HEAD")
    assert get(b"/", b"HEAD").endswith(b"\r\n\r\n")
    assert get(b"/fails").startswith(b"HTTP/1.1 500 ")
    assert b"x-evil" not in get(b"/injects")
    assert {one.name for one in caplog.records} == {"headwater.http"}


def test_garbage_after_a_request_leaves_its_answer_whole(usual):
    said = ask(usual, GET + b"GARBAGE\0\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 200")
    assert said.endswith(b"}")
    # those that wait are bounded; the others are not answered
    assert ask(usual, GET * 5_000).count(b"HTTP/1.1 200") <= 66


# ---------------------------------------------------------------- clients that hold connections open


@pytest.fixture(scope="module", params=APPS, ids=["ASGI", "whole requests taken"])
def quick(request):
    with server(QUICK, request.param) as port:
        yield port


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "drip"),
    [
        (b"", b""),
        (b"", b"\r\n"),
        (b"GET / HTTP/1.1\r\nHo", b""),
        (b"GET / HTTP/1.1\r\nHost: ", b"a"),
        (b"GET / HTTP/1.1\r\n", b"X-A: a\r\n"),
        (GET, b""),
        (GET, b"\r\n"),
        (GET + b"GET / HTTP/1.1\r\nHost: ", b"a"),
        (b"POST /early HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000\r\n\r\n", b"x"),
        (CHUNKED.replace(b"/", b"/early", 1) + b"\r\n", b"1\r\nx\r\n"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Bad\0: a\r\n\r\n", b"a"),
    ],
    ids=lambda data: repr(data[:12]),
)
def test_it_is_ended_in_time(quick, first, drip):
    begin = time.monotonic()
    with connect(quick) as one:
        one.sendall(first)
        one.settimeout(0.1)
        while time.monotonic() - begin < 15:
            try:
                if drip:
                    one.sendall(drip)
                if one.recv(1 << 16) == b"":
                    break
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                break
        else:
            pytest.fail("the connection is still open")
    assert answered(quick)


def test_connections_without_a_request_give_way_to_others():
    with server(ConnectionLimits(connections=50)) as port, contextlib.ExitStack() as stack:
        busy = stack.enter_context(connect(port))
        busy.sendall(b"GET /slow HTTP/1.1\r\n" + HOST + b"\r\n")
        for n in range(400):
            one = stack.enter_context(connect(port))
            one.sendall((b"", b"GET / HTTP/1.1\r\nHo", GET)[n % 3])
            if n % 50 == 0:
                assert answered(port)
        assert answered(port)
        assert busy.recv(1 << 16).startswith(b"HTTP/1.1 200")  # an open answer is never cut off


@pytest.mark.slow
def test_requests_at_once_are_limited():
    with server(ConnectionLimits(requests=2)) as port, contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connect(port)) for _ in range(2)]
        for one in slow:
            one.sendall(b"GET /slow HTTP/1.1\r\n" + HOST + b"\r\n")
        time.sleep(0.1)
        said = ask(port, GET)
        assert said.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in said
        assert all(one.recv(1 << 16).startswith(b"HTTP/1.1 200") for one in slow)


# ---------------------------------------------------------------- the end of a server


@pytest.mark.slow
@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize(
    ("app", "request_bytes"), [(echo, GET), (APPS[1], POST)], ids=["ASGI", "whole requests taken"]
)
def test_no_request_is_lost_when_a_server_ends(kept, app, request_bytes):
    port, done, lost, count = free_port(), threading.Event(), [], [0]

    def hammer():
        # of a new connection, that carries no request yet
        with contextlib.suppress(ConnectionRefusedError, ConnectionResetError):
            while not done.is_set():
                with connect(port) as one:
                    last = False
                    while not last and not done.is_set():
                        try:
                            one.sendall(request_bytes)
                            said = answer(one)
                        except OSError as error:
                            said = repr(error).encode()
                        if not said.startswith(b"HTTP/1.1 200") or not said.endswith(b"}"):
                            lost.append(said)
                            return
                        count[0] += 1
                        last = not kept or b"connection: close" in said

    threads = [threading.Thread(target=hammer) for _ in range(4)]
    with serving(app, "127.0.0.1", port, options=ServerOptions(drain=0.3)):
        for one in threads:
            one.start()
        time.sleep(0.5)
    done.set()
    for one in threads:
        one.join()
    assert lost == []
    assert count[0] > 20


@pytest.mark.slow
def test_an_answer_under_way_is_given_and_one_that_takes_too_long_is_not():
    with server(grace=5.0) as port:
        one = connect(port)
        one.sendall(b"GET /slow HTTP/1.1\r\n" + HOST + b"\r\n")
        time.sleep(0.2)
    assert b"connection: close" in everything(one)
    with server(grace=0.2) as port:
        two = connect(port)
        two.sendall(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 10\r\n\r\n")
        time.sleep(0.2)
    assert everything(two) == b""
    one.close()
    two.close()


def test_an_address_that_is_taken_is_an_error():
    with (
        server() as port,
        pytest.raises(UsageError, match="cannot listen"),
        serving(echo, "127.0.0.1", port),
    ):
        pass
