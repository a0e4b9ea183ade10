"""`level_lift`: what each level would have given for the requests that production answered, day by
day, without serving anything stale.

    serving log                      requests, and which version answered each
    archive, history                 their features at every level, with each event known from its
                                     commit on
    models of each level             trained with the cutoff and the seed of the version that
                                     answered (`level_models`)
    outcomes                         as for promise against delivery (`backtesting.delivered_rows`)

Every row stands for 1 over the sample rate of its log (Horvitz and Thompson, "A generalization of
sampling without replacement from a finite universe", 1952). Daily lifts become confidence sequences
(`lift_sequence`); a view's is that of the served level over the same level with this view alone as
at the stalest, so that a view which others replace costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from headwater import clock
from headwater.definitions.checks import parse_timestamp
from headwater.definitions.freshness import Freshness
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.definitions.project import checked_call
from headwater.errors import UsageError
from headwater.experiments.level_series import judged
from headwater.experiments.monitored_rows import PERIOD, LiftOptions, MonitoredRows, check_outcomes
from headwater.pages.paged import Paged
from headwater.results.level_lift_result import LevelLiftResult
from headwater.training.resources import DEFAULT_RESOURCES, Resources

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, repr=False)
class LevelLift(Paged):
    """Lift by freshness over time. It prints as a table in a terminal and in a notebook; `result`
    holds every number.

    predictions: a row for each judged request: `headwater_request`, `headwater_at`, the outcome,
        the weight, the served prediction and a column of scores for each level. None of a result
        that was read from JSON.
    """

    page_module = "level_lift_page"
    result: LevelLiftResult
    predictions: pl.DataFrame | None = field(default=None, repr=False, compare=False)


@checked_call
def level_lift(
    model: Model,
    levels: Mapping[str, Level | Freshness] | None = None,
    *,
    data_dir: str | Path | None = None,
    models: str | Path | None = None,
    since: str | datetime | None = None,
    until: str | datetime | None = None,
    options: LiftOptions | None = None,
    resources: Resources | None = None,
) -> LevelLift:
    """Compute what each level would have given for the served requests, and show lift by freshness
    over time.

    Nothing is served, and nothing is changed: a proposed change is shown as `plan` would show it.
    Models of levels that are not there are trained with the cutoff and the seed of each version
    that served, and kept in `MODELS/monitored-levels`.

    Args:
        model: which model, with `outcomes="independent"`. Of `hw.censored(...)` outcomes with a
            holdout, rows whose outcome would be seen at every level are judged, and held-out ones
            stand for the others.
        levels: by name, as in a backtest; None is the usual ladder. The served level is added where
            it is not among them.
        data_dir: the folder of the serving log, the archive and posted outcomes; None is
            headwater's home.
        models: the folder of fitted models; None is `models` in headwater's home.
        since, until: requests from then on and before, tz-aware or ISO 8601 with an offset; None is
            140 days before `until`, and now. Only outcomes that were known by `until` are read.
        options: the served level, the least worthwhile change, and what else is shown.
        resources: what the call may use: threads, memory, a cache, progress.

    Raises:
        UsageError: a ranking, outcomes without a declaration of what they depend on, an unknown
            level, or a metric with a threshold.
        DataError: outcomes that are caused by the answer; nothing was served then, or by no version
            that the registry has; an archive or the labels' table cannot be read.
    """
    if not isinstance(model, Model):
        raise UsageError(
            f"level_lift() takes a Model, and was given {type(model).__name__}; take one from "
            "project.models"
        )
    check_outcomes(model)
    options = options or LiftOptions()
    last = parse_timestamp(until or clock.now(), "until")
    first = last - PERIOD if since is None else parse_timestamp(since, "since")
    if first >= last:
        raise UsageError(
            f"since={since!r} is not before until={until!r}; give a period with requests"
        )
    with (resources or DEFAULT_RESOURCES).shown() as used:
        monitored = MonitoredRows.read(
            model, levels, (first, last), (data_dir, models), options, used
        )
        return LevelLift(judged(monitored), monitored.predictions)
