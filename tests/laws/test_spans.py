"""The span of a request lies between its being sent and the receipt of its answer, says what was
asked, and comes once.
"""

import gzip
import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

import headwater as hw
from headwater.testing import examples

trace_service = pytest.importorskip(
    "opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="needs the extra otel"
)
REQUESTS = 20


@contextmanager
def collecting():
    """The URL of a collector, and the spans that it has."""
    spans = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            asked = trace_service.ExportTraceServiceRequest.FromString(body)
            spans.extend(
                span
                for resource in asked.resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            )
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", spans
        finally:
            server.shutdown()
            thread.join()


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_a_span_begins_within_its_request():
    shop = examples.visiting(hw.batch("1h"))
    (service,) = {model.features.name for model in shop.models}
    sent = {}
    with collecting() as (collector, spans), ExitStack() as stack:
        store = stack.enter_context(examples.temporary_store())
        hw.materialize(shop, store=store, at="2024-05-01T12:00Z")
        url = stack.enter_context(
            hw.operations.serve(
                shop,
                store,
                listen=f"127.0.0.1:{free_port()}",
                models={},
                options=hw.operations.ServeOptions(traces=collector),
            )
        )
        client = stack.enter_context(httpx.Client(timeout=60, trust_env=False))
        for number in range(REQUESTS):
            rows = [{"user": 1}] * (1 + number % 3)
            parent = f"00-{number + 1:032x}-{7:016x}-01"
            begun = time.time_ns()
            answer = client.post(
                f"{url}/v1/features/{service}",
                json={"rows": rows},
                headers={"traceparent": parent, "x-request-id": f"r{number}"},
            )
            sent[number + 1] = begun, f"r{number}", len(rows)
            assert answer.status_code == 200, answer.text
        stack.close()  # what waits is exported when the service ends
        by_trace = {int.from_bytes(span.trace_id): span for span in spans}
        assert len(spans) == len(by_trace) == REQUESTS
        for trace, (begun, request, rows) in sent.items():
            span = by_trace[trace]
            told = {one.key: one.value for one in span.attributes}
            values = {
                (getattr(value, value.WhichOneof("value")), key) for key, value in told.items()
            }
            assert int.from_bytes(span.parent_span_id) == 7
            # microseconds, rounded
            assert begun - 1000 <= span.start_time_unix_nano <= span.end_time_unix_nano
            assert {request, rows} <= {value for value, _ in values}
