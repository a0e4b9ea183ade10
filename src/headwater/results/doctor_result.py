"""What `headwater doctor` found, as plain frozen values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from headwater.results.result import Result

Health = Literal["ok", "warning", "broken", "not checked"]


class Diagnosis(Result, frozen=True):
    """One check: of a part (machine, packages, engine, project, store, streams, models), its name,
    how it is, what was seen, what to do.
    """

    part: str
    name: str
    health: Health
    evidence: str
    remedy: str = ""


class DoctorResult(Result, frozen=True):
    """All checks, in order."""

    at: str
    project: str
    checks: Sequence[Diagnosis]

    @property
    def broken(self) -> Sequence[Diagnosis]:
        """What must be repaired before headwater can run."""
        return [check for check in self.checks if check.health == "broken"]

    @property
    def figures(self) -> Mapping[str, float]:
        """How many checks there are of each health."""
        return {
            health: sum(check.health == health for check in self.checks)
            for health in ("ok", "warning", "broken", "not checked")
        }

    def __str__(self) -> str:
        counts = {name: int(count) for name, count in self.figures.items() if count}
        return ", ".join(f"{count} {name}" for name, count in counts.items())
