"""Work that would hold up the event loop: threads for it, a bound on what waits, a deadline, and a circuit breaker for the store."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

from headwater import clock
from headwater.errors import HeadwaterError, StoreError
from headwater.online_stores.redis.commands import UnansweredError
from headwater.serving.http.asgi import Refused
from headwater.serving.service import Service
from headwater.serving.third_party.circuit_breaker import Breaker

T = TypeVar("T")

DEADLINE: Final = 5.0
"""Seconds in which a request is answered or refused, where its model has no latency budget."""
WAITING: Final = 512
"""Requests that wait for a thread at most; one more is refused immediately."""

_LANES: Final = 8  # threads
_PAUSE: Final = 1.0  # seconds in which a store that does not answer is left alone


class Lanes:
    """Threads for requests of many rows, or that read a store across the network.

    Args:
        service: what the threads answer from.
        lanes: how many threads.
        waiting: how many requests may wait for one.
    """

    def __init__(self, service: Service, *, lanes: int = _LANES, waiting: int = WAITING) -> None:
        self._service, self._remote = service, service.store.partitioned
        self._idle = lanes
        self._most, self._waiters = waiting, deque[asyncio.Future[None]]()
        self._pool = ThreadPoolExecutor(lanes, thread_name_prefix="lane")
        self._breaker = Breaker(_PAUSE if self._remote else None)

    async def run(self, work: Callable[[Service], T], *, until: float) -> T:
        """The result of `work` with the service, in a thread.

        Args:
            work: what to do in a thread. What a store across the network is asked for is given up at the deadline; other work that has
                begun is waited for.
            until: the deadline, by `clock.stopwatch`.

        Raises:
            Refused: 503, too much waits, or the deadline has passed.
            StoreError: the store did not answer lately, and is not asked.
        """
        if self._breaker.state == "open":
            raise _silent()
        await self._turn(until)
        if not self._breaker.allows():
            self._give_back()
            raise _silent()
        loop = asyncio.get_running_loop()
        begun = self._pool.submit(work, self._service)
        begun.add_done_callback(lambda _: self._ended(loop))
        return await self._result(begun, until)

    def close(self) -> None:
        """Wait for the work under way, and end the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def _result(self, begun: Future[T], until: float) -> T:
        """The result of work under way; the breaker learns how it went."""
        answered: bool | None = None
        try:
            if self._remote:
                async with asyncio.timeout(max(until - clock.stopwatch(), 0.0)):
                    found = await asyncio.wrap_future(begun)
            else:
                found = await asyncio.wrap_future(begun)
            answered = True
        except UnansweredError:
            answered = False
            raise
        except TimeoutError:
            answered = False
            raise Refused(503, "the online store did not answer in time; send the same again", again=1) from None
        except HeadwaterError as error:
            answered = True if isinstance(error, StoreError) else None
            raise
        finally:
            if answered is None:
                self._breaker.untold()
            else:
                self._breaker.told(succeeded=answered)
        return found

    async def _turn(self, until: float) -> None:
        """Wait until a thread is idle.

        Raises:
            Refused: too many wait, or none was idle in time.
        """
        if self._idle:
            self._idle -= 1
            return
        if len(self._waiters) >= self._most:
            raise Refused(503, f"{len(self._waiters):,} requests wait, which is the limit; send the same again", again=1)
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(max(until - clock.stopwatch(), 0.0)):
                await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():  # its turn came at the same time
                self._give_back()
            else:
                self._waiters.remove(waiter)
            if isinstance(error, TimeoutError):
                raise Refused(503, "the request waited until its deadline for those before it; send the same again", again=1) from None
            raise

    def _ended(self, loop: asyncio.AbstractEventLoop) -> None:
        """In the thread whose work has ended."""
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits
            loop.call_soon_threadsafe(self._give_back)

    def _give_back(self) -> None:
        """Have the next in line go on with an idle thread."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._idle += 1


class ModelLoads:
    """Loads of fitted models, apart from the event loop and from `Lanes`: one for all requests that wait for the same."""

    def __init__(self, service: Service) -> None:
        self._service = service.lane()
        self._tasks: dict[tuple[str, str | None], asyncio.Future[None]] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="model-load")

    async def wait(self, model: str, level: str | None, *, until: float) -> None:
        """Have the fitted model of a level loaded.

        Raises:
            UsageError, ModelError: as for `Service.load`.
            Refused: 503, it takes longer than until the deadline; the load goes on.
        """
        task = self._tasks.get((model, level))
        if task is None:
            task = asyncio.get_running_loop().run_in_executor(self._pool, self._service.load, model, level)
            self._tasks[model, level] = task
            task.add_done_callback(lambda _: self._tasks.pop((model, level)))
        try:
            async with asyncio.timeout(max(until - clock.stopwatch(), 0.0)):
                await asyncio.shield(task)
        except TimeoutError:
            raise Refused(503, f"model {model!r} is being loaded; send the same again", again=1) from None

    def close(self) -> None:
        """End the thread once the load under way has ended."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _silent() -> StoreError:
    return UnansweredError("the online store did not answer lately, and is asked again in a second")
