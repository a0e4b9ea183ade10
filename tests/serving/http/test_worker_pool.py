"""Slow or silent parts behind the service: a store across the network, or a model that loads.
Others are answered meanwhile.
"""

import asyncio
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

import headwater as hw
from headwater import clock
from headwater.errors import DataError, StoreError
from headwater.serving.http.asgi import Refused
from headwater.serving.http.worker_pool import WorkerPool
from headwater.stores import Capabilities, UnansweredError
from tests.ingestion.world import wait_until
from tests.serving.world import ASKED_AT, MODELS, PROJECT, ROW, Sum, asking, filled, free_port
from tests.stores.servers import serving as redis_serving

PREDICT, FEATURES = "/v1/predict/churn", "/v1/features/churn_v1"

# ---------------------------------------------------------------- a store that hangs


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory):
    with redis_serving(tmp_path_factory.mktemp("redis")) as server:
        made = filled(hw.operations.open_store(server.url))
        made.close()
        yield server


def many(url, count, path=FEATURES):
    """So many requests at one time: their statuses, answers and seconds, by when they were
    answered.
    """

    def one(_):
        begin = time.monotonic()
        answer = client.post(url + path, json={"row": ROW}, timeout=60)
        return time.monotonic() - begin, answer

    with (
        httpx.Client(limits=httpx.Limits(max_connections=count), trust_env=False) as client,
        ThreadPoolExecutor(count) as pool,
    ):
        return sorted(pool.map(one, range(count)), key=lambda pair: pair[0])


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 40])
def test_a_store_that_hangs_is_given_up_and_comes_back(redis_server, count):
    with hw.operations.serve(
        PROJECT, redis_server.url, listen=f"127.0.0.1:{free_port()}", models=MODELS
    ) as url:
        assert {answer.status_code for _, answer in many(url, 8)} == {200}
        os.kill(redis_server.process.pid, signal.SIGSTOP)
        try:
            answers = many(url, count)
            assert {answer.status_code for _, answer in answers} == {503}
            assert all(
                answer.headers["retry-after"] in ("1", "5") and answer.json()["request_id"]
                for _, answer in answers
            )
            assert answers[0][0] < 8
            # seconds of a loaded machine; the deadline is 5, and it took 51 without one
            assert answers[-1][0] < 15
            begin = time.monotonic()
            assert httpx.get(f"{url}/healthz", trust_env=False, timeout=30).status_code == 200
            assert httpx.get(f"{url}/readyz", trust_env=False, timeout=30).status_code == 503
            assert time.monotonic() - begin < 15
        finally:
            os.kill(redis_server.process.pid, signal.SIGCONT)
        wait_until(
            lambda: (
                httpx.post(
                    url + PREDICT, json={"row": ROW}, timeout=30, trust_env=False
                ).status_code
                == 200
            ),
            "recovery",
        )
        wait_until(
            lambda: {answer.status_code for _, answer in many(url, 40)} == {200}, "all of them"
        )


class Proxy:
    """Passes bytes on to a server, each chunk of its answers after `delay` seconds."""

    def __init__(self, port):
        self.to, self.delay, self.sockets = port, 0.0, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.to))
            self.sockets += [client, server]
            threading.Thread(
                target=self.passed, args=(client, server, lambda: 0.0, 1 << 16), daemon=True
            ).start()
            threading.Thread(
                target=self.passed, args=(server, client, lambda: self.delay, 32), daemon=True
            ).start()

    def passed(self, one, other, delay, size):
        try:
            while data := one.recv(size):
                time.sleep(delay())
                other.sendall(data)
        except OSError:
            return

    def close(self):
        for one in [self.listener, *self.sockets]:
            one.close()


@contextmanager
def proxied(server):
    proxy = Proxy(server.port)
    try:
        yield proxy
    finally:
        proxy.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("delay", "options", "expected", "within"),
    [
        (0.0, "", {200}, 30),
        (0.5, "", {503}, 15),  # each read takes longer than read_timeout
        # the deadline of 5 s ends what no timeout does
        (0.5, "?read_timeout=30s&timeout=30s", {503}, 15),
        (0.02, "?read_timeout=10s", {200}, 30),
    ],
    ids=["as it is", "beyond the read timeout", "trickling", "a longer read timeout"],
)
def test_a_store_that_answers_slowly(redis_server, delay, options, expected, within):
    with proxied(redis_server) as proxy:
        project = hw.Project("shop", PROJECT.models)
        with hw.operations.serve(
            project,
            f"redis://127.0.0.1:{proxy.port}/0{options}",
            listen=f"127.0.0.1:{free_port()}",
            models=MODELS,
        ) as url:
            assert {answer.status_code for _, answer in many(url, 2)} == {200}
            proxy.delay = delay
            answers = many(url, 12)
            proxy.delay = 0.0
    assert {answer.status_code for _, answer in answers} == expected
    assert answers[-1][0] < within


@pytest.mark.slow
def test_a_latency_budget_is_the_deadline(redis_server):
    churn = hw.Model(
        "churn",
        task="binary",
        features=PROJECT.model("churn").features,
        labels=PROJECT.model("churn").labels,
        latency_budget="1s",
    )
    with proxied(redis_server) as proxy:
        store = f"redis://127.0.0.1:{proxy.port}/0?read_timeout=30s&timeout=30s"
        with hw.operations.serve(
            hw.Project("shop", [churn]), store, listen=f"127.0.0.1:{free_port()}", models=MODELS
        ) as url:
            assert {answer.status_code for _, answer in many(url, 2, PREDICT)} == {200}
            proxy.delay = 3.0
            ((seconds, answer),) = many(url, 1, PREDICT)
            proxy.delay = 0.0
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert 0.9 < seconds < 2.9


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


def test_work_of_a_store_on_this_machine_is_waited_for():
    async def run():
        lanes = WorkerPool(Far(remote=False), lanes=1)
        found = await lanes.run(lambda _: time.sleep(0.3) or "all", until=soon(0.1))
        lanes.close()
        return found

    assert asyncio.run(run()) == "all"


@pytest.mark.slow
def test_a_store_that_does_not_answer_is_left_alone_for_a_while():
    asked = []

    def silent(_):
        asked.append(1)
        raise UnansweredError("no answer")

    async def run():
        lanes = WorkerPool(Far())
        first = [await outcome(lanes.run(silent, until=soon())) for _ in range(30)]
        open_for = len(asked)
        wrong = 0
        while asked[open_for:] == []:  # after a second one request tries
            await asyncio.sleep(0.05)
            await outcome(lanes.run(silent, until=soon()))
            wrong += 1
        tried = len(asked)
        await asyncio.sleep(1.1)
        found = await lanes.run(lambda _: "back", until=soon())
        more = [await lanes.run(lambda _: "closed", until=soon()) for _ in range(3)]
        lanes.close()
        return first, open_for, tried, found, more

    first, open_for, tried, found, more = asyncio.run(run())
    assert first[:10] == ["no answer"] * 10
    assert "tried again in a second" in first[-1]
    assert (open_for, tried, found, more) == (10, 11, "back", ["closed"] * 3)


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
    wait_until(lambda: client.post(PREDICT, json={"row": ROW}).status_code == 200, "the next try")
    assert loader.calls == 2


def test_a_load_that_takes_longer_than_the_deadline_goes_on(loading, monkeypatch):
    loader, client = loading
    monkeypatch.setattr("headwater.serving.http.app.DEADLINE", 0.3)
    answer = client.post(PREDICT, json={"row": ROW})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert "is being loaded" in answer.json()["error"]
    loader.go.set()
    wait_until(lambda: client.post(PREDICT, json={"row": ROW}).status_code == 200, "the model")
    assert loader.calls == 1


def test_a_level_that_there_is_not_is_said_before_anything_is_loaded(loading):
    loader, client = loading
    answer = client.post(PREDICT, json={"row": ROW, "level": "nighty"})
    assert (answer.status_code, "did you mean 'nightly'" in answer.json()["error"]) == (422, True)
    assert loader.calls == 0


def test_threads_share_a_service_and_load_a_model_once(store, monkeypatch):
    loader = Loader()
    monkeypatch.setattr("headwater.serving.service.in_memory", lambda _: loader)
    threading.Timer(0.3, loader.go.set).start()
    row = {**ROW, "asked": clock.now()}
    with hw.operations.Service(PROJECT, store, models={}) as service, ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: service.predict("churn", row, at=ASKED_AT), range(200)))
        assert len({one.predictions[0].value for one in found}) == 1
    assert loader.calls == 1
