"""The kind Shadow: challengers are scored on the champion's requests after the fact, from the
serving log, and never served.

Nothing runs on the request path. Each challenger's features are computed as of each request at its
own level, from the archive and histories, and scored by the version that its arm was started with;
what fails there, and how long the model takes, is measured there.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from headwater import clock, settings
from headwater.backtesting.delivered_rows import DeliveredRows
from headwater.definitions.checks import parse_timestamp, timestamp_text
from headwater.definitions.experiment import Experiment, Shadow
from headwater.definitions.project import Project, checked_call
from headwater.errors import HeadwaterError, UsageError, nearest
from headwater.experiments.answers_of_level import Places, level_side, served_side
from headwater.experiments.level_gap import level_gap
from headwater.experiments.served_requests import Period, first_rows, served_requests, with_outcome
from headwater.models.experiment_store import ExperimentStore, FrozenArm
from headwater.models.registry import ModelRegistry
from headwater.pages import replay_words
from headwater.pages.paged import Paged
from headwater.results.replay_result import Answered, ShadowArm, ShadowResult
from headwater.stores import OnlineStore
from headwater.training.resources import DEFAULT_RESOURCES, Resources


@dataclass(frozen=True, repr=False)
class ShadowAnalysis(Paged):
    """Challengers next to the champion. It prints as a table in a terminal and in a notebook;
    `result` holds every number.
    """

    page_module = "shadow_page"
    result: ShadowResult


@checked_call
def shadow(
    project: Project,
    name: str,
    *,
    data_dir: str | Path | None = None,
    models: str | Path | None = None,
    at: str | datetime | None = None,
    store: OnlineStore | str | None = None,
    resources: Resources | None = None,
) -> ShadowAnalysis:
    """Score the challengers of a started shadow on the champion's requests.

    Args:
        project: which defines the experiment, of kind Shadow.
        name: of the experiment.
        data_dir: the folder of the serving log, posted outcomes and archive; None is headwater's
            home.
        models: the folder of fitted models and started experiments; None is `models` in headwater's
            home.
        at: requests before then, and outcomes known by then, tz-aware or ISO 8601 with an offset;
            None is now.
        store: the online store that ingestion writes, or its URL, for archived events not in files
            yet; None is that of the settings.
        resources: what computing may use.

    Raises:
        UsageError: an unknown experiment, one of another kind, or one that was not started.
        DataError: the champion answered no logged request since the start.
    """
    experiment = _shadow_of(project, name)
    started = ExperimentStore(models).one(name)
    now = clock.now_micros() if at is None else parse_timestamp(at, "at")
    since = min(
        (change.at for change in started.changes if change.change == "started"),
        default=started.plan.start,
    )
    until = min(now, started.stopped_at or now, started.plan.end)
    home = settings.home() if data_dir is None else Path(data_dir)
    places = Places(home, ModelRegistry(models), project.name, store)
    control = started.plan.arms[0]
    champion = project.model(control.model)
    left_out: Counter[str] = Counter()
    with (resources or DEFAULT_RESOURCES).shown() as used:
        rows = served_requests(
            champion, Period(since, until, now, [control.level]), home, places.registry, used
        )
        left_out.update(rows.left_out)
        arms = [
            _scored(project, arm, rows, (since, until), places, used, control.level)
            for arm in started.plan.arms[1:]
        ]
    result = ShadowResult(
        project=project.name,
        experiment=experiment.name,
        version=started.plan.version,
        since=timestamp_text(since),
        until=timestamp_text(until),
        champion=control.name,
        requests=int(first_rows(rows).sum()),
        with_outcome=with_outcome(rows),
        served=served_side(rows, [control.level]),
        arms=arms,
        left_out=dict(+left_out),
        first_line="",
    )
    return ShadowAnalysis(replay_words.shadow_first_line(result))


def _shadow_of(project: Project, name: str) -> Experiment:
    by_name = {experiment.name: experiment for experiment in project.experiments}
    if name not in by_name:
        raise UsageError(
            f"project {project.name!r} has no experiment {name!r}; {nearest(name, by_name)}"
        )
    if not isinstance(by_name[name].kind, Shadow):
        raise UsageError(
            f"experiment {name!r} is of kind {by_name[name].kind!r}; a shadow is an experiment "
            "with "
            "kind=hw.experiments.Shadow()"
        )
    return by_name[name]


def _scored(
    project: Project,
    arm: FrozenArm,
    rows: DeliveredRows,
    period: tuple[int, int],
    places: Places,
    resources: Resources,
    champion: str,
) -> ShadowArm:
    """A challenger's answers; where it cannot be scored, why."""
    try:
        variant = project.variant(arm.model, arm.level)
        fitted = None if arm.version is None else (arm.trained_level or arm.level, arm.version)
        side = level_side(variant, rows, period, places, resources, fitted=fitted)
    except HeadwaterError as error:
        nothing = Answered(
            arm.level, "", {}, float("nan"), float("nan"), {}, errors=int(first_rows(rows).sum())
        )
        return ShadowArm(arm.name, nothing, None, f"{type(error).__name__}: {error}")
    gap = level_gap(
        variant.model, project.evaluation, rows, side.answers.score, (champion, arm.level)
    )
    return ShadowArm(arm.name, side.answered, gap, "", [*side.notes, *gap.notes])
