"""This checkout compared with an earlier one, in turns: processor time of each row, and the
geometric mean of the ratios.

python -m bench.earlier CHECKOUT [--python CHECKOUT/.venv/bin/python] [--turns 7] [--only reads]
[--scale 1] [--output FILE]

Each measurement is a fresh process in its own checkout: `git worktree add /tmp/earlier REVISION &&
make -C /tmp/earlier dev` makes the earlier one. Processor time moves less than the clock where a
machine is shared. A ratio above 1 means that this checkout takes more.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.kafka import broker
from bench.measure import ROOT, Skipped, clean

WINDOWS = 3_000_000
LEVELS = 1_500_000
TILES = {"100k": 1_000_000, "10k": 200_000, "10k ids": 200_000, "100k archive": 1_000_000}
READS = {1: 200_000, 8: 64_000}
KAFKA = 500_000
SECONDS = 4
STARTS = 20


@dataclass(frozen=True)
class Row:
    """A measurement: a module of `bench` with its arguments, and the processor time of each figure
    in its output.
    """

    module: str
    arguments: tuple[object, ...]
    figures: Mapping[str, Callable[[dict], float]]


def rows(scale: float, servers: str | None) -> dict[str, Row]:
    """Every row, in order; those of Kafka where there is a broker."""

    def of(size: int) -> int:
        return max(int(size * scale), 1_000)

    def ours(figures: dict) -> float:
        return figures["ours"]["busy"][0]

    by_name: dict[str, Row] = {}
    for case in (
        "integer keys",
        "integer keys, shuffled",
        "string keys, known_at, ids",
        "5 % late",
    ):
        by_name[f"windows, {case}"] = Row("windows", (case, of(WINDOWS), 1, 2, 60), {"s": ours})
    by_name["levels, 4 together"] = Row("levels", (of(LEVELS), 1), {"s": ours})
    for case, events in TILES.items():
        by_name[f"tiles, {case}"] = Row(
            "tiles",
            (case, of(events), 1),
            {"us an event": lambda figures_of: 1000 / figures_of["busy"][0]},
        )
    for partitions, events in READS.items():
        figures = {
            "us, 1 key": lambda figures_of: figures_of["one busy"][0],
            "us, 100 keys": lambda figures_of: figures_of["many busy"][0],
        }
        by_name[f"reads, {partitions} partitions"] = Row(
            "reads", (partitions, of(events), 1), figures
        )
    for kind in ("features", "predict"):
        figures = {"us a request": lambda figures_of: figures_of["peak"]["ours"][0]["busy"]}
        by_name[f"serving, {kind}"] = Row(
            "serving", ("measure", kind, max(round(SECONDS * scale), 1), 1), figures
        )
    if servers is not None:
        figures = {"us an event": lambda figures_of: 1000 / figures_of["ours busy"][0]}
        by_name["kafka, JSON into tiles"] = Row(
            "kafka", ("measure", servers, "payments", of(KAFKA), 1), figures
        )
    return by_name


def measured(python: str, checkout: Path, row: Row) -> dict[str, float]:
    """The figures of a row in a checkout, by a fresh process.

    Raises:
        RuntimeError: the process failed.
    """
    threads = dict.fromkeys(
        ("POLARS_MAX_THREADS", "HEADWATER_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS"), "2"
    )
    environment = clean() | threads | {"PYTHONPATH": f"{checkout / 'src'}:{checkout}"}
    command = [python, "-m", f"bench.{row.module}", *map(str, row.arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=checkout, env=environment
    )
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(command)} failed in {checkout}: {done.stderr.strip()[-2000:]}"
        )
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    return {name: figure(figures) for name, figure in row.figures.items()}


def started(python: str, checkout: Path) -> float:
    """Milliseconds of a processor that `import headwater` takes, an interpreter included."""
    import resource

    environment = clean() | {"PYTHONPATH": str(checkout / "src")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(STARTS):
        subprocess.run(
            [python, "-c", "import headwater"], check=True, env=environment, cwd=checkout
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / STARTS * 1000


def compare(sides: Mapping[str, tuple[str, Path]], row: Row | None, turns: int) -> dict[str, dict]:
    """A row's figures on both sides, in turns: the medians, and the ratio of this checkout to the
    earlier one.
    """
    times: dict[str, dict[str, list[float]]] = {}
    for turn in range(turns + 1):
        for side in sides if turn % 2 else reversed(list(sides)):
            python, checkout = sides[side]
            figures = (
                {"ms": started(python, checkout)}
                if row is None
                else measured(python, checkout, row)
            )
            for name, value in figures.items():
                if turn:  # the first turn compiles
                    times.setdefault(name, {"this": [], "earlier": []})[side].append(value)
    return {
        name: {side: round(statistics.median(values), 4) for side, values in both.items()}
        | {"ratio": round(statistics.median(both["this"]) / statistics.median(both["earlier"]), 3)}
        | {f"{side} values": [round(value, 4) for value in values] for side, values in both.items()}
        for name, both in times.items()
    }


def main() -> int:
    """Measure, print a line a figure, and write them all."""
    parser = argparse.ArgumentParser(
        "python -m bench.earlier",
        description="Compare this checkout with an earlier one, by processor time.",
    )
    parser.add_argument("checkout", type=Path)
    parser.add_argument(
        "--python", help="the interpreter of the earlier checkout (default: its .venv/bin/python)"
    )
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--only", action="append", default=[], metavar="ROW")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "earlier.json")
    options = parser.parse_args()
    earlier = options.checkout.resolve()
    sides = {
        "earlier": (options.python or str(earlier / ".venv" / "bin" / "python"), earlier),
        "this": (sys.executable, ROOT),
    }
    results: list[dict] = []
    with ExitStack() as stack:
        servers = None
        if not options.only or any("kafka".startswith(prefix[:5]) for prefix in options.only):
            try:
                servers = stack.enter_context(broker())
            except Skipped as reason:
                print(f"  skipped kafka: {reason}", flush=True)
        every: dict[str, Row | None] = {"import headwater": None, **rows(options.scale, servers)}
        chosen = {
            name: row
            for name, row in every.items()
            if not options.only or any(name.startswith(prefix) for prefix in options.only)
        }
        if not chosen:
            parser.error(
                f"no row begins with {' or '.join(options.only)}; the rows are: {', '.join(every)}"
            )
        if servers is not None and any(name.startswith("kafka") for name in chosen):
            measured(
                sys.executable,
                ROOT,
                Row(
                    "kafka",
                    ("fill", servers, "payments", max(int(KAFKA * options.scale), 1_000)),
                    {},
                ),
            )
        for name, row in chosen.items():
            begin = time.perf_counter()
            for figure, values in compare(sides, row, options.turns).items():
                results.append({"row": name, "figure": figure, "turns": options.turns, **values})
                print(
                    f"  {name}, {figure}: {values['this']:g}, earlier {values['earlier']:g}; "
                    f"ratio {values['ratio']:g}",
                    flush=True,
                )
            print(f"    ({time.perf_counter() - begin:.0f} s)", file=sys.stderr)
    mean = math.exp(statistics.fmean(math.log(row["ratio"]) for row in results))
    print(
        f"  geometric mean of the ratios: {mean:.3f}; the worst "
        f"{max(row['ratio'] for row in results):.3f}"
    )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(
        json.dumps({"rows": results, "geometric_mean": round(mean, 4)}, indent=1) + "\n",
        encoding="utf-8",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
