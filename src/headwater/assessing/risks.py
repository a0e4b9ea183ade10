"""The risks that remain after a verdict, in sentences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

from headwater.assessing.request_time import lost_at, over_budget
from headwater.definitions.model import Model
from headwater.results.assessment_parts import AtRequest, Network
from headwater.results.decision_result import Decision, Evidence
from headwater.results.lift_result import Lift
from headwater.results.measurement import Missing, duration


def risks(found: Evidence, made: Decision, asked: Sequence[AtRequest], effects: Network, model: Model) -> list[str]:
    """The risks, the most serious first."""
    said = [] if isinstance(found.lift, Missing) else _of_lift(found.lift)
    said += [f"{_first(one.why)}: {one.effect} ({one.known}, {one.sign})." for one in effects.effects]
    said += [line for one in asked for line in _of_feature(one, model)]
    if not isinstance(found.readiness, Missing) and (unknown := found.readiness.counts()["unknown"]):
        said.append(f"{unknown} readiness checks are unknown; each may turn out red.")
    if isinstance(found.cost, Missing):
        said.append(f"The cost is not known: {found.cost.reason}.")
    elif lacks := [f"{way.name} needs {', '.join(way.lacks)}" for way in found.cost.ways if way.lacks]:
        said.append(f"The cost is only partly known: {'; '.join(lacks)}.")
    if made.views and not made.attributed and len(made.views) > 1:
        said.append("There is no attribution, so the plan may make views fresh that gain nothing.")
    return said


def _of_lift(lift: Lift) -> list[str]:
    warned = [
        f"Leak audit, {one['severity']}: {one['subject']}: {one['message']}"
        for one in cast("Sequence[Mapping[str, object]]", lift.said["leak_audit"])
        if one["severity"] != "ok"
    ]
    left = cast("Sequence[str]", lift.said.get("not_in_training") or [])
    untrained = [f"Not in training, so not part of the lift: {', '.join(left)}."] if left else []
    return [*warned, *untrained, *cast("Sequence[str]", lift.said.get("assumptions") or [])]


def _of_feature(one: AtRequest, model: Model) -> list[str]:
    said = []
    share = lost_at(one)
    if math.isfinite(share):
        said.append(f"If {share:.0%} of the calls of {one.name} time out, the lift is no longer a LIFT.")
    if over_budget(one, model) and not isinstance(one.p99, Missing):
        said.append(f"{one.name} takes {duration(one.p99.value)} at p99, more than the whole latency budget of {model.latency_budget}.")
    return said


def _first(text: str) -> str:
    return text[:1].upper() + text[1:]
