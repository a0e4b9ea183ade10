"""How a model is judged: written once, in the project, and read by backtest, attribution and
assess.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Protocol

from headwater.definitions.acknowledged import Acknowledgement
from headwater.definitions.checks import (
    check,
    check_integer,
    check_list,
    check_number,
    check_text,
    check_type,
)
from headwater.definitions.decision_value import DecisionValue
from headwater.definitions.definition import Definition
from headwater.definitions.durations import Duration, micros
from headwater.definitions.feature_view import FeatureView
from headwater.definitions.fit_options import Refits, Tuning, as_refits, as_tuning
from headwater.definitions.rolling import Rolling
from headwater.errors import UsageError

if TYPE_CHECKING:
    import polars as pl


class NamedMetric(Protocol):
    """A metric of a project's own, as `hw.evaluation.metric(name, function)` makes it."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def higher_is_better(self) -> bool:
        """Its direction."""
        ...


BLOCK_LENGTHS: Mapping[str, str] = {"auto": "1d", "hour": "1h", "day": "1d", "week": "7d"}
"""Lengths of blocks by name; "auto" begins with the length that is tried first."""


def is_column(blocks: object) -> bool:
    """Whether `Evaluation(blocks=)` names a column of the labels, and no length of time.

    >>> is_column("user"), is_column("7d"), is_column("day")
    (True, False, False)
    """
    return (
        isinstance(blocks, str)
        and blocks not in BLOCK_LENGTHS
        and re.fullmatch(r"\s*\d+\s*[a-z]+\s*", blocks) is None
    )


def block_length(blocks: Duration) -> int:
    """The length of blocks of time in microseconds."""
    named = BLOCK_LENGTHS.get(blocks, blocks) if isinstance(blocks, str) else blocks
    return micros(named, "Evaluation: blocks")


@dataclass(frozen=True, eq=False)
class Evaluation(Definition):
    """How a model is judged: one value for `backtest`, `attribution` and `assess`, or for the
    project and thereby for the command line.

    Args:
        split: rows train if they asked, and their outcome was known, before it (ISO 8601 with an
            offset, or a tz-aware datetime). `rolling(start, every=, folds=)` splits several times,
            and retrains each time. None: three quarters of the requests train.
        slices: parts of the test rows, by name: polars expressions over the labels' columns.
        metrics: names such as "auc", "precision@1%" or "ndcg@10", and metrics of your own
            (`metric(name, function)`); the task's usual ones where None. The headline metric is the
            task's, or the first where that is not among them.
        costs: of a binary task, what a "false_positive" and a "false_negative" cost
            ("true_positive" and "true_negative" too, if they do): numbers, columns of the labels,
            or polars expressions over them. Adds the metric "cost", per 1,000 requests.
        min_lift: the least lift worth having, of the headline metric or by metric. `value` replaces
            it where the cost is known.
        headline: the metric that the recommendation is made on, such as "average_precision"; it is
            evaluated whether `metrics` names it or not. None: that of `value` if given, else the
            task's, or the first of `metrics` where that is not among them.
        baseline: the name of the level that serves today. Each fresher level is judged against it.
            None: nothing serves, and the stalest level takes its place.
        value: what a prediction is worth to those who act on it, of a binary task. Its metric, the
            precision among the share that is acted on, becomes the headline.
        refits: how often each level is trained again, on random halves of the training days: a
            number, or `Refits(days=, seeds=)`. Intervals then cover the training procedure on later
            periods; those of the fitted models are given separately. 0 (or 1) trains each level
            once, and intervals cover the fitted models only. None: as `Refits()` in a backtest, 0
            in an attribution, which trains many sets.
        tune: how many settings are tried at each level, or `Tuning(trials=, space=)`; the same
            trials for every level.
        cold_start: a request is cold if its key had fewer than so many events in the 30 days before
            it. The key is that of the view with the most keys; (view, n) names another.
        blocks: the unit of resampling for intervals, since rows of one block depend on one another:
            "day", "hour", "week", another length such as "3d", or a column of the labels, such as a
            session or a user. "auto" takes days, or longer blocks where differences between levels
            are correlated from day to day; hours where there are fewer than 8 days. With fewer than
            8 days (or longer blocks) of test rows, for any unit, an interval holds on these days
            only, and no step is a LIFT. Nor where "auto" finds that even the longest blocks are
            correlated. Intervals over blocks of time allow for dependence between them.
        ages: ages of each view's features at which its lift is evaluated, such as ("1m", "1h",
            "1d"); a model is trained at each and one without the view. Empty: no curves.
        offset_curves: names of sources whose events are placed later (by the offset that the audit
            found, an hour, a day), or "flagged" for those that the audit flagged; a model is
            trained at each offset and one without the source. It illustrates a finding, and never
            replaces one. Empty: no curves.
        resamples: block-bootstrap resamples behind each interval.
        seed: of the resamples, the estimator and the trials.
        timeouts: shares of calls at which an assessment lets each feature of the request time out;
            empty leaves it out.
        attribute: whether an assessment finds out which views earn, if a step is a LIFT.
        acknowledged: answers to questions of the audit, each an `Acknowledgement`.
        adversaries: whether people change their behaviour because of the predictions, as attackers
            do. None: not answered.
        delay_by_outcome: whether one outcome becomes known later than the other, as a fraud does by
            a chargeback. None: not answered. No backtest sees either of these; the answers are on
            every page, and an assessment plans the experiment by the first.

    Operating thresholds (of "precision", "recall" and "cost") are chosen on training rows that a
    model did not learn from: one more fit a level, on the earlier three quarters of them.

    Raises:
        UsageError: a value that cannot be.

    >>> Evaluation(split="2024-05-01T00:00Z", metrics=["auc", "precision@1%"], refits=3)
    Evaluation('2024-05-01T00:00Z', metrics=['auc', 'precision@1%'], refits=3)
    """

    split: str | datetime | Rolling | None = None
    slices: Mapping[str, pl.Expr] | None = None
    metrics: Sequence[str | NamedMetric] | None = None
    costs: Mapping[str, float | str | pl.Expr] | None = None
    min_lift: Mapping[str, float] | float | None = None
    headline: str | None = None
    baseline: str | None = None
    value: DecisionValue | None = None
    refits: int | Refits | None = None
    tune: int | Tuning | None = None
    cold_start: int | tuple[FeatureView, int] = 10
    blocks: Duration = "auto"
    ages: Sequence[Duration] = ()
    offset_curves: Literal["flagged"] | Sequence[str] = ()
    resamples: int = 2000
    seed: int = 0
    timeouts: Sequence[float] = (0.0, 0.01, 0.05, 0.2)
    attribute: bool = True
    acknowledged: Sequence[Acknowledgement] = field(default=(), metadata={"fingerprint": "given"})
    adversaries: bool | None = field(default=None, metadata={"fingerprint": "given"})
    delay_by_outcome: bool | None = field(default=None, metadata={"fingerprint": "given"})

    def __post_init__(self) -> None:
        as_refits(self.refits)
        if self.baseline is not None:
            check_text(
                self.baseline,
                "Evaluation: baseline",
                "the name of the level that serves today, such as 'daily'",
                UsageError,
            )
        worth = "hw.DecisionValue(volume=, acted_on=, hit=, false_alarm=)"
        check_type(self.value, DecisionValue | None, "Evaluation: value", worth, UsageError)
        as_tuning(self.tune)
        _check_cold_start(self.cold_start)
        _check_offset_curves(self.offset_curves)
        for age in check_list(
            self.ages,
            object,
            "Evaluation: ages",
            "a list of ages, such as ['1m', '1h', '1d']",
            error=UsageError,
        ):
            micros(age, "Evaluation: an item of ages")
        lasting = self.blocks == "auto" or is_column(self.blocks) or block_length(self.blocks)
        check(
            lasting,
            self.blocks,
            "Evaluation: blocks",
            "a length of time, such as 'day', 'hour' or '7d', or a column of the labels",
            UsageError,
        )
        if self.metrics is not None:
            check_list(
                self.metrics,
                object,
                "Evaluation: metrics",
                "a list of names, such as ['auc']",
                error=UsageError,
            )
        for name in ("resamples", "seed"):
            check_integer(getattr(self, name), f"Evaluation: {name}", least=0, error=UsageError)
        for name in ("adversaries", "delay_by_outcome"):
            known = "True or False, or None if it is not known"
            check_type(getattr(self, name), bool | None, f"Evaluation: {name}", known, UsageError)
        answers = "a list of hw.evaluation.Acknowledgement(check, subject, reason, author)"
        check_list(
            self.acknowledged,
            Acknowledgement,
            "Evaluation: acknowledged",
            answers,
            error=UsageError,
        )
        shares, note = "a list of shares of calls from 0 to 1, such as [0.0, 0.05]", "such as 0.05"
        check(
            isinstance(self.timeouts, Collection),
            self.timeouts,
            "Evaluation: timeouts",
            shares,
            UsageError,
        )
        for share in self.timeouts:
            check_number(
                share,
                "Evaluation: a share in timeouts",
                "a share of calls",
                least=0,
                most=1,
                note=note,
                error=UsageError,
            )


def _check_offset_curves(given: object) -> None:
    """Refuse anything but "flagged" or a list of names."""
    names = given if isinstance(given, Sequence) and not isinstance(given, str) else None
    listed = names is not None and all(isinstance(name, str) for name in names)
    check(
        given == "flagged" or listed,
        given,
        "Evaluation: offset_curves",
        "'flagged', or a list of sources, such as ['trips']",
        UsageError,
    )


def _check_cold_start(cold_start: object) -> None:
    """Refuse a value that is neither a number of events nor a view with one."""
    view, fewer = (
        cold_start if isinstance(cold_start, tuple) and len(cold_start) == 2 else (None, cold_start)
    )
    pair = "such as (by_user, 10)"
    check_type(
        view,
        FeatureView | None,
        "Evaluation: the view of cold_start",
        f"a feature view with a number of events, {pair}",
        UsageError,
    )
    check_integer(
        fewer,
        "Evaluation: cold_start",
        least=0,
        note=f"such as 10, or a view with one, {pair}",
        error=UsageError,
    )
