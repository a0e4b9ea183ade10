"""What a service does besides answering: loops that no error ends, and readiness that is looked at
seldom.
"""

import asyncio
import logging
import threading
import time

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest

import headwater as hw
from headwater.serving.http.app import App
from headwater.serving.http.readiness_probe import ReadinessProbe
from headwater.serving.process import periodic
from headwater.serving.process.periodic import PeriodicTasks
from headwater.serving.process.uvicorn_server import serving
from tests.serving.world import MODELS, PROJECT, free_port


def test_a_loop_goes_on_after_errors_and_waits_longer_after_each(monkeypatch, caplog):
    monkeypatch.setattr(periodic, "_LONGEST", 0.02)
    errors = [FileNotFoundError("a folder"), MemoryError(), ZeroDivisionError("of ours")]
    repeated, done = PeriodicTasks(), []

    async def work():
        if errors:
            raise errors.pop(0)
        done.append(1)

    async def run():
        task = asyncio.create_task(repeated.every(0.001, "work", work))
        while len(done) < 3:  # noqa: ASYNC110 (as long as a loop takes)
            await asyncio.sleep(0.005)
        task.cancel()

    with caplog.at_level(logging.WARNING, "headwater.serving"):
        asyncio.run(asyncio.wait_for(run(), 30))
    assert [one.getMessage().partition("s: ")[2] for one in caplog.records] == [
        "FileNotFoundError: a folder",
        "MemoryError: ",
        "ZeroDivisionError: of ours",
    ]
    registry = CollectorRegistry()
    registry.register(repeated)
    assert (
        'headwater_background_failures_total{work="work"} 3.0' in generate_latest(registry).decode()
    )


def test_models_are_taken_up_though_metrics_cannot_be_sent(store, monkeypatch):
    refreshed = threading.Semaphore(0)
    with hw.operations.Service(PROJECT, store, models=MODELS) as service:
        monkeypatch.setattr(service, "refresh", refreshed.release)
        app = App(service)

        def beat():
            raise OSError(28, "No space left on device")

        app.beat = beat
        with serving(app, "127.0.0.1", port := free_port(), closing=app.close):
            assert httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == 200
            assert all(refreshed.acquire(timeout=20) for _ in range(3))
            text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
            assert 'headwater_background_failures_total{work="sending metrics"}' in text


def test_readiness_is_looked_at_once_a_second_in_one_lane(store, monkeypatch):
    with hw.operations.Service(PROJECT, store, models=MODELS) as service:
        lanes, looks, real = [], [], service.lane

        def lane():
            made = real()
            monkeypatch.setattr(made, "unready", lambda: looks.append(1) or ["the store is gone"])
            lanes.append(made)
            return made

        monkeypatch.setattr(service, "lane", lane)
        readiness = ReadinessProbe(service)
        assert readiness.fresh() is None
        threads = [threading.Thread(target=readiness.reasons) for _ in range(8)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert readiness.fresh() == readiness.reasons() == ["the store is gone"]
        assert (len(lanes), len(looks)) == (1, 1)
        time.sleep(1.1)
        assert readiness.fresh() is None
        readiness.reasons()
        assert (len(lanes), len(looks)) == (1, 2)


@pytest.mark.parametrize("path", ["/readyz", "/healthz"])
def test_health_needs_no_token_and_little_time(store, path):
    with hw.operations.Service(PROJECT, store, models=MODELS) as service:
        app = App(service)
        with (
            serving(app, "127.0.0.1", port := free_port(), closing=app.close),
            httpx.Client(trust_env=False, timeout=30) as client,
        ):
            assert all(
                client.get(f"http://127.0.0.1:{port}{path}").status_code == 200 for _ in range(200)
            )
