"""Clients that never stop sending: each is closed in time, and others are answered meanwhile."""

import json
import select
import socket
import threading
import time

import pytest

from headwater.serving.http.auth import TokenFile
from tests.serving.apart import served_apart

pytestmark = pytest.mark.slow

PATH = b"/v1/features/churn_v1"
CHUNKED = b"POST " + PATH + b" HTTP/1.1\r\nHost: here\r\n%bTransfer-Encoding: chunked\r\n\r\n"
SIZED = b"POST " + PATH + b" HTTP/1.1\r\nHost: here\r\nContent-Length: 1000000000000\r\n\r\n"
CHUNKS, PIECE = b"1\r\na\r\n" * 10_000, b"a" * 60_000
FOR_GOOD = 60.0  # seconds; the deadlines are 5 and 2 seconds
ENDLESS = {
    "one-byte chunks": (CHUNKED % b"", CHUNKS, b"HTTP/1.1 401"),
    "one chunk": (CHUNKED % b"" + b"fffffffffff\r\n", PIECE, b"HTTP/1.1 401"),
    "the extension of a chunk": (CHUNKED % b"" + b"1;", PIECE, b"HTTP/1.1 401"),
    "a body of known size": (SIZED, PIECE, b"HTTP/1.1 401"),
    "empty lines": (b"", b"\r\n" * 30_000, b""),
    "one-byte chunks of a body that is read": (
        CHUNKED % b"Authorization: Bearer %(token)b\r\n",
        CHUNKS,
        b"HTTP/1.1 413",
    ),
}


@pytest.fixture(scope="module")
def token(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokens") / "tokens.json"
    return path, TokenFile(path).add("one", ["read"]).encode()


@pytest.fixture(scope="module")
def apart(store, token):
    with served_apart(f"lmdb:{store.folder}?size=1GB", tokens=token[0]) as made:
        yield made


def sent_for_good(port, first, more, results):
    """Send until the server closes the connection; notes what it answered, or None where it never
    closed.
    """
    answer, end, left = b"", time.monotonic() + FOR_GOOD, first
    with socket.create_connection(("127.0.0.1", port), timeout=FOR_GOOD) as one:
        one.setblocking(False)
        while time.monotonic() < end:
            readable, writable, _ = select.select([one], [one], [], 1.0)
            try:
                if readable:
                    answer += one.recv(1 << 16)
                if writable:
                    left = left[one.send(left) :] or more
            except (BrokenPipeError, ConnectionResetError):
                results.append(answer)
                return
    results.append(None)


@pytest.mark.parametrize("name", ENDLESS)
def test_a_client_that_never_stops_is_closed_and_others_are_answered(apart, token, name):
    first, more, expected = ENDLESS[name]
    results, answered = [], 0
    first = first.replace(b"%(token)b", token[1])
    threads = [
        threading.Thread(target=sent_for_good, args=(apart.port, first, more, results))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        apart.health()
        answered += 1
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    assert answered > 0
    assert None not in results, "a connection is still open"
    assert all(
        answer.startswith(expected) and answer.count(b"HTTP/1.1") == bool(expected)
        for answer in results
    ), results


def test_a_body_of_many_small_chunks_is_read_and_of_too_many_refused(apart, token):
    for body, status in ((b'{"row":{"user":1}}' + b" " * 19_000, b"422"), (b" " * 20_001, b"413")):
        with socket.create_connection(("127.0.0.1", apart.port), timeout=FOR_GOOD) as one:
            head = CHUNKED % (b"Authorization: Bearer " + token[1] + b"\r\n")
            one.sendall(head + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n")
            answer = one.recv(1 << 16)
            assert answer.startswith(b"HTTP/1.1 " + status), answer
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]


def test_a_body_that_is_invalid_after_its_response_gets_no_second_one(apart):
    with socket.create_connection(("127.0.0.1", apart.port), timeout=FOR_GOOD) as one:
        one.sendall(CHUNKED % b"" + b"1\r\na\r\n")
        answer = one.recv(1 << 16)
        one.sendall(b"zz\r\n")
        while part := one.recv(1 << 16):
            answer += part
    assert answer.startswith(b"HTTP/1.1 401")
    assert answer.count(b"HTTP/1.1") == 1


def test_an_invalid_body_behind_a_request_in_progress_leaves_that_one_its_response(apart, token):
    ask = (
        b"POST "
        + PATH
        + b" HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer "
        + token[1]
        + b"\r\n%b\r\n\r\n%b"
    )
    whole = ask % (b"Content-Length: 18", b'{"row":{"user":1}}')
    with socket.create_connection(("127.0.0.1", apart.port), timeout=FOR_GOOD) as one:
        one.sendall(whole + ask % (b"Transfer-Encoding: chunked", b"zz\r\n"))
        answer = b""
        while part := one.recv(1 << 16):
            answer += part
    assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 422")), answer[:200]
    assert answer.count(b"HTTP/1.1") == 1
