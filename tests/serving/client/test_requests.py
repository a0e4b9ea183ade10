"""Requests as they arrive at a socket: where each argument of a method goes, and what never
leaves.
"""

import pytest

import headwater as hw
from headwater import errors
from tests.serving.client.raw_server import answering, response

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


def test_no_header_can_hold_another(make):
    with answering(NONE) as server, make(server.url) as client:
        for text in ("1\r\nhost: there", "ä", "\x00"):
            with pytest.raises(errors.DataError, match="x-request-id"):
                client.features("a", {}, request_id=text)
        assert not server.requests
    with pytest.raises(errors.UsageError, match="authorization") as found:
        make("http://127.0.0.1:1", token="secret\n")
    assert "secret" not in str(found.value)


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
