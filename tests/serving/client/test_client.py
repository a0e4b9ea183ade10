"""The clients against a served shop: both say what the service in process says, and errors come
back as what they were.
"""

import socket
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import headwater as hw
from headwater import errors
from headwater.serving.client.calls import Reply
from headwater.serving.http.auth import TokenFile
from headwater.serving.http.error_responses import error_response
from headwater.stores import UnansweredError
from tests.serving.world import ROW, asking, free_port

ASKED = {**ROW, "asked": datetime(2024, 5, 1, 10, 30, tzinfo=UTC)}


@pytest.fixture
def asked(make, client):
    """A client of the shop; the first ranking or explanation after an installation compiles loops
    for longer than the usual timeout.
    """
    with make(str(client.base_url), timeout=90.0) as made:
        yield made


def test_a_server_that_reads_nothing_is_given_up_in_time(make):
    with (
        socket.create_server(("127.0.0.1", 0), backlog=8) as deaf,
        make(f"http://127.0.0.1:{deaf.getsockname()[1]}", timeout=0.5) as client,
        pytest.raises(errors.ConnectError),
    ):
        client.events("clicks", [{"user": n, "text": "x" * 1000} for n in range(9_000)])


@pytest.mark.parametrize(
    ("ask", "kind", "says"),
    [
        (lambda c: c.features("churn_v2", ASKED), "UsageError", "did you mean 'churn_v1'"),
        (lambda c: c.features("churn/v1", ASKED), "UsageError", "there is no service 'churn/v1'"),
        (lambda c: c.features("churn_v1", {}), "DataError", "has no field"),
        (lambda c: c.features("churn_v1", []), "DataError", "give 1 to 10,000"),
        (
            lambda c: c.features("churn_v1", {**ASKED, "amount": object()}),
            "DataError",
            "cannot be encoded as JSON",
        ),
        (lambda c: c.predict("churn", ASKED, level="daily"), "UsageError", "daily"),
        (lambda c: c.rank("feed", {"user": 1}, k=0), "DataError", "k"),
        (
            lambda c: c.explain("user__cont_2d", {"user": 1}),
            "DataError|DefinitionError|UsageError",
            "did you mean 'user__count_2d'",
        ),
        (lambda c: c.features("watched_v1", {"user": 1}), "UsageError", "watched_v1"),
    ],
)
def test_errors_are_headwaters_own_with_the_sentence_of_the_service(asked, ask, kind, says):
    with pytest.raises(errors.HeadwaterError, match=says) as found:
        ask(asked)
    assert type(found.value).__name__ in kind.split("|")


def test_an_error_has_the_id_of_its_request(asked):
    with pytest.raises(errors.DataError) as found:
        asked.predict("churn", {**ASKED, "user": "nobody"})
    assert found.value.request_id
    assert found.value.__notes__ == [f"request id {found.value.request_id}"]


def test_a_token_is_sent_and_what_it_may_not_do_is_said(make, store, tmp_path, monkeypatch):
    file = TokenFile(tmp_path / "tokens.json")
    reads = file.add("reader", ["read"])
    monkeypatch.setenv("SHOP_TOKEN", reads)
    with asking(store, tokens=tmp_path / "tokens.json") as served:
        url = str(served.base_url)
        with make(url, token=hw.env("SHOP_TOKEN")) as client:
            assert client.features("churn_v1", ASKED).rows
            with pytest.raises(errors.AccessError, match="this needs the scope predict"):
                client.predict("churn", ASKED)
        with make(url) as client, pytest.raises(errors.AccessError, match="give a token"):
            client.features("churn_v1", ASKED)


# ---------------------------------------------------------------- a service that fails


@contextmanager
def scripted(*answers):
    """A server that answers with (status, body, headers) one after the other, or breaks the
    connection; and what it was sent.
    """
    waiting, seen = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            seen.append((self.path, body, dict(self.headers)))
            answer = waiting.pop(0)
            if answer is None:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            status, said, headers = answer
            self.send_response(status)
            for name, value in {"content-length": str(len(said)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST  # noqa: N815 (as the server calls it)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()


TAKEN = b'{"accepted":1,"copies":0,"held":0,"filtered":0,"refused":[],"sequence":3}'
BUSY = (503, b'{"error":"later","request_id":"r","kind":"BusyError"}', {})


@pytest.mark.slow
@pytest.mark.parametrize(
    "before",
    [[None], [BUSY], [(502, b"<html>", {})], [None, BUSY]],
    ids=["broken", "busy", "proxy", "twice"],
)
def test_what_cannot_be_answered_now_is_sent_again_under_the_same_key(make, before):
    with scripted(*before, (200, TAKEN, {})) as (url, seen), make(url, retries=2) as client:
        assert client.events("clicks", {"user": 1}).accepted == 1
    assert len(seen) == len(before) + 1
    assert len({(path, body, headers["idempotency-key"]) for path, body, headers in seen}) == 1


@pytest.mark.slow
def test_it_is_sent_no_more_often_than_said_and_what_is_wrong_only_once(make):
    with scripted(BUSY, BUSY, BUSY) as (url, seen), make(url, retries=1) as client:
        with pytest.raises(errors.BusyError, match="later"):
            client.features("churn_v1", {"user": 1})
        assert len(seen) == 2
    wrong = (500, b'{"error":"the service failed","request_id":"r-1"}', {})
    with scripted(wrong, wrong) as (url, seen), make(url) as client:
        with pytest.raises(errors.HeadwaterError, match="the service failed") as found:
            client.features("churn_v1", {"user": 1})
        assert (len(seen), type(found.value), found.value.request_id) == (
            1,
            errors.HeadwaterError,
            "r-1",
        )


def test_it_does_not_wait_longer_than_it_has(make):
    with (
        scripted((503, b"{}", {"retry-after": "60"})) as (url, seen),
        make(url, timeout=5) as client,
    ):
        with pytest.raises(errors.BusyError):
            client.features("churn_v1", {"user": 1})
        assert len(seen) == 1


def test_a_silent_service_is_given_up(make):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with (
            make(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout=0.2) as client,
            pytest.raises(errors.ConnectError, match="no answer"),
        ):
            client.health()
    with (
        make(f"http://127.0.0.1:{free_port()}", retries=0) as client,
        pytest.raises(errors.ConnectError, match="headwater serve"),
    ):
        client.health()


def test_what_is_none_of_headwaters_is_said(make):
    with (
        scripted((200, b"<html>hello", {})) as (url, _),
        make(url) as client,
        pytest.raises(errors.ConnectError, match="check the URL of the service"),
    ):
        client.features("churn_v1", {"user": 1})


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        *(
            (each, each)
            for each in (
                errors.StoreError,
                errors.FencedError,
                errors.LostError,
                errors.RebuiltError,
                errors.IncompleteError,
            )
        ),
        *(
            (each, each)
            for each in (
                errors.BusyError,
                errors.ConnectError,
                errors.ModelError,
                errors.NoStoreError,
                errors.StaleError,
            )
        ),
        (UnansweredError, errors.StoreError),  # one that only the store's module knows
    ],
)
def test_a_refusal_that_may_pass_and_one_that_does_not_are_told_apart(raised, kind):
    """All have status 503."""
    answer = error_response(raised("what it is"), b"r-2")
    found = Reply(answer.status, dict(answer.headers), answer.body).error()
    assert (answer.status, type(found), str(found), found.request_id) == (
        503,
        kind,
        "what it is",
        "r-2",
    )


def test_commits_that_were_lost_are_not_asked_for_again(make):
    lost = (503, b'{"error":"commits were lost","request_id":"r","kind":"LostError"}', {})
    with scripted(lost, (200, TAKEN, {})) as (url, seen), make(url, retries=2) as client:
        with pytest.raises(errors.LostError, match="commits were lost"):
            client.events("clicks", {"user": 1})
        assert len(seen) == 1
