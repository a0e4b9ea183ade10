"""Drift of a feature against training, for each model that reads it; compared in the background,
since it reads the serving log.
"""

from __future__ import annotations

from typing import Final

import msgspec

from headwater.console.console_context import ConsoleContext
from headwater.definitions.model import Model
from headwater.monitoring.drift import drift

_EVERY: Final = 3600.0  # seconds


class ShownDrift(msgspec.Struct, frozen=True):
    """The latest day of a feature as `FeatureDrift` has it: state, index and limit; since: the
    first of the days that all shifted.
    """

    state: str
    reason: str
    day: str = ""
    psi: float | None = None
    limit: float | None = None
    since: str = ""


class ModelDrift(msgspec.Struct, frozen=True):
    """The drift of a feature as one model reads it. shown: None while it is compared for the first
    time. problem: why it could not be.
    """

    model: str
    shown: ShownDrift | None
    problem: str = ""


def drift_of(context: ConsoleContext, feature: str, models: list[Model]) -> list[ModelDrift]:
    """The drift of a feature in some models at their defined freshness."""
    drifts = []
    for model in models:
        name = f"drift of {model.name}"
        summary = context.summaries.latest(
            name,
            dict[str, ShownDrift],
            lambda model=model: _features(context, model),  # type: ignore[misc]
            seconds=_EVERY,
        )
        absent = (
            ""
            if summary.value is None or feature in summary.value
            else "the served version was trained without it"
        )
        drifts.append(
            ModelDrift(model.name, (summary.value or {}).get(feature), summary.error or absent)
        )
    return drifts


def _features(context: ConsoleContext, model: Model) -> dict[str, ShownDrift]:
    result = drift(model, data_dir=context.data_dir, models=context.models).result
    shown = {}
    for feature in result.features:
        last = feature.days[-1] if feature.days else None
        day, psi, limit = ("", None, None) if last is None else (last.day, last.psi, last.limit)
        shown[feature.feature] = ShownDrift(
            feature.state, feature.reason, day, psi, limit, feature.since
        )
    return shown
