"""The machine on which points were measured: two processors, shared by workers or ingest processes,
their load, broker and store.

Units are seconds, and come from rows of the bench that measured each part apart (`bench.workers`,
`bench.ingest_group`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.simulation.kernel import Process, Processors, Queue, Servers, Simulation, Thread

MOST = 64  # requests of a turn that share a read
_BATCH = 50_000  # records of a poll
FIRST, LAST = 0.15, 0.75  # of a backlog: where a point of the ingest group begins and ends
_FETCHED = 100_000  # records that a consumer has fetched ahead


@dataclass(frozen=True)
class Cost:
    """Seconds of processor of one call, and of each item of it."""

    call: float
    item: float

    def of(self, items: float) -> float:
        """Seconds for so many items."""
        return self.call + self.item * items

    def each(self, items: float) -> float:
        """Seconds for one of so many items."""
        return self.of(items) / items

    def times(self, factor: float) -> Cost:
        """So many times as much."""
        return Cost(self.call * factor, self.item * factor)

    @classmethod
    def through(cls, small: tuple[float, float], large: tuple[float, float]) -> Cost:
        """The line through two points (items, seconds a call); neither part is negative."""
        (few, less), (many, more) = small, large
        item = max((more - less) / (many - few), 0.0)
        return cls(max(less - item * few, 0.0), item)


@dataclass(frozen=True)
class ServingUnits:
    """What a request takes of a worker, of a client, and of a store across the network (None for
    files).
    """

    worker: Cost
    client: Cost
    store: Cost | None = None

    @classmethod
    def measured(cls, units: dict) -> ServingUnits:
        """Of a row of `workers`: alone in its turn, and in turns that are shared by most of 64."""

        def cost(name: str) -> Cost:
            alone, shared = (units[case][name] * 1e-6 for case in ("few", "many"))
            return Cost(max(alone - shared, 0.0), shared)

        return cls(cost("busy"), cost("client"), cost("store") if units["many"]["store"] else None)


class _ServingMachine:
    """A client of one thread in a closed loop, workers, and perhaps a store, on shared
    processors.
    """

    def __init__(
        self, units: ServingUnits, workers: int, connections: int, processors: int
    ) -> None:
        self.simulation, self.units, self.connections = Simulation(), units, connections * workers
        self.cpu = Processors(self.simulation, processors)
        self.responses, self.reads = Queue(self.simulation), Queue(self.simulation)
        self.inboxes = [Queue(self.simulation) for _ in range(workers)]
        self.waits: list[tuple[float, float]] = []
        self.simulation.start(self.client())
        for inbox in self.inboxes:
            self.simulation.start(self.worker(inbox))
        if units.store is not None:
            self.simulation.start(self.server(units.store))

    def send(self, connection: int) -> None:
        self.inboxes[connection % len(self.inboxes)].put((connection, self.simulation.now))

    def client(self) -> Process:
        thread, cost = Thread(self.cpu), self.units.client
        for connection in range(self.connections):
            self.send(connection)
        while True:
            woken = not self.responses.items
            ((connection, sent),) = yield from thread.take(self.responses, 1)
            yield from thread.run(cost.of(1) if woken else cost.item)
            self.waits.append((self.simulation.now, self.simulation.now - sent))
            self.send(connection)

    def worker(self, inbox: Queue) -> Process:
        """A turn for the requests that have come, and one for each batch that was read; of a remote
        store, half the time in each.
        """
        thread, remote = Thread(self.cpu), self.units.store is not None
        while True:
            items = yield from thread.take(inbox, MOST)
            fresh = [item for item in items if isinstance(item, tuple)]
            for batch in (item for item in items if not isinstance(item, tuple)):
                yield from thread.run(self.units.worker.of(len(batch)) / 2)
                self.answer(batch)
            if fresh:
                yield from thread.run(self.units.worker.of(len(fresh)) / (2 if remote else 1))
                if remote:
                    self.reads.put((inbox, fresh))
                else:
                    self.answer(fresh)

    def answer(self, batch: list[tuple[int, float]]) -> None:
        for request in batch:
            self.responses.put(request)

    def server(self, cost: Cost) -> Process:
        thread = Thread(self.cpu)
        while True:
            ((inbox, batch),) = yield from thread.take(self.reads, 1)
            yield from thread.run(cost.of(len(batch)))
            inbox.put(batch)


def served(
    units: ServingUnits, workers: int, connections: int, seconds: float, processors: int = 2
) -> dict[str, float]:
    """Requests a second, and the median and the 99th percentile of the milliseconds that a client
    waits; connections of each worker.
    """
    machine, warm = _ServingMachine(units, workers, connections, processors), 0.2 * seconds
    machine.simulation.run(until=seconds)
    waits = [wait for at, wait in machine.waits if at > warm]
    p50, p99 = np.percentile(waits, [50, 99]) * 1e3
    return {"rate": len(waits) / (seconds - warm), "p50": float(p50), "p99": float(p99)}


@dataclass(frozen=True)
class IngestUnits:
    """Seconds of an event for the reader and the broker, and of a commit for the committer and the
    store.

    together: commits of a full poll: one for each partition that its records are of; a consumer
    fetches long runs of few partitions.
    trips: how often a commit's thread waits for the store, part by part. locked: the share of the
    reader's and the committer's processor time that holds the interpreter's lock; it is not
    measured, and all of it is the worst case. wait: of a commit, seconds in which no processor
    works for it: the store's disk. apart: whether the store has a process for each of ours, as
    PostgreSQL; else it has one thread, as Redis.
    """

    decode: float
    broker: float
    commit: Cost
    store: Cost
    partitions: int
    together: float
    trips: int = 1
    locked: float = 1.0
    wait: Cost = Cost(0.0, 0.0)
    apart: bool = False

    def least(self, counts: Sequence[float]) -> float:
        """Seconds that a process takes at least for so many events of each partition: those of its
        reader, or of its lock.
        """
        decode, commit = self.decode * sum(counts), sum(map(self.commit.of, counts))
        return max(decode, (decode + commit) * self.locked)

    @classmethod
    def measured(cls, units: dict, alone: dict, *, apart: bool = False) -> IngestUnits:
        """Of a row of `ingest_group`: parts of a commit as measured apart, and as much processor as
        each thread takes in one process.

        alone: the point of one process; of it, processor times are used, and its rate is not. A
        reader whose commits do nothing polls more often than one with a commit to wait for, and
        where both share caches and the interpreter, a commit takes more than apart.
        """
        small, large = (
            {**each, "wait": _waited(each)}
            for each in (units[name] for name in ("commit_10000", "commit_50000"))
        )

        def cost(name: str) -> Cost:
            points: Any = [
                (each["events"] / each["commits"], each[name] * 1e-3) for each in (small, large)
            ]
            return Cost.through(*points)

        def scaled(part: Cost, each: float) -> Cost:
            return part.times(each * 1e-6 / part.each(alone["commit_events"]))

        together = _BATCH / alone["commit_events"]
        reader = (alone["busy"] - alone["committer"]) * 1e-6
        parts = (
            reader,
            alone["broker"] * 1e-6,
            scaled(cost("busy"), alone["committer"]),
            scaled(cost("store"), alone["store"]),
        )
        return cls(
            *parts,
            units["partitions"],
            together,
            max(round(large["waits"]), 1),
            wait=cost("wait"),
            apart=apart,
        )


def _waited(commit: dict) -> float:
    """Milliseconds of a commit in which neither our process nor the store's works."""
    return max(commit["wall"] - commit["busy"] - commit["store"], 0.0)


class _IngestMachine:
    """A broker with a backlog, processes of a reader and a committer each, and a store, on shared
    processors.
    """

    def __init__(self, units: IngestUnits, processes: int, events: float, processors: int) -> None:
        self.simulation, self.units = Simulation(), units
        self.cpu = Processors(self.simulation, processors)
        self.wanted = Queue(self.simulation)
        stores = [Queue(self.simulation) for _ in range(processes if units.apart else 1)]
        self.commits: list[tuple[float, float]] = []
        self.simulation.start(self.broker())
        for writes in stores:
            self.simulation.start(self.server(writes))
        together = max(min(units.partitions / processes, units.together), 1.0)
        for number in range(processes):
            fetched, work, taken = (Queue(self.simulation) for _ in range(3))
            taken.put(None)
            lock = Servers(self.simulation)
            self.simulation.start(
                self.reader(Thread(self.cpu, lock), fetched, work, taken, events / processes)
            )
            self.simulation.start(
                self.committer(
                    Thread(self.cpu, lock), work, taken, together, stores[number % len(stores)]
                )
            )

    def broker(self) -> Process:
        thread = Thread(self.cpu)
        while True:
            (fetched,) = yield from thread.take(self.wanted, 1)
            yield from thread.run(self.units.broker * _BATCH)
            fetched.put(_BATCH)

    def reader(
        self, thread: Thread, fetched: Queue, work: Queue, taken: Queue, events: float
    ) -> Process:
        """Polls until all is read: one waits for its commit, and one more is decoded meanwhile."""
        for _ in range(_FETCHED // _BATCH):
            self.wanted.put(fetched)
        while events > 0:
            (count,) = yield from thread.take(fetched, 1)
            self.wanted.put(fetched)
            events -= count
            yield from thread.run(self.units.decode * count, self.units.locked)
            yield from thread.take(taken, 1)
            work.put(count)
        thread.pause()

    def committer(
        self, thread: Thread, work: Queue, taken: Queue, together: float, writes: Queue
    ) -> Process:
        answers, trips, due = Queue(self.simulation), self.units.trips, 0.0
        while True:
            (count,) = yield from thread.take(work, 1)
            taken.put(None)
            due += together
            commits, due = int(due), due - int(due)
            for _ in range(commits):
                for _ in range(trips):
                    yield from thread.run(
                        self.units.commit.of(count / commits) / trips, self.units.locked
                    )
                    writes.put((answers, count / commits))
                    yield from thread.take(answers, 1)
                self.commits.append((self.simulation.now, count / commits))

    def server(self, writes: Queue) -> Process:
        thread = Thread(self.cpu)
        while True:
            ((answers, count),) = yield from thread.take(writes, 1)
            yield from thread.run(self.units.store.of(count) / self.units.trips)
            if wait := self.units.wait.of(count) / self.units.trips:
                thread.pause()
                yield self.simulation.wait(wait)
            answers.put(None)


def ingested(
    units: IngestUnits, processes: int, events: float, processors: int = 2
) -> dict[str, float]:
    """Events a second that a group commits of a backlog, between the parts of it that are measured;
    and the events of a commit.
    """
    machine = _IngestMachine(units, processes, events, processors)
    machine.simulation.run(until=3600.0)
    times, counts = np.array(machine.commits).T
    done = np.cumsum(counts)
    begin, end = (int(np.searchsorted(done, share * done[-1])) for share in (FIRST, LAST))
    return {
        "rate": float(done[end] - done[begin]) / float(times[end] - times[begin]),
        "commit_events": float(np.median(counts)),
    }
