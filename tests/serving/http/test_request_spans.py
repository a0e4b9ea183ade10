"""Spans of requests: kinds, stages and parents; sampling; what third parties are told; and a
collector over HTTP, present or gone.
"""

import dataclasses
import gzip
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

import headwater as hw
from headwater.errors import UsageError
from headwater.serving.http.app import App
from headwater.serving.process.uvicorn_server import serving
from headwater.serving.serve import ServeOptions
from headwater.serving.service import Service
from headwater.testing.examples import temporary_store, visiting
from tests.serving.third_party.conftest import ip, party  # noqa: F401 (fixtures)
from tests.serving.world import free_port

opentelemetry = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
spans_of = pytest.importorskip("headwater.serving.http.request_spans")

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"
AT = "2024-05-01T12:00Z"


def project(*members):
    (model,) = visiting(hw.batch("1h")).models
    return hw.Project(
        "shop",
        [
            dataclasses.replace(
                model, features=hw.FeatureService("churn_v1", [*model.features.views, *members])
            )
        ],
    )


@contextmanager
def served(shop, exporter):
    """A service whose spans go to the exporter; yields the URL and a function to wait for them."""
    with temporary_store() as store:
        hw.materialize(shop, store=store, at=AT)
        with Service(shop, store, models={}) as service:
            service.unready()
            app = App(service)
            spans = spans_of.RequestSpans(service="shop", exporter=exporter)
            app.trace(spans)
            with serving(app, "127.0.0.1", free_port(), closing=app.close) as url:
                yield url, app


def exported(exporter, count):
    until = time.monotonic() + 60
    while len(exporter.get_finished_spans()) < count and time.monotonic() < until:
        time.sleep(0.05)
    return exporter.get_finished_spans()


@pytest.fixture
def exporter():
    return opentelemetry.InMemorySpanExporter()


def test_each_request_is_a_span_with_its_stages(exporter):
    with served(project(), exporter) as (url, _), httpx.Client(base_url=url, timeout=60) as client:
        got = client.post(
            "/v1/features/churn_v1",
            json={"row": {"user": 1}},
            headers={"traceparent": SAMPLED},
            timeout=60,
        )
        client.post("/v1/features/churn_v1", json={"rows": [{"user": 1}, {"user": 2}]})
        client.post("/v1/features/churn_v1", json={"row": {}})
        client.get("/nowhere")
        one, many, refused, lost = exported(exporter, 4)
        metrics = client.get("/metrics").text
    assert got.status_code == 200
    assert one.name == "POST /v1/features/{service}" or one.name.startswith("POST /v1/features/")
    assert one.kind is spans_of.trace.SpanKind.SERVER
    assert one.attributes["headwater.request_id"] == got.headers["x-request-id"]
    assert {
        "headwater.stage.parse",
        "headwater.stage.read",
        "headwater.stage.write",
    } <= one.attributes.keys()
    seconds = (one.end_time - one.start_time) / 1e9
    assert (
        0
        < sum(
            value for name, value in one.attributes.items() if name.startswith("headwater.stage.")
        )
        <= seconds
    )
    assert one.resource.attributes["service.name"] == "shop"
    assert f"{one.context.trace_id:032x}" == TRACE
    assert f"{one.parent.span_id:016x}" == SPAN
    assert many.parent is None
    assert many.attributes["headwater.rows"] == 2
    assert [
        span.attributes["http.response.status_code"] for span in (one, many, refused, lost)
    ] == [200, 200, 422, 404]
    assert 'headwater_spans_total{outcome="exported"}' in metrics


def test_a_parent_that_is_not_sampled_has_no_span_and_a_broken_one_counts_for_none(exporter):
    with served(project(), exporter) as (url, _), httpx.Client(base_url=url, timeout=60) as client:
        for header in (UNSAMPLED, "00-zz-1-01", "é" * 80, SAMPLED):
            assert (
                client.post(
                    "/v1/features/churn_v1",
                    json={"row": {"user": 1}},
                    headers={"traceparent": header.encode()},
                ).status_code
                == 200
            )
        found = exported(exporter, 3)
    assert [span.parent is None for span in found] == [True, True, False]


def test_third_parties_get_the_trace_of_the_request(exporter, ip, party):
    with (
        served(project(ip()), exporter) as (url, _),
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        for number, header in enumerate((SAMPLED, UNSAMPLED, None)):
            row = {"user": 1, "ip_address": f"10.0.0.{number}"}
            more = {} if header is None else {"headers": {"traceparent": header}}
            assert (
                client.post("/v1/features/churn_v1", json={"row": row}, **more).status_code == 200
            )
        child, root = exported(exporter, 2)
    told = [headers["traceparent"] for headers in party.headers]
    assert told[0] == f"00-{TRACE}-{child.context.span_id:016x}-01"
    assert told[1].startswith(f"00-{TRACE}-")
    assert told[1].endswith("-00")
    assert told[2] == f"00-{root.context.trace_id:032x}-{root.context.span_id:016x}-01"
    assert child.attributes["headwater.stage.third_party"] > 0


def test_without_tracing_third_parties_are_told_nothing(ip, party):
    shop = project(ip())
    with temporary_store() as store:
        hw.materialize(shop, store=store, at=AT)
        with hw.operations.serve(shop, store, listen=f"127.0.0.1:{free_port()}", models={}) as url:
            httpx.post(
                f"{url}/v1/features/churn_v1",
                json={"row": {"user": 1, "ip_address": "10.0.0.1"}},
                headers={"traceparent": SAMPLED},
                timeout=60,
            )
    assert [headers.get("traceparent") for headers in party.headers] == [None]


def test_spans_reach_a_collector_over_http():
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    got = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append(
                (
                    self.path,
                    gzip.decompress(body)
                    if self.headers.get("content-encoding") == "gzip"
                    else body,
                )
            )
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with temporary_store() as store:
            shop = project()
            hw.materialize(shop, store=store, at=AT)
            options = ServeOptions(traces=f"http://127.0.0.1:{server.server_port}")
            with hw.operations.serve(
                shop, store, listen=f"127.0.0.1:{free_port()}", models={}, options=options
            ) as url:
                httpx.post(f"{url}/v1/features/churn_v1", json={"row": {"user": 1}}, timeout=60)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert got, "what waits is exported when the service ends"
    path, body = got[0]
    assert path == "/v1/traces"
    (resource,) = ExportTraceServiceRequest.FromString(body).resource_spans
    assert "headwater.stage.read" in {
        attribute.key for attribute in resource.scope_spans[0].spans[0].attributes
    }


def test_an_exporter_that_hangs_delays_no_request_and_costs_spans(monkeypatch):
    monkeypatch.setattr(spans_of, "_WAITING", 3)
    hangs = threading.Event()

    class Hanging(opentelemetry.InMemorySpanExporter):
        def export(self, spans):
            hangs.wait(20)
            raise RuntimeError("the collector is gone")

    with (
        served(project(), Hanging()) as (url, app),
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        try:
            for _ in range(8):
                assert (
                    client.post("/v1/features/churn_v1", json={"row": {"user": 1}}).status_code
                    == 200
                )
                time.sleep(0.1)
            counts = app._post_response.spans._counts
            assert counts["dropped"] > 0
        finally:
            hangs.set()
    assert counts["failed"] > 0


def test_what_is_no_collector_is_refused():
    with pytest.raises(UsageError, match="is no URL; give one such as"):
        spans_of.RequestSpans("collector:4318")
