"""What the simulation is run for: measured points; fleets that are saturated, lose a zone, are rebalanced, or wait for a slow store."""

from __future__ import annotations

from dataclasses import replace

from bench.scale.inputs import Results
from bench.simulation.ingest_fleet import IngestPlan, ingest
from bench.simulation.machine import IngestUnits, ServingUnits, ingested, served
from bench.simulation.serving_fleet import ServingPlan, Slow, serve

CONNECTIONS = 16
WORKERS = {1: "one worker", 2: "two workers"}
SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)  # of what a fleet can do
BUSY = (0.4, 0.6, 0.7)  # when a zone is lost
SERVING_DELAYS = (0.005, 0.02, 0.05, 0.2)  # seconds that each answer of a slow store takes longer
INGEST_DELAYS = (0.001, 0.005, 0.02, 0.1)


def serving_units(results: Results, kind: str) -> ServingUnits:
    """Of workers that read this store."""
    return ServingUnits.measured(results.row(f"POST features from {kind}, one worker")["units"])


def ingest_units(results: Results) -> IngestUnits:
    """Of processes that commit to Redis."""
    return IngestUnits.measured(results.row("Kafka JSON into redis, ingest processes in one group: 1")["units"])


def points(results: Results) -> list[dict]:
    """Each measured point, and what the simulation makes of its units."""
    found = []
    for kind in ("lmdb", "redis"):
        for count, case in WORKERS.items():
            name = f"POST features from {kind}, {case}"
            simulated = served(serving_units(results, kind), count, CONNECTIONS, seconds=1.0)
            found.append(_point(name, simulated, results.row(name), 1.0))
    for row in results.named("Kafka JSON into redis, ingest processes in one group"):
        simulated = ingested(ingest_units(results), int(row["name"].rpartition(" ")[2]), row["events"])
        found.append(_point(row["name"], simulated, row, 1e3))
    return found


def _point(name: str, simulated: dict, row: dict, scale: float) -> dict:
    ours, measured = simulated["rate"] / scale, row["ours"]
    others = row["details"].get("others")
    return {"name": name, "simulated": ours, "measured": measured, "unit": row["unit"], "others": others, "details": simulated}


def serving_capacity(plan: ServingPlan) -> float:
    """Requests a second at which workers are always busy with turns of many requests."""
    return plan.workers / plan.units.worker.item


def ingest_capacity(plan: IngestPlan) -> float:
    """Events a second at which every poll is full."""
    share = min(plan.partitions / plan.processes, max(round(plan.units.together), 1))
    each = plan.batch / share
    commits = share * (plan.units.commit.of(each) + plan.round_trip + plan.units.store.of(each))
    return plan.processes * plan.batch / max(plan.units.least([each] * round(share)), commits)


def serving_saturation(plan: ServingPlan, seconds: float = 2.0) -> list[dict]:
    """By share of the capacity: waits, and the share that is refused."""
    capacity = serving_capacity(plan)
    return [{"share": share, **serve(replace(plan, rate=share * capacity), seconds).between(0.3 * seconds, seconds)} for share in SHARES]


def serving_lost_zone(plan: ServingPlan, lost: float = 2.0, noticed: float = 3.0, seconds: float = 8.0) -> list[dict]:
    """By share of the capacity before: until the balancer notices, and after."""
    found = []
    for share in BUSY:
        seen = serve(replace(plan, rate=share * serving_capacity(plan), lost=lost, noticed=noticed), seconds)
        spans = {"before": (0.5, lost), "unnoticed": (lost, lost + noticed), "after": (lost + noticed + 0.5, seconds)}
        found.append({"share": share, **{name: seen.between(*span) for name, span in spans.items()}})
    return found


def serving_slow_store(plan: ServingPlan, share: float = 0.6, begin: float = 1.0, end: float = 3.0, seconds: float = 4.5) -> list[dict]:
    """By the time that an answer takes longer: while the store is slow, and after."""
    found = []
    for extra in SERVING_DELAYS:
        seen = serve(replace(plan, rate=share * serving_capacity(plan), slow=Slow(begin, end, extra)), seconds)
        found.append({"extra": extra, "during": seen.between(begin + 0.5, end), "after": seen.between(end + 0.7, seconds)})
    return found


def ingest_saturation(plan: IngestPlan, seconds: float = 12.0) -> list[dict]:
    """By share of the capacity: from an event's arrival to its commit."""
    capacity = ingest_capacity(plan)
    return [{"share": share, **ingest(replace(plan, rate=share * capacity), seconds).between(seconds / 2, seconds)} for share in SHARES]


def ingest_changes(plan: IngestPlan, share: float = 0.6, at: float = 10.0, seconds: float = 400.0) -> list[dict]:
    """A process lost, a zone lost, a process added: the oldest event that was committed late, and when all were caught up."""
    plan = replace(plan, rate=share * ingest_capacity(plan))
    cases = {
        "a process is lost": replace(plan, lost=(at, 1)),
        "a zone is lost": replace(plan, lost=(at, plan.processes // 3)),
        "a process is added": replace(plan, added=at),
    }
    found = []
    for name, case in cases.items():
        seen = ingest(case, seconds)
        found.append({"case": name, **seen.between(at, seconds), "caught_up": seen.caught_up(at, within=1.0)})
    return found


def ingest_slow_store(plan: IngestPlan, share: float = 0.6, begin: float = 5.0, end: float = 15.0, seconds: float = 40.0) -> list[dict]:
    """By the time that an answer takes longer: while the store is slow, and until all is caught up."""
    found = []
    for extra in INGEST_DELAYS:
        seen = ingest(replace(plan, rate=share * ingest_capacity(plan), slow=Slow(begin, end, extra)), seconds)
        found.append({"extra": extra, "during": seen.between(begin + 2, end), "caught_up": seen.caught_up(end, within=1.0)})
    return found


def fleets(results: Results) -> dict[str, list[dict]]:
    """All of them, over Redis."""
    workers, processes = ServingPlan(serving_units(results, "redis"), rate=0.0), IngestPlan(ingest_units(results), rate=0.0)
    return {
        "serving saturation": serving_saturation(workers),
        "serving lost zone": serving_lost_zone(workers),
        "serving slow store": serving_slow_store(workers),
        "ingest saturation": ingest_saturation(processes),
        "ingest changes": ingest_changes(processes),
        "ingest slow store": ingest_slow_store(processes),
    }
