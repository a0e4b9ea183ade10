"""How far served features are from those of training, day by day, as plain frozen values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

from headwater.results.expectation_result import ExpectationCheck
from headwater.results.result import Result

DriftState = Literal["alert", "shifted", "no shift shown", "not compared"]


class DriftDay(Result, frozen=True):
    """One day, UTC, of one feature.

    Attributes:
        day: a date.
        rows: logged rows with the feature. weight: how many they stand for: the sum of 1 over the
            log's sample rate.
        shares: of the bins, in the order of the feature's `bins`; the last is the share of nulls.
        psi: population stability index against training. by_chance: its mean if nothing changed.
            limit: what it then rarely exceeds.
        shifted: whether it is above the limit, and 0.1 or more beyond chance.
        statuses: the share of each status. status_psi, status_limit: the same of them; NaN where
            training kept none.
        status_shifted: as `shifted`, of the statuses.
    """

    day: str
    rows: int
    weight: float
    shares: Sequence[float]
    psi: float
    by_chance: float
    limit: float
    shifted: bool
    statuses: Mapping[str, float] = {}
    status_psi: float = math.nan
    status_limit: float = math.nan
    status_shifted: bool = False

    @property
    def null_share(self) -> float:
        """The share of rows in which the feature is null."""
        return self.shares[-1]


class FeatureDrift(Result, frozen=True):
    """One feature: its distribution in training, and on each served day.

    Attributes:
        feature: its name.
        state: of the latest day: "alert" where it shifted and either production delivers less than
            promised or its status shares changed, "shifted" without either, "no shift shown", or
            "not compared".
        reason: why it is not compared, or what makes it an alert; empty elsewhere.
        bins: the bins in words. reference: their shares in training. reference_rows: how many
            independent rows these are.
        reference_statuses: the share of each status in training; empty where training kept none.
        days: from early to late.
    """

    feature: str
    state: DriftState
    reason: str = ""
    bins: Sequence[str] = ()
    reference: Sequence[float] = ()
    reference_rows: float = 0.0
    reference_statuses: Mapping[str, float] = {}
    days: Sequence[DriftDay] = ()

    @property
    def since(self) -> str:
        """The first of the latest days that all shifted; empty where the latest did not."""
        since = ""
        for day in reversed(self.days):
            if not day.shifted:
                break
            since = day.day
        return since


class DriftResult(Result, frozen=True, tag="drift"):
    """Served features compared with the features that the served version was trained on.

    Attributes:
        model: its name. level: the name under which it is served. version: whose training is
            compared, by number.
        trained_until: the end of its training data, ISO 8601.
        features: those with an alert first, then those that shifted, each by their distance.
        expectations: what came of those of the views that the model reads.
        loss: why production delivers less than promised, as `watch` found it; empty where no loss
            is shown.
        level_of_error: the probability that any feature of a day is above its limit, or its
            statuses, where nothing changed.
        checked_at: ISO 8601, UTC. first_line: the result in a sentence.
    """

    model: str
    level: str
    version: str
    trained_until: str
    features: Sequence[FeatureDrift]
    loss: str
    level_of_error: float
    checked_at: str
    first_line: str
    expectations: Sequence[ExpectationCheck] = ()

    @property
    def broken(self) -> Sequence[ExpectationCheck]:
        """The expectations that the latest whole day breaks."""
        return [
            check
            for check in self.expectations
            if check.broken_days and check.broken_days[-1] == check.last_day
        ]

    @property
    def alerts(self) -> Sequence[FeatureDrift]:
        """The features with an alert."""
        return [feature for feature in self.features if feature.state == "alert"]

    @property
    def shifted(self) -> Sequence[FeatureDrift]:
        """The features that moved, those with an alert included."""
        return [feature for feature in self.features if feature.state in ("alert", "shifted")]

    @property
    def compared(self) -> Sequence[FeatureDrift]:
        """The features that are compared."""
        return [feature for feature in self.features if feature.state != "not compared"]

    @property
    def figures(self) -> Mapping[str, float]:
        """How many features are compared, moved and alert."""
        counts = {
            "features compared": self.compared,
            "features shifted": self.shifted,
            "alerts": self.alerts,
        }
        return {name: float(len(features)) for name, features in counts.items()}
