"""The risks that remain after a verdict, in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

from headwater.assessing.request_time import lost_at, over_budget
from headwater.definitions.model import Model
from headwater.reports import audit_words
from headwater.reports.wording import survivors
from headwater.results.assessment_parts import AtRequest, Network
from headwater.results.audit_result import acknowledgement_note
from headwater.results.decision_result import Decision, Evidence
from headwater.results.lift_result import Lift
from headwater.results.measurement import Missing, duration


def risks(
    evidence: Evidence,
    decision: Decision,
    features: Sequence[AtRequest],
    effects: Network,
    model: Model,
) -> list[str]:
    """The risks, the most serious first."""
    sentences = [] if isinstance(evidence.lift, Missing) else _of_lift(evidence.lift)
    sentences += [f"{_first(item.why)} ({item.effect}, as answered)." for item in effects.effects]
    if effects.unanswered:
        sentences.append(
            f"Network effects are not ruled out: {len(effects.unanswered)} of 3 questions are not "
            "answered."
        )
    sentences += [line for item in features for line in _of_feature(item, model)]
    if not isinstance(evidence.readiness, Missing) and (
        unknown := evidence.readiness.counts()["unknown"]
    ):
        sentences.append(f"{unknown} readiness checks are unknown; each may turn out red.")
    if isinstance(evidence.cost, Missing):
        sentences.append(f"The cost is not known: {evidence.cost.reason}.")
    elif lacks := [
        f"{way.name} needs {', '.join(way.lacks)}" for way in evidence.cost.ways if way.lacks
    ]:
        sentences.append(f"The cost is only partly known: {'; '.join(lacks)}.")
    if decision.views and not decision.attributed and len(decision.views) > 1:
        sentences.append("Without an attribution, the plan may make views fresh that gain nothing.")
    return sentences


def _of_lift(lift: Lift) -> list[str]:
    result = lift.backtest
    audit = result.audit
    lines = (
        *audit_words.blocking(audit),
        *audit_words.conditions(audit),
        *audit_words.further_questions(audit),
        acknowledgement_note(audit),
    )
    warned = [f"Audit: {line}" for line in lines if line]
    untrained_features = result.not_in_training
    untrained = (
        [f"Not in training, so not part of the lift: {', '.join(untrained_features)}."]
        if untrained_features
        else []
    )
    cold = survivors(result)
    return [*warned, *result.answered, *untrained, *([cold] if cold else []), *result.assumptions]


def _of_feature(feature: AtRequest, model: Model) -> list[str]:
    sentences = []
    share = lost_at(feature)
    if math.isfinite(share):
        sentences.append(
            f"If {share:.0%} of the calls of {feature.name} time out, the lift stops being a LIFT."
        )
    if over_budget(feature, model) and not isinstance(feature.p99, Missing):
        sentences.append(
            f"{feature.name} takes {duration(feature.p99.value)} at p99, more than the whole "
            f"latency budget of {model.latency_budget}."
        )
    return sentences


def _first(text: str) -> str:
    return text[:1].upper() + text[1:]
