"""Where the time of a call goes, and what the first call of a process costs. Printed only; no row
of the results.

python -m bench.phases [--events 10000000] [--case "5 % late"]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable

from bench.data import Shape, make
from bench.measure import child, seconds
from bench.windows import SHAPES, features_of

PHASES = {
    "read_events": "read, check, drop copies of ids",
    "code_keys": "keys to codes",
    "order_of": "order by key and time",
    "take": "put columns in that order",
    "_break_ties": "ties",
    "aggregate": "sweep windows and fold, answers back to row order",
    "_decoded": "answers as columns",
}


def timed(case: str, events: int, repeats: int) -> dict[str, float]:
    """The seconds of each phase, each the least of some calls, and of a whole call."""
    from headwater.engine.local import compute

    generated = make(Shape(events, max(events // 10, 1), **SHAPES[case]))
    spent: Counter[str] = Counter()

    def wrapped(name: str, work: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            begin = time.perf_counter()
            try:
                return work(*arguments, **named)
            finally:
                spent[name] += time.perf_counter() - begin

        return call

    for module, name in (
        (module, name)
        for module in (compute,)
        for name in (*PHASES, "taken")
        if hasattr(module, name)
    ):
        setattr(module, name, wrapped("take" if name == "taken" else name, getattr(module, name)))
    features_of(generated)
    calls = []
    for _ in range(repeats):
        spent.clear()
        whole, _busy = seconds(lambda: features_of(generated))
        calls.append({**spent, "all else": whole - sum(spent.values()), "whole call": whole})
    return {
        phase: min(call.get(phase, 0.0) for call in calls)
        for phase in (*PHASES, "all else", "whole call")
    }


def first_calls(threads: int) -> dict[str, float]:
    """The first call of a process without and with compiled kernels on disk, and a second call; on
    few events.
    """
    code = (
        "import json, time\nfrom bench.data import Shape, make\nfrom bench.windows import "
        "features_of\nmade = make(Shape(10_000, 1_000))\ntimes = []\nfor _ in range(2):\n    "
        "begin = time.perf_counter()\n    features_of(made)\n    times.append(time.perf_counter() "
        "- begin)\nprint(json.dumps(times))"
    )
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-c", code]
        fresh, _ = child(command, threads, also={"NUMBA_CACHE_DIR": cache})
        kept, again = child(command, threads, also={"NUMBA_CACHE_DIR": cache})
    return {"first call ever": fresh, "first call of a later process": kept, "second call": again}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser("python -m bench.phases")
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--case", action="append", choices=list(SHAPES))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    cases = arguments.case or list(SHAPES)
    if arguments.here:
        print(
            json.dumps({case: timed(case, arguments.events, arguments.repeats) for case in cases})
        )
        return
    options = ["--events", str(arguments.events), "--repeats", str(arguments.repeats), "--here"]
    columns = {
        case: child(
            [sys.executable, "-m", "bench.phases", *options, "--case", case], arguments.threads
        )[case]
        for case in cases
    }
    print("| phase | " + " | ".join(cases) + " |\n|---|" + "---|" * len(cases))
    for phase in (*PHASES, "all else", "whole call"):
        print(
            f"| {PHASES.get(phase, phase)} | "
            + " | ".join(f"{columns[case][phase]:.2f}" for case in cases)
            + " |"
        )
    print()
    for name, value in first_calls(arguments.threads).items():
        print(f"{name}: {value:.2f} s")


if __name__ == "__main__":
    main()
