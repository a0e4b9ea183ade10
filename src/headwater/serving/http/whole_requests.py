"""Requests for the features or the prediction of one row, with a complete body: answered in
micro-batches, without a task each.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from headwater import clock
from headwater.serving.http.after_response import PostResponseQueue, RequestContext
from headwater.serving.http.asgi import RequestIds, Respond
from headwater.serving.http.auth import Access
from headwater.serving.http.body import BodyBudget
from headwater.serving.http.bound_route import BoundRoute
from headwater.serving.http.error_responses import error_response
from headwater.serving.http.micro_batches import MOST, BatchedRequest, answer_batch
from headwater.serving.http.row_decoder import is_one_row
from headwater.serving.http.turn_queue import TurnQueue
from headwater.serving.service import Service
from headwater.stores import UnansweredError

_LOG: Final = logging.getLogger(__name__)
_HEAD: Final = b"content-type: application/json\r\ncontent-length: %d\r\nx-request-id: %b\r\n"


class _WholeRequest(NamedTuple):
    """A request until the end of this turn of the event loop; `size` bytes of it are reserved."""

    request: BatchedRequest
    call: RequestContext
    respond: Respond
    begin: float
    size: int


class WholeRequests:
    """Takes the requests that need neither a thread nor the network; the ASGI app answers the
    others, and refuses.

    Args:
        service: computes the results.
        routes: by method and path.
        access, ids, bodies: those of the app.
        post_response: records what was answered.
        now: the clock of request times, microseconds.
    """

    def __init__(
        self,
        service: Service,
        routes: Mapping[tuple[str, str], BoundRoute],
        access: Access,
        ids: RequestIds,
        bodies: BodyBudget,
        post_response: PostResponseQueue,
        now: Callable[[], int],
    ) -> None:
        self._service, self._access, self._ids, self._bodies, self._post_response = (
            service,
            access,
            ids,
            bodies,
            post_response,
        )
        self._now = now
        self._routes = {
            path.encode(): bound
            for (_, path), bound in routes.items()
            if bound.handlers.reader is not None and not bound.waits
        }
        self._queue = TurnQueue(self._answer, MOST)

    def take(
        self, target: bytes, headers: Mapping[bytes, bytes], data: bytes, respond: Respond
    ) -> bool:
        """As `asgi.Take`."""
        bound = self._routes.get(target)
        if bound is None or b"content-encoding" in headers:
            return False
        begin = clock.stopwatch()
        try:
            self._access.allow(headers, bound.route.scope)
            body = bound.decode(data)
            if getattr(body, "arm", None) is not None:
                self._access.allow(headers, "admin")
        except Exception:  # noqa: BLE001 (the app meets it again, and responds)
            return False
        if not is_one_row(body) or (
            bound.kind != "features" and not self._service.is_loaded(bound.name, body.level)
        ):
            return False
        if not self._bodies.take(len(data)):
            return False
        read, answer, reader = bound.handlers.read, bound.handlers.answer, bound.handlers.reader
        assert read is not None
        assert answer is not None
        call = self._post_response.begin(
            self._ids.request_id(headers), bound.numbers, "POST", headers
        )
        call.route, call.name, call.kind = bound.route.path, bound.name, bound.kind
        if call.trace is not None:
            call.trace.parsed = clock.stopwatch() - begin
        self._queue.put(
            _WholeRequest(
                BatchedRequest(bound.name, body, read, answer, reader),
                call,
                respond,
                begin,
                len(data),
            )
        )
        return True

    def _answer(self, batch: Sequence[_WholeRequest]) -> None:
        requests = [waiting.request for waiting in batch]
        try:
            answer_batch(self._service, requests, self._now())
        except UnansweredError as error:
            for request in requests:
                request.error = request.error or error
        for waiting in batch:
            self._bodies.give(waiting.size)
            try:
                self._respond(waiting)
            except Exception:  # noqa: BLE001 (of one connection, which must not cost the others their responses)
                _LOG.exception("a response could not be sent")

    def _respond(self, waiting: _WholeRequest) -> None:
        request, call, respond, begin, _ = waiting
        result = request.result
        if result is None:
            assert request.error is not None
            status, headers, body, call.failed = error_response(request.error, call.id)
            respond(status, b"".join([b"%b: %b\r\n" % header for header in headers]), body)
            call.status = status
        else:
            respond(result.status, _HEAD % (len(result.body), call.id), result.body)
            call.rows, call.status, call.size = result.rows, result.status, len(result.body)
            call.request, call.result = request.parsed, result.result
        call.ended = clock.stopwatch()
        call.seconds = call.ended - begin
        self._post_response.put(call)
