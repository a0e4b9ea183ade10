"""The result of an interleaving's analysis: which ranking clicks prefer, and never by how much."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from headwater.definitions.checks import timestamp_text
from headwater.errors import DataError
from headwater.experiments.experiment_analysis import ExperimentAnalysis
from headwater.experiments.experiment_result_rows import changes_of
from headwater.experiments.interleaving_analysis import preferred
from headwater.experiments.request_labels import LabelsOf
from headwater.models.experiment_store import FrozenPlan, StartedExperiment
from headwater.results.estimate import Estimate
from headwater.results.experiment_result import (
    UNKNOWN,
    ArmResult,
    ExperimentDecision,
    ExperimentResult,
    HealthLine,
    Preferred,
)

if TYPE_CHECKING:
    import polars as pl


def interleaved(
    project: str,
    started: StartedExperiment,
    items: pl.DataFrame,
    labels: Mapping[str, LabelsOf],
    at: int,
) -> ExperimentAnalysis:
    """The analysis of an interleaving, which says which ranking is preferred and never by how
    much.
    """
    plan, left_out = started.plan, Counter[str]()
    control, arm = (planned.name for planned in plan.arms)
    share, units, p, lists, note = UNKNOWN, 0, math.nan, 0, "no list was shown yet"
    if items.height:
        try:
            preference, lists = preferred(items, labels[control], left_out)
            share, units, p, note = (
                Estimate(preference.share, *preference.interval(1 - plan.alpha)),
                preference.units,
                preference.p_value,
                "",
            )
        except DataError as error:
            note = str(error)
    ended = at >= min(plan.end, started.stopped_at if started.stopped_at is not None else plan.end)
    prefer = "" if not p < plan.alpha else arm if share.value > 0.5 else control
    decision: ExperimentDecision = "inconclusive" if ended else "keep running"
    reason = note or "the planned time is not over; a preference is read once, at the end"
    if ended and not note:
        decision = "real-time" if prefer == arm else "harm" if prefer == control else "inconclusive"
        reason = f"clicks prefer {prefer}" if prefer else "no preference is shown"
    line = {
        "real-time": f"Real-time: clicks prefer {arm}",
        "harm": f"Harm: clicks prefer {control}, the control",
        "inconclusive": f"Inconclusive: {reason}",
    }.get(decision, f"Keep running: {reason}")
    result = ExperimentResult(
        project=project,
        experiment=plan.experiment,
        version=plan.version,
        kind=plan.kind,
        unit=plan.unit,
        at=timestamp_text(at),
        data_at=timestamp_text(at),
        decision=decision,
        arm=prefer if prefer == arm else "",
        reason=reason,
        rule=(
            f"The share of users whose clicks prefer {arm} is tested once, at the end, at "
            f"{plan.alpha:.0%}. It says which ranking is preferred, never by how much."
        ),
        first_line=f"{line}.",
        look=1 if ended and not note else 0,
        looks=1,
        information=[1.0] if ended and not note else [],
        arms=[
            ArmResult(
                a.name,
                a.model,
                a.level,
                a.weight,
                a.version,
                a.trained_level or a.level,
                a.allow_staler,
                units,
                units,
            )
            for a in plan.arms
        ],
        metrics=[],
        axis=[],
        break_even=0.0,
        break_even_from="an interleaving does not say how much",
        money=[],
        health=[
            HealthLine(
                "lists", "ok" if lists else "not checked", f"{lists:,} lists whose clicks are final"
            )
        ],
        slices=[],
        preference=Preferred(arm, share, units, p),
        plan=msgspec.to_builtins(plan),
        digest=plan.digest,
        changes=changes_of(started),
        left_out={reason: count for reason, count in left_out.items() if count},
        advice=_advice(plan, control) if decision == "inconclusive" else "",
    )
    return ExperimentAnalysis(result, items)


def _advice(plan: FrozenPlan, control: str) -> str:
    again = (
        f"version={plan.version + 1}, with more time or users (headwater experiment plan "
        f"{plan.experiment})"
    )
    return (
        f"Neither ranking is shown to be preferred. Keep {control} until then. To go on, give the "
        f"experiment {again}."
    )
