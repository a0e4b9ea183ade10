"""A span of OpenTelemetry for each request, made and exported by a thread after the response has
been sent.

The event loop only puts an answered request into a bounded queue. The thread makes a span of it, of
kind SERVER, a child of the request's `traceparent`, with the seconds of each stage as attributes.
Sampling is that of the parent, else that of OTEL_TRACES_SAMPLER (all). A collector that is slow or
gone costs spans, which are counted, and no request.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from prometheus_client.core import CounterMetricFamily, Metric

from headwater import clock
from headwater.errors import MissingExtraError, UsageError
from headwater.version import __version__

try:
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
    from opentelemetry.sdk.trace.sampling import Decision
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as error:
    raise MissingExtraError("opentelemetry-sdk with its OTLP exporter", "otel") from error

if TYPE_CHECKING:
    from headwater.serving.http.after_response import RequestContext
    from headwater.serving.http.request_trace import RequestTrace

_WAITING: Final = 8192  # requests whose spans are not made yet
_TOGETHER: Final = 512  # spans in an export
_EVERY: Final = 0.5  # seconds between two looks into the queue
_TIMEOUT: Final = 5.0  # seconds of an export


class _GivenIds(RandomIdGenerator):
    """Ids that were chosen before the span is made, since calls of third parties carried them;
    random ones elsewhere.
    """

    next_ids: tuple[int, int] | None = None

    def generate_trace_id(self) -> int:
        return super().generate_trace_id() if self.next_ids is None else self.next_ids[0]

    def generate_span_id(self) -> int:
        return super().generate_span_id() if self.next_ids is None else self.next_ids[1]


class _Ended(SpanProcessor):
    """The spans that have ended and are not exported yet."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


class RequestSpans:
    """The spans of the requests of one process.

    Args:
        endpoint: of a collector that takes OTLP over HTTP, such as http://127.0.0.1:4318; "" takes
            that of OTEL_EXPORTER_OTLP_ENDPOINT, else that of this machine.
        service: the name of the service, where OTEL_SERVICE_NAME does not give one.
        exporter: in place of one to the endpoint.

    Raises:
        UsageError: the endpoint is not a URL.
    """

    def __init__(
        self,
        endpoint: str = "",
        *,
        service: str = "headwater",
        exporter: SpanExporter | None = None,
    ) -> None:
        if endpoint and not endpoint.startswith(("http://", "https://")):
            raise UsageError(
                f"the collector of traces {endpoint!r} is no URL; give one such as "
                "http://127.0.0.1:4318"
            )
        url = f"{endpoint.rstrip('/').removesuffix('/v1/traces')}/v1/traces" if endpoint else None
        resource = Resource.create()
        if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: service}))
        self._ids, self._ended = _GivenIds(), _Ended()
        self._provider = TracerProvider(
            id_generator=self._ids, resource=resource, shutdown_on_exit=False
        )
        self._provider.add_span_processor(self._ended)
        self._tracer = self._provider.get_tracer("headwater", __version__)
        self._exporter = exporter or OTLPSpanExporter(endpoint=url, timeout=_TIMEOUT)
        # failures are counted, a line for each would flood the log
        logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
        self._queue: deque[tuple[RequestContext, int]] = deque()
        self._counts = {"exported": 0, "dropped": 0, "failed": 0}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="request spans", daemon=True)
        self._thread.start()

    def put(self, call: RequestContext, ended: int) -> None:
        """Add an answered request, which ended at `ended`, microseconds UTC. It never waits."""
        if len(self._queue) < _WAITING:
            self._queue.append((call, ended))
        else:
            self._counts["dropped"] += 1

    def outgoing(self, call: RequestContext) -> str:
        """The header `traceparent` for calls of third parties: the ids and the sampling of the span
        that the request will have.
        """
        assert call.trace is not None
        parent = _parent(call.trace)
        span_context = trace.get_current_span(parent).get_span_context()
        trace_id = span_context.trace_id if span_context.is_valid else self._ids.generate_trace_id()
        call.trace.ids = trace_id, self._ids.generate_span_id()
        decision = self._provider.sampler.should_sample(
            parent, trace_id, call.route, trace.SpanKind.SERVER
        ).decision
        sampled = decision is Decision.RECORD_AND_SAMPLE
        return f"00-{trace_id:032x}-{call.trace.ids[1]:016x}-{int(sampled):02x}"

    def collect(self) -> Iterator[Metric]:
        """The collector interface of prometheus_client."""
        spans = CounterMetricFamily(
            "headwater_spans", "spans of requests, by outcome", labels=["outcome"]
        )
        for outcome, count in self._counts.items():
            spans.add_metric([outcome], count)
        yield spans

    def close(self) -> None:
        """Export what waits, for at most the time of an export, and end the thread."""
        self._stop.set()
        self._thread.join(2 * _TIMEOUT)
        self._exporter.shutdown()

    def _run(self) -> None:
        while not clock.wait(_EVERY, self._stop):
            self._export()
        self._export()

    def _export(self) -> None:
        """Make and export the spans of all requests that wait."""
        while self._queue:
            for _ in range(min(_TOGETHER, len(self._queue))):
                self._span(*self._queue.popleft())
            spans, self._ended.spans = self._ended.spans, []
            if not spans:
                continue
            try:
                done = self._exporter.export(spans) is SpanExportResult.SUCCESS
            except Exception:  # noqa: BLE001 (an exporter of any kind; spans are counted as failed)
                done = False
            self._counts["exported" if done else "failed"] += len(spans)

    def _span(self, call: RequestContext, ended: int) -> None:
        about = call.trace
        if about is None:  # it arrived before requests were traced
            return
        self._ids.next_ids = about.ids
        attributes: dict[str, str | int | float] = {
            "http.request.method": about.method,
            "http.route": call.route,
            "http.response.status_code": call.status,
            "headwater.request_id": call.id.decode("ascii"),
            "headwater.name": call.name,
            "headwater.rows": call.rows,
            **_stages(call, about),
        }
        if call.result is not None and call.result.version:
            attributes["headwater.model_version"] = call.result.version
        if call.failed:
            attributes["error.type"] = call.failed
        begin = ended * 1000 - round(call.seconds * 1e9)
        name = f"{about.method} {call.route}".strip()
        span = self._tracer.start_span(
            name, _parent(about), trace.SpanKind.SERVER, attributes, start_time=begin
        )
        if call.status >= 500:
            span.set_status(trace.StatusCode.ERROR)
        span.end(ended * 1000)
        self._ids.next_ids = None


def _parent(about: RequestTrace) -> Context:
    """The context of the request's `traceparent`; an empty one where it has none, or one that is
    not valid.
    """
    return (
        TraceContextTextMapPropagator().extract({"traceparent": about.parent}, Context())
        if about.parent
        else Context()
    )


def _stages(call: RequestContext, about: RequestTrace) -> Mapping[str, float]:
    """The seconds of each stage, by attribute."""
    stages = {} if call.result is None else call.result.stages
    parse = {"headwater.stage.parse": about.parsed} if about.parsed else {}
    return parse | {
        f"headwater.stage.{name.replace(' ', '_')}": seconds for name, seconds in stages.items()
    }
