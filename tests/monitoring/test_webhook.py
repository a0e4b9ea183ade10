"""Alerts are sent once when they begin and once when they end, signed, and again after a failure
that may pass.
"""

import hashlib
import hmac
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from headwater.errors import DataError
from headwater.monitoring.webhook import WatchAlert, Webhook, notify

ABOUT = {"project": "shop", "model": "churn", "level": "as defined"}
MISSED = WatchAlert("HeadwaterPromiseMissed", ABOUT, "production delivers less")
DRIFT = WatchAlert("HeadwaterDrift", {**ABOUT, "feature": "user__count_1d"}, "user__count_1d moved")


@pytest.fixture
def receiver():
    """A server that keeps what it gets, and answers with the next of `codes`, then with 200."""
    got, codes = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append((dict(self.headers), body, self.path))
            self.send_response(codes.pop(0) if codes else 200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook?key=1", got, codes
    server.shutdown()
    thread.join()
    server.server_close()


def test_each_change_is_sent_once(receiver, tmp_path):
    url, got, _ = receiver
    hook = Webhook(url)
    assert notify(hook, [MISSED, DRIFT], ABOUT, tmp_path) == 2
    assert notify(hook, [MISSED, DRIFT], ABOUT, tmp_path) == 0
    assert notify(hook, [MISSED], ABOUT, tmp_path) == 1
    assert notify(hook, [], ABOUT, tmp_path) == 1
    assert notify(hook, [], ABOUT, tmp_path) == 0
    bodies = [json.loads(body) for _, body, _ in got]
    assert [
        [(a["labels"]["alertname"], a["status"]) for a in body["alerts"]] for body in bodies
    ] == [
        [("HeadwaterPromiseMissed", "firing"), ("HeadwaterDrift", "firing")],
        [("HeadwaterDrift", "resolved")],
        [("HeadwaterPromiseMissed", "resolved")],
    ]
    assert [body["status"] for body in bodies] == ["firing", "resolved", "resolved"]
    assert bodies[0]["text"] == (
        "FIRING HeadwaterPromiseMissed: production delivers less\nFIRING HeadwaterDrift: "
        "user__count_1d moved"
    )
    assert {
        "version",
        "groupKey",
        "receiver",
        "groupLabels",
        "commonLabels",
        "commonAnnotations",
        "externalURL",
    } <= bodies[0].keys()
    first, last = bodies[0]["alerts"][1], bodies[1]["alerts"][0]
    assert first["startsAt"] == last["startsAt"]
    assert last["endsAt"] >= last["startsAt"] > first["endsAt"]
    assert first["fingerprint"] == last["fingerprint"]
    assert got[0][2] == "/hook?key=1"


def test_the_signature_is_of_the_time_and_the_body(receiver, tmp_path):
    url, got, _ = receiver
    notify(Webhook(url, "s3cret"), [MISSED], ABOUT, tmp_path)
    headers, body, _ = got[0]
    time, given = (part.partition("=")[2] for part in headers["x-headwater-signature"].split(","))
    assert given == hmac.new(b"s3cret", time.encode() + b"." + body, hashlib.sha256).hexdigest()
    notify(Webhook(url), [], ABOUT, tmp_path)
    assert "x-headwater-signature" not in got[1][0]


def test_a_failure_that_may_pass_is_tried_again_with_growing_pauses(receiver, tmp_path):
    url, got, codes = receiver
    codes += [503, 429]
    pauses = []
    assert notify(Webhook(url), [MISSED], ABOUT, tmp_path, pause=pauses.append) == 1
    assert len(got) == 3
    assert 0.3 <= pauses[0] <= 0.6
    assert 0.6 <= pauses[1] <= 1.2


@pytest.mark.parametrize(("answers", "calls"), [([500] * 9, 4), ([404], 1), ([302], 1)])
def test_what_was_not_taken_is_sent_with_the_next_call(receiver, tmp_path, answers, calls):
    url, got, codes = receiver
    codes += answers
    with pytest.raises(
        DataError,
        match=r"the webhook at 127.0.0.1 did not take the alerts: status \d+; they are sent again",
    ) as error:
        notify(Webhook(url), [MISSED], ABOUT, tmp_path, pause=lambda _: None)
    assert "key=1" not in str(error.value)
    assert len(got) == calls
    codes.clear()
    assert notify(Webhook(url), [MISSED], ABOUT, tmp_path) == 1


def test_a_receiver_that_is_not_there_is_an_error_without_the_path(tmp_path):
    with pytest.raises(DataError, match="ConnectError"):
        notify(
            Webhook("http://127.0.0.1:9/secret"), [MISSED], ABOUT, tmp_path, pause=lambda _: None
        )
