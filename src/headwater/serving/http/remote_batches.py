"""Micro-batches over a store across the network: requests of one turn of the event loop share a
thread and a round trip.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from headwater.serving.http.bound_route import BoundRoute
from headwater.serving.http.micro_batches import MOST, BatchedRequest, answer_batch
from headwater.serving.http.request_schema import FeaturesRequest, PredictionRequest
from headwater.serving.http.turn_queue import TurnQueue
from headwater.serving.http.worker_pool import WorkerPool
from headwater.serving.service import Service


class _RemoteRequest(NamedTuple):
    """A request until its batch is answered.

    batch_key: kind, name and level; all requests of a batch have the same.
    """

    request: BatchedRequest
    batch_key: tuple[str, str, str | None]
    until: float
    done: asyncio.Future[None]


class RemoteBatches:
    """Requests for one row each that read a store across the network.

    Args:
        service: of the event loop; the threads have their own.
        lanes: the threads.
        now: the clock of request times, microseconds.
    """

    def __init__(self, service: Service, lanes: WorkerPool, now: Callable[[], int]) -> None:
        self._service, self._lanes, self._now = service, lanes, now
        self._queue = TurnQueue(self._begin, MOST)
        self._tasks: set[asyncio.Task[None]] = set()

    def shares(self, bound: BoundRoute, level: str | None) -> bool:
        """Whether the requests of a route share reads: not those of third parties, of precomputed
        predictions, or of local stores.

        Raises:
            UsageError: as `Endpoints.variant`.
        """
        if bound.handlers.reader is None or bound.third_parties or not bound.remote:
            return False
        return (
            bound.kind == "features"
            or self._service.endpoints.variant(bound.name, level).precomputed is None
        )

    async def answer(
        self, bound: BoundRoute, body: FeaturesRequest | PredictionRequest, until: float
    ) -> BatchedRequest:
        """A request's result, until its deadline; raises as `WorkerPool.run`, and the request's own
        errors.
        """
        assert bound.handlers.read is not None
        assert bound.handlers.answer is not None
        request = BatchedRequest(
            bound.name, body, bound.handlers.read, bound.handlers.answer, bound.handlers.reader
        )
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put(_RemoteRequest(request, (bound.kind, bound.name, body.level), until, done))
        await done
        if request.error is not None:
            raise request.error
        return request

    def _begin(self, batch: Sequence[_RemoteRequest]) -> None:
        alike: dict[tuple[str, str, str | None], list[_RemoteRequest]] = {}
        for waiting in batch:
            alike.setdefault(waiting.batch_key, []).append(waiting)
        for several in alike.values():
            task = asyncio.get_running_loop().create_task(self._run(several))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, batch: Sequence[_RemoteRequest]) -> None:
        """Answer a batch in a thread; what ends it ends each of its requests."""
        requests, t = [waiting.request for waiting in batch], self._now()
        try:
            await self._lanes.run(
                lambda service: answer_batch(service, requests, t),
                until=min(waiting.until for waiting in batch),
                requests=len(batch),
            )
        except Exception as error:  # noqa: BLE001 (raised where each is awaited)
            for waiting in batch:
                if not waiting.done.done():
                    waiting.done.set_exception(error)
        else:
            for waiting in batch:
                if not waiting.done.done():
                    waiting.done.set_result(None)
