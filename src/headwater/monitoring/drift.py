"""hw.operations.drift: how far the features of served requests are from the training features, by
the population stability index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
from msgspec.structs import replace

from headwater import clock, settings
from headwater.definitions.checks import parse_timestamp, timestamp_text
from headwater.definitions.level import AS_DEFINED
from headwater.definitions.model import Model
from headwater.definitions.project import checked_call
from headwater.errors import UsageError
from headwater.models.promises import delivery_of
from headwater.models.reference_distribution import ReferenceDistribution
from headwater.models.registry import ModelRegistry
from headwater.monitoring.population_stability import dispersion, stability
from headwater.monitoring.served_distributions import (
    ServedFeatureDay,
    ServedPeriod,
    served_distributions,
    served_expectations,
)
from headwater.pages import drift_words
from headwater.pages.paged import Paged
from headwater.results.drift_result import DriftDay, DriftResult, DriftState, FeatureDrift

LEVEL: Final = 0.01
"""The probability that a day on which nothing changed has a feature above its limit."""
_DAY: Final = 86_400_000_000
_USUAL: Final = 14  # days
_ORDER: Final = ("alert", "shifted", "no shift shown", "not compared")


@dataclass(frozen=True, repr=False)
class Drift(Paged):
    """Served features next to training features. It prints as a table in a terminal and in a
    notebook; `result` holds every number.
    """

    page_module = "drift_page"
    result: DriftResult


@checked_call
def drift(
    model: Model,
    level: str | None = None,
    *,
    data_dir: str | Path | None = None,
    models: str | Path | None = None,
    since: str | datetime | None = None,
    at: str | datetime | None = None,
) -> Drift:
    """Compare the features of served requests, by day, with the features that the served version
    was trained on.

    `.result` is a `DriftResult`: for each feature its bins, their shares in training and on each
    day, the index and its limit, nulls and statuses. A feature has shifted on a day where its index
    is above what chance explains (`monitoring.population_stability`) and 0.1 or more beyond it.
    That alone is information: it is an alert only where production delivers less than promised
    (`hw.operations.watch`), or where the shares of the feature's statuses changed too. The state is
    that of the latest whole day, UTC.

    Args:
        model: which model.
        level: the name of the level that it is served at; None is as its views define.
        data_dir: the folder of the serving log; None is headwater's home.
        models: the folder of fitted models; None is `models` in headwater's home.
        since: requests from then on, tz-aware or ISO 8601 with an offset; None is 14 days before
            `at`.
        at: requests before then; None is now.

    Raises:
        UsageError: something else than a model, or a period that is empty.
        DataError: no fitted version, or nothing was served.
    """
    until = parse_timestamp(at or clock.now(), "at")
    first = (
        until // _DAY * _DAY - _USUAL * _DAY if since is None else parse_timestamp(since, "since")
    )
    if first >= until:
        raise UsageError(
            f"since is {timestamp_text(first)}, and at is {timestamp_text(until)}; give an "
            "earlier since"
        )
    name, registry = level or AS_DEFINED, ModelRegistry(models)
    version = registry.current(model.name, name)
    references = version.manifest.references
    delivery = delivery_of(registry, model.name, name)
    loss = delivery.first_line if delivery is not None and delivery.withdrawn else ""
    period = ServedPeriod(model, name, first, until)
    folder = settings.home() if data_dir is None else Path(data_dir)
    features = [
        _compared(feature, references[feature], days, until, loss, LEVEL / (2 * len(references)))
        for feature, days in served_distributions(period, references, folder)
    ]
    whole = ServedPeriod(model, name, first, until // _DAY * _DAY)  # today is not over
    expectations = served_expectations(whole, folder) if first < whole.until else []
    lacking = [
        FeatureDrift(f, "not compared", "its training kept no distribution")
        for f in version.manifest.features
        if f not in references
    ]
    result = DriftResult(
        model=model.name,
        level=name,
        version=str(version.number),
        trained_until=version.manifest.until,
        features=sorted(
            [*features, *lacking], key=lambda f: (_ORDER.index(f.state), -_distance(f), f.feature)
        ),
        loss=loss,
        level_of_error=LEVEL,
        checked_at=timestamp_text(until),
        first_line="",
        expectations=expectations,
    )
    return Drift(replace(result, first_line=drift_words.first_line(result)))


def _compared(
    feature: str,
    reference: ReferenceDistribution,
    served: Sequence[ServedFeatureDay] | None,
    until: int,
    loss: str,
    level: float,
) -> FeatureDrift:
    drift = FeatureDrift(
        feature,
        "not compared",
        "it was not served in this period",
        bins=reference.labels,
        reference=reference.shares,
        reference_rows=reference.rows,
        reference_statuses=reference.statuses,
    )
    today = timestamp_text(until)[:10] if until % _DAY else ""
    # a day that is not over has other hours than the others
    whole = [day for day in served or () if day.day != today] or served
    if not whole:
        return drift
    if not reference.rows:
        return replace(drift, reason="its training had no rows")
    names = sorted({*reference.statuses, *(name for day in whole for name in day.statuses)})
    statuses = [np.array([day.statuses.get(name, 0.0) for name in names]) for day in whole]
    of_values = dispersion([(day.shares, day.independent) for day in whole])
    of_statuses = dispersion(
        [(shares, day.independent) for shares, day in zip(statuses, whole, strict=True)]
    )
    days = []
    for day, shares in zip(whole, statuses, strict=True):
        n, m = day.independent, reference.rows
        values = stability(
            day.shares, n, np.array(reference.shares), m, level=level, dispersion=of_values
        )
        drift_day = DriftDay(
            day.day,
            day.rows,
            day.weight,
            day.shares.tolist(),
            values.psi,
            values.by_chance,
            values.limit,
            values.shifted,
            day.statuses,
        )
        if reference.statuses:
            trained = np.array([reference.statuses.get(name, 0.0) for name in names])
            of_day = stability(shares, n, trained, m, level=level, dispersion=of_statuses)
            drift_day = replace(
                drift_day,
                status_psi=of_day.psi,
                status_limit=of_day.limit,
                status_shifted=of_day.shifted,
            )
        days.append(drift_day)
    return _judged(drift, days, loss)


def _judged(drift: FeatureDrift, days: Sequence[DriftDay], loss: str) -> FeatureDrift:
    """The feature with the state of its latest day."""
    latest = days[-1]
    causes = [
        *(["its status shares changed"] if latest.status_shifted else []),
        *(["the promise of the backtest was missed"] if loss else []),
    ]
    state: DriftState = "no shift shown" if not latest.shifted else "alert" if causes else "shifted"
    return replace(
        drift, state=state, reason=" and ".join(causes) if state == "alert" else "", days=days
    )


def _distance(feature: FeatureDrift) -> float:
    return feature.days[-1].psi - feature.days[-1].by_chance if feature.days else 0.0
