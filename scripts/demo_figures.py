"""Compare the figures of a run of the demo with those that the documentation has, or keep them.

    make demo && .venv/bin/python scripts/demo_figures.py build/demo
            # the code is 1 where a figure differs
    make demo && .venv/bin/python scripts/demo_figures.py build/demo --keep
            # then scripts/lift_picture.py draws them

The stored part is the result of the backtest (tests/golden/demo.json) without curves,
and without what differs between runs: time, user, versions.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from headwater.results.backtest_result import BacktestResult

KEPT = Path(__file__).resolve().parents[1] / "tests" / "golden" / "demo.json"


def kept() -> BacktestResult:
    """The result that the documentation has."""
    return BacktestResult.from_dict(json.loads(KEPT.read_text(encoding="utf-8")))


def figures(result: BacktestResult) -> dict[str, str]:
    """By name, the figures as the documentation writes them: three decimals."""
    shown = {"verdict": result.verdict}
    for level in result.levels:
        for metric in ("auc", "precision@10%"):
            value = level.metrics[metric]
            shown[f"{metric} {level.name}"] = (
                f"{value.value:.3f} [{value.low:.3f}, {value.high:.3f}]"
            )
    for step in result.comparisons:
        if step.metric == result.headline:
            shown[f"{step.from_} to {step.to}"] = (
                f"{step.delta:+.3f} [{step.low:.3f}, {step.high:.3f}] {step.verdict}"
            )
    return shown


def sentences(live: dict[str, Any]) -> list[str]:
    """What docs/demo.md has of the month and the week, without times."""
    month, week = live["live"], live["service"]
    auc = {name: f"{level['auc']:.3f}" for name, level in week["levels"].items()}
    levels = list(week["levels"].values())
    equal = all(
        level["equal"] == level["values"] == levels[0]["values"] and not level["furthest"]
        for level in levels
    )
    experiment = [line.strip() for line in week["experiment"].splitlines()]
    return [
        f"{month['events']:,} events in {month['commits']:,} durable commits",
        (
            f"At {month['moments']} times, {month['mismatches']} mismatches in {month['values']:,} "
            "values between serving and training"
        ),
        (
            f"{levels[0]['predictions']:,} flights, predicted over HTTP an hour before departure; "
            f"{week['outcomes']:,} outcomes posted"
        ),
        (
            f"AUC was {auc['daily']} at the daily level, {auc['hourly']} hourly and {auc['live']} "
            f"live. At each level all {levels[0]['values']:,} served"
        ),
        "are those of training to the bit"
        if equal
        else "served values that are not those of training",
        experiment[0],
        *(line for line in experiment if line.startswith("live against hourly")),
    ]


def _plain(run: BacktestResult) -> BacktestResult:
    levels = [replace(level, curves=None) for level in run.levels]
    slices = [
        replace(part, levels=[replace(level, curves=None) for level in part.levels])
        for part in run.slices
    ]
    split = replace(run.split, rows_per_day=[])
    return replace(
        run,
        levels=levels,
        slices=slices,
        split=split,
        at="",
        by="",
        versions={},
        seconds={},
        experiments=(),
    )


def main(folder: str, option: str = "") -> int:
    """Compare, or keep."""
    run = BacktestResult.from_dict(
        json.loads((Path(folder) / "backtest.json").read_text(encoding="utf-8"))
    )
    if option == "--keep":
        KEPT.write_text(
            json.dumps(_plain(run).to_dict(), separators=(",", ":")) + "\n", encoding="utf-8"
        )
        return 0
    mine, theirs = figures(run), figures(kept())
    page = " ".join(
        (KEPT.parents[2] / "docs" / "demo.md")
        .read_text(encoding="utf-8")
        .replace("\n> ", "\n")
        .split()
    )
    absent = [
        text
        for text in sentences(json.loads((Path(folder) / "live.json").read_text(encoding="utf-8")))
        if text not in page
    ]
    differing = [
        f"{name}: {mine.get(name)} here, {theirs.get(name)} in the documentation"
        for name in mine | theirs
        if mine.get(name) != theirs.get(name)
    ]
    differing += [f"docs/demo.md does not have: {text}" for text in absent]
    print(
        *(differing or [f"{len(mine)} figures of the demo are those of the documentation"]),
        sep="\n",
    )
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
