"""What a service does besides answering: loops that no error ends, and readiness that is looked at
seldom.
"""

import threading

import httpx

import headwater as hw
from headwater.serving.http.app import App
from headwater.serving.process.uvicorn_server import serving
from tests.serving.world import MODELS, PROJECT, free_port


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
