"""What `POST /v1/events/{source}` answers, by a real server over a real store."""

import http.client
import json
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.ingestion.validate import COPY
from headwater.online.view_reader import OnlineView
from headwater.stores import keyspace
from tests.ingestion.world import free_port
from tests.waiting import until

SCHEMA = {"user": str, "n": int, "at": datetime}
AT = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
LATER = (datetime.now(UTC) + timedelta(hours=2)).isoformat()
FAR = (datetime.now(UTC) + timedelta(days=2)).isoformat()


def source(name, **given):
    stream = hw.push(schema=SCHEMA | {"id": str}, at_least_once=given.pop("at_least_once", False))
    return hw.Source(name, timestamp_field="at", stream=stream, **given)


SOURCES = {
    "plain": source("plain"),
    "with_ids": source("with_ids", id_field="id", filter=pl.col("n") >= 0),
    "loose": source("loose", at_least_once=True),
}
VIEWS = {
    name: hw.FeatureView(
        name,
        source=s,
        keys=["user"],
        windows=["1h"],
        features=[hw.count(), hw.sum("n")],
        freshness=hw.streaming("2s"),
    )
    for name, s in SOURCES.items()
}
LABELS = hw.Labels(
    "l",
    table=pl.DataFrame({"user": ["a"], "asked": [datetime(2024, 1, 1, tzinfo=UTC)], "y": [1]}),
    timestamp_field="asked",
    label="y",
    known_after="1d",
)
PROJECT = hw.Project(
    "shop",
    [
        hw.Model(
            "m", task="binary", features=hw.FeatureService("s", list(VIEWS.values())), labels=LABELS
        )
    ],
)


def event(n=1, **more):
    return {"user": "a", "n": n, "at": AT} | more


class Receiving:
    """`hw.ingest` in a thread."""

    def __init__(self, folder, host="127.0.0.1", tokens=None):
        self.host, self.tokens_file = host, tokens
        self.port, self.folder, self.commits = free_port(), folder, 0
        self.store = hw.operations.open_store(f"lmdb:{folder / 'online'}?size=1GB")
        self.stop, self.hold = threading.Event(), threading.Event()
        self.hold.set()
        self.error = None

    def run(self):
        try:
            hw.ingest(
                PROJECT,
                self.store,
                data_dir=self.folder,
                listen=f"{self.host}:{self.port}",
                stop=self.stop,
                options=hw.operations.IngestOptions(
                    tokens=self.tokens_file, allow_unapplied=True, on_commit=self.committed
                ),
            )
        except BaseException as error:  # noqa: BLE001 (shown by the test)
            self.error = error

    def committed(self, *_):
        self.commits += 1
        self.hold.wait()

    def post(self, where, said, *, port=None, method="POST", **headers):
        data = said if isinstance(said, bytes) else json.dumps(said).encode()
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=20)
        connection.request(
            method, where if where.startswith("/") else f"/v1/events/{where}", data, headers
        )
        response = connection.getresponse()
        answer = json.loads(response.read())
        connection.close()
        return response.status, answer, dict(response.getheaders())

    def count(self, view, user="a"):
        served = OnlineView(VIEWS[view], self.store).read(
            pl.DataFrame({"user": [user]}), int(time.time() * 1e6)
        )
        return served.features[0].item(), served.features[1].item()

    def dead(self, name):
        found = [
            pl.read_ipc_stream(value)
            for _, value in self.store.scan(keyspace.DEAD + keyspace.name(name))
        ]
        return [why for frame in found for why in frame["reason"].to_list() if why != COPY]


@contextmanager
def receiving(folder, **options):
    here = Receiving(folder, **options)
    thread = threading.Thread(target=here.run)
    thread.start()
    try:
        until(lambda: here.commits >= len(SOURCES) or here.error, "the first commits")
        assert here.error is None, here.error
        yield here
    finally:
        here.hold.set()
        here.stop.set()
        thread.join(20)
        here.store.close()
    assert not thread.is_alive()
    assert here.error is None, here.error


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    with receiving(tmp_path_factory.mktemp("push")) as made:
        yield made


def counts(answer):
    return [answer[name] for name in ("accepted", "copies", "held", "filtered")] + [
        len(answer["refused"])
    ]


def test_what_becomes_of_each_event_and_of_a_repetition(here):
    batch = [
        event(id="1"),
        event(id="2", n="x"),
        event(id="1"),
        event(id="3", n=-1),
        event(id="4", at=LATER),
        event(),
        event(id="5", at=FAR),
    ]
    status, first, _ = here.post("with_ids", batch)
    assert (status, counts(first)) == (200, [1, 1, 1, 1, 3])
    assert [(r["index"], r["reason"][:20]) for r in first["refused"]] == [
        (1, "Expected `int | null"),
        (5, "no id"),
        (6, "at is more than 1d a"),
    ]
    status, again, _ = here.post("with_ids", batch)
    # a copy of a held event is held too, and left out at its release
    assert (status, counts(again)) == (200, [0, 2, 1, 1, 3])
    assert again["refused"] == first["refused"]
    assert here.count("with_ids") == (1, 1)
    assert len(here.dead("with_ids")) == 3


@pytest.mark.parametrize(
    "body",
    [event(n=3), [event(n=3), event(n=4)], None],
    ids=["an object", "an array", "an object a line"],
)
def test_a_key_tells_repetitions(here, body, request):
    name = request.node.callspec.id
    data = (
        json.dumps(body).encode()
        if body
        else b'{"user": "b",\r\n "broken\n\n' + json.dumps(event(n=5, user="b")).encode()
    )
    events = {"an object": 1, "an array": 2}.get(name, 1)
    before = here.count("plain", "a"), here.count("plain", "b")
    status, first, _ = here.post("plain", data, **{"Idempotency-Key": name})
    assert (status, first["accepted"]) == (200, events)
    status, again, _ = here.post("plain", data, **{"Idempotency-Key": name})
    assert (status, again["accepted"], again["copies"], again["refused"]) == (
        200,
        0,
        events,
        first["refused"],
    )
    after = here.count("plain", "a"), here.count("plain", "b")
    assert sum(a[0] - b[0] for a, b in zip(after, before, strict=True)) == events


def test_the_fixed_event_of_a_partly_bad_batch_may_come_under_the_same_key(here):
    batch = [event(user="c"), event(user="c", n="x")]
    assert counts(here.post("plain", batch, **{"Idempotency-Key": "fix"})[1]) == [1, 0, 0, 0, 1]
    batch[1]["n"] = 7
    assert counts(here.post("plain", batch, **{"Idempotency-Key": "fix"})[1]) == [1, 1, 0, 0, 0]
    assert here.count("plain", "c") == (2, 8)


def test_at_least_once_counts_repetitions(here):
    for _ in range(2):
        assert here.post("loose", event())[1]["accepted"] == 1
    assert here.count("loose") == (2, 2)


@pytest.mark.parametrize(
    ("where", "body", "headers", "status", "said"),
    [
        ("with_idz", b"{}", {}, 404, "did you mean 'with_ids'?"),
        ("/v1/event/plain", b"{}", {}, 404, "push events to /v1/events/SOURCE"),
        ("plain", b"{}", {}, 400, "Idempotency-Key"),
        ("plain", b"{}", {"Idempotency-Key": "x" * 300}, 400, "1 to 255"),
        ("with_ids", b"{", {}, 400, "not JSON"),
        ("with_ids", b"[1, ", {}, 400, "not JSON"),
        ("with_ids", b"[]", {}, 400, "no event"),
        ("with_ids", b" \n ", {}, 400, "no event"),
        ("with_ids", b"[" * 100_000, {}, 400, "not JSON"),
        ("with_ids", b"7", {}, 422, "sequence"),
        ("with_ids", b"x" * 10_000_001, {}, 413, "10 MB"),
        ("with_ids", b"[" + b"7," * 100_000 + b"7]", {}, 413, "100,001 events"),
        ("with_ids", b"{}", {"Content-Encoding": "gzip"}, 415, "gzip"),
    ],
)
def test_bad_requests_say_what_is_wrong(here, where, body, headers, status, said):
    found, answer, _ = here.post(where, body, **headers)
    assert (found, said in json.dumps(answer)) == (status, True), answer


@pytest.mark.slow
def test_when_too_many_wait_senders_are_told_to_come_again(here):
    here.hold.clear()
    many, answers = [event(user="many", id=f"{n}") for n in range(40_000)], []

    def send(number):
        answers.append(
            here.post("with_ids", [one | {"id": f"{number}-{one['id']}"} for one in many])
        )

    senders = [threading.Thread(target=send, args=(n,)) for n in range(12)]
    for sender in senders:
        sender.start()
    until(lambda: any(status == 503 for status, *_ in answers), "a refusal")
    here.hold.set()
    for sender in senders:
        sender.join()
    refused = [headers for status, _, headers in answers if status == 503]
    assert all(headers["retry-after"] == "1" for headers in refused)
    assert {status for status, *_ in answers} == {200, 503}
    assert here.count("with_ids", "many")[0] == 40_000 * (12 - len(refused))
