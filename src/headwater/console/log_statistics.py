"""Keeps the daily statistics of the serving log up to date where no `headwater serve` does, by a
process of lowest priority.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import Final

from headwater.console.console_context import ConsoleContext
from headwater.errors import DataError
from headwater.journal.conversion import command
from headwater.monitoring.daily_statistics import uncovered

_EVERY: Final = 60.0  # seconds


@dataclass(frozen=True)
class StatisticsState:
    """How many files of the log the statistics do not cover yet, and why they could not be
    counted.
    """

    files: int
    error: str = ""


def statistics_state(context: ConsoleContext) -> StatisticsState:
    """How far the statistics are behind; where they are, a process counts the files that are
    missing.
    """
    files = context.cached("uncovered", 5.0, lambda: uncovered(context.data_dir))
    if not files:
        return StatisticsState(0)
    done = context.summaries.latest(
        "serving log statistics", int, lambda: _count(context), seconds=_EVERY
    )
    return StatisticsState(files, done.error)


def _count(context: ConsoleContext) -> int:
    """Convert segments and count files in a process of their own; how many files are left."""
    ended = subprocess.run(  # noqa: S603
        command("idle", context.data_dir, None), capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise DataError(
            ended.stderr.strip().splitlines()[-1]
            if ended.stderr.strip()
            else "the serving log could not be counted"
        )
    return uncovered(context.data_dir)
