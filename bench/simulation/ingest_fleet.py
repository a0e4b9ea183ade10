"""Ingest processes over the partitions of a topic, while some are lost or added, or the store is
slow.

A fleet is a share of a region, as in `serving_fleet`. Events come evenly to each partition, so the
uncommitted events are a span of time.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bench.simulation.kernel import Process, Servers, Simulation
from bench.simulation.machine import IngestUnits
from bench.simulation.serving_fleet import Slow

PERIOD = 0.01  # seconds from one commit to the next, at least


@dataclass(frozen=True)
class IngestPlan:
    """Events a second over partitions, which processes share; each process has a processor for its
    reader and one for its committer.

    session: seconds until the group takes a lost process's partitions. handover: seconds in which a
    partition that moves is not read.
    lost: when processes are lost, and how many. added: when one process is added.
    """

    units: IngestUnits
    rate: float
    partitions: int = 96
    processes: int = 12
    shards: int = 4
    batch: int = 50_000
    round_trip: float = 0.0005
    session: float = 45.0
    handover: float = 3.0
    lost: tuple[float, int] | None = None
    added: float | None = None
    slow: Slow | None = None


@dataclass
class Freshness:
    """By commit: when it ended, its events, and the age of its first and of its last event then."""

    commits: list[tuple[float, float, float, float]] = field(default_factory=list)
    arrived: float = 0.0
    committed: float = 0.0
    behind: float = 0.0

    def between(self, begin: float, end: float) -> dict[str, float]:
        """Events a second, and milliseconds from an event's arrival to its commit, of commits in a
        span.
        """
        rows = np.array([row for row in self.commits if begin <= row[0] < end]).reshape(-1, 4)
        if not len(rows):
            return {"rate": 0.0, "p50": float("nan"), "p99": float("nan"), "most": float("nan")}
        ages = np.concatenate(
            [rows[:, 3] + (rows[:, 2] - rows[:, 3]) * share for share in (0.1, 0.3, 0.5, 0.7, 0.9)]
        )
        weights, order = np.tile(rows[:, 1], 5), np.argsort(ages)
        share = np.cumsum(weights[order]) / weights.sum()
        p50, p99 = (
            float(ages[order][min(np.searchsorted(share, q), len(order) - 1)]) * 1e3
            for q in (0.5, 0.99)
        )
        return {
            "rate": float(rows[:, 1].sum()) / (end - begin),
            "p50": p50,
            "p99": p99,
            "most": float(rows[:, 2].max()) * 1e3,
        }

    def caught_up(self, after: float, within: float) -> float:
        """Seconds from `after` until no later commit has an event older than `within` seconds;
        infinite where it is never so.
        """
        late = [row[0] for row in self.commits if row[0] >= after and row[2] > within]
        if not late:
            return 0.0
        return max(late) - after if max(late) < self.commits[-1][0] - 1 else float("inf")


def ingest(plan: IngestPlan, seconds: float) -> Freshness:
    """Commits of micro-batches, until a time."""
    fleet = _IngestFleet(plan)
    fleet.simulation.run(until=seconds)
    seen = fleet.seen
    seen.arrived = plan.rate * seconds
    seen.committed = sum(count for _, count, _, _ in seen.commits)
    seen.behind = sum((seconds - time) * fleet.each for time in fleet.through)
    return seen


class _IngestFleet:
    def __init__(self, plan: IngestPlan) -> None:
        self.plan, self.simulation, self.seen = plan, Simulation(), Freshness()
        self.shards = [Servers(self.simulation) for _ in range(plan.shards)]
        self.each = plan.rate / plan.partitions
        self.through = [0.0] * plan.partitions  # events that arrived before this time are committed
        self.owned = [
            list(range(number, plan.partitions, plan.processes)) for number in range(plan.processes)
        ]
        for number in range(plan.processes):
            self.simulation.start(self.process(number))
        if plan.lost is not None:
            self.simulation.start(self.loss(*plan.lost))
        if plan.added is not None:
            self.simulation.start(self.addition(plan.added))

    def process(self, number: int) -> Process:
        """One micro-batch after the other: the new records of each partition, at most a poll's
        records.
        """
        while True:
            began, due = self.simulation.now, self.due(number)
            for p, count in due.items():
                yield from self.commit(number, p, count)
            least = max(PERIOD, self.plan.units.least(list(due.values())))
            if self.simulation.now - began < least:
                yield self.simulation.wait(began + least - self.simulation.now)

    def due(self, number: int) -> dict[int, float]:
        """The events of a poll by partition: all, or a full poll of those that are most behind."""
        waiting = {
            p: (self.simulation.now - self.through[p]) * self.each for p in self.owned[number]
        }
        if sum(waiting.values()) > self.plan.batch:
            most = sorted(waiting, key=lambda p: -waiting[p])[
                : max(round(self.plan.units.together), 1)
            ]
            waiting = {p: min(waiting[p], self.plan.batch / len(most)) for p in most}
        return {p: count for p, count in waiting.items() if count > 0}

    def commit(self, number: int, p: int, count: float) -> Process:
        """One partition's; refused where the partition is another process's meanwhile."""
        yield self.simulation.wait(self.plan.units.commit.of(count))
        yield self.simulation.wait(
            self.plan.round_trip + Slow.at(self.plan.slow, self.simulation.now)
        )
        yield from self.shards[p % len(self.shards)].use(self.plan.units.store.of(count))
        if p in self.owned[number]:
            age = self.simulation.now - self.through[p]
            self.through[p] += count / self.each
            self.seen.commits.append((self.simulation.now, count, age, age - count / self.each))

    def handed(self, partitions: list[int], to: list[int]) -> Process:
        """Partitions that change hands are not read for a while; the others go on."""
        yield self.simulation.wait(self.plan.handover)
        for place, p in enumerate(partitions):
            self.owned[to[place % len(to)]].append(p)

    def loss(self, at: float, count: int) -> Process:
        yield self.simulation.wait(at)
        orphans = [p for mine in self.owned[:count] for p in mine]
        self.owned[:count] = [[] for _ in range(count)]
        yield self.simulation.wait(self.plan.session)
        yield from self.handed(orphans, list(range(count, self.plan.processes)))

    def addition(self, at: float) -> Process:
        yield self.simulation.wait(at)
        self.owned.append([])
        self.simulation.start(self.process(self.plan.processes))
        moved = []
        while len(moved) < self.plan.partitions // (self.plan.processes + 1):
            moved.append(max(self.owned, key=len).pop())
        yield from self.handed(moved, [self.plan.processes])
