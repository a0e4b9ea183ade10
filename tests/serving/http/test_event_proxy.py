"""Who may push events, to the ingesting process itself and through the service, and where the
service forwards them.
"""

import json

import pytest

import headwater as hw
from headwater.serving.http.auth import TokenFile
from headwater.stores import keyspace
from tests.ingestion.world import free_port
from tests.serving.http.test_event_receiver import PROJECT, event, receiving
from tests.waiting import until


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    with receiving(tmp_path_factory.mktemp("open")) as made:
        yield made


PLAIN, SECRET = keyspace.receiver("plain")
FORWARDED = {
    "no ingestion": ({}, (), "start `headwater ingest`"),
    "nobody listens": (
        {PLAIN: b"http://127.0.0.1:{port}", SECRET: b"s"},
        (),
        "does not respond at",
    ),
    "no secret": ({PLAIN: b"http://127.0.0.1:{port}"}, (), "start `headwater ingest`"),
    "another machine": (
        {PLAIN: b"http://192.0.2.1:{port}", SECRET: b"s"},
        (),
        "--forward-to 192.0.2.1",
    ),
    "a name before an @": (
        {PLAIN: b"http://127.0.0.1:80@evil.example", SECRET: b"s"},
        (),
        "--forward-to evil",
    ),
    "another trusted machine": (
        {PLAIN: b"http://ingest:{port}", SECRET: b"s"},
        ["else"],
        "--forward-to ingest",
    ),
    "a trusted machine": (
        {PLAIN: b"http://LOCALHOST.:{port}", SECRET: b"s"},
        ["localhost."],
        "does not respond at",
    ),
}


@pytest.mark.parametrize("name", FORWARDED)
def test_events_that_cannot_be_forwarded(here, tmp_path, name):
    kept, hosts, says = FORWARDED[name]
    empty = hw.operations.open_store(f"lmdb:{tmp_path / 'empty'}?size=1GB")
    empty.commit(
        {key: value.replace(b"{port}", b"%d" % free_port()) for key, value in kept.items()}, {}
    )
    with hw.operations.serve(
        PROJECT,
        empty,
        listen=f"127.0.0.1:{(port := free_port())}",
        models={},
        options=hw.operations.ServeOptions(forward_to=hosts),
    ):
        status, answer, headers = here.post("plain", b"{}", port=port, **{"Idempotency-Key": "k"})
        assert (status, says in answer["error"]) == (503, True), answer
        assert headers["retry-after"] in "15"
        assert answer["request_id"] == headers["x-request-id"]
    empty.close()


# ---------------------------------------------------------------- who may push


def pushed(here, tokens, headers, *, path="/v1/events/loose", body=None):
    """The status of a push to the ingesting process itself."""
    given = {name: value.format(port=here.port, **tokens) for name, value in headers.items()}
    return here.post(path, json.dumps(event()).encode() if body is None else body, **given)


OPEN = [
    ({}, 200),
    ({"Content-Type": "application/json"}, 200),
    ({"Origin": "http://127.0.0.1:{port}"}, 200),
    # what a browser sends for a page of another site
    (
        {
            "Origin": "https://evil.example",
            "Sec-Fetch-Site": "cross-site",
            "Content-Type": "text/plain;charset=UTF-8",
        },
        403,
    ),
    ({"Origin": "https://evil.example"}, 403),
    ({"Sec-Fetch-Site": "cross-site"}, 403),
    ({"Sec-Fetch-Site": "same-site"}, 403),
    ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 403),
    ({"Origin": "null"}, 403),
    ({"Content-Type": "text/plain"}, 415),
    ({"Content-Type": "Multipart/Form-Data; boundary=x"}, 415),
    ({"Host": "evil.example:{port}", "Origin": "http://evil.example:{port}"}, 403),
    ({"Host": "127.0.0.1.evil.example"}, 403),
    ({"X-Headwater-Secret": "wrong"}, 401),
    ({"X-Headwater-Secret": ""}, 401),
]


@pytest.mark.parametrize(("headers", "status"), OPEN)
def test_who_may_push_where_there_are_no_tokens(here, headers, status):
    found, answer, got = pushed(here, {}, headers)
    assert found == status, answer
    if status != 200:
        assert set(answer) == {"error", "request_id"}
        assert answer["request_id"] == got["x-request-id"]
        # no word on which sources there are
        assert pushed(here, {}, headers, path="/v1/events/lose")[:1] == (status,)


GUARDED = [
    ({}, 401),
    ({"Content-Type": "text/plain", "Sec-Fetch-Site": "cross-site"}, 401),
    ({"Authorization": "Bearer hw_0"}, 401),
    ({"Authorization": "Bearer {read}"}, 403),
    ({"Authorization": "Bearer {write}"}, 200),
    ({"Authorization": "Bearer {admin}", "Host": "elsewhere.example"}, 200),
    ({"X-Headwater-Secret": "wrong", "Authorization": "Bearer {write}"}, 401),
]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """Ingestion whose senders need tokens."""
    folder = tmp_path_factory.mktemp("guarded")
    tokens = {
        scope: TokenFile(folder / "tokens.json").add(scope, [scope])
        for scope in ("read", "write", "admin")
    }
    with receiving(folder, tokens=folder / "tokens.json") as here:
        here.tokens = tokens
        yield here


@pytest.mark.parametrize(("headers", "status"), GUARDED)
def test_who_may_push_where_there_are_tokens(guarded, headers, status):
    found, answer, _ = pushed(guarded, guarded.tokens, headers)
    assert found == status, answer
    if status != 200:
        assert pushed(guarded, guarded.tokens, headers, path="/v1/events/lose")[:1] == (status,)


def test_a_service_with_tokens_forwards_with_the_secret_that_the_store_holds(guarded):
    port = free_port()
    with hw.operations.serve(
        PROJECT,
        guarded.store,
        listen=f"127.0.0.1:{port}",
        models={},
        tokens=guarded.folder / "tokens.json",
    ):
        given = {"Authorization": f"Bearer {guarded.tokens['write']}"}
        assert guarded.post("loose", event(), port=port, **given)[0] == 200
        assert guarded.post("loose", event(), port=port)[0] == 401
        key = keyspace.receiver("loose")[1]
        guarded.store.commit({key: guarded.store.get([key])[0] + b"x"}, {})
        until(
            lambda: guarded.post("loose", event(), port=port, **given)[0] == 503,
            "the address to be looked up again",
        )


def test_at_an_address_that_others_reach_only_the_secret_or_a_token_admits(tmp_path):
    with receiving(tmp_path, host="0.0.0.0") as here:
        secret = here.store.get([keyspace.receiver("loose")[1]])[0].decode()
        assert here.post("loose", event())[0] == 401
        assert (
            here.post("loose", event(), **{"X-Headwater-Secret": secret, "Host": "ingest:8321"})[0]
            == 200
        )
        assert here.post("lose", event())[0] == 401
