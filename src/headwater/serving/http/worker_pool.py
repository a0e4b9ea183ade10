"""Worker threads for requests that would block the event loop, with a bounded queue, a deadline,
and a circuit breaker for the store.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

from headwater import clock
from headwater.errors import HeadwaterError, StoreError
from headwater.serving.http.asgi import Refused
from headwater.serving.service import Service
from headwater.serving.third_party.circuit_breaker import CircuitBreaker
from headwater.stores import UnansweredError

T = TypeVar("T")

DEADLINE: Final = 5.0
"""The deadline of a request, in seconds, where its model has no latency budget."""
WAITING: Final = 512
"""Limit of requests that wait for a thread; further requests are refused."""

_LANES: Final = 8  # threads
_PAUSE: Final = 1.0  # seconds until a store that does not respond is tried again


class WorkerPool:
    """Threads for requests with many rows, or with a store across the network.

    Args:
        service: passed to the work.
        lanes: number of threads.
        waiting: limit of requests that wait for a thread.
    """

    def __init__(self, service: Service, *, lanes: int = _LANES, waiting: int = WAITING) -> None:
        self._service, self._remote = service, service.store.capabilities.remote
        self._idle = lanes
        self._most, self._queued, self._waiters = waiting, 0, deque[asyncio.Future[None]]()
        self._pool = ThreadPoolExecutor(lanes, thread_name_prefix="lane")
        self._breaker = CircuitBreaker(_PAUSE if self._remote else None)

    async def run(self, work: Callable[[Service], T], *, until: float, requests: int = 1) -> T:
        """Run `work` with the service in a thread, and return its result.

        Args:
            work: the function to run. With a store across the network, it is abandoned at the
                deadline; otherwise work that has begun is awaited.
            until: the deadline, by `clock.stopwatch`.
            requests: how many the work answers.

        Raises:
            Refused: 503, the queue is full, or the deadline has passed.
            StoreError: the circuit breaker of the store is open.
        """
        if self._breaker.state == "open":
            raise _silent()
        await self._turn(until, requests)
        if not self._breaker.allows():
            self._give_back()
            raise _silent()
        loop = asyncio.get_running_loop()
        begun = self._pool.submit(work, self._service)
        begun.add_done_callback(lambda _: self._ended(loop))
        return await self._result(begun, until)

    def close(self) -> None:
        """Wait for running work, and end the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def _result(self, begun: Future[T], until: float) -> T:
        """Await running work, and record its outcome with the breaker."""
        answered: bool | None = None
        try:
            if self._remote:
                async with asyncio.timeout(max(until - clock.stopwatch(), 0.0)):
                    result = await asyncio.wrap_future(begun)
            else:
                result = await asyncio.wrap_future(begun)
            answered = True
        except UnansweredError:
            answered = False
            raise
        except TimeoutError:
            answered = False
            raise Refused(
                503,
                "the online store did not respond in time; send the same request again",
                again=1,
            ) from None
        except HeadwaterError as error:
            answered = True if isinstance(error, StoreError) else None
            raise
        finally:
            if answered is None:
                self._breaker.release()
            else:
                self._breaker.record(succeeded=answered)
        return result

    async def _turn(self, until: float, requests: int) -> None:
        """Wait until a thread is idle.

        Raises:
            Refused: the queue is full, or no thread was idle in time.
        """
        if self._idle:
            self._idle -= 1
            return
        if self._queued + requests > self._most:
            raise Refused(
                503,
                f"{self._queued:,} requests are queued, which is the limit; send the same request "
                "again",
                again=1,
            )
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._queued += requests
        try:
            async with asyncio.timeout(max(until - clock.stopwatch(), 0.0)):
                await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():  # a thread became idle in the same instant
                self._give_back()
            else:
                self._waiters.remove(waiter)
            if isinstance(error, TimeoutError):
                raise Refused(
                    503,
                    "the request was queued until its deadline; send the same request again",
                    again=1,
                ) from None
            raise
        finally:
            self._queued -= requests

    def _ended(self, loop: asyncio.AbstractEventLoop) -> None:
        """Called in the thread whose work has ended."""
        with contextlib.suppress(RuntimeError):  # the loop is closed, so no request waits
            loop.call_soon_threadsafe(self._give_back)

    def _give_back(self) -> None:
        """Give an idle thread to the next waiting request."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._idle += 1


class ModelLoads:
    """Loads fitted models in a thread of its own, once for concurrent requests."""

    def __init__(self, service: Service) -> None:
        self._service = service.lane()
        self._tasks: dict[tuple[str, str | None], asyncio.Future[None]] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="model-load")

    async def wait(self, model: str, level: str | None, *, until: float) -> None:
        """Load the fitted model of a level.

        Raises:
            UsageError, ModelError: as for `Service.load`.
            Refused: 503, the deadline has passed; the load continues.
        """
        task = self._tasks.get((model, level))
        if task is None:
            task = asyncio.get_running_loop().run_in_executor(
                self._pool, self._service.load, model, level
            )
            self._tasks[model, level] = task
            task.add_done_callback(lambda _: self._tasks.pop((model, level)))
        try:
            async with asyncio.timeout(max(until - clock.stopwatch(), 0.0)):
                await asyncio.shield(task)
        except TimeoutError:
            raise Refused(
                503, f"model {model!r} is being loaded; send the same request again", again=1
            ) from None

    def close(self) -> None:
        """End the thread after the running load."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _silent() -> StoreError:
    return UnansweredError("the online store is not responding; it is tried again in a second")
