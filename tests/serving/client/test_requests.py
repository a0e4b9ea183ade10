"""Requests as they arrive at a socket: where each argument of a method goes, and what never
leaves.
"""

import json
from datetime import UTC, datetime

import numpy as np
import pytest

import headwater as hw
from headwater import errors
from tests.serving.client.raw_server import answering, response

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
NONE = response(b"{}", status="418 I am a teapot")


def sent(make, ask, url="{}", **options):
    """The request of a call, answered with a status that ends it."""
    with (
        answering(NONE) as server,
        make(url.format(server.url), **options) as client,
        pytest.raises(errors.HeadwaterError),
    ):
        ask(client)
    (seen,) = server.requests
    return seen


@pytest.mark.parametrize(
    ("ask", "line", "body"),
    [
        (
            lambda c: c.features("a/b", {"user": np.int64(1)}),
            "POST /v1/features/a%2Fb",
            b'{"row":{"user":1}}',
        ),
        (
            lambda c: c.features("a", [{"user": 1}], level=""),
            "POST /v1/features/a",
            b'{"row":{"user":1},"level":""}',
        ),
        (
            lambda c: c.features("a", iter([{"user": 1}, {}])),
            "POST /v1/features/a",
            b'{"rows":[{"user":1},{}]}',
        ),
        (lambda c: c.features("a", []), "POST /v1/features/a", b'{"rows":[]}'),
        (
            lambda c: c.predict("m", {}, level="daily", timing=True),
            "POST /v1/predict/m",
            b'{"row":{},"level":"daily","timing":true}',
        ),
        (
            lambda c: c.rank("m", {"user": 1}, k=0),
            "POST /v1/rank/m",
            b'{"row":{"user":1},"k":0}',
        ),
        (
            lambda c: c.rank("m", {}, candidates=np.arange(2), features=True),
            "POST /v1/rank/m",
            b'{"row":{},"candidates":[0,1],"k":10,"features":true}',
        ),
        (
            lambda c: c.events("s", {"at": NOON}),
            "POST /v1/events/s",
            b'{"at":"2024-05-01T12:00:00Z"}',
        ),
        (lambda c: c.outcomes("l", ({}, {})), "POST /v1/outcomes/l", b"[{},{}]"),
        (lambda c: c.outcomes("l", {}), "POST /v1/outcomes/l", b"{}"),
        (lambda c: c.health(), "GET /readyz", b""),
        (
            lambda c: c.explain("f", {"key": "a&b c"}),
            "GET /v1/explain?key=a%26b%20c&feature=f&events=20",
            b"",
        ),
        (
            lambda c: c.explain("f", {"feature": "g"}, at=NOON, events=0),
            "GET /v1/explain?feature=f&at=2024-05-01T12%3A00%3A00%2B00%3A00&events=0",
            b"",
        ),
    ],
)
def test_each_argument_goes_to_its_place(make, ask, line, body):
    seen = sent(make, ask)
    assert (seen.line, seen.body) == (f"{line} HTTP/1.1", body)
    assert ("content-length" in seen.headers) == (body != b"")


def test_headers_are_those_of_the_call_and_no_more(make):
    usual = {"host", "accept", "accept-encoding", "user-agent"}
    seen = sent(make, lambda c: c.health())
    assert usual <= seen.headers.keys() <= usual | {"content-type", "connection"}
    assert (seen.headers["accept-encoding"], seen.headers["accept"]) == (
        "identity",
        "application/json",
    )
    assert seen.headers["user-agent"].startswith("headwater/")
    seen = sent(make, lambda c: c.predict("m", {}, request_id="r"), token="t0ken")
    assert seen.headers["x-request-id"] == "r"
    assert seen.headers["authorization"] == "Bearer t0ken"
    assert seen.headers["content-type"] == "application/json"
    assert sent(make, lambda c: c.events("s", {}, key="k")).headers["idempotency-key"] == "k"
    first, second = (
        sent(make, lambda c: c.events("s", {})).headers["idempotency-key"] for _ in range(2)
    )
    assert len(first) == 32
    assert first != second


def test_the_url_may_have_a_path_a_user_and_any_spelling(make):
    def ask(client):
        return client.features("a", {"user": 1})

    assert sent(make, ask, "{}/").line == "POST /v1/features/a HTTP/1.1"
    assert sent(make, ask, "{}/a b/").line == "POST /a%20b/v1/features/a HTTP/1.1"
    seen = sent(make, ask)
    assert seen.headers["host"].startswith("127.0.0.1:")
    with (
        answering(NONE) as server,
        make(server.url.replace("//", "//me:it%40@")) as client,
        pytest.raises(errors.HeadwaterError),
    ):
        ask(client)
    assert server.requests[0].headers["authorization"] == "Basic bWU6aXRA"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://127.0.0.1:8320/", "http://127.0.0.1:8320"),
        ("https://Example.org:443/a b/", "https://example.org/a b"),
        ("http://[::1]:80", "http://[::1]"),
        ("http://bücher.example", "http://xn--bcher-kva.example"),
        ("http://me:it%40@here:1", "http://here:1"),
    ],
)
def test_a_client_shows_its_address_without_a_password(url, shown):
    for kind in (hw.client.Client, hw.client.AsyncClient):
        assert repr(kind(url)) == f"{kind.__name__}({shown!r})"


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8320", "ftp://here", "http://", "http://a:b", "http://a:0"]
)
def test_addresses_that_are_none(make, url):
    with pytest.raises(errors.UsageError, match="give a URL"):
        make(url)


@pytest.mark.parametrize("options", [{"timeout": 0}, {"timeout": -1}, {"retries": -1}])
def test_times_and_counts_that_are_none(make, options):
    with pytest.raises(errors.UsageError, match="above 0 seconds"):
        make("http://127.0.0.1:1", **options)


def test_no_header_can_hold_another(make):
    with answering(NONE) as server, make(server.url) as client:
        for text in ("1\r\nhost: there", "ä", "\x00"):
            with pytest.raises(errors.DataError, match="x-request-id"):
                client.features("a", {}, request_id=text)
        assert not server.requests
    with pytest.raises(errors.UsageError, match="authorization") as found:
        make("http://127.0.0.1:1", token="secret\n")
    assert "secret" not in str(found.value)


@pytest.mark.parametrize(
    "ask",
    [
        lambda c: c.features("a", None),
        lambda c: c.outcomes("l", None),
        lambda c: c.predict(None, {}),
    ],
)
def test_what_is_required_is_not_none(make, ask):
    with make("http://127.0.0.1:1") as client, pytest.raises(TypeError):
        ask(client)


def test_a_large_request_arrives_whole(make):
    rows = [{"user": n, "text": "x" * 1000} for n in range(5_000)]
    seen = sent(make, lambda c: c.events("clicks", rows))
    assert json.loads(seen.body) == rows


def test_neither_proxies_nor_files_of_the_environment_matter(make, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("default login me password it\n")
    (tmp_path / ".netrc").chmod(0o600)
    with answering(NONE) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        seen = sent(make, lambda c: c.health())
        assert not proxy.requests
    assert "authorization" not in seen.headers
