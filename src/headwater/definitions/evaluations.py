"""How a model is judged, as values.

How a model is judged: written once, in the project, and read by backtest, attribution and
assess.

What predictions are worth to those who act on them.

An acknowledgement: the answer of a person to a question of the audit.

Options of a backtest beyond one fit a level: refits and tuning.

Several splits in time, one after another: each fold trains on what was known at its split, and
tests until the next.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Protocol

from headwater.definitions.checks import (
    Duration,
    check,
    check_integer,
    check_list,
    check_number,
    check_text,
    check_type,
    micros,
    parse_timestamp,
    text,
    timestamp_text,
)
from headwater.definitions.definition import Definition, Readable
from headwater.definitions.feature_view import FeatureView
from headwater.errors import DefinitionError, UsageError

if TYPE_CHECKING:
    import polars as pl


class NamedMetric(Protocol):
    """A metric of a project's own, as `hw.evaluation.metric(name, function)` makes it."""

    @property
    def name(self) -> str:
        """The name of the metric."""
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
        resamples: block-bootstrap resamples behind each interval.
        seed: of the resamples, the estimator and the trials.
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
    resamples: int = 2000
    seed: int = 0
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


@dataclass(frozen=True, eq=False)
class DecisionValue(Definition):
    """The worth of a decision: how many are made, what share is acted on, and what a hit and a
    false alarm mean in money.

    Args:
        volume: predictions a day.
        acted_on: the share of them with the highest scores that is acted on, above 0 and up to 1,
            such as 0.02.
        hit: what acting on a positive is worth, in money, 0 or more.
        false_alarm: what acting on a negative costs, in money, 0 or more.
        late: the share of predictions that a fresher level would not answer in time, by its added
            latency and its timeouts, from 0 up to 1. They get what serves today instead, and gain
            nothing. 0: `assess` takes the share in the serving log, where there is one.
        costs: what each level costs a day, by its name, in the same money. `assess` measures those
            that are not given.

    Raises:
        UsageError: a number that cannot be.

    Of 10,000 payments a day 1 % is blocked. Each fraud blocked saves 100, each false alarm costs
    20. A precision of 0.50 is worth 100 x (0.50 x 100 - 0.50 x 20) = 4,000 a day, and one of 0.60
    is worth 100 x (0.60 x 100 - 0.40 x 20) = 5,200.

    >>> payments = DecisionValue(volume=10_000, acted_on=0.01, hit=100, false_alarm=20)
    >>> (
    ...     payments.metric,
    ...     round(payments.a_day(0.5)),
    ...     round(payments.a_day(0.6)),
    ...     round(payments.of_gain(0.1)),
    ... )
    ('precision@1%', 4000, 5200, 1200)
    >>> payments.break_even(60)
    0.005
    """

    volume: float
    acted_on: float
    hit: float
    false_alarm: float = 0.0
    late: float = 0.0
    costs: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("volume", "hit", "false_alarm"):
            check_number(getattr(self, name), f"DecisionValue: {name}", least=0, error=UsageError)
        acted_on, late = "such as 0.02 for 2 %", "such as 0.01 for 1 %"
        check_number(
            self.acted_on,
            "DecisionValue: acted_on",
            "a share",
            above=0,
            most=1,
            note=acted_on,
            error=UsageError,
        )
        check_number(
            self.late,
            "DecisionValue: late",
            "a share",
            least=0,
            below=1,
            note=late,
            error=UsageError,
        )
        check_type(
            self.costs,
            Mapping,
            "DecisionValue: costs",
            "a mapping from names of levels to money a day",
            UsageError,
        )
        for name, cost in self.costs.items():
            check_number(
                cost,
                f"DecisionValue: the cost of level {name!r}",
                "money a day",
                least=0,
                error=UsageError,
            )
        if not self.volume or not self.hit + self.false_alarm:
            raise UsageError(
                "DecisionValue: a volume of 0, or a hit and a false alarm of 0, make every level "
                "worth the same; leave value out"
            )

    @property
    def metric(self) -> str:
        """The metric that the value depends on: the precision among the predictions acted on."""
        return f"precision@{100 * self.acted_on:.10g}%"

    def a_day(self, precision: float) -> float:
        """Money a day at this precision."""
        return (
            self.volume
            * self.acted_on
            * (precision * self.hit - (1 - precision) * self.false_alarm)
        )

    def of_gain(self, gain: float) -> float:
        """Money a day for a gain in precision, of the predictions that are not late."""
        return self._a_day_for_one * gain

    def break_even(self, cost: float) -> float:
        """The gain in precision that earns `cost` a day."""
        return cost / self._a_day_for_one

    @property
    def _a_day_for_one(self) -> float:
        return self.volume * self.acted_on * (self.hit + self.false_alarm) * (1 - self.late)


@dataclass(frozen=True, eq=False)
class Acknowledgement(Definition):
    """The answer to a question of the audit: the question, why it is not a leak, and the name of
    the person who answered.

    Every page shows it next to the verdict. It never lifts a LEAK.

    Args:
        check: the check's name, as the audit prints it, such as "own outcome".
        subject: what it asks about, as the audit prints it: a source, a request field, the labels.
        reason: why it is not a leak, in words.
        author: who says so.

    Raises:
        UsageError: one of them is empty or not a string.

    >>> Acknowledgement(
    ...     "own outcome", "swipes", "a swipe is sent a second before its request", "Ada"
    ... ).author
    'Ada'
    """

    check: str
    subject: str
    reason: str
    author: str

    def __post_init__(self) -> None:
        for name in ("check", "subject", "reason", "author"):
            value = getattr(self, name)
            filled = isinstance(value, str) and value.strip()
            check(
                filled, value, f"Acknowledgement: {name}", "a string that is not empty", UsageError
            )


@dataclass(frozen=True)
class Refits(Readable):
    """The number of repeated trainings of each level, so that intervals cover the training
    procedure and not only the fitted models.

    Args:
        days: fits on random halves of the training days in addition to the first, the same halves
            for every level. Intervals include the variance between them, the effect of another
            training period; values stay those of the first fit. 0: intervals cover the fitted
            models only.
        seeds: fits of each level on all training days, each with another seed; metrics are means
            over them, and without `days` intervals include their variance.

    Refits are paired: each has the same seed and the same half of the days at every level, so
    levels with equal features differ by 0.

    >>> Refits(8), Refits(0, seeds=3)
    (Refits(8), Refits(0, seeds=3))
    """

    days: int = 4
    seeds: int = 1

    def __post_init__(self) -> None:
        check_integer(self.days, "Refits: days", least=0, error=UsageError)
        check_integer(self.seeds, "Refits: seeds", least=1, error=UsageError)
        check(
            self.days != 1,
            self.days,
            "Refits: days",
            "at least 2, since one fit does not show how much fits vary, or 0",
            UsageError,
        )

    def seed(self, seed: int, *position: int) -> int:
        """The seed of a refit at a fold, the same at every level: the backtest's own for the first
        of a single seed, else drawn.
        """
        if self.seeds == 1 and (not self.days or position[0] == 0):
            return seed
        import numpy as np

        return int(np.random.SeedSequence([seed, *position]).generate_state(1)[0] >> 1)


@dataclass(frozen=True)
class Tuning(Readable):
    """Hyperparameter tuning of each level before it is trained: the same trials on the same
    held-out training rows for every level.

    Args:
        trials: how many settings are tried, the estimator's own first, the others drawn from
            `space`.
        space: values of each of the estimator's parameters; None takes one that suits gradient
            boosting.

    At each fold the earlier three quarters of the training rows are fitted and the last quarter
    judged, by the headline metric. The test rows are not looked at.

    Source: Bergstra and Bengio, "Random search for hyper-parameter optimization", 2012.

    >>> Tuning(trials=3, space={"max_depth": [2, 4, 8]})
    Tuning(3, space={max_depth: [2, 4, 8]})
    """

    trials: int = 8
    space: Mapping[str, Sequence[object]] | None = None

    def __post_init__(self) -> None:
        check_integer(self.trials, "Tuning: trials", least=1, error=UsageError)
        filled = self.space is None or (
            isinstance(self.space, Mapping)
            and all(
                isinstance(values, Collection) and len(values) for values in self.space.values()
            )
        )
        check(
            filled,
            self.space,
            "Tuning: space",
            "at least one value for each parameter, as in {'max_depth': [2, 4]}",
            UsageError,
        )


USUAL_REFITS = Refits()
"""Refits of a backtest whose evaluation does not set them: decision 0087 has the reasons for their
number.
"""


def as_refits(refits: int | Refits | None) -> Refits:
    """Refits on that number of halves of the training days, without any for 0 and 1; a Refits
    unchanged; the usual ones for None.

    >>> as_refits(3), as_refits(0)
    (Refits(3), Refits(0))
    """
    if refits is None:
        return USUAL_REFITS
    if isinstance(refits, Refits):
        return refits
    counted = isinstance(refits, int) and not isinstance(refits, bool) and refits >= 0
    give = (
        "how often each level is trained again, an integer of at least 2, 0 for not at all, or "
        "Refits(...)"
    )
    check(counted, refits, "refits", give, UsageError)
    return Refits(refits if refits > 1 else 0)


def as_tuning(tuning: int | Tuning | None) -> Tuning | None:
    """Tuning with that number of trials; a Tuning unchanged; None unchanged."""
    if tuning is None or isinstance(tuning, Tuning):
        return tuning
    check_integer(
        tuning, "tune", least=1, note="the number of trials, or Tuning(...)", error=UsageError
    )
    return Tuning(trials=tuning)


@dataclass(frozen=True, eq=False, init=False)
class Rolling(Definition, called="rolling"):
    """Splits at `start`, `start + every`, and so on: each fold trains a new model, and tests it
    until the next split.

    A row trains at a fold if it asked before the split (not longer than `train` before it, and not
    within `gap` of it) and its outcome was known by then. With `folds=1` this is a single split
    with an end, a length of training and a gap.

    Args:
        start: the first split, ISO 8601 with an offset, or a tz-aware datetime.
        every: how long each fold tests; how often the model would be trained.
        folds: how many.
        train: how far back training reaches; "all" for all rows.
        gap: rows that asked so shortly before a split do not train, known or not.

    Raises:
        DefinitionError: a duration or a number of folds that cannot be.
        UsageError: a start that is not a timestamp.

    Source: Tashman, "Out-of-sample tests of forecasting accuracy", 2000 (rolling origin).

    >>> print(rolling("2024-05-01T00:00Z", every="7d", folds=3, train="60d"))
    3 folds of 7d from 2024-05-01T00:00:00+00:00, each trained on the 60d before
    """

    start: int
    every: int
    folds: int
    train: int | None
    gap: int

    def __init__(
        self,
        start: str | datetime,
        *,
        every: Duration = "7d",
        folds: int = 4,
        train: Duration | Literal["all"] = "all",
        gap: Duration = "0s",
    ) -> None:
        step, behind = (
            micros(every, "rolling(): every", positive=True),
            micros(gap, "rolling(): gap"),
        )
        check_integer(folds, "rolling(): folds", least=1)
        back = None if train == "all" else micros(train, "rolling(): train")
        if back is not None and back <= behind:
            raise DefinitionError(
                f"rolling(train={text(back)}, gap={text(behind)}) leaves nothing to train on; "
                "make train longer than gap"
            )
        self._set(
            start=parse_timestamp(start, "rolling(): start"),
            every=step,
            folds=folds,
            train=back,
            gap=behind,
        )

    @property
    def cuts(self) -> tuple[int, ...]:
        """The split of each fold, and the end of the last one: int64 microseconds UTC, one more
        than there are folds.
        """
        return tuple(self.start + fold * self.every for fold in range(self.folds + 1))

    def __str__(self) -> str:
        back = "all before" if self.train is None else f"the {text(self.train)} before"
        gap = f" but the last {text(self.gap)}" if self.gap else ""
        return (
            f"{self.folds} folds of {text(self.every)} from {timestamp_text(self.start)}, each "
            f"trained on {back}{gap}"
        )


rolling = Rolling
