"""`replay_day`: what would have been served and decided on a day at another level, with views,
sources or third parties failing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from headwater import clock, settings
from headwater.definitions.checks import parse_timestamp
from headwater.definitions.definition import Readable
from headwater.definitions.level import AS_DEFINED, ModelVariant
from headwater.definitions.project import Project, checked_call
from headwater.errors import UsageError, nearest
from headwater.experiments.answers_of_level import Places, level_side, served_side
from headwater.experiments.level_answers import Failures
from headwater.experiments.level_gap import level_gap
from headwater.experiments.served_requests import Period, first_rows, served_requests, with_outcome
from headwater.journal.serving_log_rows import LEVEL
from headwater.models.registry import ModelRegistry
from headwater.pages import replay_words
from headwater.pages.paged import Paged
from headwater.results.replay_result import ReplayResult
from headwater.stores import OnlineStore
from headwater.training.resources import DEFAULT_RESOURCES, Resources


@dataclass(frozen=True, repr=False)
class DayReplay(Paged):
    """A day replayed. It prints as a table in a terminal and in a notebook; `result` holds every
    number.
    """

    page_module = "replay_page"
    result: ReplayResult


@dataclass(frozen=True)
class ReplayOptions(Readable):
    """How a day is replayed.

    Args:
        timezone: of the day, an IANA name.
        at: outcomes known by then count, tz-aware or ISO 8601 with an offset; None is now.
        data_dir: the folder of the serving log, posted outcomes and archive; None is headwater's
            home.
        models: the folder of fitted models; None is `models` in headwater's home.
        store: the online store that ingestion writes, or its URL, for archived events not in files
            yet; None is that of the settings.
        allow_pickle: load models in formats that run code when they are loaded.
        resources: what the replay may use.
    """

    timezone: str = "UTC"
    at: str | datetime | None = None
    data_dir: str | Path | None = None
    models: str | Path | None = None
    store: OnlineStore | str | None = None
    allow_pickle: bool = False
    resources: Resources = DEFAULT_RESOURCES


@checked_call
def replay_day(
    project: Project,
    day: str | date,
    *,
    model: str | None = None,
    level: str | None = None,
    fail: Sequence[str] = (),
    options: ReplayOptions | None = None,
) -> DayReplay:
    """What would have been served and decided on a day at another level, next to what was served.

    The requests are those of the serving log. Their features are computed again of the archive and
    histories at the level, as of each request, and scored by the version that the level had then.
    Nothing is served and nothing is written.

    Args:
        project: which has the model and the level.
        day: a date, such as "2026-11-12".
        model: its name; None is the only one.
        level: the name of one of the project's levels; None is as the views define.
        fail: names of views, sources and third parties that fail from the beginning of the day on;
            `experiments.level_answers` says how.
        options: timezone, folders, and by when outcomes count.

    Raises:
        UsageError: no date, an unknown timezone, model, level, view, source or third party.
        DataError: no request was logged on the day (it names the days that the log holds), no model
            of the level was ever trained, or features cannot be computed.
    """
    options = options or ReplayOptions()
    variant = project.variant(project.model(model).name, level)
    first, last, named = _bounds(day, options.timezone)
    now = clock.now_micros() if options.at is None else parse_timestamp(options.at, "at")
    if now <= first:
        raise UsageError(
            f"at={options.at!r} is before the day {named} begins; outcomes are counted by then, so "
            "give a later time"
        )
    home = settings.home() if options.data_dir is None else Path(options.data_dir)
    failures = Failures.from_names(variant.model, fail, first)
    places = Places(
        home, ModelRegistry(options.models), project.name, options.store, options.allow_pickle
    )
    with options.resources.shown() as used:
        rows = served_requests(variant.model, Period(first, last, now), home, places.registry, used)
        side = level_side(variant, rows, (first, last), places, used, failures)
    levels = rows.frame[LEVEL].fill_null(AS_DEFINED).unique().sort().to_list()
    gap = level_gap(
        variant.model,
        project.evaluation,
        rows,
        side.answers.score,
        (levels[0] if len(levels) == 1 else None, variant.name),
    )
    result = ReplayResult(
        project=project.name,
        model=variant.model.name,
        day=named,
        timezone=options.timezone,
        failed=list(fail),
        requests=int(first_rows(rows).sum()),
        with_outcome=with_outcome(rows),
        served=served_side(rows, levels),
        replayed=side.answered,
        gap=gap,
        left_out=dict(rows.left_out + side.answers.left_out),
        notes=[*side.notes, *_untrained(variant, fail), *gap.notes],
        first_line="",
    )
    return DayReplay(replay_words.with_first_line(result))


def _untrained(variant: ModelVariant, fail: Sequence[str]) -> list[str]:
    """That a failing third party is not in training, so that no score depends on it."""
    trained = {http.name for http in variant.model.features.in_training.http_features}
    names = [
        http.name
        for http in variant.model.features.http_features
        if http.name in fail and http.name not in trained
    ]
    return [
        f"{name} has no history, so the model is not trained on it and its failure changes no score"
        for name in names
    ]


def _bounds(day: str | date, timezone: str) -> tuple[int, int, str]:
    """The first moment of the day and of the next, microseconds, and its name."""
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise UsageError(
            f"timezone {timezone!r} is not known; "
            f"{nearest(timezone, ['UTC', 'Europe/Berlin', 'America/New_York'])}"
        ) from error
    try:
        chosen = (
            day
            if isinstance(day, date) and not isinstance(day, datetime)
            else date.fromisoformat(str(day))
        )
    except ValueError as error:
        raise UsageError(f"the day is {day!r}; give a date, such as 2026-11-12") from error
    ends = [
        datetime(d.year, d.month, d.day, tzinfo=zone) for d in (chosen, chosen + timedelta(days=1))
    ]
    return round(ends[0].timestamp() * 1e6), round(ends[1].timestamp() * 1e6), chosen.isoformat()
