"""Workers in three zones over a sharded store, while a zone is lost or the store is slow.

A fleet is a share of a region: requests are spread by hash, so shares of one size behave alike. The
assumptions are the fields of the plan; the limits are those of the server.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from bench.simulation.kernel import Process, Queue, Servers, Simulation
from bench.simulation.machine import MOST, ServingUnits

ZONES = 3
LANES = 8  # batches of a worker that wait for the store concurrently
WAITING = 512  # requests of a worker that wait for a lane; further ones are refused
PROGRESS = 4096  # requests in progress in a worker; further ones are refused
DEADLINE = 5.0  # seconds


@dataclass(frozen=True)
class Slow:
    """Each answer of the store takes `extra` seconds longer, from `begin` to `end`."""

    begin: float
    end: float
    extra: float

    @staticmethod
    def at(slow: Slow | None, now: float) -> float:
        """How much longer an answer takes."""
        return slow.extra if slow is not None and slow.begin <= now < slow.end else 0.0


@dataclass(frozen=True)
class ServingPlan:
    """Requests a second over some workers, each with a processor of its own.

    round_trip: seconds to the store and back. keys: records of a request. lost: when a zone is
    lost. noticed: seconds until the balancer leaves it out.
    """

    units: ServingUnits
    rate: float
    workers: int = 6
    shards: int = 2
    keys: int = 3
    round_trip: float = 0.0005
    lost: float | None = None
    noticed: float = 10.0
    slow: Slow | None = None


@dataclass
class Outcomes:
    """What became of requests: when each was answered and how long that took; when others were
    refused, or failed in a lost zone.
    """

    arrived: int = 0
    answered: list[tuple[float, float]] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)
    waiting: int = 0

    def between(self, begin: float, end: float) -> dict[str, float]:
        """Milliseconds and shares of the requests that ended in a span."""
        waits = [wait for at, wait in self.answered if begin <= at < end]
        refused, failed = (
            sum(begin <= at < end for at in times) for times in (self.refused, self.failed)
        )
        count = max(len(waits) + refused + failed, 1)
        p50, p99 = (
            (float(q) * 1e3 for q in np.percentile(waits, [50, 99]))
            if waits
            else (float("nan"), float("nan"))
        )
        return {
            "rate": len(waits) / (end - begin),
            "p50": p50,
            "p99": p99,
            "refused": refused / count,
            "failed": failed / count,
        }


def serve(plan: ServingPlan, seconds: float, seed: int = 0) -> Outcomes:
    """Requests at random times, each to a random worker that the balancer takes for healthy."""
    fleet = _ServingFleet(plan, np.random.default_rng(seed))
    fleet.simulation.run(until=seconds)
    fleet.seen.waiting = sum(fleet.inside)
    return fleet.seen


class _ServingFleet:
    def __init__(self, plan: ServingPlan, random: np.random.Generator) -> None:
        self.plan, self.random, self.simulation, self.seen = plan, random, Simulation(), Outcomes()
        self.inboxes = [Queue(self.simulation) for _ in range(plan.workers)]
        self.inside = [0] * plan.workers
        self.shards = [Servers(self.simulation) for _ in range(plan.shards)]
        self.simulation.start(self.arrivals())
        for number in range(plan.workers):
            self.simulation.start(
                self.worker(number) if plan.units.store is None else self.remote_worker(number)
            )

    def arrivals(self) -> Process:
        while True:
            gaps, draws = (
                self.random.exponential(1 / self.plan.rate, 1000),
                self.random.random(1000),
            )
            for gap, draw in zip(gaps.tolist(), draws.tolist(), strict=True):
                yield self.simulation.wait(gap)
                self.arrive(draw)

    def arrive(self, draw: float) -> None:
        plan, now, seen = self.plan, self.simulation.now, self.seen
        seen.arrived += 1
        lost = plan.workers // ZONES if plan.lost is not None and now >= plan.lost else 0
        left_out = lost if lost and now >= (plan.lost or 0.0) + plan.noticed else 0
        worker = left_out + int(draw * (plan.workers - left_out))
        if worker < lost:
            seen.failed.append(now)
        elif self.inside[worker] >= PROGRESS:
            seen.refused.append(now)
        else:
            self.inside[worker] += 1
            self.inboxes[worker].put(now)

    def answer(self, number: int, times: Sequence[float]) -> None:
        now = self.simulation.now
        self.inside[number] -= len(times)
        self.seen.answered += [(now, now - at) for at in times if now - at <= DEADLINE]
        self.seen.refused += [now for at in times if now - at > DEADLINE]

    def worker(self, number: int) -> Process:
        """One whose store is in files."""
        while True:
            batch = yield self.inboxes[number].take(MOST)
            yield self.simulation.wait(self.plan.units.worker.of(len(batch)))
            self.answer(number, batch)

    def remote_worker(self, number: int) -> Process:
        """A turn for the requests that have come, and one for each batch that was read; batches
        beyond the lanes wait.
        """
        inbox, cost, lanes, line, queued = (
            self.inboxes[number],
            self.plan.units.worker,
            LANES,
            deque[list[float]](),
            0,
        )
        while True:
            items = yield inbox.take(MOST)
            for batch in (item for item in items if not isinstance(item, float)):
                yield self.simulation.wait(cost.of(len(batch)) / 2)
                self.answer(number, batch)
                lanes += 1
            fresh = [item for item in items if isinstance(item, float)]
            if fresh:
                yield self.simulation.wait(cost.of(len(fresh)) / 2)
                if not lanes and queued + len(fresh) > WAITING:
                    self.inside[number] -= len(fresh)
                    self.seen.refused += [self.simulation.now] * len(fresh)
                else:
                    line.append(fresh)
                    queued += len(fresh)
            while line and lanes:
                batch = line.popleft()
                queued -= len(batch)
                lanes -= 1
                self.simulation.start(self.read(inbox, batch))

    def read(self, inbox: Queue, batch: list[float]) -> Process:
        """A round trip to each shard that has a key of the batch, all concurrently."""
        asked, first, done = (
            min(self.plan.keys * len(batch), self.plan.shards),
            int(self.random.integers(self.plan.shards)),
            [],
        )
        answered = Queue(self.simulation)

        def call(shard: Servers) -> Process:
            assert self.plan.units.store is not None
            yield self.simulation.wait(
                self.plan.round_trip / 2 + Slow.at(self.plan.slow, self.simulation.now)
            )
            yield from shard.use(self.plan.units.store.of(len(batch) / asked))
            yield self.simulation.wait(self.plan.round_trip / 2)
            done.append(shard)
            if len(done) == asked:
                answered.put(None)

        for number in range(asked):
            self.simulation.start(call(self.shards[(first + number) % self.plan.shards]))
        yield answered.take()
        inbox.put(batch)
