"""The inputs of the figures: unit costs from bench/results.json, assumptions, and prices."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measure import ROOT
from headwater.assessing import prices

RESULTS = ROOT / "bench" / "results.json"
ASSUMPTIONS = Path(__file__).with_name("assumptions.toml")
STORES = ("redis", "postgres", "lmdb")
LMDB_RECORD = 176  # bytes of a record of `bench.growth`
PRICES = ("p_cpu",)


@dataclass(frozen=True)
class Input:
    """A number, its unit, and where it comes from."""

    value: float
    unit: str
    source: str


class Results:
    """Rows of the bench, by name."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._rows = {row["name"]: row for row in rows}

    @classmethod
    def read(cls, path: Path = RESULTS) -> Results:
        """Those that are kept."""
        return cls(json.loads(path.read_text(encoding="utf-8")))

    def row(self, name: str) -> Mapping[str, Any]:
        """A row that was measured.

        Raises:
            KeyError: there is none; run `python -m bench --keep --only ROW`.
        """
        found = self._rows.get(name)
        if found is None or "skipped" in found:
            raise KeyError(
                f"bench/results.json has no row {name!r}; run `python -m bench --keep` with the "
                "row that measures it"
            )
        return found

    def named(self, begin: str) -> list[Mapping[str, Any]]:
        """The measured rows whose name begins so."""
        return [
            row
            for name, row in self._rows.items()
            if name.startswith(begin) and "skipped" not in row
        ]

    def missing(self, rows: Sequence[str]) -> dict[str, str]:
        """Which of these rows of the bench were not measured, and why."""
        return {
            row["row"]: row["skipped"]
            for row in self._rows.values()
            if "skipped" in row and row["row"] in rows
        }


def assumed() -> dict[str, Input]:
    """The assumptions, with the prices of `assess cost` that the figures use."""
    table = tomllib.loads(ASSUMPTIONS.read_text(encoding="utf-8"))
    own = {
        name: Input(float(entry["value"]), entry["unit"], entry["source"])
        for name, entry in table.items()
    }
    shared = prices.defaults()
    return own | {
        name: Input(shared[name].value, shared[name].unit, f"prices.toml: {shared[name].source}")
        for name in PRICES
    }


def measured(results: Results) -> dict[str, Input]:
    """Unit costs, in seconds and bytes, by a short name."""
    found: dict[str, Input] = {}

    def put(name: str, value: float, unit: str, row: str) -> None:
        found[name] = Input(value, unit, row)

    for kind in STORES:
        row = f"{kind}, nine features of an entity: stored"
        details = results.row(row)["details"]
        commit, one, many = details["commits"][1], details["reads"]["one"], details["reads"]["many"]
        commits, reads = (
            f"{row}: commits of {commit['records']:,.0f} records",
            f"{row}: reads of a hundred keys, by three records",
        )
        if kind == "lmdb":
            put(
                "lmdb_wall",
                commit["wall"] / commit["records"],
                "s",
                f"{commits}, a record by the clock",
            )
        else:
            put(f"{kind}_bytes", details["stored_bytes"], "B", row)
            put(
                f"{kind}_write",
                commit["server"] / commit["records"],
                "s",
                f"{commits}, a record, the server's processor",
            )
            put(f"{kind}_read", many["server"], "s", f"{reads}, the server's processor")
        if kind == "redis":
            put(
                "redis_commit",
                commit["busy"] / commit["records"],
                "s",
                f"{commits}, a record, the ingest process's processor",
            )
            put(
                "redis_wall",
                commit["wall"] / commit["records"],
                "s",
                f"{commits}, a record by the clock",
            )
            written = (commit["bytes_in"] + commit["bytes_out"]) / commit["records"]
            put("write_bytes", written, "B", f"{row}: to Redis and back, by record of a commit")
            put(
                "read_bytes",
                one["bytes_in"] + one["bytes_out"],
                "B",
                f"{row}: the same, of a read of three records",
            )
    # a store of a few keys is mostly pages of earlier commits
    row = "commit of 10,000 random keys, 10,000,000 keys in the store"
    file = results.row(row)["details"]["on"]["mb"] * 1e6 / 1e7
    put(
        "lmdb_bytes",
        file - LMDB_RECORD + details["record_bytes"],
        "B",
        f"{row}: file by key, with the record of the other stores",
    )
    for kind in ("lmdb", "redis"):
        row = f"POST features from {kind}, one worker"
        put(
            f"{kind}_request",
            results.row(row)["details"]["busy"] * 1e-6,
            "s",
            f"{row}: processor of a request",
        )
    put(
        "redis_request_read",
        results.row("POST features from redis, one worker")["details"]["store"] * 1e-6,
        "s",
        f"{row}: Redis's processor",
    )
    units = results.row("POST features from lmdb, one worker")["units"]
    put(
        "request_bytes",
        units["request_bytes"] + units["response_bytes"],
        "B",
        "POST features from lmdb, one worker: with headers",
    )
    alone, model = (
        "POST features, 27 of 3 views, arrays: by processor time",
        "POST predict: by processor time",
    )
    put(
        "model",
        (results.row(model)["ours"] - results.row(alone)["ours"]) * 1e-6,
        "s",
        f"{model}, less that of POST features",
    )
    row = "the same, converted to parquet, predict"
    put("log", results.row(row)["ours"] * 1e-6, "s", f"an entry of the serving log: {row}")
    row = "Kafka JSON into redis, ingest processes in one group: 1"
    ingest = results.row(row)["units"]
    put(
        "decode",
        ingest["decode"]["busy"] * 1e-6,
        "s",
        f"{row}: an event, read and decoded without commits",
    )
    put(
        "broker",
        ingest["decode"]["broker"] * 1e-6,
        "s",
        f"{row}: an event, the broker's processor, for one consumer",
    )
    put("event_bytes", ingest["event_bytes"], "B", f"{row}: an event in the topic's files")
    row = next(
        row["name"]
        for row in results.named("history larger than memory")
        if row["name"].endswith("time an event")
    )
    put(
        "pass",
        min(results.row(row)["ours_busy_seconds"]) * 1e-6,
        "s",
        f"{row}: processors, by event, for 12 features",
    )
    if "spark" not in results.missing(["spark"]):
        few, many = (
            results.row(f"12 features on Spark, {events} events, executors: 2")
            for events in ("1,000,000", "10,000,000")
        )
        more = (many["busy"]["executors"] - few["busy"]["executors"]) / (
            many["events"] - few["events"]
        )
        put(
            "executor_pass",
            more,
            "s",
            "12 features on Spark, executors: 2: the executors' processors, by event beyond the "
            "first million",
        )
    row = "materialize: rows of nine features written into LMDB"
    details = results.row(row)["details"]
    put("materialize", details["busy"] / details["rows"], "s", f"{row}: processors, by row")
    row = "history in parquet files: an event of three columns"
    put("history_bytes", results.row(row)["ours"], "B", row)
    return found
