"""How many workers a rate needs, by the counters of a service."""

import http.server
import threading

import pytest

from headwater.errors import ConnectError, DataError, UsageError
from headwater.monitoring.serving_capacity import ServingCapacity, capacity_of, serving_capacity

TEXT = """\
# TYPE headwater_requests_total counter
headwater_requests_total{route="/v1/predict/{model}",status="200",worker="worker-1"} 600.0
headwater_requests_total{route="/v1/predict/{model}",status="200",worker="worker-2"} 390.0
headwater_requests_total{route="/v1/features/{service}",status="400",worker="worker-2"} 10.0
headwater_requests_total{route="/metrics",status="200",worker="worker-2"} 5000.0
# TYPE headwater_processor_seconds_total counter
headwater_processor_seconds_total{worker="worker-1"} 0.3
headwater_processor_seconds_total{worker="worker-2"} 0.2
"""


@pytest.mark.parametrize(
    ("rate", "workers"), [(1, 1), (1200, 1), (1201, 2), (12_000, 10), (1_000_000, 834)]
)
def test_workers(rate, workers):
    capacity = capacity_of(TEXT, "u", rate)
    assert (capacity.requests, capacity.processor_seconds) == (1000, pytest.approx(0.5))
    assert capacity.workers == workers
    assert f"{workers:,} workers, by 500 us" in str(capacity)
    assert capacity.to_dict()["workers"] == workers


def test_without_a_rate():
    capacity = ServingCapacity(1000, 0.5)
    assert capacity.workers is None
    assert str(capacity) == (
        "a request takes 500 us of a processor for each of 1,000 requests; a worker used to "
        "60 % answers 1,200 a second"
    )


def test_no_requests_yet():
    with pytest.raises(DataError, match="no request under /v1/ yet"):
        capacity_of("", "http://127.0.0.1:1", None)


@pytest.mark.parametrize(
    ("url", "rate", "why"),
    [("host:8320", None, "give its URL"), ("http://127.0.0.1:9", 0, "above 0")],
)
def test_wrong_calls(url, rate, why):
    with pytest.raises(UsageError, match=why):
        serving_capacity(url, rate)


def test_a_service_that_is_away():
    with pytest.raises(ConnectError, match="does not answer"):
        serving_capacity("http://127.0.0.1:9")


def test_a_token(monkeypatch):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.headers["Authorization"] == "Bearer t" else 401)
            self.end_headers()
            self.wfile.write(TEXT.encode())

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(ConnectError, match="HEADWATER_TOKEN"):
            serving_capacity(url)
        monkeypatch.setenv("HEADWATER_TOKEN", "t")
        assert serving_capacity(url, 1200).workers == 1
        server.shutdown()
