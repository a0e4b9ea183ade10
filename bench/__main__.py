"""Run the rows and write bench/results.json.

python -m bench [--only windows] [--scale 0.1] [--feast-python PATH]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from bench.measure import ROOT, ChildError, Skipped
from bench.rows import ROWS, Settings
from bench.scale_rows import CURVES

GROUPS = {"curves": CURVES}


def main(arguments: list[str] | None = None) -> int:
    """Measure, print a line a row, and write every row; a row whose peer is missing is written with
    ratio null and why.

    Returns:
        1 if a row failed, which the others do not wait for; 0 else, even if figures are missing or
        goals missed.
    """
    options = _parsed(arguments)
    settings = Settings(
        scale=options.scale,
        repeats=options.repeats,
        threads=options.threads,
        limit=options.limit,
        duckdb_scale=options.duckdb_scale,
        feast_python=options.feast_python,
        disk=options.disk,
        former=options.former and _former(options.former),
    )
    prefixes = tuple(prefix for given in options.only for prefix in GROUPS.get(given, (given,)))
    chosen = [name for name in ROWS if not prefixes or name.startswith(prefixes)]
    if not chosen:
        sys.exit(
            f"no row begins with {', '.join(options.only)}; there are {', '.join([*GROUPS, *ROWS])}"
        )
    command = "python -m bench " + " ".join(["--only {}", *_changed(options)])
    path = Path(options.output)
    when = {"date": datetime.now(UTC).date().isoformat(), "commit": commit()}
    results: list[dict] = []
    failed = 0
    for name in chosen:
        print(f"{name} ...", file=sys.stderr, flush=True)
        also = {
            "row": name,
            "command": command.format(name),
            "threads": settings.threads,
            "scale": settings.scale,
            **when,
        }
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        try:
            measured = [row | {"met": met(row), "load": load} for row in ROWS[name](settings)]
        except (Skipped, ChildError) as reason:
            why = str(reason) if isinstance(reason, Skipped) else f"failed: {reason}"
            measured = [
                {
                    "name": name,
                    "ours": None,
                    "peer": None,
                    "ratio": None,
                    "unit": None,
                    "goal": None,
                    "skipped": why,
                }
            ]
            failed += isinstance(reason, ChildError)
        results += [row | also | {"machine": machine()} for row in measured]
        path.write_text(
            json.dumps(_kept(path, results, chosen) if options.keep else results, indent=1) + "\n",
            encoding="utf-8",
        )
        for row in results[-len(measured) :]:
            print(line(row), flush=True)
    missing = [
        f"  {row['name']}: {row['skipped'].splitlines()[-1]}" for row in results if "skipped" in row
    ]
    if missing:
        print("\n".join([f"{len(missing)} not measured:", *missing]), file=sys.stderr)
    print(f"wrote {path}", file=sys.stderr)
    return int(failed > 0)


def met(row: dict) -> bool | None:
    """Whether the goal is met: by `ours` for an absolute row, else by the ratio; None without a
    goal.
    """
    if row["goal"] is None:
        return None
    goal = re.match(r"(<=|>=) ([\d.]+)", row["goal"])
    assert goal is not None, row["goal"]
    value = row["ours"] if row.get("absolute") else row["ratio"]
    return value <= float(goal[2]) if goal[1] == "<=" else value >= float(goal[2])


def line(row: dict) -> str:
    """A result in one line."""
    if "skipped" in row:
        return f"  skipped {row['name']}: {row['skipped']}"
    if row["goal"] is None:
        comparison = (
            "" if row["peer"] is None else f", peer {row['peer']:g}; ratio {row['ratio']:g}"
        )
        return f"  {row['name']}: {row['ours']:g} {row['unit']}{comparison}" + (
            f", peak {row['peak_mb']:,.0f} MB" if "peak_mb" in row else ""
        )
    if row["peer"] is None:
        return (
            f"  {row['name']}: {row['ours']:g} {row['unit']}, goal {row['goal']}: "
            f"{'met' if row['met'] else 'MISSED'}"
        )
    low, high = row["spread"]
    outcome = "met" if row["met"] else "MISSED"
    return (
        f"  {row['name']}: {row['ours']:g} {row['unit']}, peer {row['peer']:g} {row['unit']}; "
        f"ratio {row['ratio']:g} ({low:g} to {high:g}), goal {row['goal']}: {outcome}"
    )


def machine() -> str:
    """What this ran on, without its name."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        match = re.search(r"model name\s*: (.*)", cpuinfo.read_text(encoding="utf-8"))
        model = match[1] if match else model
    return f"{os.cpu_count()} x {model}, {platform.system()}, Python {platform.python_version()}"


def commit() -> str | None:
    """The commit of this checkout, with `-dirty` if files differ from it; None without git."""
    command = ["git", "describe", "--always", "--dirty", "--exclude=*", "--abbrev=10"]
    try:
        return subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _kept(path: Path, results: list[dict], chosen: list[str]) -> list[dict]:
    """The results with those of the rows that were not chosen, from an earlier run."""
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    every = [row for row in earlier if row["row"] not in chosen] + results
    return sorted(every, key=lambda row: list(ROWS).index(row["row"]))


def _changed(arguments: argparse.Namespace) -> list[str]:
    """The options that change the measurement, as command-line flags."""
    normal = Settings()
    options = {
        "scale": arguments.scale,
        "repeats": arguments.repeats,
        "threads": arguments.threads,
        "duckdb_scale": arguments.duckdb_scale,
    }
    flags = [
        f"--{name.replace('_', '-')} {value:g}"
        for name, value in options.items()
        if value != getattr(normal, name)
    ]
    flags += [f"--former {arguments.former}"] if arguments.former else []
    return flags + (["--feast-python FEAST/bin/python"] if arguments.feast_python else [])


def _former(given: str) -> Path:
    """The interpreter of a former version: itself, or one with the wheel of a commit below
    build/former.
    """
    if Path(given).is_file():
        return Path(given)
    from scripts.former import environment

    return environment.built(given)


def _parsed(arguments: list[str] | None) -> argparse.Namespace:
    normal = Settings()
    parser = argparse.ArgumentParser(
        "python -m bench", description="Measure headwater and its peers, in turns, in one run."
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="ROW",
        help=f"rows that begin so: {', '.join([*GROUPS, *ROWS])}; may be repeated",
    )
    parser.add_argument(
        "--scale",
        type=float,
        default=normal.scale,
        help="the share of the events and rows to measure with",
    )
    parser.add_argument(
        "--repeats",
        type=int,
        default=normal.repeats,
        help="how often each side is measured; the median counts",
    )
    parser.add_argument("--threads", type=int, default=normal.threads, help="for both sides")
    parser.add_argument(
        "--limit",
        type=float,
        default=normal.limit,
        help="seconds; one query of DuckDB or Feast may take twice as many",
    )
    parser.add_argument(
        "--duckdb-scale",
        type=float,
        default=normal.duckdb_scale,
        help="the share of the events that DuckDB is measured with",
    )
    parser.add_argument(
        "--feast-python",
        default=os.environ.get("FEAST_PYTHON"),
        help="an interpreter that has feast (or FEAST_PYTHON)",
    )
    parser.add_argument(
        "--disk",
        help="a folder with 6 GB of room, for the row `larger` (default: where temporary files go)",
    )
    parser.add_argument(
        "--former",
        metavar="REVISION",
        help="the row `functions` against the wheel of this commit, or an interpreter's path",
    )
    parser.add_argument("--output", default=str(ROOT / "bench" / "results.json"))
    parser.add_argument(
        "--keep", action="store_true", help="keep the results of other rows that the output holds"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
