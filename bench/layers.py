"""Each fast path off and on, in turns: what the rows that it is for cost without it.

python -m bench.layers [--only "compiled JSON"] [--scale 1] [--turns 7] [--output bench/layers.json]

A layer is turned off by a patch (bench/switches.py) in the processes of a measurement, and nowhere
else: the code has no option for it. Each measurement is a fresh process, by processor time; the
first turn of each side compiles and is not counted. A layer that costs less than 1.3 times more
when it is off may go, if its rows still meet their goals. Run this on a machine with nothing else
to do, and 2 processors or more:

    python -m bench.layers --turns 9 && git add bench/layers.json

`--scale 0.01 --turns 1` shows within minutes that each is measured; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench import earlier
from bench.__main__ import commit, machine
from bench.kafka import broker
from bench.measure import ROOT, ChildError, Skipped, child

GROWTH_KEYS, GROWTH_COMMITS, LINES = 1_000_000, 40, 300_000
KEPT = 1.3


@dataclass(frozen=True)
class Layer:
    """A fast path: the switch that turns it off, what it does, and the rows that it is for."""

    name: str
    what: str
    rows: Sequence[str]


LAYERS = (
    Layer(
        "compiled reads",
        "features are computed from stored records by compiled loops, without frames",
        ("reads, 1 partitions",),
    ),
    Layer(
        "whole requests",
        "requests for one row with a complete body are answered without a task and ASGI",
        ("serving, features", "serving, predict"),
    ),
    Layer(
        "micro-batches",
        "requests that came in one turn of the event loop share one read",
        ("serving, features", "serving, predict"),
    ),
    Layer(
        "compiled JSON",
        "flat JSON is read into columns by compiled loops",
        ("appended JSON lines", "kafka, JSON into tiles"),
    ),
    Layer(
        "batches of librdkafka",
        "records of Kafka are taken out of librdkafka's queue in batches, without an object each",
        ("kafka, JSON into tiles",),
    ),
    Layer(
        "sorted runs",
        "commits to a large LMDB store are appended as sorted runs, and merged into the tree later",
        ("growth",),
    ),
    Layer(
        "dense keys",
        "integer keys are their own codes",
        ("windows, integer keys", "levels, 4 together"),
    ),
    Layer(
        "strings by hash",
        "string keys get their codes by a hash table over Arrow's views",
        ("windows, string keys, known_at, ids",),
    ),
    Layer(
        "counting sort",
        "events are put in the order of key and time by stable counting passes",
        ("windows, integer keys", "windows, integer keys, shuffled", "levels, 4 together"),
    ),
    Layer(
        "distinct requests",
        "requests of equal key, T and K are computed once",
        ("levels, 4 together",),
    ),
)


def rows(scale: float, servers: str | None) -> dict[str, earlier.Row]:
    """The rows that layers are measured by."""
    keys, lines = max(int(GROWTH_KEYS * scale), 20_000), max(int(LINES * scale), 2_000)
    commits = max(int(GROWTH_COMMITS * min(scale, 1)), 3)
    busy: Mapping[str, Callable[[dict], float]] = {"ms a commit": lambda told: told["on"]["busy"]}
    each: Mapping[str, Callable[[dict], float]] = {"us an event": lambda told: told["us"]}
    return earlier.rows(scale, servers) | {
        "growth": earlier.Row("growth", (keys, commits), busy),
        "appended JSON lines": earlier.Row("appended", (lines,), each),
    }


def measured(row: earlier.Row, *, off: str | None) -> dict[str, float]:
    """The figures of a row with a layer turned off, or with all of them."""
    path = os.pathsep.join(map(str, (ROOT / "bench" / "layer_switch", ROOT / "src", ROOT)))
    command = [sys.executable, "-m", f"bench.{row.module}", *map(str, row.arguments)]
    told = child(command, 2, also={"PYTHONPATH": path} | ({"BENCH_LAYER_OFF": off} if off else {}))
    return {name: figure(told) for name, figure in row.figures.items()}


def compare(layer: Layer, row: earlier.Row, turns: int) -> list[dict]:
    """A row with the layer on and off, in turns: medians, and how much more it costs when off."""
    times: dict[str, dict[str, list[float]]] = {}
    sides = {"on": None, "off": layer.name}
    for turn in range(turns + 1):
        for side in sides if turn % 2 else reversed(list(sides)):
            for name, value in measured(row, off=sides[side]).items():
                if turn:
                    times.setdefault(name, {"on": [], "off": []})[side].append(value)
    found = []
    for figure, both in times.items():
        on, off = (statistics.median(both[side]) for side in ("on", "off"))
        kept = {f"{side}_values": [round(v, 4) for v in values] for side, values in both.items()}
        told = {"figure": figure, "on": round(on, 4), "off": round(off, 4)}
        found.append(told | {"ratio": round(off / on, 3), "worth_it": off / on >= KEPT} | kept)
    return found


def main() -> int:
    """Measure, print a line a figure, and write them all; 1 if a measurement failed."""
    parser = argparse.ArgumentParser("python -m bench.layers", description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", default=[], metavar="LAYER")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--output", type=Path, default=ROOT / "bench" / "layers.json")
    options = parser.parse_args()
    chosen = [layer for layer in LAYERS if not options.only or layer.name in options.only]
    if not chosen:
        names = ", ".join(layer.name for layer in LAYERS)
        parser.error(f"no such layer; layers are: {names}")
    also = {"turns": options.turns, "scale": options.scale, "machine": machine()}
    also |= {"commit": commit(), "date": datetime.now(UTC).date().isoformat()}
    results: list[dict] = []
    failed = 0
    with ExitStack() as stack:
        servers = None
        if any("kafka" in row for layer in chosen for row in layer.rows):
            try:
                servers = stack.enter_context(broker())
                filled = max(int(earlier.KAFKA * options.scale), 1_000)
                fill = ["bench.kafka", "fill", servers, "payments", str(filled)]
                child([sys.executable, "-m", *fill], 2)
            except Skipped as reason:
                print(f"  without rows of Kafka: {reason}", flush=True)
        by_name = rows(options.scale, servers)
        for layer in chosen:
            for name in (name for name in layer.rows if name in by_name):
                try:
                    found = compare(layer, by_name[name], options.turns)
                except (ChildError, Skipped) as error:
                    print(f"  {layer.name}, {name}: {error}", flush=True)
                    failed += isinstance(error, ChildError)
                    continue
                for figure in found:
                    named = {"layer": layer.name, "what": layer.what, "row": name}
                    results.append(named | figure | also)
                    told = f"on {figure['on']:g}, off {figure['off']:g}; ratio {figure['ratio']:g}"
                    print(f"  {layer.name}, {name}, {figure['figure']}: {told}", flush=True)
                options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
