"""Slow or silent parts behind the service: a store across the network, or a model that loads.
Others are answered meanwhile.
"""

import asyncio
import threading

import pytest

import headwater as hw
from headwater import clock
from headwater.errors import DataError, StoreError
from headwater.serving.http.asgi import Refused
from headwater.serving.http.worker_pool import WorkerPool
from headwater.stores import Capabilities
from tests.serving.world import ROW, Sum, asking
from tests.waiting import until

PREDICT, FEATURES = "/v1/predict/churn", "/v1/features/churn_v1"


# ---------------------------------------------------------------- what waits


class Far:
    """What a WorkerPool needs of a service whose store is across the network, or not."""

    def __init__(self, remote=True):
        self.store = self
        self.capabilities = Capabilities(atomic=True, multi_process=remote, remote=remote)


async def outcome(waiting):
    try:
        return await waiting
    except Refused as error:
        return error.status, error.again, str(error)
    except StoreError as error:
        return str(error)


def soon(seconds=20.0):
    return clock.stopwatch() + seconds


def test_what_waits_is_bounded_and_refused_immediately():
    hold = threading.Event()

    async def run():
        lanes = WorkerPool(Far(), lanes=2, waiting=3)
        under_way = [
            asyncio.create_task(outcome(lanes.run(lambda _: hold.wait(20), until=soon())))
            for _ in range(5)
        ]
        await asyncio.sleep(0.05)
        refused = await outcome(lanes.run(lambda _: True, until=soon()))
        late = await outcome(lanes.run(lambda _: True, until=soon(0)))
        under_way[4].cancel()  # a client that waits no longer makes room
        await asyncio.sleep(0)
        waits = asyncio.create_task(outcome(lanes.run(lambda _: "room", until=soon())))
        await asyncio.sleep(0.05)
        hold.set()
        found = await asyncio.gather(*under_way[:4], waits)
        assert await lanes.run(lambda _: "after", until=soon()) == "after"
        lanes.close()
        return refused, late, found

    refused, late, found = asyncio.run(run())
    assert refused[:2] == late[:2] == (503, 1)
    assert "3 requests are queued" in refused[2]
    assert found == [True] * 4 + ["room"]


def test_a_deadline_passes_while_a_request_waits_or_is_under_way():
    hold = threading.Event()

    async def run():
        lanes = WorkerPool(Far(), lanes=1)
        found = await asyncio.gather(
            *(outcome(lanes.run(lambda _: hold.wait(20), until=soon(0.2))) for _ in range(2))
        )
        hold.set()
        assert await lanes.run(lambda _: "after", until=soon()) == "after"
        lanes.close()
        return found

    under_way, waited = asyncio.run(run())
    assert (under_way[:2], waited[:2]) == ((503, 1), (503, 1))
    assert "did not respond in time" in under_way[2]
    assert "was queued until its deadline" in waited[2]


# ---------------------------------------------------------------- a model that loads


class Loader:
    """Loads slowly, and fails until it is stopped."""

    def __init__(self):
        self.calls, self.begun, self.go, self.error = 0, threading.Event(), threading.Event(), None

    def __call__(self, variant):
        self.calls += 1
        self.begun.set()
        self.go.wait(30)
        if self.error is not None:
            raise self.error
        return Sum()


@pytest.fixture
def loading(store, monkeypatch):
    """A service whose models are not loaded yet."""
    loader = Loader()
    monkeypatch.setattr("headwater.serving.service.in_memory", lambda _: loader)
    monkeypatch.setattr(hw.operations.Service, "unready", lambda _: [])
    with asking(store) as client:
        yield loader, client


def predicting(client, count, answers):
    threads = [
        threading.Thread(target=lambda: answers.append(client.post(PREDICT, json={"row": ROW})))
        for _ in range(count)
    ]
    for one in threads:
        one.start()
    return threads


def test_a_model_is_loaded_once_and_nobody_else_waits(loading):
    loader, client = loading
    answers = []
    threads = predicting(client, 12, answers)  # more than there are threads for requests
    assert loader.begun.wait(20)
    assert client.get("/healthz").status_code == 200
    assert client.post(FEATURES, json={"row": ROW}).status_code == 200
    assert client.post(FEATURES, json={"rows": [ROW] * 100}).status_code == 200
    assert not answers
    loader.go.set()
    for one in threads:
        one.join()
    assert {answer.status_code for answer in answers} == {200}
    assert loader.calls == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "says"),
    [
        (DataError("the file is cut"), "the file is cut"),
        (OSError("/secret/place is gone"), "model 'churn' cannot be loaded: OSError"),
    ],
    ids=["an error of ours", "any other"],
)
def test_a_failed_load_is_not_tried_for_each_request(loading, error, says, monkeypatch):
    loader, client = loading
    loader.error = error
    loader.go.set()
    for _ in range(3):
        answer = client.post(PREDICT, json={"row": ROW})
        assert (answer.status_code, answer.headers["retry-after"], answer.json()["kind"]) == (
            503,
            "5",
            "ModelError",
        )
        assert says in answer.json()["error"]
        assert "secret" not in answer.text
    assert loader.calls == 1
    monkeypatch.setattr("headwater.serving.loaded_models._AGAIN", 0.0)
    loader.error = None
    until(lambda: client.post(PREDICT, json={"row": ROW}).status_code == 200, "the next try")
    assert loader.calls == 2
