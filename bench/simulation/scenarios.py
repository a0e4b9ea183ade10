"""What the simulation is run for: measured points; fleets that are saturated, lose a zone, are
rebalanced, or wait for a slow store.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from bench.scale import figures
from bench.scale.inputs import Results, assumed, measured
from bench.simulation.ingest_fleet import IngestPlan, ingest
from bench.simulation.machine import Cost, IngestUnits, ServingUnits, ingested, served
from bench.simulation.serving_fleet import ServingPlan, Slow, serve

CONNECTIONS = 16
WORKERS = {1: "one worker", 2: "two workers"}
SERVING_SHARES = (0.6, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4)  # of a fleet's full rate
INGEST_SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1)
SERVING_SHARE, INGEST_SHARE = 1 / 24, 1 / 12  # of a region
FRESH = 2.0  # seconds: more than waits of a fleet at 90 % of its full rate
BUSY = (0.4, 0.6, 0.7)  # when a zone is lost
SERVING_DELAYS = (0.005, 0.02, 0.05, 0.2)  # seconds that each answer of a slow store takes longer
INGEST_DELAYS = (0.001, 0.005, 0.02, 0.1)


def serving_units(results: Results, kind: str) -> ServingUnits:
    """Of workers that read this store."""
    return ServingUnits.measured(results.row(f"POST features from {kind}, one worker")["units"])


def ingest_units(results: Results, kind: str) -> IngestUnits:
    """Of processes that commit to this store."""
    row = results.row(f"Kafka JSON into {kind}, ingest processes in one group: 1")
    return IngestUnits.measured(row["units"], row["details"], apart=kind == "postgres")


def points(results: Results) -> list[dict]:
    """Each measured point, and what the simulation makes of its units."""
    found = []
    for kind in ("lmdb", "redis"):
        for count, case in WORKERS.items():
            name = f"POST features from {kind}, {case}"
            simulated = served(serving_units(results, kind), count, CONNECTIONS, seconds=1.0)
            found.append(_point(name, simulated, results.row(name), 1.0))
    for kind in ("redis", "postgres"):
        for row in results.named(f"Kafka JSON into {kind}, ingest processes in one group"):
            simulated = ingested(
                ingest_units(results, kind), int(row["name"].rpartition(" ")[2]), row["events"]
            )
            found.append(_point(row["name"], simulated, row, 1e3))
    return found


def _point(name: str, simulated: dict, row: dict, scale: float) -> dict:
    ours, measured = simulated["rate"] / scale, row["ours"]
    others = row["details"].get("others")
    return {
        "name": name,
        "simulated": ours,
        "measured": measured,
        "unit": row["unit"],
        "others": others,
        "details": simulated,
    }


@dataclass(frozen=True)
class Region:
    """A region of docs/scale.md, or a share of it: its fleets at the load of the plan, and the
    units of the plan's load.

    serving, ingest: at the rate at which the plan's figures are used to their full.
    """

    serving: ServingPlan
    ingest: IngestPlan

    @classmethod
    def of(cls, results: Results, serving: float = 1.0, ingest: float = 1.0) -> Region:
        """Such shares of its workers and of its ingest processes, each with as large a share of the
        primaries.
        """
        x = figures.plain(measured(results), assumed())
        units = serving_units(results, "redis")
        units = replace(
            units, worker=Cost(units.worker.call, units.worker.item + x["model"] + x["log"])
        )
        workers = _thirds(figures.value(figures.serving(x), "workers") * serving)
        each = 1 / (x["redis_request"] + x["model"] + x["log"])
        primaries = figures.primaries(x)
        workers_plan = ServingPlan(
            units,
            workers * each,
            workers,
            shards=round(primaries * serving),
            keys=round(x["records"]),
            noticed=3.0,
        )
        processes = _thirds(figures.value(figures.ingest(x), "ingest processes") * ingest)
        rate = x["ingest_share"] * processes / (x["records"] * x["redis_wall"])
        shards = round(primaries * ingest)
        return cls(
            workers_plan, IngestPlan(_records(results, x), rate, 2 * processes, processes, shards)
        )


def _thirds(count: float) -> int:
    """The next number that three zones share evenly."""
    return 3 * math.ceil(count / 3)


def _records(results: Results, x: figures.Numbers) -> IngestUnits:
    """Of an event that changes so many records, each once: the costs of a record from commits of
    two sizes.
    """
    small, large = results.row("redis, nine features of an entity: stored")["details"]["commits"][
        :2
    ]

    def cost(name: str) -> Cost:
        line = Cost.through((small["records"], small[name]), (large["records"], large[name]))
        return Cost(line.call, line.item * x["records"])

    group = ingest_units(results, "redis")
    return replace(
        group, commit=cost("busy"), store=cost("server"), decode=x["decode"], broker=x["broker"]
    )


def serving_saturation(plan: ServingPlan, seconds: float = 2.0) -> list[dict]:
    """By share of the plan's full rate: waits, and the share that is refused."""
    return [
        {
            "share": share,
            **serve(replace(plan, rate=share * plan.rate), seconds).between(0.3 * seconds, seconds),
        }
        for share in SERVING_SHARES
    ]


def serving_lost_zone(
    plan: ServingPlan, lost: float = 2.0, noticed: float = 3.0, seconds: float = 8.0
) -> list[dict]:
    """By share of the full rate before: until the balancer notices, and after."""
    found = []
    for share in BUSY:
        seen = serve(replace(plan, rate=share * plan.rate, lost=lost, noticed=noticed), seconds)
        spans = {
            "before": (0.5, lost),
            "unnoticed": (lost, lost + noticed),
            "after": (lost + noticed + 0.5, seconds),
        }
        found.append(
            {"share": share, **{name: seen.between(*span) for name, span in spans.items()}}
        )
    return found


def serving_slow_store(
    plan: ServingPlan,
    share: float = 0.6,
    begin: float = 1.0,
    end: float = 3.0,
    seconds: float = 4.5,
) -> list[dict]:
    """By the time that an answer takes longer: while the store is slow, and after."""
    found = []
    for extra in SERVING_DELAYS:
        seen = serve(replace(plan, rate=share * plan.rate, slow=Slow(begin, end, extra)), seconds)
        found.append(
            {
                "extra": extra,
                "during": seen.between(begin + 0.5, end),
                "after": seen.between(end + 0.7, seconds),
            }
        )
    return found


def ingest_saturation(plan: IngestPlan, seconds: float = 12.0) -> list[dict]:
    """By share of the plan's full rate: from an event's arrival to its commit."""
    return [
        {
            "share": share,
            **ingest(replace(plan, rate=share * plan.rate), seconds).between(seconds / 2, seconds),
        }
        for share in INGEST_SHARES
    ]


def ingest_changes(
    plan: IngestPlan, share: float = 0.6, at: float = 10.0, seconds: float = 900.0
) -> list[dict]:
    """A process lost, a zone lost, a process added: the oldest event that was committed late, and
    when all were caught up.
    """
    plan = replace(plan, rate=share * plan.rate)
    cases = {
        "a process is lost": replace(plan, lost=(at, 1)),
        "a zone is lost": replace(plan, lost=(at, plan.processes // 3)),
        "a process is added": replace(plan, added=at),
    }
    found = []
    for name, case in cases.items():
        seen = ingest(case, seconds)
        found.append(
            {
                "case": name,
                **seen.between(at, seconds),
                "caught_up": seen.caught_up(at, within=FRESH),
            }
        )
    return found


def ingest_slow_store(
    plan: IngestPlan,
    share: float = 0.6,
    begin: float = 5.0,
    end: float = 15.0,
    seconds: float = 40.0,
) -> list[dict]:
    """By the time that an answer takes longer: while the store is slow, and until all is caught
    up.
    """
    found = []
    for extra in INGEST_DELAYS:
        seen = ingest(replace(plan, rate=share * plan.rate, slow=Slow(begin, end, extra)), seconds)
        found.append(
            {
                "extra": extra,
                "during": seen.between(begin + 2, end),
                "caught_up": seen.caught_up(end, within=FRESH),
            }
        )
    return found


def whole_region(region: Region, share: Region, load: float) -> list[dict]:
    """All workers and all ingest processes of a region at the plan's load, next to the share of it
    that the other cases have.
    """
    found = []
    for case, whole, part in (
        ("serving", region.serving, share.serving),
        ("ingest", region.ingest, share.ingest),
    ):
        seconds = {"serving": 0.6, "ingest": 6.0}[case]
        run = {"serving": serve, "ingest": ingest}[case]
        size = (
            f"{whole.workers} workers"
            if isinstance(whole, ServingPlan)
            else f"{whole.processes} ingest processes"
        )
        all_of_it, some = (
            run(replace(plan, rate=load * plan.rate), seconds).between(seconds / 2, seconds)
            for plan in (whole, part)
        )
        found.append(
            {"case": f"{size}, {whole.shards} primaries", **all_of_it, "share_p99": some["p99"]}
        )
    return found


def fleets(results: Results) -> dict[str, list[dict]]:
    """All of them, for a share of the region that docs/scale.md plans, over Redis."""
    share = Region.of(results, SERVING_SHARE, INGEST_SHARE)
    return {
        "serving saturation": serving_saturation(share.serving),
        "serving lost zone": serving_lost_zone(share.serving),
        "serving slow store": serving_slow_store(share.serving),
        "ingest saturation": ingest_saturation(share.ingest),
        "ingest changes": ingest_changes(share.ingest),
        "ingest slow store": ingest_slow_store(share.ingest),
        "whole region": whole_region(Region.of(results), share, assumed()["utilisation"].value),
    }
