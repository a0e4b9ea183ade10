"""hw.operations.watch: what production delivered, week by week, next to what the backtest promised.
A miss withdraws the recommendation.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from headwater import clock
from headwater.backtesting.delivered_rows import DeliveredRows, ServedAs, delivered_rows
from headwater.backtesting.delivery_weeks import Weeks
from headwater.backtesting.outcome_rules import HIDDEN, held_out, unjudged
from headwater.definitions.checks import parse_timestamp, timestamp_text
from headwater.definitions.evaluations import Evaluation
from headwater.definitions.level import AS_DEFINED
from headwater.definitions.model import Model
from headwater.definitions.project import checked_call
from headwater.errors import DataError, UsageError
from headwater.metrics import Metric, resolve
from headwater.models.latest_results import LATEST_DELIVERY
from headwater.models.promises import delivery_of, promise_of_version, same, under_promise
from headwater.models.registry import ModelRegistry, Version
from headwater.pages import delivery_words
from headwater.pages.paged import Paged
from headwater.results.promise_result import DeliveryResult, DeliveryState, Promise, WeekDelivered
from headwater.results.stored_runs import keep_run
from headwater.training.resources import DEFAULT_RESOURCES, Resources


@dataclass(frozen=True, repr=False)
class Delivery(Paged):
    """Promise against delivery. It prints as a table in a terminal and in a notebook; `result`
    holds every number.
    """

    page_module = "delivery_page"
    result: DeliveryResult

    @property
    def withdrawn(self) -> bool:
        """Whether the backtest's recommendation no longer holds."""
        return self.result.withdrawn


@checked_call
def watch(
    model: Model,
    level: str | None = None,
    *,
    promise: Promise | None = None,
    evaluation: Evaluation | None = None,
    data_dir: str | Path | None = None,
    models: str | Path | None = None,
    at: str | datetime | None = None,
    resources: Resources | None = None,
) -> Delivery:
    """Compare what a served model delivered with what its backtest promised, week by week;
    `backtesting.delivery_weeks` has the rules.

    The comparison is kept in the model registry, where `headwater status`, `headwater models` and
    the metrics of `headwater serve` read it. A week that was judged stays as it was judged.
    Outcomes are those that were posted; requests without one take theirs from the labels' table, by
    keys and time (`backtesting.table_outcomes`).

    Args:
        model: which model. A ranking is shown and not judged: only returned items have outcomes.
            Nor is a model whose outcomes are hidden where its predictions are acted on, except for
            the units of an approve-anyway holdout: these alone are judged.
        level: the name of the level that it is served at; None is as its views define.
        promise: what was promised, as `promised(backtest)` gives it. None: what the registry holds
            for the version that is served. All versions under the same promise count.
        evaluation: where the promised metric is one of the project's own (`hw.evaluation.metric`),
            the evaluation that names it.
        data_dir: the folder of the serving log and of posted outcomes; None is headwater's home.
        models: the folder of fitted models; None is `models` in headwater's home.
        at: the time of the comparison, tz-aware or ISO 8601 with an offset; None is now.
        resources: what reading outcomes from events may use.

    Raises:
        UsageError: a metric that needs a threshold from training, or a promise of another model.
        DataError: no promise, nothing served, or the labels' table cannot be read.
    """
    if not isinstance(model, Model):
        raise UsageError(
            f"watch() takes a Model, and was given {type(model).__name__}; take one from "
            "project.models"
        )
    now = parse_timestamp(at or clock.now(), "at")
    name, registry = level or AS_DEFINED, ModelRegistry(models)
    held, versions = _promise(model, name, registry, promise)
    metric = _metric(held, model, evaluation)
    names = [str(version.number) for version in versions]
    classes = versions[-1].manifest.classes if versions and model.task_type.classes else []
    with (resources or DEFAULT_RESOURCES).shown() as used:
        rows = _judged(
            model,
            delivered_rows(ServedAs(model, name, names or None, now, classes), data_dir, used),
        )
    before = delivery_of(registry, model.name, name) if versions else None
    earlier_weeks = list(before.weeks) if before is not None and same(before.promise, held) else []
    weeks = Weeks(
        held, metric, rows, _horizon(model, held), now, earlier_weeks, unjudged(model)
    ).judged()
    result = _result(
        held,
        name,
        names or sorted(set(rows.version.drop_nulls()) - {""}),
        weeks,
        rows,
        now,
        unjudged(model),
    )
    if promise is None:
        LATEST_DELIVERY.write(registry, result.promise.model, result.served_level, result)
    return Delivery(keep_run("delivery", result.first_line, result, model, folder=data_dir))


def _promise(
    model: Model, level: str, registry: ModelRegistry, promise: Promise | None
) -> tuple[Promise, list[Version]]:
    """The promise, and the registry's versions under it, which have the same definitions."""
    if promise is not None:
        if promise.model != model.name:
            raise UsageError(
                f"the promise is of model {promise.model!r}, and this is {model.name!r}"
            )
        return promise, [
            v
            for v in registry.versions(model.name, level)
            if v.manifest.fingerprint == promise.fingerprint
        ]
    current = registry.current(model.name, level)
    held = promise_of_version(current)
    if held is None:
        raise DataError(
            f"nothing was promised of {current}: keep the backtest with it, by `headwater "
            f"backtest --json > backtest.json` and `headwater models promote {current.number} "
            "--promise backtest.json`"
        )
    return held, under_promise(registry, model.name, level, held)


def _judged(model: Model, rows: DeliveredRows) -> DeliveredRows:
    """The rows that judge the promise: all, or those of the approve-anyway holdout, whose outcomes
    no answer hides.
    """
    in_holdout = held_out(model, rows.frame)
    if in_holdout is None:
        return rows
    if not in_holdout.any():
        raise DataError(
            f"model {model.name!r}: none of its {len(in_holdout):,} served rows is of the "
            "approve-anyway holdout, and outcomes of others may be hidden; enlarge the holdout"
        )
    left_out = rows.left_out + Counter({HIDDEN: int((~in_holdout).sum())})
    return DeliveredRows(
        rows.t[in_holdout],
        rows.known[in_holdout],
        rows.y[in_holdout],
        rows.score[in_holdout],
        rows.default[in_holdout],
        rows.version.filter(pl.Series(in_holdout)),
        rows.frame.filter(pl.Series(in_holdout)),
        +left_out,
        rows.from_table,
    )


def _metric(promise: Promise, model: Model, evaluation: Evaluation | None) -> Metric:
    chosen = [] if evaluation is None or evaluation.metrics is None else evaluation.metrics
    named = next(
        (
            metric
            for metric in chosen
            if not isinstance(metric, str) and metric.name == promise.metric
        ),
        promise.metric,
    )
    if promise.metric == "cost":
        raise UsageError(
            "the promise is of the metric 'cost', and a serving log has no costs; promise another "
            "headline metric"
        )
    (metric,) = resolve([named], model.task_kind)
    if metric.cut:
        raise UsageError(
            f"metric {metric.name!r} needs a threshold chosen in training, and a serving log has "
            "none; promise auc or precision@1%"
        )
    return metric


def _horizon(model: Model, promise: Promise) -> int:
    """How long after a request its outcome may come, in microseconds."""
    declared = model.labels.maturity
    if declared is not None:
        return declared
    if not math.isfinite(promise.label_delay_seconds):
        raise DataError(
            f"labels {model.labels.name!r} do not say how long an outcome may take, and the "
            "backtest has no label delays; give known_after="
        )
    return round(promise.label_delay_seconds * 1e6)


def _result(
    promise: Promise,
    level: str,
    versions: Sequence[str],
    weeks: Sequence[WeekDelivered],
    rows: DeliveredRows,
    now: int,
    unjudged: str,
) -> DeliveryResult:
    missed = [week for week in weeks if week.state == "missed"]
    judged = any(week.state in ("no miss shown", "missed") for week in weeks)
    state: DeliveryState = "withdrawn" if missed else "no miss shown" if judged else "too early"
    if rows.groups is not None or unjudged:
        state = "not judged"
    result = DeliveryResult(
        promise=promise,
        served_level=level,
        versions=list(versions),
        state=state,
        since=missed[0].week if missed else "",
        weeks=list(weeks),
        left_out=dict(rows.left_out),
        checked_at=timestamp_text(now),
        first_line="",
        from_table=dict(rows.from_table),
        unjudged=unjudged,
    )
    return delivery_words.with_first_line(result)
