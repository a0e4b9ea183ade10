"""Measuring two things side by side: in turns, several times, in the same run."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


class Skipped(Exception):  # noqa: N818 (no error: a peer that is not installed)
    """Why a row is not measured."""


class ChildError(RuntimeError):
    """A measured process failed, or took too long."""


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """How long `work` takes by the clock, and how long it keeps processors busy."""
    clock, busy = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - clock, time.process_time() - busy


def in_turns(
    sides: dict[str, Callable[[], object]], repeats: int, warm: Sequence[str] = ()
) -> dict[str, dict[str, list[float]]]:
    """Each side `repeats` times, in turns; the sides named in `warm` once before, unmeasured."""
    for side in warm:
        sides[side]()
    times: dict[str, dict[str, list[float]]] = {side: {"seconds": [], "busy": []} for side in sides}
    for _ in range(repeats):
        for side, work in sides.items():
            clock, busy = seconds(work)
            times[side]["seconds"].append(clock)
            times[side]["busy"].append(busy)
    return times


def processors_busy() -> float:
    """Seconds in which processors of this machine were busy so far, for any process (Linux; else
    0).
    """
    path = Path("/proc/stat")
    if not path.exists():
        return 0.0
    fields = [int(field) for field in path.read_text(encoding="ascii").splitlines()[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


def peak_mb() -> float:
    """The most memory that this process has held, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def child(
    command: Sequence[str],
    threads: int,
    limit: float | None = None,
    memory: int | None = None,
    also: Mapping[str, str] | None = None,
) -> Any:
    """Run `command` in a fresh process and read the JSON of its last line.

    limit: seconds; memory: bytes of address space; also: more of its environment.

    Raises:
        Skipped: it lacks a peer, a program or a package.
        ChildError: it fails, runs out of memory or takes too long.
    """
    names = ("POLARS_MAX_THREADS", "HEADWATER_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS")
    environment = clean() | dict.fromkeys(names, str(threads)) | dict(also or {})

    def bound() -> None:
        if memory is not None:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))

    try:
        done = subprocess.run(
            list(command),
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env=environment,
            timeout=limit,
            preexec_fn=bound,
        )
    except subprocess.TimeoutExpired as error:
        raise ChildError(f"not done after {limit:.0f} s: {' '.join(command)}") from error
    if done.returncode:
        if (lacks := _lacking(done.stderr)) is not None:
            raise Skipped(lacks)
        raise ChildError(f"{' '.join(command)} failed: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _lacking(errors: str) -> str | None:
    """What a process lacked, by the last line of its errors; None where it failed for another
    reason.
    """
    kind, _, text = (errors.strip().splitlines() or [""])[-1].partition(": ")
    if kind == "ModuleNotFoundError":
        return f"{text.removeprefix('No module named ')} is not installed"
    return (
        text
        if kind
        in {f"{Skipped.__module__}.{Skipped.__name__}", "headwater.errors.MissingExtraError"}
        else None
    )


def clean() -> dict[str, str]:
    """The environment, in which imports keep their bytecode as they do for users."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def compared(
    ours: dict[str, list[float]], peer: dict[str, list[float]], *, peer_over_ours: bool = False
) -> dict:
    """The keys of a result that follow from the seconds of both sides."""
    mine, theirs = statistics.median(ours["seconds"]), statistics.median(peer["seconds"])
    turns = [
        (p / o if peer_over_ours else o / p)
        for o, p in zip(ours["seconds"], peer["seconds"], strict=True)
    ]
    best = min(ours["seconds"]), min(peer["seconds"])
    figures = {
        "ours": round(mine, 4),
        "peer": round(theirs, 4),
        "ratio": round(theirs / mine if peer_over_ours else mine / theirs, 3),
        "unit": "s",
        "ratio_is": "peer / ours" if peer_over_ours else "ours / peer",
        "ratio_of_minima": round(best[1] / best[0] if peer_over_ours else best[0] / best[1], 3),
        "spread": [round(min(turns), 3), round(max(turns), 3)],
        "ours_seconds": _rounded(ours["seconds"]),
        "peer_seconds": _rounded(peer["seconds"]),
    }
    if "busy" in ours and "busy" in peer:
        busy = min(ours["busy"]) / max(min(peer["busy"]), 1e-9)
        figures |= {
            "ratio_of_busy_minima": round(1 / max(busy, 1e-9) if peer_over_ours else busy, 3)
        }
        figures |= {
            "ours_busy_seconds": _rounded(ours["busy"]),
            "peer_busy_seconds": _rounded(peer["busy"]),
        }
    return figures


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(v, 4) for v in values]
