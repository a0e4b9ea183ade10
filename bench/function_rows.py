"""The rows of each function and of `.by`: offline and online, and of a former version if given."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from bench.measure import child, compared

if TYPE_CHECKING:
    from bench.rows import Settings

EVENTS, ROWS = 1_000_000, 100_000
STORED, READS = 4_000, 200
GOAL = "<= 1.15"


def functions(settings: Settings) -> list[dict]:
    """A row a function and kind; without `--former`, ours alone, which has no goal."""
    kinds = {"offline": (settings.of(EVENTS), settings.of(ROWS)), "online": (STORED, READS)}
    former = [str(settings.former)] if settings.former else []
    found = []
    for kind, sizes in kinds.items():
        arguments = [*map(str, sizes), str(settings.repeats), *former]
        command = [sys.executable, "-m", "bench.functions", kind, *arguments]
        measured = child(command, settings.threads)["functions"]
        size = f"{sizes[0]:,} events x {sizes[1]:,} rows"
        what = size if kind == "offline" else "one key in process"
        found += [_row(f"{name}, {kind}, {what}", kind, sides) for name, sides in measured.items()]
    return found


def _row(name: str, kind: str, sides: dict[str, dict[str, list[float]]]) -> dict:
    """By processor time, which moves less than the clock."""
    unit, times = ("us", 1e6) if kind == "online" else ("s", 1)
    busy = {side: {"seconds": [v * times for v in taken["busy"]]} for side, taken in sides.items()}
    if "peer" in busy:
        peer = {"goal": GOAL, "peer_name": "the former version, by processor time"}
        return {"name": name, **compared(busy["ours"], busy["peer"]), **peer, "unit": unit}
    values = sorted(busy["ours"]["seconds"])
    ours = round(values[len(values) // 2], 4)
    return {"name": name, "goal": None, "ours": ours, "peer": None, "ratio": None, "unit": unit}
