"""Drift in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.definitions.level import at_level
from headwater.pages import wording
from headwater.results.drift_result import DriftResult, FeatureDrift

RULE = (
    "The population stability index (PSI) compares the shares of bins with those of training. A "
    "feature shifted where it is above what chance explains for this many rows, and 0.1 or more "
    "beyond it. A shift alone is information: it is an alert only where production delivers less "
    "than promised, or the shares of the feature's statuses changed too."
)
_NAMED = 3


def first_line(result: DriftResult) -> str:
    """The result in a sentence."""
    compared, at = result.compared, at_level(result.model, result.level)
    if not compared:
        reasons = {feature.reason for feature in result.features}
        if reasons == {"its training kept no distribution"}:
            return (
                f"Nothing compared: version {result.version} of {at} was trained before "
                "distributions were kept; train it again."
            )
        return f"Nothing compared: no feature of {at} was served in this period."
    day = max(feature.days[-1].day for feature in compared)
    if result.alerts:
        causes = dict.fromkeys(feature.reason for feature in result.alerts)
        return (
            f"Alert: {_counted(result.alerts, compared)} of {at} moved away from training. By "
            f"{day} {_named(result.alerts)}: {'; '.join(causes)}."
        )
    if result.shifted:
        loss = "without a loss or a change of statuses"
        return (
            f"No alert: {_counted(result.shifted, compared)} of {at} moved away from training, "
            f"{loss}. By {day} {_named(result.shifted)}."
        )
    return (
        f"No shift shown: by {day} none of {len(compared)} features of {at} is further from "
        "training than chance explains."
    )


def status_line(result: DriftResult) -> str:
    """One line for `headwater status`."""
    return (
        f"drift of {at_level(result.model, result.level)}, checked {result.checked_at[:10]}: "
        f"{result.first_line}"
    )


def moved_most(feature: FeatureDrift) -> str:
    """The bin whose share changed most, with its share in training and on the latest day."""
    now = feature.days[-1].shares
    at = max(range(len(now)), key=lambda bin_: abs(now[bin_] - feature.reference[bin_]))
    return f"{feature.bins[at]}: {feature.reference[at]:.1%} {wording.ARROW} {now[at]:.1%}"


def statuses(feature: FeatureDrift) -> str:
    """The status whose share grew most, likewise."""
    now, then = feature.days[-1].statuses, feature.reference_statuses
    name = max({*now, *then}, key=lambda status: (now.get(status, 0) - then.get(status, 0), status))
    return f"{name}: {then.get(name, 0):.1%} {wording.ARROW} {now.get(name, 0):.1%}"


def details(feature: FeatureDrift) -> list[str]:
    """What moved most, a line each."""
    moved = [f"{feature.feature}, {moved_most(feature)}"]
    return (
        [*moved, f"{feature.feature}, status {statuses(feature)}"]
        if feature.days[-1].status_shifted
        else moved
    )


def _counted(features: Sequence[FeatureDrift], every: Sequence[FeatureDrift]) -> str:
    return f"{len(features)} of {len(every)} features"


def _named(features: Sequence[FeatureDrift]) -> str:
    listed = [_feature(feature) for feature in features]
    more = f" and {len(listed) - _NAMED} more" if len(listed) > _NAMED else ""
    return ", ".join(listed[:_NAMED]) + more


def _feature(feature: FeatureDrift) -> str:
    return f"{feature.feature} (PSI {wording.number(feature.days[-1].psi, 2)})"
