"""The fault of a request is reported to its sender, with the nearest name, and is never a fault of
the service.
"""

import json
import socket

import pytest

from headwater.errors import StoreError
from tests.serving.world import ROW, Lines, asking
from tests.waiting import until

FEATURES, PREDICT, RANK = "/v1/features/churn_v1", "/v1/predict/churn", "/v1/rank/feed"
PLAIN = {"user": 1, "day": "2024-05-01", "amount": 2.0}


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        # JSON that is none
        (FEATURES, b"", 400, "not JSON"),
        (FEATURES, b"{", 400, "not JSON"),
        (FEATURES, b'{"row": {"user": 1}', 400, "not JSON"),
        (FEATURES, b'{"row": {"user": NaN}}', 400, "not JSON"),
        (FEATURES, b"\xff\xfe", 400, "not JSON"),
        (FEATURES, b'{"row": {"country": "\xff"}}', 400, "not JSON"),
        (FEATURES, b'{"row": {"user": "\\ud800"}}', 400, "not JSON"),
        (FEATURES, b"[" * 100_000, 422, "Expected `object`, got `array`"),
        (FEATURES, b'{"row":' * 50_000, 400, "maximum recursion depth"),
        (RANK, b'{"row": {}, "candidates": ' + b"[" * 40 + b"]" * 40 + b"}", 422, ("got `array` - at "
            "`$.candidates[0]`")),
        # another shape
        (FEATURES, [], 422, "Expected `object`, got `array`"),
        (FEATURES, {"row": ROW, "rows": [ROW]}, 422, "has 2 of `row`, `rows` and `columns`"),
        (FEATURES, {"row": None}, 422, "Expected `object"),
        (FEATURES, {"row": {**ROW, "user": {"deep": 1}}}, 422, "got `object`"),
        (FEATURES, {"rows": []}, 422, "0 rows; give 1 to 10,000"),
        (FEATURES, {"rows": [ROW] * 10_001}, 422, "10,001 rows; give 1 to 10,000"),
        (FEATURES, {"columns": {name: [] for name in ROW}}, 422, "0 rows; give 1 to 10,000"),
        (FEATURES, {"columns": {**{name: [value] for name, value in ROW.items()}, "user": [1, 2]}}, 422, ((("the columns of the request hold [1, 2] "  # noqa: UP034
            "values")))),
        (FEATURES, {"row": ROW, "compact": "yes"}, 422, "Expected `bool`"),
        # names
        (FEATURES, {"row": ROW, "level": "nighty"}, 422, "did you mean 'nightly'?"),
        (FEATURES, {"row": {**ROW, "contry": "no"}}, 422, "did you mean 'country'?"),
        # values
        (FEATURES, {"row": {**ROW, "user": "1"}}, 422, ((("the key 'user' is Int64 in the source and String in the "  # noqa: UP034
            "requests")))),
        (FEATURES, {"row": {**ROW, "user": 1.5}}, 422, "the key 'user' is a float"),
        (FEATURES, {"row": {**ROW, "user": True}}, 422, ((("the key 'user' is Int64 in the source and "  # noqa: UP034
            "Boolean")))),
        (FEATURES, {"rows": [ROW, {**ROW, "user": "1"}]}, 422, "'user'"),
        (FEATURES, {"row": {**ROW, "country": 5}}, 422, "request field 'country' is declared str"),
        (FEATURES, {"row": {**ROW, "amount": "5"}}, 422, ((("request feature 'ratio': the field 'amount' is declared "  # noqa: UP034
            "float")))),
        (FEATURES, {"row": {**ROW, "asked": "yesterday"}}, 422, ((("give a timestamp, ISO 8601 with a UTC "  # noqa: UP034
            "offset")))),
        (FEATURES, {"row": {**ROW, "asked": "2024-05-01T12:00:00"}}, 422, ((("give a timestamp, ISO 8601 with a UTC "  # noqa: UP034
            "offset")))),
        (FEATURES, {"row": {**ROW, "asked": 5}}, 422, "give a timestamp"),
        (FEATURES, {"row": {**ROW, "asked": "9999-12-31T23:59:59-23:00"}}, 422, "give a timestamp"),
        ("/v1/features/plain_v1", {"row": {**PLAIN, "amount": 0}}, 422, ((("request feature 'brittle' failed on row "  # noqa: UP034
            "0")))),
        ("/v1/features/plain_v1", {"rows": [PLAIN, {**PLAIN, "amount": 0}]}, 422, ((("request feature 'brittle' failed on row "  # noqa: UP034
            "1")))),
        ("/v1/predict/plain", {"row": {**PLAIN, "amount": 0}}, 422, ((("request feature 'brittle' failed on row "  # noqa: UP034
            "0")))),
        (PREDICT, {"row": {**ROW, "user": 2**70}}, 422, ("the field 'user' holds an integer of 71 "
            "bits")),
        (PREDICT, {"rows": [{**ROW, "user": 2**70}]}, 422, ((("the field 'user' holds an integer of 71 "  # noqa: UP034
            "bits")))),
        (PREDICT, {"row": {**ROW, "amount": 10**400}}, 422, ("the field 'amount': Number out of "
            "range")),
        (PREDICT, b'{"row": {"amount": 1e400}}', 422, "Number out of range"),
    ],
)  # fmt: skip
def test_it_is_said(client, path, body, status, says):
    answer = client.post(
        path, content=body if isinstance(body, bytes) else json.dumps(body).encode()
    )
    assert answer.status_code == status, answer.text
    assert says in answer.json()["error"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("length", [b"10000001", b"9" * 19])
def test_a_body_that_is_too_large_is_refused_before_it_is_invited(client, length):
    with socket.create_connection(("127.0.0.1", client.base_url.port), timeout=30) as one:
        one.sendall(
            b"POST /v1/features/churn_v1 HTTP/1.1\r\nHost: 127.0.0.1\r\nExpect: 100-continue\r\nContent-Length: "
            + length
            + b"\r\n\r\n"
        )
        assert one.recv(1 << 16).startswith(b"HTTP/1.1 413 ")


def test_a_sender_that_leaves_costs_nothing(store):
    lines = Lines()
    with asking(store, log=lines) as client:
        port = client.base_url.port
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port)) as gone:
                gone.sendall(
                    b'POST /v1/features/churn_v1 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\n{"row"'
                )
        assert client.post(FEATURES, json={"row": ROW}).status_code == 200
    said = [json.loads(line) for line in lines.text.splitlines()]
    assert {one["status"] for one in said} <= {200, 499}


class Down:
    """A store that can be told to fail, as one whose server is gone does."""

    def __init__(self, store):
        self.store, self.error, self.capabilities = store, None, store.capabilities

    def get(self, keys):
        if self.error is not None:
            raise self.error
        return self.store.get(keys)

    def copy_records(self, *read):
        if self.error is not None:
            raise self.error
        return self.store.copy_records(*read)

    def __getattr__(self, name):
        return getattr(self.store, name)


def test_a_store_that_is_down_is_said_and_comes_back(store):
    down = Down(store)
    with asking(down) as client:
        assert client.post(FEATURES, json={"row": ROW}).status_code == 200
        down.error = StoreError("the store does not answer")
        for path in (FEATURES, PREDICT):
            answer = client.post(path, json={"row": ROW})
            assert (answer.status_code, answer.headers["retry-after"], answer.json()["error"]) == (
                503,
                "5",
                "the store does not answer",
            )
        assert client.post(RANK, json={"row": {"user": 1}}).status_code == 503
        assert client.get("/readyz").status_code == 503
        assert client.get("/healthz").status_code == 200
        down.error = None
        assert client.post(PREDICT, json={"row": ROW}).status_code == 200
        until(lambda: client.get("/readyz").status_code == 200)  # as of a second ago at most


def test_a_fault_of_the_service_shows_nothing_of_it(store):
    down, lines = Down(store), Lines()
    with asking(down, log=lines, log_sample=0) as client:
        down.error = ZeroDivisionError("a secret of the code")
        answer = client.post(FEATURES, json={"row": ROW}, headers={"X-Request-Id": "find-me"})
    assert answer.status_code == 500
    assert answer.json() == {
        "error": "internal error; the service's log has details under the request id find-me",
        "request_id": "find-me",
    }
    (said,) = map(json.loads, lines.text.splitlines())
    assert (said["id"], said["status"]) == ("find-me", 500)
    assert said["failed"].startswith("ZeroDivisionError < test_bad_requests.py:")
    assert "secret" not in lines.text
