"""Requests to a third party, and the values from its answers."""

import asyncio
import datetime as dt
import logging
import math

import pytest

import headwater as hw
from headwater.errors import DataError, UsageError
from headwater.events.columns import STATUSES
from headwater.serving.third_party.fetcher import ThirdPartyFetcher
from tests.serving.third_party.parties import (
    ask,
    closes,
    closes_midway,
    hangs,
    hangs_midway,
    in_turn,
    says,
    speaks_no_http,
)

AT = dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)


def words(called, name="ip__score"):
    return [STATUSES[code] for code in called.statuses[name]]


# ---------------------------------------------------------------- requests


@pytest.mark.parametrize(
    ("url", "request_", "values", "path"),
    [
        ("/risk", {"ip_address": str}, ["10.0.0.1"], "/risk?ip_address=10.0.0.1"),
        ("/risk?full=1", {"ip_address": str}, ["10.0.0.1"], "/risk?full=1&ip_address=10.0.0.1"),
        (
            "/v1/{ip_address}/risk",
            {"ip_address": str},
            ["a/b?c#d é"],
            "/v1/a%2Fb%3Fc%23d%20%C3%A9/risk",
        ),
        (
            "/risk?ip={ip_address}",
            {"ip_address": str, "n": int},
            ["a&b=c", 7],
            "/risk?ip=a%26b%3Dc&n=7",
        ),
        (
            "/r",
            {"x": float, "y": bool, "z": int},
            [2, True, -(2**63)],
            "/r?x=2.0&y=true&z=-9223372036854775808",
        ),
        (
            "/r",
            {"at": dt.datetime},
            [AT.astimezone(dt.timezone(dt.timedelta(hours=2)))],
            "/r?at=2024-05-01T12%3A00%3A00%2B00%3A00",
        ),
    ],
)
def test_a_get_holds_the_fields_quoted(party, ip, url, request_, values, path):
    features = ip(url=party.url + url, request=request_)
    called = _get(features, {name: [value] for name, value in zip(request_, values, strict=True)})
    assert called.values == {"ip__score": [0.5]}
    assert party.calls == [("GET", path, b"")]


@pytest.mark.parametrize("address", ["", ".", "..", "x" * 9_000])
def test_a_field_that_would_ask_for_another_page_is_not_sent(party, ip, address):
    called, third = ask(ip(url=party.url + "/v1/{ip_address}/risk"), address)
    assert words(called) == ["fallback"]
    assert third.counts["ip"].calls == {"unfit field": 1}
    assert party.calls == []


@pytest.mark.parametrize(
    ("dtype", "value"),
    [(str, 5), (int, True), (int, 1.0), (int, 2**63), (float, "1"), (float, math.nan), (bool, 1)],
)
def test_a_field_of_another_type_is_an_error(party, ip, dtype, value):
    with pytest.raises(
        DataError, match=f"'ip': the request's 'x' is {value!r}; give {dtype.__name__}"
    ):
        _get(ip(request={"x": dtype}), {"x": [value]})


# ---------------------------------------------------------------- secrets


def test_a_secret_comes_from_the_environment_and_goes_nowhere_else(party, ip, monkeypatch, caplog):
    monkeypatch.setenv("IP_TOKEN", "Bearer hunter2")
    caplog.set_level(logging.DEBUG)
    features = ip(headers={"Authorization": hw.env("IP_TOKEN"), "X-Plan": "gold"})
    _, third = ask(features, "10.9.8.7")
    assert party.headers[0]["authorization"] == "Bearer hunter2"
    assert party.headers[0]["x-plan"] == "gold"
    said = caplog.text + repr(features) + repr(vars(third.counts["ip"])) + features.fingerprint
    assert "hunter2" not in said
    assert "10.9.8.7" not in caplog.text, "what users ask about stands in a log"


def test_a_secret_is_no_part_of_the_fingerprint(ip):
    assert ip(headers={"A": hw.env("ONE")}) == ip(headers={"A": hw.env("OTHER")}) == ip()
    assert ip(url="http://localhost/other") != ip()


def test_a_secret_that_lacks_is_said_before_anything_is_served(ip, monkeypatch):
    monkeypatch.delenv("IP_TOKEN", raising=False)
    with pytest.raises(UsageError, match="IP_TOKEN is not set"):
        ThirdPartyFetcher([ip(headers={"Authorization": hw.env("IP_TOKEN")})])


def test_a_secret_that_would_be_two_headers_is_refused_unsaid(ip, monkeypatch):
    monkeypatch.setenv("IP_TOKEN", "hunter2\r\nX-Admin: 1")
    with pytest.raises(UsageError, match="IP_TOKEN has characters") as told:
        ThirdPartyFetcher([ip(headers={"Authorization": hw.env("IP_TOKEN")})])
    assert "hunter2" not in str(told.value)


def test_no_cookie_is_kept(party, ip):
    party.behaviour = says({"score": 1}, more="set-cookie: who=me\r\n")
    ask(ip(), "a", "b")
    ask(ip(), "c")
    assert all("cookie" not in headers for headers in party.headers)


# ---------------------------------------------------------------- values


LIES = {
    "NaN": (says(b'{"score": NaN}'), "not JSON"),
    "no UTF-8": (says(b'{"score": "\xff"}'), "not JSON"),
    "a deep answer": (says(b'{"score":' + b"[" * 200_000), "not JSON"),
    "10 MB": (says(b'{"score": 0.5, "more": "' + b"x" * 10_000_000 + b'"}'), "too large"),
    "a page": (says(b"<html>", content_type="text/html"), "content type"),
    "zipped": (says(b"\x1f\x8b", more="content-encoding: gzip\r\n"), "encoded"),
    "a redirect": (
        says(b"", status="302 Found", more="location: http://127.0.0.1:1/\r\n"),
        "redirect",
    ),
    "an end too early": (closes_midway, "broken off"),
    "an immediate end": (closes, "broken off"),
    "another language": (speaks_no_http, "broken off"),
    "a length too short": (says({"score": 0.5}, length=3), "not JSON"),
    "silence": (hangs, "timeout"),
    "silence midway": (hangs_midway, "timeout"),
}


@pytest.mark.parametrize(("behaviour", "reason"), LIES.values(), ids=LIES)
def test_an_answer_that_cannot_be_used_is_a_fallback_with_a_reason(party, ip, behaviour, reason):
    party.behaviour = behaviour
    timeout = "300ms" if reason == "timeout" else "5s"
    called, third = ask(ip(fallback={"score": 0.9}, cache="1h", timeout=timeout, retries=0), "a")
    assert called.values == {"ip__score": [0.9]}
    assert words(called) == ["fallback"]
    assert called.ages == {"ip": [None]}
    assert called.contacts["ip"].reasons == {reason: 1}
    assert third.counts["ip"].calls == {reason: 1}
    assert third.counts["ip"].rows == {"fallback": 1, f"fallback: {reason}": 1}


def test_a_redirect_is_not_followed(party, ip):
    party.behaviour = says(
        b"", status="307 Temporary Redirect", more=f"location: {party.url}/other\r\n"
    )
    ask(ip(), "a")
    assert len(party.calls) == 1


def test_a_lie_about_the_length_does_not_spoil_the_next_answer(party, ip):
    """The rest of one answer is never read as the beginning of the next."""
    party.behaviour = in_turn(says({"score": 0.5}, length=3), says({"score": 0.25}))
    called, _ = ask(ip(concurrency=1), "a", "b", "c")
    assert called.values["ip__score"] == [None, 0.25, 0.25]


def _get(features, columns):
    async def run():
        third = ThirdPartyFetcher([features])
        try:
            return await third.get(columns, 1)
        finally:
            await third.close()

    return asyncio.run(run())
