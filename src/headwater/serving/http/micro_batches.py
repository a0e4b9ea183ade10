"""Micro-batches: requests that arrived in one turn of the event loop share one read of the online
store, and none waits for others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headwater import clock
from headwater.online.feature_reader import OnlineFeatures
from headwater.serving.http.handlers import HandlerResult
from headwater.serving.http.route_handlers import Answer, Read, Reader
from headwater.serving.http.row_decoder import ParsedRequest, SharedRead
from headwater.serving.service import Service
from headwater.stores import UnansweredError

MOST = 64
"""Requests in a batch, each of one row; and rows of a request that the event loop answers."""


class BatchedRequest:
    """A request of a batch: its route's handlers, name and body; then its parsed rows and its
    result, or its error.
    """

    __slots__ = ("answer", "body", "error", "name", "parsed", "read", "reader", "result")

    def __init__(
        self,
        name: str,
        body: Any,  # noqa: ANN401
        read: Read,
        answer: Answer,
        reader: Reader | None,
    ) -> None:
        self.name, self.body, self.read, self.answer, self.reader = name, body, read, answer, reader
        self.parsed: ParsedRequest | None = None
        self.result: HandlerResult | None = None
        self.error: Exception | None = None


def answer_batch(service: Service, requests: Sequence[BatchedRequest], t: int) -> None:
    """Answer some requests with request time t; each gets the same response or error as alone.

    Requests for one row of the same features are read in one call. A request without a result of
    that call is read again by itself, so that it fails for its own reasons only.

    Raises:
        UnansweredError: the online store does not respond; no further request is tried.
    """
    alike: dict[OnlineFeatures, list[BatchedRequest]] = {}
    for request in requests:
        try:
            request.parsed = parsed = request.read(service, request.name, request.body, t)
            if parsed.row is not None and request.reader is not None:
                online = request.reader(request.name, request.body, parsed)
                if online is not None:
                    alike.setdefault(online, []).append(request)
        except UnansweredError:
            raise
        except Exception as error:  # noqa: BLE001 (of this request alone)
            request.error = error
    for online, several in alike.items():
        if len(several) > 1:
            _read_together(online, several, t)
    for request in requests:
        if request.parsed is None:
            continue
        try:
            request.result = request.answer(request.name, request.body, t, request.parsed, None)
        except UnansweredError:
            raise
        except Exception as error:  # noqa: BLE001 (as above)
            request.error = error


def _read_together(online: OnlineFeatures, requests: Sequence[BatchedRequest], t: int) -> None:
    """Read the features of requests in one call; requests that fail in it are read alone later."""
    begin = clock.stopwatch()
    try:
        vectors = online.each([request.parsed.row for request in requests], t)  # type: ignore[union-attr, misc]
    except UnansweredError:
        raise
    except Exception:  # noqa: BLE001 (each finds its own when it is read alone)
        return
    seconds = (clock.stopwatch() - begin) / len(requests)
    for request, features in zip(requests, vectors, strict=True):
        if features is not None:
            assert request.parsed is not None
            request.parsed = request.parsed._replace(shared=SharedRead(features, seconds))
