"""Whether an experiment may be believed: checks that block its verdict. All together raise a false
alarm in at most 1 % of experiments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

from headwater.errors import DataError
from headwater.experiments.arm_moments import arm_moments, unit_lift
from headwater.experiments.exposed_units import ExposedUnits
from headwater.experiments.sample_ratio import sequential_sample_ratio_p
from headwater.journal.exposure_rows import ARM, AT

FALSE_ALARMS = 0.01
"""Of all checks together, for one experiment over all its looks."""
CHECKS = 7
"""That are tests: sample ratio, before exposure, fallback, age, outcomes seen, carry-over, and the
A/A test before the start. The others count what must not occur.
"""
LEAST_MATURED = 0.8
MOST_MOVED = MOST_COPIES = 0.01
MOST_BY_BOTS = 0.05
_FALLBACK_GAP = 0.01

Status = Literal["ok", "warning", "broken", "not checked"]


@dataclass(frozen=True)
class HealthCheck:
    """One check: its name, what was seen, and whether the verdict is blocked."""

    name: str
    status: Status
    evidence: str

    @property
    def blocks(self) -> bool:
        """Whether no verdict may be given."""
        return self.status == "broken"


def unit_checks(
    units: ExposedUnits,
    weights: Mapping[str, float],
    *,
    before: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    matured: float = 1.0,
    looks: int = 20,
) -> list[HealthCheck]:
    """The checks of an experiment that assigns unit by unit.

    Args:
        units: the exposed units.
        weights: the planned share of each arm, the control first.
        before: by metric, its values of the units of control and of treatment before their first
            exposure. Assignment cannot have changed them, so a difference means that units were not
            assigned at random.
        matured: the share of units whose outcome is known by the rule.
        looks: how many times checks that are not sequential may be made.

    Returns:
        One check each, in a fixed order.
    """
    level = FALSE_ALARMS / CHECKS
    return [
        _sample_ratio(units, weights, level),
        _before_exposure(before, level / looks),
        _moved(units),
        _copies(units),
        _bots(units),
        _share_by_arm(
            units, list(weights), "fallbacks", "fallback", "answers that fell back", level / looks
        ),
        _share_by_arm(
            units, list(weights), "stale", "age", "answers older than promised", level / looks
        ),
        _matured(matured),
    ]


def _sample_ratio(units: ExposedUnits, weights: Mapping[str, float], level: float) -> HealthCheck:
    arms = list(weights)
    unknown = sorted(set(units.frame[ARM].unique()) - set(arms))
    if unknown:
        return HealthCheck(
            "sample ratio",
            "broken",
            f"units were exposed to {unknown[0]!r}, which is not an arm of the plan",
        )
    if not units.frame.height:
        return HealthCheck("sample ratio", "not checked", "no unit was exposed yet")
    by_day = (
        units.frame.group_by(pl.col(AT).dt.truncate("1d"), ARM)
        .len()
        .pivot(ARM, index=AT, values="len")
        .sort(AT)
        .fill_null(0)
    )
    counts = np.stack(
        [
            by_day[arm].to_numpy() if arm in by_day.columns else np.zeros(by_day.height)
            for arm in arms
        ],
        axis=1,
    )
    p = sequential_sample_ratio_p(np.cumsum(counts, axis=0).tolist(), list(weights.values()))
    seen = ", ".join(
        f"{arm} {count:,}" for arm, count in zip(arms, units.counts(arms), strict=True)
    )
    planned = ", ".join(f"{weight:.0%}" for weight in weights.values())
    return HealthCheck(
        "sample ratio", "broken" if p < level else "ok", f"{seen}; planned {planned}; p {p:.2g}"
    )


def _difference_p(control: NDArray[np.float64], treated: NDArray[np.float64]) -> float:
    if min(np.ptp(control), np.ptp(treated)) > 0:
        return float(stats.ttest_ind(control, treated, equal_var=False).pvalue)
    if np.ptp(np.concatenate([control, treated])) == 0:
        return 1.0
    # An arm whose values are all one has no variance for Welch's test: ranks decide.
    return float(stats.mannwhitneyu(control, treated).pvalue)


def _before_exposure(
    before: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None, level: float
) -> HealthCheck:
    if not before:
        return HealthCheck(
            "before exposure", "not checked", "no metric has a history before the first exposure"
        )
    lowest, named = 1.0, ""
    for name, pair in before.items():
        arms = [np.asarray(values, float) for values in pair]
        try:
            p = unit_lift(*map(arm_moments, arms)).p_value
        except DataError:
            if min(map(len, arms)) < 2:
                continue
            p = _difference_p(*arms)
        if p < lowest:
            lowest, named = p, name
    corrected = min(lowest * len(before), 1.0)
    evidence = f"{len(before)} metrics before the first exposure; least p {corrected:.2g}" + (
        f" ({named})" if named else ""
    )
    return HealthCheck("before exposure", "broken" if corrected < level else "ok", evidence)


def _moved(units: ExposedUnits) -> HealthCheck:
    share = units.moved / max(units.frame.height, 1)
    evidence = f"{units.moved:,} of {units.frame.height:,} units were exposed to more than one arm"
    return HealthCheck("assignment", "broken" if share > MOST_MOVED else "ok", evidence)


def _copies(units: ExposedUnits) -> HealthCheck:
    share = units.copies / max(units.exposures, 1)
    evidence = (
        f"{units.copies:,} of {units.exposures:,} exposures repeat a request; each counts once"
    )
    return HealthCheck("duplicates", "broken" if share > MOST_COPIES else "ok", evidence)


def _bots(units: ExposedUnits) -> HealthCheck:
    share = units.by_bots / max(units.exposures, 1)
    evidence = (
        f"{units.bots:,} units that no person is behind made {share:.1%} of the requests; they "
        "are left out of all arms"
    )
    return HealthCheck("bots", "broken" if share > MOST_BY_BOTS else "ok", evidence)


def _share_by_arm(
    units: ExposedUnits, arms: Sequence[str], column: str, name: str, words: str, level: float
) -> HealthCheck:
    """Whether an arm has more such answers than the control, over units, by more than one in a
    hundred.
    """
    rates = {}
    for arm in arms:
        of_arm = units.frame.filter(pl.col(ARM) == arm)
        if of_arm.height < 2:
            return HealthCheck(name, "not checked", f"arm {arm!r} has {of_arm.height} units")
        rates[arm] = (of_arm[column] / of_arm["exposures"]).to_numpy()
    control, *others = arms
    broken = False
    for arm in others:
        gap = float(rates[arm].mean() - rates[control].mean())
        se = float(
            np.sqrt(
                rates[arm].var(ddof=1) / len(rates[arm])
                + rates[control].var(ddof=1) / len(rates[control])
            )
        )
        broken |= abs(gap) > _FALLBACK_GAP and (
            se == 0 or 2 * stats.norm.sf((abs(gap) - _FALLBACK_GAP) / se) < level / len(others)
        )
    evidence = f"{words}: " + ", ".join(
        f"{arm} {float(rate.mean()):.1%}" for arm, rate in rates.items()
    )
    return HealthCheck(name, "broken" if broken else "ok", evidence)


def _matured(share: float) -> HealthCheck:
    evidence = (
        f"{share:.0%} of the units have an outcome that is final; units without one are left out "
        "of both arms"
    )
    return HealthCheck("matured outcomes", "broken" if share < LEAST_MATURED else "ok", evidence)
