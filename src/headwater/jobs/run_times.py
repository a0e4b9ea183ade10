"""How long the runs of jobs took: a line for each in a file, which `headwater assess cost` reads.

    FOLDER/jobs/runs.jsonl      {"view": "user", "T": 1714521600000000, "events": 41200, "keys":
                                9100, "cpu_seconds": 1.9, "after": true}

The file keeps the latest runs: beyond a quarter of a megabyte, its older half is dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from headwater import disk
from headwater.jobs.materialize import Materialized

RUNS = "runs.jsonl"
_MOST = 262_144  # bytes
_LATEST = 30  # runs of a view that a mean is taken of


class JobRun(msgspec.Struct, frozen=True):
    """One run: the view, its cut, the events it added and the keys it wrote, its processor time
    (all threads), and whether it continued an earlier cut (`after`), as every run but the first
    does.
    """

    view: str
    T: int
    events: int
    keys: int
    cpu_seconds: float
    after: bool


class RunTime(msgspec.Struct, frozen=True):
    """The mean of the latest runs of a view that continued an earlier cut."""

    runs: int
    events: float
    keys: float
    cpu_seconds: float


def record(folder: Path, results: Sequence[Materialized]) -> None:
    """Add the runs that computed a cut.

    Raises:
        OSError: the folder cannot be written.
    """
    lines = [
        msgspec.json.encode(
            JobRun(
                done.view,
                done.cut.T,
                done.events,
                done.keys,
                done.cpu_seconds,
                done.before is not None,
            )
        )
        + b"\n"
        for done in results
        if not done.done_before
    ]
    if not lines:
        return
    path = folder / "jobs" / RUNS
    disk.make_folder(path.parent)
    if path.exists() and path.stat().st_size > _MOST:
        recent = path.read_bytes()[-_MOST // 2 :].partition(b"\n")[2]
        temporary = path.with_suffix(".new")
        with disk.open_private(temporary, "wb") as file:
            file.write(recent)
        temporary.replace(path)
    with disk.open_private(path, "ab") as file:
        file.write(b"".join(lines))


def runs_of(folder: Path) -> list[JobRun]:
    """The recorded runs, the earliest first; a line that was cut off is left out."""
    path, runs = folder / "jobs" / RUNS, []
    if path.is_file():
        for line in path.read_bytes().splitlines():
            try:
                runs.append(msgspec.json.decode(line, type=JobRun))
            except msgspec.DecodeError:
                continue
    return runs


def run_time(runs: Sequence[JobRun], view: str) -> RunTime | None:
    """The mean of a view's latest runs, without the first, which computes the whole history; None
    where there is none.

    >>> runs = [
    ...     JobRun("user", 0, 900, 30, 5.0, False),
    ...     JobRun("user", 1, 10, 3, 1.0, True),
    ...     JobRun("user", 2, 20, 5, 2.0, True),
    ... ]
    >>> run_time(runs, "user"), run_time(runs, "item")
    (RunTime(runs=2, events=15.0, keys=4.0, cpu_seconds=1.5), None)
    """
    latest_runs = [run for run in runs if run.view == view and run.after][-_LATEST:]
    if not latest_runs:
        return None
    n = len(latest_runs)
    return RunTime(
        n,
        sum(run.events for run in latest_runs) / n,
        sum(run.keys for run in latest_runs) / n,
        sum(run.cpu_seconds for run in latest_runs) / n,
    )
