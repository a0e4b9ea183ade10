"""The ASGI app of a service: for every route it checks access and limits, counts, logs, and turns
errors into responses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

from headwater import clock
from headwater.errors import nearest
from headwater.journal.serving_log import ServedLog
from headwater.serving.http.access_log import RequestLog
from headwater.serving.http.admin_handlers import PageRequest
from headwater.serving.http.after_response import PostResponseQueue, RequestContext, SpanMaker
from headwater.serving.http.asgi import (
    JSON,
    OFREP,
    Message,
    Read,
    Refused,
    RequestIds,
    Respond,
    Scope,
    Send,
)
from headwater.serving.http.asgi import App as Asgi
from headwater.serving.http.auth import Access, Denied
from headwater.serving.http.body import BodyBudget, BodyTimeouts, read_body
from headwater.serving.http.bound_route import BoundRoute, bound_routes
from headwater.serving.http.console_proxy import BASE, LARGEST_FORM, ConsoleProxy
from headwater.serving.http.error_responses import CLIENT_GONE, error_response
from headwater.serving.http.event_proxy import Forwarder
from headwater.serving.http.handlers import HandlerResult
from headwater.serving.http.micro_batches import MOST
from headwater.serving.http.readiness_probe import ReadinessProbe
from headwater.serving.http.remote_batches import RemoteBatches
from headwater.serving.http.route import Route
from headwater.serving.http.routes import ROUTES
from headwater.serving.http.row_decoder import ParsedRequest, estimated_rows, is_one_row
from headwater.serving.http.whole_requests import WholeRequests
from headwater.serving.http.worker_pool import DEADLINE, ModelLoads, WorkerPool
from headwater.serving.metrics.delivery_metrics import DeliveryMetrics
from headwater.serving.metrics.drift_metrics import DriftMetrics
from headwater.serving.metrics.level_lift_metrics import LevelLiftMetrics
from headwater.serving.metrics.request_metrics import RequestMetrics
from headwater.serving.metrics.view_reads import ViewReads
from headwater.serving.process.periodic import PeriodicTasks
from headwater.serving.service import Service
from headwater.serving.serving_log_writer import ServingLogWriter
from headwater.serving.third_party.fetcher import OnAnswer
from headwater.serving.third_party.latency_budget import Deadline
from headwater.serving.third_party.third_party_clients import ThirdPartyClients, third_party_values
from headwater.serving.third_party.trace_header import TRACEPARENT

T = TypeVar("T")

_REFRESH: Final = 0.5  # seconds between two checks for new versions of models


class App:
    """An ASGI app over a service.

    Args:
        service: computes the results.
        tokens: the file of tokens; None serves this machine only, without tokens.
        log: the access log.
        served: the serving log.
        on_answer: called with each response of a third party; it must not block.
        now: the clock of request times, microseconds.
        routes: the table of routes.
        forward_to: hosts besides this machine that pushed events may be forwarded to.

    Raises:
        UsageError: the file has no token, or a secret of a third party is not in the environment.
    """

    def __init__(
        self,
        service: Service,
        *,
        tokens: Path | None = None,
        log: RequestLog | None = None,
        served: ServedLog | None = None,
        on_answer: OnAnswer | None = None,
        now: Callable[[], int] = clock.now_micros,
        routes: tuple[Route, ...] = ROUTES,
        forward_to: Collection[str] = (),
    ) -> None:
        self.service, self.routes, self.numbers = service, routes, RequestMetrics()
        self.third_parties = ThirdPartyClients(service.project, on_answer=on_answer)
        self.numbers.also(self.third_parties.collect)
        self.access = Access(tokens)
        self.others: Callable[[], list[str]] = list
        self.metrics: Callable[[], Awaitable[bytes]] = self._own_metrics
        self.followed: Callable[[], None] = _nothing
        self.beat, self.readiness, self.repeated = (
            _nothing,
            ReadinessProbe(service),
            PeriodicTasks(),
        )
        self.numbers.also(self.repeated.collect)
        self.numbers.also(service.experiments.collect)
        for watched in (DeliveryMetrics, DriftMetrics, LevelLiftMetrics):
            self.numbers.also(
                watched(
                    service.models_folder, [model.name for model in service.project.models]
                ).collect
            )
        recorder = None if served is None else ServingLogWriter(served, service)
        if recorder is not None:
            self.numbers.also(recorder.collect)
        self.now = now
        self._post_response = PostResponseQueue(
            self.numbers, log or RequestLog(None), recorder, service.experiments
        )
        if reads := ViewReads(service.project):
            self._post_response.reads = reads
            self.numbers.also(reads.collect)
        self._paths = bound_routes(service, routes, self.numbers)
        self._any_name = [bound for bound in self._paths.values() if bound.any_name]
        self._lost_numbers = self.numbers.route("")
        self._lanes, self._loads = WorkerPool(service), ModelLoads(service)
        self._reading, self._bodies = BodyTimeouts(), BodyBudget()
        self._refreshing: list[asyncio.Task[None]] | None = None
        self._forwarder = Forwarder(service.store, forward_to)
        self._console_numbers = self.numbers.route(BASE)
        self.console: ConsoleProxy | None = None
        self._ids = RequestIds()
        self._remote_batches = RemoteBatches(service, self._lanes, now)
        self._whole = WholeRequests(
            service, self._paths, self.access, self._ids, self._bodies, self._post_response, now
        )

    async def __call__(self, scope: Scope, read: Read, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        begin = clock.stopwatch()
        self.begin()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        number = self._ids.request_id(headers)
        call = self._post_response.begin(number, self._lost_numbers, scope["method"], headers)
        data = b""
        try:
            bound = self._allowed(scope, headers, call)
            if bound is None:
                assert self.console is not None
                data = await read_body(read, headers, self._reading, self._bodies, LARGEST_FORM)
                call.status = await self.console.forward(scope, headers, data, read, send)
            elif bound.handlers.app is not None:
                call.status = await self._starlette(bound.handlers.app, scope, read, send, number)
            elif bound.handlers.page is not None:
                if bound.route.method == "POST":
                    data = await read_body(read, headers, self._reading, self._bodies)
                call.status = await self._page(bound, scope, headers, data, send, number)
            else:
                data = await read_body(read, headers, self._reading, self._bodies)
                if bound.route.via == "ingestion":
                    result = await self._forwarded(bound, data, headers, number)
                else:
                    body = bound.decode(data)
                    call.parsed(clock.stopwatch() - begin)
                    if getattr(body, "arm", None) is not None:
                        self.access.allow(headers, "admin")
                    result = self._near(bound, body, call) or await self._far(
                        bound, body, call, begin
                    )
                call.rows, call.status = result.rows, result.status
                more = [
                    (b"content-type", JSON),
                    (b"content-length", b"%d" % len(result.body)),
                    (b"x-request-id", number),
                ]
                if result.again is not None:
                    more.append((b"retry-after", b"%d" % result.again))
                await send(
                    {"type": "http.response.start", "status": result.status, "headers": more}
                )
                await send({"type": "http.response.body", "body": result.body})
                call.result, call.size = result.result, len(result.body)
        except Exception as error:  # noqa: BLE001 (every error becomes a response)
            await self._refuse(scope, send, error, call)
        finally:
            self._bodies.give(len(data))
        call.ended = clock.stopwatch()
        call.seconds = call.ended - begin
        self._post_response.put(call)

    def begin(self) -> None:
        """Start the periodic work, in the event loop that runs; a first request does so, where
        nothing did before.
        """
        if self._refreshing is None:
            self._refreshing = [
                asyncio.create_task(self.repeated.every(_REFRESH, name, work))
                for name, work in (
                    ("loading new versions of models", self._refresh),
                    ("sending metrics", self._beat),
                )
            ]

    def take(
        self, target: bytes, headers: Mapping[bytes, bytes], body: bytes, respond: Respond
    ) -> bool:
        """As `asgi.Take`: answer a request that has arrived whole; False leaves it to
        `__call__`.
        """
        return self._refreshing is not None and self._whole.take(target, headers, body, respond)

    def may_read(self, authorization: bytes | None) -> bool:
        """Whether the sender of a request may see details such as reasons."""
        try:
            return self.access.open or bool(self.access.scopes(authorization or b""))
        except Denied:
            return False

    def trace(self, spans: SpanMaker) -> None:
        """Make a span of each request from now on; they are closed with the app."""
        self._post_response.spans = spans
        self.numbers.also(spans.collect)

    async def close(self) -> None:
        """End the threads, and write the queued log lines."""
        for task in self._refreshing or ():
            task.cancel()
        self._lanes.close()
        self._loads.close()
        await self._forwarder.close()
        if self.console is not None:
            await self.console.close()
        await self.third_parties.close()
        self._post_response.close()

    async def _refresh(self) -> None:
        """Load new versions of models."""
        await asyncio.get_running_loop().run_in_executor(None, self._follow)

    def _follow(self) -> None:
        try:
            self.service.refresh()
        finally:
            self.followed()

    async def _beat(self) -> None:
        """Run the periodic hook."""
        self.beat()

    async def _own_metrics(self) -> bytes:
        return self.numbers.text()

    def _allowed(
        self, scope: Scope, headers: Mapping[bytes, bytes], call: RequestContext
    ) -> BoundRoute | None:
        """The route of a request, after the check of its token; None for the console, which checks
        access by itself.

        Raises:
            Denied: no token, or one without the scope.
            Refused: 404 or 405, for senders with a token.
        """
        bound = self._paths.get((scope["method"], scope["path"])) or self._with_any_name(scope)
        if bound is not None:
            call.route, call.name, call.numbers, call.kind = (
                bound.route.path,
                bound.name,
                bound.numbers,
                bound.kind,
            )
            self.access.allow(headers, bound.route.scope)
            return bound
        if self.console is not None and self.console.is_for(scope["path"]):
            call.route, call.numbers = BASE, self._console_numbers
            return None
        self.access.allow(headers, "any")
        raise self._lost(scope["method"], scope["path"])

    def _with_any_name(self, scope: Scope) -> BoundRoute | None:
        method, path = scope["method"], scope["path"]
        for bound in self._any_name:
            if bound.route.method == method and path.startswith(bound.route.begin):
                return bound._replace(name=path[len(bound.route.begin) :])
        return None

    def _near(self, bound: BoundRoute, body: Any, call: RequestContext) -> HandlerResult | None:  # noqa: ANN401 (as the route says)
        """The result computed on the event loop; None where it needs a thread, the network or a
        model load.
        """
        read, answer = bound.handlers.read, bound.handlers.answer
        if bound.waits or read is None or answer is None or estimated_rows(body) > MOST:
            return None
        if bound.kind != "features" and not self.service.is_loaded(bound.name, body.level):
            return None
        t = self.now()
        ready = call.request = read(self.service, bound.name, body, t)
        return answer(bound.name, body, t, ready, None)

    async def _far(
        self,
        bound: BoundRoute,
        body: Any,  # noqa: ANN401
        call: RequestContext,
        begin: float,
    ) -> HandlerResult:
        """The result computed in worker threads, with calls of third parties."""
        name, (reads, answers, take, *_) = bound.name, bound.handlers
        if take is not None:
            return await self._lanes.run(
                lambda service: take(service, name, body), until=begin + DEADLINE
            )
        assert reads is not None
        assert answers is not None
        t = self.now()
        limit = self.third_parties.limits.get(name)
        due = Deadline(started=begin) if limit is None else limit.start(begin)
        until = begin + (DEADLINE if due.budget is None else due.budget)
        if bound.kind != "features" and not self.service.is_loaded(name, body.level):
            await self._loads.wait(name, body.level, until=begin + DEADLINE)
        if bound.remote and is_one_row(body) and self._remote_batches.shares(bound, body.level):
            request = await self._remote_batches.answer(bound, body, until)
            call.request = request.parsed
            assert request.result is not None
            return request.result
        far = estimated_rows(body) > MOST or bound.remote
        run = partial(self._lanes.run, until=until) if far else self._here

        def begun(service: Service) -> tuple[ParsedRequest, HandlerResult | None]:
            ready = reads(service, name, body, t)
            return ready, None if self.third_parties.asks(ready.service) else answers(
                name, body, t, ready, None
            )

        ready, result = await run(begun)
        call.request = ready
        if result is not None:
            return result
        due.lap("request")
        if self._post_response.spans is not None:
            TRACEPARENT.set(self._post_response.spans.outgoing(call))
        called = await self.third_parties.ask(
            ready.service, ready.as_columns(), ready.height, t=t, limit=limit, due=due
        )
        due.lap("third party")
        third_party = third_party_values(called, due.stages["third party"])
        result = await run(lambda _: answers(name, body, t, ready, third_party))
        due.lap("answer")
        if limit is not None:
            limit.done(due, cut_off=called.cut_off)
        return result

    async def _here(self, work: Callable[[Service], T]) -> T:
        return work(self.service)

    async def _forwarded(
        self, bound: BoundRoute, data: bytes, headers: Mapping[bytes, bytes], number: bytes
    ) -> HandlerResult:
        """The response of the ingestion process."""
        status, body, again = await self._forwarder.forward(bound.name, data, headers, number)
        return HandlerResult(body, 0, status=status, again=again)

    async def _page(
        self,
        bound: BoundRoute,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        data: bytes,
        send: Send,
        number: bytes,
    ) -> int:
        """Send the response of a page; its status."""
        assert bound.handlers.page is not None
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        body = bound.decode(data) if bound.route.method == "POST" else None
        response = await bound.handlers.page(PageRequest(self, query, headers, bound.name, body))
        page_headers = [(b"x-request-id", number), *response.headers]
        if response.status != 304:
            page_headers += [
                (b"content-type", response.media),
                (b"content-length", b"%d" % len(response.body)),
            ]
        await send(
            {"type": "http.response.start", "status": response.status, "headers": page_headers}
        )
        await send({"type": "http.response.body", "body": response.body})
        return response.status

    async def _starlette(
        self, app: Asgi, scope: Scope, read: Read, send: Send, number: bytes
    ) -> int:
        """Run an app of Starlette; the status of its response."""
        status = 500

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", number)]
            await send(message)

        await app(scope, read, sent)
        return status

    async def _refuse(
        self, scope: Scope, send: Send, error: Exception, call: RequestContext
    ) -> None:
        """Send the response for an error."""
        ofrep = call.name if scope["path"].startswith(OFREP) else None
        status, headers, body, call.failed = error_response(error, call.id, ofrep=ofrep)
        call.status = status
        if status == CLIENT_GONE:
            return
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _lost(self, method: str, path: str) -> Refused:
        """The error for an unknown path (404) or a method that is not allowed (405)."""
        methods = sorted({m for m, p in self._paths if p == path})
        if methods:
            return Refused(
                405,
                f"{method} not allowed on {path}; allowed: {', '.join(methods)}",
                allow=", ".join(methods),
            )
        for route in self.routes:
            if route.names is not None and path.startswith(route.begin):
                names, name = list(route.names(self.service.project)), path[len(route.begin) :]
                return Refused(
                    404,
                    f"there is no {route.parameter} {name[:100]!r}; {nearest(name[:100], names)}",
                )
        return Refused(
            404,
            f"unknown path {path[:100]}; "
            f"{nearest(path[:100], [route.path for route in self.routes])}",
        )


def _nothing() -> None:
    """The periodic hook of a service with one process."""
