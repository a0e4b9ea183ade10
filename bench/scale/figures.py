"""The figures of docs/scale.md: each from unit costs and assumptions, with its formula."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from bench.scale.inputs import Input
from headwater.assessing.formulas import DAY, MONTH

HOUR = 3600.0
GB, TB = 1e9, 1e12
SECONDS = DAY * MONTH  # of a month, as `assess cost` counts it


@dataclass(frozen=True)
class Figure:
    """A quantity, and how it is computed."""

    what: str
    value: float
    unit: str
    how: str


Numbers = Mapping[str, float]


def plain(measured: Mapping[str, Input], assumed: Mapping[str, Input]) -> dict[str, float]:
    """All inputs as numbers."""
    return {name: given.value for name, given in {**assumed, **measured}.items()}


def serving_rate(x: Numbers) -> float:
    """Requests a second that a region is sized for: its share when another region is lost."""
    return x["predictions"] / (x["regions"] - 1)


def written(x: Numbers) -> float:
    """Records a second that a region writes."""
    return x["events"] * x["records"]


def ingest(x: Numbers) -> list[Figure]:
    """Partitions and processes of a region."""
    event = x["decode"] + x["records"] * x["redis_commit"]
    cpus = x["events"] * event / x["utilisation"]
    processes = math.ceil(
        x["events"] * x["records"] * x["redis_wall"] / x["ingest_share"] / x["utilisation"]
    )
    partitions = 2 * processes
    broker = x["events"] * x["broker"] * (1 + x["kafka_copies"]) / x["utilisation"]
    stored = x["events"] * x["event_bytes"] * x["kafka_hours"] * HOUR * x["kafka_copies"]
    return [
        Figure(
            "processor time of an event",
            event * 1e6,
            "us",
            "decode + records · commit of a record into Redis",
        ),
        Figure("vCPU of ingest processes", cpus, "vCPU", "events · that / utilisation"),
        Figure(
            "ingest processes",
            processes,
            "processes",
            "events · records · a record's commit by the clock / ingest_share / utilisation",
        ),
        Figure(
            "a processor's share that one takes",
            cpus * x["utilisation"] / processes,
            "vCPU",
            "it waits for the store in between",
        ),
        Figure(
            "partitions", partitions, "partitions", "two a process, so that processes can be added"
        ),
        Figure("events of a partition", x["events"] / partitions, "/s", "events / partitions"),
        Figure(
            "vCPU of brokers",
            broker,
            "vCPU",
            "events · broker · (one consumer + copies) / utilisation",
        ),
        Figure(
            "disk of brokers", stored / TB, "TB", "events · bytes in the topic · hours · copies"
        ),
    ]


def _server(x: Numbers, kind: str) -> list[Figure]:
    """Redis or PostgreSQL: a node has memory or a disk, and processors for commits and reads."""
    memory = kind == "redis"
    size = x["entities"] * x["records"] * x[f"{kind}_bytes"] * x["copies"]
    read = x["redis_request_read"] if memory else x[f"{kind}_read"]
    cpus = (written(x) * x[f"{kind}_write"] * x["copies"] + serving_rate(x) * read) / x[
        "utilisation"
    ]
    nodes = math.ceil(
        max(cpus / x["node_cpus"], size / (x["node_memory"] * x["filled"]) if memory else 0.0)
    )
    return [
        Figure(
            "bytes of an entity",
            x["records"] * x[f"{kind}_bytes"],
            "B",
            "records of an entity · bytes of one",
        ),
        Figure("memory" if memory else "disk", size / TB, "TB", "entities · that · copies"),
        Figure(
            "vCPU",
            cpus,
            "vCPU",
            "(records written · server's processor · copies + requests · reads) / utilisation",
        ),
        Figure(
            "nodes",
            nodes,
            "nodes",
            "by memory or by vCPU, whichever is more" if memory else "by vCPU",
        ),
        _month(x, nodes, 0.0 if memory else size),
    ]


def _lmdb(x: Numbers) -> list[Figure]:
    """A writer for each shard, which ingests, and a copy in each zone, which serves."""
    size = x["entities"] * x["records"] * x["lmdb_bytes"] * x["zones"]
    shards = math.ceil(written(x) * x["lmdb_wall"] / x["utilisation"])
    cpus = shards * 2 * x["zones"]
    nodes = math.ceil(cpus / x["node_cpus"])
    return [
        Figure(
            "bytes of an entity",
            x["records"] * x["lmdb_bytes"],
            "B",
            "records of an entity · bytes of one",
        ),
        Figure("disk", size / TB, "TB", "entities · that · zones"),
        Figure(
            "shards",
            shards,
            "shards",
            "records written · seconds of a record in a commit / utilisation",
        ),
        Figure("vCPU", cpus, "vCPU", "a writer and a reader for each shard and zone"),
        Figure("nodes", nodes, "nodes", "by vCPU"),
        _month(x, nodes, size),
    ]


def _month(x: Numbers, nodes: int, disk: float) -> Figure:
    cost = nodes * x["node_cpus"] * x["p_cpu"] * SECONDS + disk / GB * x["disk"]
    return Figure("a month", cost, "USD", "nodes · vCPU · p_cpu" + (" + disk" if disk else ""))


def stores(x: Numbers) -> dict[str, list[Figure]]:
    """Memory, processors, nodes and cost of a region, for each store."""
    return {
        "redis": _server(x, "redis"),
        "postgres": _server(x, "postgres"),
        "lmdb": _lmdb(x),
    }


def serving(x: Numbers) -> list[Figure]:
    """Workers of a region."""
    request = x["redis_request"] + x["model"] + x["log"]
    cpus = serving_rate(x) * request / x["utilisation"]
    return [
        Figure(
            "requests",
            serving_rate(x) / 1e3,
            "k/s",
            "predictions / (regions - 1): one region may be lost",
        ),
        Figure(
            "processor of a prediction",
            request * 1e6,
            "us",
            "features from Redis + model + serving log",
        ),
        Figure(
            "workers",
            math.ceil(cpus),
            "workers",
            "requests · that / utilisation; one processor each",
        ),
        Figure("nodes", math.ceil(cpus / x["node_cpus"]), "nodes", "by vCPU"),
        Figure(
            "requests of a worker", serving_rate(x) / math.ceil(cpus), "/s", "requests / workers"
        ),
    ]


def history(x: Numbers) -> list[Figure]:
    """Passes over the history, and nightly jobs; by Spark's executors where they were measured,
    else by the local engine.
    """
    events = x["history"] / x["history_bytes"]
    each, of, one = (
        (x["pass"], "vCPU", "the local engine")
        if "executor_pass" not in x
        else (x["executor_pass"], "executor", "an executor")
    )
    once = events * each / HOUR
    day = x["events"] * DAY
    training = once * x["features_in_training"] / 12
    rows = x["entities"] * x["records"]
    nightly = rows * x["materialize"] / HOUR
    return [
        Figure("events", events / 1e12, "trillion", "history / bytes of an event in parquet"),
        Figure(
            "years at today's rate",
            events / day / 365,
            "years",
            "events / (events a second · a day)",
        ),
        Figure(
            "one pass over all of it, 12 features",
            once,
            f"{of}-hours",
            f"events · processor time of one in {one}",
        ),
        Figure(
            f"the same, {x['features_in_training']:g} features",
            training,
            f"{of}-hours",
            "that · features in training / 12",
        ),
        Figure("its cost", training * HOUR * x["p_cpu"], "USD", f"{of}-hours · p_cpu"),
        Figure(
            "processors for it within a day",
            training / 24,
            "vCPU",
            f"{of}-hours / 24; an executor has one",
        ),
        Figure(
            "a day's events, 12 features",
            day * each / HOUR,
            f"{of}-hours",
            "a day's events · the same",
        ),
        Figure(
            "a nightly job for all records",
            nightly,
            "vCPU-hours",
            "entities · records · seconds of a row",
        ),
        Figure("vCPU for it within an hour", nightly, "vCPU", "vCPU-hours / 1"),
        Figure(
            "storage of the history",
            x["history"] / GB * x["object_store"],
            "USD/month",
            "history · object store",
        ),
    ]


def network(x: Numbers) -> list[Figure]:
    """Bytes a second of a region, and what they cost a month."""
    requests = serving_rate(x) * x["request_bytes"]
    reads = serving_rate(x) * x["read_bytes"]
    writes = written(x) * x["write_bytes"]
    topic = x["events"] * x["event_bytes"]
    across = (x["zones"] - 1) / x["zones"]
    replicas = written(x) * x["redis_bytes"] * (x["copies"] - 1)
    near = (reads + topic) * across + topic * (x["kafka_copies"] - 1) + replicas
    month = SECONDS / GB * x["between_zones"]
    mirrored = topic * (x["regions"] - 1) / x["regions"]
    return [
        Figure("requests and responses", requests / GB, "GB/s", "requests · bytes of one"),
        Figure("reads of the store", reads / GB, "GB/s", "requests · bytes of a read"),
        Figure(
            "commits to the store", writes / GB, "GB/s", "records written · bytes to Redis and back"
        ),
        Figure("events to consumers", topic / GB, "GB/s", "events · bytes in the topic"),
        Figure(
            "copies of topics and records",
            (topic * (x["kafka_copies"] - 1) + replicas) / GB,
            "GB/s",
            "(copies - 1) of each",
        ),
        Figure(
            "from other regions", mirrored / GB, "GB/s", "events of the other regions, mirrored"
        ),
        Figure(
            "between zones, a month",
            (near + writes * across) * month,
            "USD",
            "two thirds of reads, commits, events; all copies",
        ),
        Figure("the same, if commits stay in a zone", near * month, "USD", "without commits"),
        Figure(
            "between regions, a month",
            mirrored * SECONDS / GB * x["between_regions"],
            "USD",
            "what comes from other regions",
        ),
    ]


def value(rows: list[Figure], what: str) -> float:
    """The figure of a table."""
    return next(row.value for row in rows if row.what == what)


def cost(x: Numbers) -> list[Figure]:
    """USD a month of all regions, with Redis as the store."""
    cpu = x["p_cpu"] * SECONDS
    ingested, net, past, served = ingest(x), network(x), history(x), serving(x)
    parts = [
        ("ingest processes", value(ingested, "vCPU of ingest processes") * cpu, "vCPU · p_cpu"),
        ("brokers", value(ingested, "vCPU of brokers") * cpu, "vCPU · p_cpu"),
        ("disk of brokers", value(ingested, "disk of brokers") * 1e3 * x["disk"], "TB · disk"),
        ("Redis", value(stores(x)["redis"], "a month"), "as above"),
        ("serving", value(served, "nodes") * x["node_cpus"] * cpu, "nodes · vCPU · p_cpu"),
        ("traffic between zones", value(net, "between zones, a month"), "as above"),
        ("traffic between regions", value(net, "between regions, a month"), "as above"),
        (
            "nightly job, 30 times",
            value(past, "a nightly job for all records") * HOUR * x["p_cpu"] * MONTH,
            "vCPU-hours · p_cpu",
        ),
    ]
    region = sum(part[1] for part in parts)
    once = [
        ("history on an object store, one copy", value(past, "storage of the history"), "as above"),
        ("four trainings over all history", 4 * value(past, "its cost"), "as above"),
    ]
    rows = [Figure(f"a region: {name}", amount, "USD", how) for name, amount, how in parts]
    rows += [Figure(name, amount, "USD", how) for name, amount, how in once]
    total = region * x["regions"] + sum(part[1] for part in once)
    saved = value(net, "between zones, a month") - value(net, "the same, if commits stay in a zone")
    return [
        *rows,
        Figure(
            "all regions, if commits stay in a zone",
            total - saved * x["regions"],
            "USD",
            "less the traffic of commits",
        ),
        Figure("all regions", total, "USD", "regions · the parts of a region + the others"),
    ]


def limits(x: Numbers) -> list[tuple[str, float, str, float, str]]:
    """What one of each carries, of events, predictions or entities, and how many this plan needs:
    most are needed of the first to break.
    """
    records = x["records"]
    room = x["node_memory"] * x["filled"]
    request = x["redis_request"] + x["model"] + x["log"]
    rows = [
        (
            "one LMDB writer",
            1 / (records * x["lmdb_wall"]),
            "events/s",
            x["events"],
            "shards by entity, each with its own writer",
        ),
        (
            "one Redis primary",
            1 / (records * x["redis_write"]),
            "events/s",
            x["events"],
            "a cluster; slots are spread by key",
        ),
        (
            "one PostgreSQL processor",
            1 / (records * x["postgres_write"]),
            "events/s",
            x["events"],
            "servers by key range; or Redis",
        ),
        (
            "one ingest process",
            1 / (records * x["redis_wall"]),
            "events/s",
            x["events"],
            "more partitions and processes in the group",
        ),
        (
            "one worker",
            1 / request,
            "predictions/s",
            serving_rate(x),
            "more workers behind the balancer; none has state",
        ),
        (
            "one node's memory, Redis",
            room / (records * x["redis_bytes"]),
            "entities",
            x["entities"],
            "more nodes",
        ),
    ]
    return sorted(
        ((what, one, unit, need / one, then) for what, one, unit, need, then in rows),
        key=lambda row: -row[3],
    )


def primaries(x: Numbers) -> int:
    """Redis primaries of a region, each with a processor."""
    return math.ceil(
        (written(x) * x["redis_write"] + serving_rate(x) * x["redis_request_read"])
        / x["utilisation"]
    )


def _training(past: list[Figure], x: Numbers) -> Figure:
    row = next(
        row for row in past if row.what == f"the same, {x['features_in_training']:g} features"
    )
    return Figure(
        "training over all history",
        row.value,
        row.unit,
        "History and training; once, not by region",
    )


def summary(x: Numbers) -> list[Figure]:
    """The hardware of each region, and the cost of all of it."""
    ingested, served, net, past, spent = ingest(x), serving(x), network(x), history(x), cost(x)
    redis = stores(x)["redis"]
    busy = sum(
        value(net, what)
        for what in (
            "reads of the store",
            "commits to the store",
            "events to consumers",
            "copies of topics and records",
        )
    )
    return [
        Figure("topic: partitions", value(ingested, "partitions"), "", "Ingest"),
        Figure("ingest processes", value(ingested, "ingest processes"), "", "Ingest"),
        Figure(
            "processors for them", value(ingested, "vCPU of ingest processes"), "vCPU", "Ingest"
        ),
        Figure("brokers: disk", value(ingested, "disk of brokers"), "TB", "Ingest"),
        Figure("Redis: memory with replicas", value(redis, "memory"), "TB", "Stores"),
        Figure("Redis: primaries, each with a replica", primaries(x), "", "Stores"),
        Figure(f"Redis: nodes of {x['node_cpus']:g} vCPU", value(redis, "nodes"), "", "Stores"),
        Figure("workers", value(served, "workers"), "", "Serving"),
        Figure("network inside a region", busy, "GB/s", "Network"),
        _training(past, x),
        Figure("a month, all regions", value(spent, "all regions"), "USD", "Cost"),
        Figure(
            "a month, if commits stay in a zone",
            value(spent, "all regions, if commits stay in a zone"),
            "USD",
            "Cost",
        ),
    ]
