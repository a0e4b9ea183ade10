"""The clients' HTTP/1.1: requests as bytes, responses from bytes in any pieces, and connections
that are kept or replaced.
"""

import asyncio
import gc
import socket
import threading
from contextlib import contextmanager, suppress

import pytest

import headwater as hw
from headwater import errors
from headwater.serving.client.methods import Methods
from headwater.serving.client.wire import BrokenConnectionError, ResponseReader, ServiceAddress
from tests.serving.client.test_client import Awaited

OK = b"HTTP/1.1 200 OK\r\n"


class Calls(Methods):
    """The calls that a client would send."""

    def _ask(self, call):
        return call


CALLS = Calls()


@pytest.mark.parametrize(
    ("data", "status", "body", "kept"),
    [
        (OK + b"Content-Length: 2\r\n\r\n{}", 200, b"{}", True),
        (OK + b"content-length: 2\r\nconnection: close\r\n\r\n{}", 200, b"{}", False),
        (OK + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", 200, b"{}", True),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"content-length: 1\r\n\r\n1", 200, b"1", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
        (b"HTTP/1.0 503 No\r\ncontent-length: 0\r\n\r\n", 503, b"", False),
        (OK + b"content-length: 1\r\n\r\n1" + OK, 200, b"1", False),
        (OK + b"content-length: 1\r\n\r\n1nonsense", 200, b"1", False),
    ],
    ids=[
        "length",
        "close",
        "chunked",
        "continue",
        "no content",
        "1.0",
        "two responses",
        "more bytes",
    ],
)
def test_a_response_is_read_whole_and_byte_by_byte(data, status, body, kept):
    whole = ResponseReader()
    assert whole.feed(data)
    assert (whole.reply.status, whole.reply.body, whole.keep_alive) == (status, body, kept)
    pieces = ResponseReader()
    assert any(pieces.feed(data[n : n + 1]) for n in range(len(data)))
    assert (pieces.reply.status, pieces.reply.body) == (status, body)


def test_headers_have_lower_case_names():
    reader = ResponseReader()
    assert reader.feed(OK + b"X-Request-ID: Ab\r\ncontent-length: 0\r\n\r\n")
    assert reader.reply.headers["x-request-id"] == "Ab"


def test_a_body_without_a_length_ends_with_the_connection():
    reader = ResponseReader()
    assert not reader.feed(OK + b"\r\n{")
    assert not reader.feed(b"}")
    assert reader.feed(b"")
    assert (reader.reply.body, reader.keep_alive) == (b"{}", False)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        OK,
        OK + b"content-length: 3\r\n\r\n{}",
        OK + b"transfer-encoding: chunked\r\n\r\n1\r\n{",
    ],
)
def test_a_response_that_breaks_off_is_none(data):
    reader = ResponseReader()
    assert not data or not reader.feed(data)
    with pytest.raises(BrokenConnectionError, match="closed"):
        reader.feed(b"")


@pytest.mark.parametrize(
    ("url", "shown", "host", "line"),
    [
        (
            "http://127.0.0.1:8320/",
            "http://127.0.0.1:8320",
            "127.0.0.1:8320",
            "POST /v1/features/a HTTP/1.1",
        ),
        (
            "https://Example.org:443/a b/",
            "https://example.org/a b",
            "example.org",
            "POST /a%20b/v1/features/a HTTP/1.1",
        ),
        ("http://[::1]:80", "http://[::1]", "[::1]", "POST /v1/features/a HTTP/1.1"),
        (
            "http://bücher.example",
            "http://xn--bcher-kva.example",
            "xn--bcher-kva.example",
            "POST /v1/features/a HTTP/1.1",
        ),
        ("http://me:it%40@here:1", "http://here:1", "here:1", "POST /v1/features/a HTTP/1.1"),
    ],
)
def test_requests_to_addresses_of_any_form(url, shown, host, line):
    address = ServiceAddress(url, {"user-agent": "x"})
    head, _, body = address.request(CALLS.features("a", {"user": 1})).partition(b"\r\n\r\n")
    first, *headers = head.decode().split("\r\n")
    assert (address.url, first, body) == (shown, line, b'{"row":{"user":1}}')
    assert {f"host: {host}", "user-agent: x", f"content-length: {len(body)}"} <= set(headers)
    assert ("authorization: Basic bWU6aXRA" in headers) == ("@" in url)


def test_queries_are_quoted():
    request = ServiceAddress("http://here", {}).request(CALLS.explain("f", {"key": "a&b c"}))
    assert request.startswith(b"GET /v1/explain?key=a%26b%20c&feature=f&events=20 HTTP/1.1\r\n")
    assert b"content-length" not in request


def test_no_header_can_hold_another():
    with pytest.raises(errors.DataError, match="x-request-id"):
        ServiceAddress("http://here", {}).request(
            CALLS.features("a", {}, request_id="1\r\nhost: there")
        )
    with pytest.raises(errors.UsageError, match="authorization") as found:
        hw.client.Client("http://127.0.0.1:1", token="secret\n")
    assert "secret" not in str(found.value)


@contextmanager
def counted(*, requests):
    """A server that closes each connection, unannounced, after this number of requests; and how
    many connections it had.
    """
    connections = []

    def answer(connection):
        with connection, suppress(OSError):
            for _ in range(requests):
                if not connection.recv(65536):
                    return
                connection.sendall(OK + b'content-length: 17\r\n\r\n{"status":"okay"}')

    def accept():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", connections
        listener.shutdown(socket.SHUT_RDWR)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("make", [hw.client.Client, Awaited], ids=["sync", "async"])
@pytest.mark.parametrize(("requests", "expected"), [(100, 1), (2, 3)], ids=["kept", "replaced"])
def test_a_connection_is_used_again_until_the_service_closes_it(make, requests, expected):
    with counted(requests=requests) as (url, connections), make(url, retries=1) as client:
        for _ in range(6):
            assert client.health().ready
            if isinstance(client, Awaited):
                client._loop.run_until_complete(asyncio.sleep(0.01))
        assert len(connections) == expected


def test_threads_have_a_connection_each_at_a_time():
    with counted(requests=1000) as (url, connections), hw.client.Client(url) as client:
        threads = [
            threading.Thread(target=lambda: [client.health() for _ in range(50)]) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 1 <= len(connections) <= 4


@pytest.mark.slow
# the first loop ended with its connection open
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_client_outlives_an_event_loop():
    with counted(requests=100) as (url, connections):
        client = hw.client.AsyncClient(url)

        async def asked(*, last):
            assert (await client.health()).ready
            if last:
                await client.close()

        for last in (False, True):
            asyncio.run(asked(last=last))
            gc.collect()
        assert len(connections) == 2


def test_a_cancelled_call_leaves_no_connection():
    async def cancelled(url):
        async with hw.client.AsyncClient(url) as client:
            await client.health()
            waiting = asyncio.create_task(client.health())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert (await client.health()).ready

    with counted(requests=100) as (url, connections):
        asyncio.run(cancelled(url))
        assert len(connections) == 2
