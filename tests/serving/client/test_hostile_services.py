"""The clients against services on a socket that answer slowly, wrongly, partly or not at all: what
is no response is a ConnectError, in time. The blocking client never takes a response that nobody
asked for as the answer of its next request; httpx does (decision 0380).
"""

import asyncio
import gzip
import json
import multiprocessing
import shutil
import ssl
import subprocess
import threading
import time

import certifi
import pytest

from headwater import errors
from headwater.client import AsyncClient, Client
from tests.serving.client.conftest import Awaited
from tests.serving.client.raw_server import answering, response

READY = b'{"status":"ready"}'
UNREADY = response(b'{"status":"unready","reasons":["another"]}', status="503 No")
OK = b"HTTP/1.1 200 OK\r\n"
FIT = response(READY)


def rest(client):
    """Let an asyncio client see what its connections received."""
    time.sleep(0.02)
    if isinstance(client, Awaited):
        client.idle()


CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n11\r\n" + READY[1:] + b"\r\n0\r\n\r\n"
WHOLE = {
    "length": (FIT, True),
    "a header in capitals": (OK + b"CONTENT-LENGTH: 18\r\n\r\n" + READY, True),
    "close": (response(READY, "connection: close"), False),
    "chunked": (CHUNKED, True),
    "after 100": (b"HTTP/1.1 100 Continue\r\n\r\n" + FIT, True),
    "1.0": (FIT.replace(b"1.1", b"1.0", 1), False),
    "until the end": ((OK + b"\r\n" + READY, "close"), False),
}


@pytest.mark.parametrize(("data", "kept"), WHOLE.values(), ids=WHOLE)
def test_responses_of_every_form_are_read(make, data, kept):
    with answering(data, FIT) as server, make(server.url, retries=0) as client:
        assert client.health().ready
        rest(client)
        assert client.health().ready
        assert len(server.connections) == (1 if kept else 2)


BROKEN = {
    "nothing": b"",
    "half a status": b"HTTP/1.1 20",
    "a status alone": OK,
    "half a header": OK + b"content-le",
    "no body": OK + b"content-length: 18\r\n\r\n",
    "half a body": OK + b"content-length: 18\r\n\r\n" + READY[:9],
    "a length that is too large": OK + b"content-length: 19\r\n\r\n" + READY,
    "a length that is too small": OK + b"content-length: 17\r\n\r\n" + READY,
    "a length that is none": OK + b"content-length: many\r\n\r\n" + READY[:9],
    "two lengths": OK + b"content-length: 18\r\ncontent-length: 5\r\n\r\n" + READY[:5],
    "half a chunk": OK + b"transfer-encoding: chunked\r\n\r\n12\r\n{",
    "no last chunk": CHUNKED[:-5],
    "a chunk that is none": OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n" + READY,
    "not HTTP": b"220 mail.example.org ESMTP\r\n",
    "HTML": response(b"<html>hello"),
    "another encoding": response(gzip.compress(READY), "content-encoding: gzip"),
    "not UTF-8": response(b'{"status":"\xff"}'),
    "deep": response(b"[" * 100_000),
    "an empty body": response(b""),
    "a header without end": OK + b"x-long: " + b"x" * 1_000_000,
    "headers without end": OK + b"x-many: 1\r\n" * 100_000,
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_what_is_no_response_is_an_error(make, data):
    with (
        answering((data, "close"), FIT) as server,
        make(server.url, retries=0, timeout=5) as client,
    ):
        with pytest.raises(errors.ConnectError):
            client.health()
        rest(client)
        assert client.health().ready


def test_a_broken_answer_is_asked_for_again(make):
    with answering((b"HTTP/1.1 20", "close"), FIT) as server, make(server.url) as client:
        assert client.health().ready
        assert len(server.requests) == 2


@pytest.mark.parametrize("more", [UNREADY, b"nonsense", UNREADY[:30]], ids=["whole", "no", "half"])
def test_bytes_after_a_response_answer_no_later_request(make, more):
    read, over = threading.Event(), threading.Event()

    def late(connection, _):
        connection.sendall(FIT)
        read.wait(5)
        connection.sendall(more)
        over.set()

    with answering(late, FIT) as server, make(server.url, retries=0) as client:
        assert client.health().ready
        read.set()
        assert over.wait(5)
        rest(client)
        assert client.health().ready
        assert len(server.connections) == 2


@pytest.mark.parametrize("more", [UNREADY, b"nonsense", UNREADY[:30]], ids=["whole", "no", "half"])
def test_bytes_that_came_with_a_response_answer_no_later_request(more):
    with answering(FIT + more, FIT) as server, Client(server.url, retries=0) as client:
        assert client.health().ready
        rest(client)
        assert client.health().ready


def test_a_redirect_is_an_error_and_its_target_gets_nothing(make):
    with answering(FIT) as other:
        for status in ("301 Moved", "302 Found", "307 Again", "308 Moved"):
            moved = response(b"", f"location: {other.url}/readyz", status=status)
            with answering(moved) as server, make(server.url, token="t0ken") as client:
                with pytest.raises(errors.HeadwaterError, match=f"status {status[:3]}"):
                    client.health()
                assert len(server.requests) == 1
        assert not other.requests


def test_cookies_are_not_kept(make):
    kept = response(READY, "set-cookie: a=b; Path=/")
    with answering(kept) as server, make(server.url) as client:
        client.health()
        client.health()
    assert all("cookie" not in seen.headers for seen in server.requests)


@pytest.mark.slow
def test_a_closed_connection_is_replaced_without_a_retry(make):
    with answering((FIT, "close")) as server, make(server.url, retries=0) as client:
        for _ in range(3):
            assert client.health().ready
            rest(client)
        assert len(server.connections) == 3


def trickle(connection, _):
    for part in (b"HTTP/1.1 200 OK\r\nx-long: ", *[b"x"] * 100):
        connection.sendall(part)
        time.sleep(0.05)


@pytest.mark.parametrize("retries", [0, 2])
def test_the_time_covers_the_whole_call(make, retries):
    with answering(trickle) as server, make(server.url, timeout=0.4, retries=retries) as client:
        with pytest.raises(errors.ConnectError):
            client.health()
        assert len(server.requests) == 1


@pytest.mark.slow
def test_a_connection_whose_time_was_over_is_not_used_again(make):
    def late(connection, _):
        time.sleep(0.3)
        connection.sendall(UNREADY)
        time.sleep(1)

    with answering(late, FIT) as server, make(server.url, timeout=0.2, retries=0) as client:
        with pytest.raises(errors.ConnectError):
            client.health()
        time.sleep(0.2)
        assert client.health().ready
        assert len(server.connections) == 2


FEATURE = b"""{"value":%d,"status":"present","stale":false,"age":1.0,"T":"2024-05-01T12:00:00Z",
    "K":"2024-05-01T12:00:00Z"}"""
FEATURES = b'{"service":"a","level":null,"at":"2024-05-01T12:00:00Z",'


def echo(_, seen):
    """The user of the request, as a feature."""
    user = json.loads(seen.body)["row"]["user"]
    return response(FEATURES + b'"features":{"user":' + FEATURE % user + b"}}")


def test_threads_have_a_connection_each_and_get_their_own_answers():
    with answering(echo) as server, Client(server.url) as client:
        answers = {}

        def ask(thread):
            for n in range(50):
                user = 100 * thread + n
                answers[user] = client.features("a", {"user": user}).rows[0]["user"].value

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(answers) == 200
        assert all(user == value for user, value in answers.items())
        assert 1 <= len(server.connections) <= 4


def test_a_forked_process_has_connections_of_its_own():
    def ask(client, results):
        results.put([client.health().ready for _ in range(5)])

    with answering(FIT) as server, Client(server.url) as client:
        assert client.health().ready
        context = multiprocessing.get_context("fork")
        results = context.Queue()
        child = context.Process(target=ask, args=(client, results))
        child.start()
        assert results.get(timeout=10) == [True] * 5
        child.join()
        assert client.health().ready
        assert len(server.connections) == 2


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0, 0.001, 0.01, 0.1])
def test_a_cancelled_call_leaves_no_connection(seconds):
    def late(connection, _):
        time.sleep(0.15)
        connection.sendall(UNREADY)
        time.sleep(0.1)

    async def cancelled(url):
        async with AsyncClient(url, retries=0) as client:
            assert (await client.health()).ready
            for _ in range(3):
                waiting = asyncio.create_task(client.health())
                await asyncio.sleep(seconds)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
            await asyncio.sleep(0.3)
            # each of these would get the answer of a call that was cancelled
            for _ in range(3):
                waiting = asyncio.create_task(client.health())
                await asyncio.sleep(0)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
            assert await client.health()

    with answering(FIT, late, late, late, FIT) as server:
        asyncio.run(cancelled(server.url))
        assert len(server.connections) >= 2


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A context of a server, and the file of the certificate that signs it."""
    openssl = shutil.which("openssl") or pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"),
            *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context, str(folder / "cert.pem")


def test_a_service_is_known_by_its_certificate(make, certificates, monkeypatch):
    context, signed_by = certificates
    with answering(FIT, tls=context) as server:
        with make(server.url, retries=0) as client, pytest.raises(errors.ConnectError):
            client.health()
        monkeypatch.setenv("SSL_CERT_FILE", signed_by)
        with make(server.url, retries=0) as client, pytest.raises(errors.ConnectError):
            client.health()
        assert not server.requests
        monkeypatch.setattr(certifi, "where", lambda: signed_by)
        with make(server.url, retries=0, token="t0ken") as client:
            for _ in range(3):
                assert client.health().ready
        before = len(server.requests)
        with (
            make(server.url.replace("127.0.0.1", "localhost"), retries=0) as client,
            pytest.raises(errors.ConnectError),
        ):
            client.health()
        assert len(server.requests) == before == 3
