"""The clients against a served shop: both say what the service in process says, and errors come
back as what they were.
"""

import inspect
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

import headwater as hw
from headwater import clock, errors
from headwater.serving.client.calls import Reply
from headwater.serving.http.auth import TokenFile
from headwater.serving.http.error_responses import error_response
from headwater.serving.http.response_schema import Health
from headwater.stores import UnansweredError, keyspace
from tests.ingestion.world import wait_until
from tests.serving.world import NOW, ROW, asking, free_port, watched

ASKED = {**ROW, "asked": datetime(2024, 5, 1, 10, 30, tzinfo=UTC)}
METHODS = ("features", "predict", "rank", "events", "outcomes", "explain", "health")


@pytest.fixture
def asked(make, client):
    """A client of the shop; the first ranking or explanation after an installation compiles loops
    for longer than the usual timeout.
    """
    with make(str(client.base_url), timeout=90.0) as made:
        yield made


def test_both_have_the_same_methods_with_the_same_arguments():
    for name in METHODS:
        mine, theirs = (
            inspect.signature(getattr(kind, name))
            for kind in (hw.client.Client, hw.client.AsyncClient)
        )
        assert mine == theirs, name


def test_loading_a_client_loads_none_of_what_computes():
    code = (
        "import sys, headwater; headwater.client.Client; print(*{name.partition('.')[0] for name "
        "in sys.modules})"
    )
    loaded = set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )
    assert "msgspec" in loaded
    assert not loaded & {
        "httpx",
        "numpy",
        "polars",
        "numba",
        "lightgbm",
        "sklearn",
        "starlette",
        "uvicorn",
        "uvloop",
    }


def test_features_are_those_of_the_service_in_process(asked, service):
    for rows in (ASKED, [ASKED, {**ASKED, "user": np.int64(3)}]):
        found = asked.features("churn_v1", rows)
        plain = [
            {**row, "user": int(row["user"])}
            for row in ([rows] if isinstance(rows, dict) else rows)
        ]
        assert found == service.features("churn_v1", plain, at=found.at)
    assert found.rows[0]["user__count_2d"].T == NOW


def test_predictions_are_those_of_the_service_in_process(asked, service):
    one = asked.predict("churn", ASKED, features=True, timing=True)
    mine = service.predict("churn", ASKED, at=one.at, features=True)
    assert (one.predictions, one.version, one.timing.keys() >= {"read", "score"}) == (
        mine.predictions,
        "sum-1",
        True,
    )
    many = asked.predict("churn", [ASKED, {**ASKED, "user": 77}])
    assert (
        many.predictions
        == service.predict("churn", [ASKED, {**ASKED, "user": 77}], at=many.at).predictions
    )
    assert many.timing is None


def test_rankings_are_those_of_the_service_in_process(asked, service):
    found = asked.rank("feed", {"user": 1}, candidates=("i0", "i1", "i2"), k=2)
    assert (
        found.items
        == service.rank("feed", {"user": 1}, candidates=["i0", "i1", "i2"], k=2, at=found.at).items
    )
    assert asked.rank("feed", {"user": 1}).items


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"


@contextmanager
def trickling(first):
    """A server that answers with these bytes, and then with one each tenth of a second, for
    ever.
    """
    over = threading.Event()

    def answer(one):
        with one:
            one.recv(65536)
            one.sendall(first)
            while not over.wait(0.1):
                try:
                    one.sendall(b"x")
                except OSError:
                    return

    def accept():
        while not over.is_set():
            try:
                one, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(one,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()


@pytest.mark.slow
@pytest.mark.parametrize(
    "first",
    [b"HTTP/1.1 200 ", b"HTTP/1.1 200 OK\r\nX-Long: ", HEAD, HEAD + b"{"],
    ids=["a status", "a header", "no body", "a body"],
)
def test_a_server_that_sends_a_byte_now_and_then_is_given_up_in_time(make, first):
    with trickling(first) as url, make(url, timeout=0.5, retries=2) as client:
        begin = time.monotonic()
        with pytest.raises(errors.ConnectError, match="it took too long"):
            client.health()
        assert 0.4 < time.monotonic() - begin < 4


def test_a_server_that_reads_nothing_is_given_up_in_time(make):
    with (
        socket.create_server(("127.0.0.1", 0), backlog=8) as deaf,
        make(f"http://127.0.0.1:{deaf.getsockname()[1]}", timeout=0.5) as client,
    ):
        begin = time.monotonic()
        with pytest.raises(errors.ConnectError):
            client.events("clicks", [{"user": n, "text": "x" * 1000} for n in range(9_000)])
        assert time.monotonic() - begin < 4


def test_explanations_and_health(asked):
    found = asked.explain("user__count_2d", {"user": 1}, events=3)
    assert (found.online, found.offline, found.status, len(found.events), found.T) == (
        12,
        12,
        "present",
        3,
        NOW,
    )
    assert asked.explain("day__count_2d", {"day": "2024-05-01"}, at=datetime.now(UTC)).offline == 30
    assert asked.health() == Health(ready=True)


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


def test_what_is_not_ready_says_so(make, tmp_path):
    empty = hw.operations.open_store(f"lmdb:{tmp_path / 'empty'}?size=1GB")
    with asking(empty, models={}) as served, make(str(served.base_url), retries=0) as client:
        found = client.health()
        assert not found.ready
        assert "'user' is not in the online store" in " ".join(found.reasons)
        with pytest.raises(errors.StoreError, match="headwater materialize"):
            client.features("churn_v1", ASKED)
    empty.close()


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


@pytest.mark.slow
def test_events_are_durable_and_a_repetition_counts_once(make, tmp_path):
    made = hw.operations.open_store(f"lmdb:{tmp_path / 'online'}?size=1GB")
    project = hw.Project("clicked", [watched])
    stop = threading.Event()
    ingesting = threading.Thread(
        target=lambda: hw.ingest(
            project,
            made,
            data_dir=tmp_path,
            listen=f"127.0.0.1:{free_port()}",
            stop=stop,
            options=hw.operations.IngestOptions(allow_unapplied=True),
        )
    )
    with (
        asking(made, project, now=clock.now_micros) as served,
        make(str(served.base_url), retries=0) as client,
    ):
        with pytest.raises(errors.BusyError, match="headwater ingest"):
            client.events("clicks", {"user": 1, "at": NOW})
        ingesting.start()
        try:
            wait_until(
                lambda: client.health().ready and made.get([keyspace.receiver("clicks")[0]])[0],
                "ingestion",
            )
            sent = [{"user": 1, "at": datetime.now(UTC)}, {"user": "x"}]
            first, again = (client.events("clicks", sent, key="k") for _ in range(2))
            assert (first.accepted, first.copies, first.refused[0].index) == (1, 0, 1)
            assert (again.accepted, again.copies) == (0, 1)
            assert client.events("clicks", {"user": 1, "at": datetime.now(UTC)}).accepted == 1
            assert client.events("clicks", {"user": "x"}).refused[0].index == 0
            assert client.features("watched_v1", {"user": 1}).rows[0]["live__count_1h"].value == 2
        finally:
            stop.set()
            ingesting.join(20)
    made.close()


def test_outcomes_are_of_requests_by_their_ids(make, store, tmp_path):
    with (
        hw.operations.ServedLog(tmp_path) as served,
        asking(store, serving_log=served, data_dir=tmp_path) as url,
        make(str(url.base_url)) as client,
    ):
        client.predict("churn", ASKED, request_id="r-1")
        posted = [{"request_id": "r-1", "outcome": True}, {"outcome": True}]
        said = client.outcomes("left", posted)
        assert (said.accepted, [one.index for one in said.refused]) == (1, [1])
        assert client.outcomes("left", posted[0]).accepted == 1
        assert client.outcomes("left", posted[1:]).refused[0].index == 0
        with pytest.raises(errors.UsageError, match="did you mean 'left'"):
            client.outcomes("lefd", posted)


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


@pytest.mark.parametrize(
    "raised", [errors.AccessError, errors.CatalogError, errors.ClockError, errors.LeakError]
)
def test_an_error_of_any_kind_is_known_by_its_name(raised):
    answer = error_response(raised("what it is"), b"r-3")
    assert type(Reply(answer.status, {}, answer.body).error()) is raised


def test_commits_that_were_lost_are_not_asked_for_again(make):
    lost = (503, b'{"error":"commits were lost","request_id":"r","kind":"LostError"}', {})
    with scripted(lost, (200, TAKEN, {})) as (url, seen), make(url, retries=2) as client:
        with pytest.raises(errors.LostError, match="commits were lost"):
            client.events("clicks", {"user": 1})
        assert len(seen) == 1
