"""Calls by the rows of the table of routes: where each argument goes, and what a response
becomes.
"""

from datetime import UTC, datetime

import numpy as np
import pytest

from headwater import errors
from headwater.serving.client.protocol import Reply
from headwater.serving.http.response_schema import FeatureValue, Health, Prediction
from tests.serving.client.test_wire import CALLS

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("call", "path", "body"),
    [
        (CALLS.features("a/b", {"user": np.int64(1)}), "/v1/features/a%2Fb", b'{"row":{"user":1}}'),
        (
            CALLS.features("a", [{"user": 1}], level=""),
            "/v1/features/a",
            b'{"row":{"user":1},"level":""}',
        ),
        (
            CALLS.features("a", iter([{"user": 1}, {}])),
            "/v1/features/a",
            b'{"rows":[{"user":1},{}]}',
        ),
        (CALLS.features("a", []), "/v1/features/a", b'{"rows":[]}'),
        (
            CALLS.predict("m", {}, level="daily", timing=True),
            "/v1/predict/m",
            b'{"row":{},"level":"daily","timing":true}',
        ),
        (CALLS.rank("m", {"user": 1}, k=0), "/v1/rank/m", b'{"row":{"user":1},"k":0}'),
        (
            CALLS.rank("m", {}, candidates=np.arange(2), features=True),
            "/v1/rank/m",
            b'{"row":{},"candidates":[0,1],"k":10,"features":true}',
        ),
        (CALLS.events("s", {"at": NOON}), "/v1/events/s", b'{"at":"2024-05-01T12:00:00Z"}'),
        (CALLS.outcomes("l", ({}, {})), "/v1/outcomes/l", b"[{},{}]"),
        (CALLS.outcomes("l", {}), "/v1/outcomes/l", b"{}"),
        (CALLS.health(), "/readyz", None),
    ],
)
def test_each_argument_goes_to_its_place(call, path, body):
    assert (call.method, call.path, call.body, call.query) == (
        "GET" if body is None else "POST",
        path,
        body,
        {},
    )


def test_headers_and_parameters_are_sent_only_if_given():
    assert CALLS.predict("m", {}).headers == {}
    assert CALLS.predict("m", {}, request_id="r").headers == {"x-request-id": "r"}
    assert CALLS.events("s", {}, key="k").headers == {"idempotency-key": "k"}
    first, second = (CALLS.events("s", {}).headers["idempotency-key"] for _ in range(2))
    assert len(first) == 32
    assert first != second
    assert CALLS.explain("f", {"user": 1}).query == {"user": "1", "feature": "f", "events": "20"}
    assert CALLS.explain("f", {"feature": "g"}, at=NOON, events=0).query == {
        "feature": "f",
        "at": "2024-05-01T12:00:00+00:00",
        "events": "0",
    }


@pytest.mark.parametrize(
    "ask",
    [
        lambda c: c.features("a", None),
        lambda c: c.outcomes("l", None),
        lambda c: c.predict(None, {}),
    ],
)
def test_what_is_required_is_not_none(ask):
    with pytest.raises(TypeError):
        ask(CALLS)


FEATURE = b'{"value":2,"status":"present","stale":false,"age":1.0,"T":"2024-05-01T12:00:00Z","K":"2024-05-01T12:00:00Z"}'
VALUE = FeatureValue(2, "present", stale=False, age=1.0, T=NOON, K=NOON)


def test_a_response_for_one_row_is_as_one_for_several():
    head, one, two = (
        b'{"service":"a","level":null,"at":"2024-05-01T12:00:00Z",',
        CALLS.features("a", {}),
        CALLS.features("a", [{}, {}]),
    )
    single = one.read(Reply(200, {}, head + b'"features":{"n":' + FEATURE + b"}}"))
    assert single.rows == [{"n": VALUE}]
    assert two.read(Reply(200, {}, head + b'"rows":[{"n":' + FEATURE + b"}]}")) == single
    head = b'{"model":"m","version":"1","level":null,"at":"2024-05-01T12:00:00Z","a field of a newer service":1,'
    body = head + b'"prediction":{"value":0.5,"how":"default","age":0}}'
    assert CALLS.predict("m", {}).read(Reply(200, {}, body)).predictions == [
        Prediction(0.5, "default", 0.0)
    ]


def test_a_response_has_the_statuses_of_its_row():
    assert [CALLS.events("s", {}).good, CALLS.predict("m", {}).good, CALLS.health().good] == [
        (200, 422),
        (200,),
        (200, 503),
    ]
    with pytest.raises(errors.DataError, match="no such field"):
        CALLS.events("s", {}).read(Reply(422, {}, b'{"error":"no such field","kind":"DataError"}'))
    refused = CALLS.outcomes("l", {}).read(
        Reply(422, {}, b'{"accepted":0,"refused":[{"index":0,"reason":"late"}]}')
    )
    assert refused.refused[0].reason == "late"
    assert CALLS.health().read(
        Reply(503, {}, b'{"status":"unready","reasons":["a view"]}')
    ) == Health(ready=False, reasons=["a view"])
