"""From findings to levels: the highest level of each view, the two ladders, and the blockers of the
next step.
"""

from __future__ import annotations

from collections.abc import Sequence

from headwater.assessing.checks.check import WORST
from headwater.definitions.feature_view import FeatureView
from headwater.results.measurement import Missing
from headwater.results.readiness_result import (
    LEARNING,
    ONLINE,
    REACHES,
    Blocker,
    Finding,
    Gate,
    Ladder,
    Reach,
    State,
    ViewReadiness,
)

_GATES: dict[Reach, Sequence[Gate]] = {"hourly": ("O1",), "streaming": ("O3",)}
_RUNGS: Sequence[Sequence[Gate]] = ((), ("O1",), (), ("O3",))
_LEARNED: Sequence[Sequence[Gate]] = ((), ("C1",), (), ("C3",))
_BARS: Sequence[State] = ("red", "unknown")


def judged(
    view: FeatureView, applying: Sequence[Finding], also: Sequence[tuple[Reach, Finding]]
) -> ViewReadiness:
    """How fresh a view can be.

    Args:
        view: the view.
        applying: the findings that apply to it: its own, its models', the project's.
        also: requirements of a level beyond its gates, as findings of that level.
    """
    blockers: list[Blocker] = []
    for level in REACHES[1:]:
        for_level = [f for f in applying if f.gate in _GATES.get(level, ())] + [
            f for at, f in also if at == level
        ]
        bars = sorted(
            (f for f in for_level if f.state in _BARS), key=lambda f: WORST.index(f.state)
        )
        blockers += [
            Blocker(level, f.state, f.check, f"{f.about}: {f.title}: {f.said}", f.remedy)
            for f in bars
        ]
    reachable, possible = _before(blockers, _BARS), _before(blockers, ("red",))
    return ViewReadiness(
        view.name,
        str(view.freshness),
        reachable,
        possible,
        blockers[0] if blockers else None,
        blockers,
    )


def ladders(findings: Sequence[Finding]) -> tuple[Ladder, Ladder]:
    """The two ladders. A rung without a check of its own is reached with the rung below it."""
    return _ladder("online", ONLINE, _RUNGS, findings), _ladder(
        "learning", LEARNING, _LEARNED, findings
    )


def nothing_to_read(view: FeatureView, why: Missing) -> Finding:
    """The finding that blocks even daily values: no history, or one that cannot be read."""
    remedy = "give the source history=, a table that can be read"
    return Finding(
        "E7",
        "O1",
        f"view {view.name}",
        "a history that can be read",
        "red",
        why,
        "yes",
        "no",
        remedy,
        {},
    )


def no_stream(view: FeatureView) -> Finding:
    """The finding that blocks streaming: the source has no stream."""
    why = Missing(f"source {view.source.name!r} has no stream=")
    remedy = (
        "publish its events as they happen, and set stream=: hw.kafka(topic), hw.push() or "
        "hw.appended(path)"
    )
    return Finding(
        "E1",
        "O3",
        f"view {view.name}",
        "a stream of the events",
        "red",
        why,
        "yes",
        "no",
        remedy,
        {},
    )


def _before(blockers: Sequence[Blocker], states: Sequence[State]) -> Reach:
    """The level before the first that has one of these states."""
    barred = next((REACHES.index(b.level) for b in blockers if b.state in states), len(REACHES))
    return REACHES[barred - 1]


def _ladder(
    name: str, rungs: Sequence[str], gates: Sequence[Sequence[Gate]], findings: Sequence[Finding]
) -> Ladder:
    barred = [[f for f in findings if f.gate in gate and f.state in _BARS] for gate in gates]
    reached = next((n for n, blockers in enumerate(barred) if blockers), len(rungs)) - 1
    possible = (
        next(
            (n for n, blockers in enumerate(barred) if any(f.state == "red" for f in blockers)),
            len(rungs),
        )
        - 1
    )
    bars = (
        sorted(barred[reached + 1], key=lambda f: WORST.index(f.state))
        if reached + 1 < len(rungs)
        else []
    )
    sentences = [f"{f.check} {f.about}: {f.title}: {f.state}" for f in bars]
    return Ladder("online" if name == "online" else "learning", rungs, reached, possible, sentences)
