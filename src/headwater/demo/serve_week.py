"""The demo's week in service: predictions over HTTP an hour before each departure, at each level,
and outcomes posted later.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from headwater import clock
from headwater.definitions.connectors import push
from headwater.definitions.freshness import batch, streaming
from headwater.definitions.level import AS_DEFINED, Level
from headwater.definitions.model import Model
from headwater.definitions.project import Project
from headwater.definitions.source import Source
from headwater.demo import experiment_week
from headwater.ingestion.replay import replay
from headwater.jobs.materialize import batch_views, materialize, next_due
from headwater.journal.outcome_journal import outcomes
from headwater.journal.serving_log import ServedLog
from headwater.journal.serving_log_files import served
from headwater.kernel.arrays import I64
from headwater.models.registry import ModelRegistry
from headwater.monitoring import daily_statistics
from headwater.results.backtest_result import BacktestResult
from headwater.results.result import Result
from headwater.serving.client.service_client import Client
from headwater.serving.serve import ServeOptions, serve
from headwater.stores import OnlineStore, open_store
from headwater.training.historical import get_historical_features
from headwater.training.label_rows import read_labels
from headwater.training.progress import OnProgress
from headwater.training.requests import Requests
from headwater.training.train import train

_ZONE = ZoneInfo("America/New_York")
BEGIN, DAYS = datetime(2013, 9, 1, tzinfo=_ZONE), 7.0
_LAG = timedelta(seconds=2)
_DAILY = batch("1d", at="00:00", timezone="America/New_York", delay="4h")
LEVELS: Final[Mapping[str, Level]] = {"daily": Level(_DAILY), "live": Level(streaming(_LAG))}
STORE: Final = "service"
"""The folder of the week's online store."""
DEFINITIONS: Final = "service.py"
_ADDRESS = "127.0.0.1:8325"
_AFTER: Final = 2**62  # microseconds: when every flight has landed


class ServedLevel(Result, frozen=True):
    """Result of one level: number of predictions with outcomes, their AUC, and the comparison with
    training.

    values, equal, differing: feature values compared with training on the same rows; equal to the
    bit; different by more than 1e-9.
    furthest: the largest difference between a served prediction and the model's score of the
    training values.
    """

    predictions: int
    auc: float
    values: int
    equal: int
    differing: int
    furthest: float


class InService(Result, frozen=True, rename={"answers": "answer_seconds"}):
    """Result of the week, by level. seconds: of the whole run.

    decision: of the experiment; experiment: the same in words, with the decision page. until: the
    time of the last request, ISO 8601.
    answers: seconds that a client waited for the prediction of one flight, from the call to the
    decoded result, by quantile.
    """

    levels: Mapping[str, ServedLevel]
    outcomes: int
    seconds: float
    answers: Mapping[str, float]
    decision: str = ""
    experiment: str = ""
    until: str = ""

    def __str__(self) -> str:
        predictions = next(iter(self.levels.values())).predictions
        lines = [
            (
                f"A week in service: {predictions:,} flights, predicted over HTTP an hour before "
                f"departure; {self.outcomes:,} outcomes posted as flights landed; "
                f"{self.seconds:.0f} s. A request took {self.answers['p50'] * 1e3:.1f} ms (99 %: "
                f"{self.answers['p99'] * 1e3:.1f} ms)"
            )
        ]
        for name, level in self.levels.items():
            lines.append(
                f"  {name}: AUC {level.auc:.3f}; of {level.values:,} feature values served, "
                f"{level.equal:,} are those of training to the bit, {level.differing} differ by "
                f"more than 1e-9; predictions differ by {level.furthest:.0e} at most"
            )
        return "\n".join([*lines, *([self.experiment] if self.experiment else [])])


@dataclass
class _ReplayClock:
    """The clock that the service reads; microseconds."""

    now: int

    def __call__(self) -> int:
        return self.now


@dataclass
class _Flights:
    """The requests of the week in order of request time, and their outcomes."""

    requests: Requests
    fields: Sequence[str]
    keys: Sequence[str]
    landed: I64 = field(init=False)
    place: int = 0

    def __post_init__(self) -> None:
        assert self.requests.known_at is not None
        self.landed = np.argsort(self.requests.known_at, kind="stable")

    def asking(self, t: int) -> list[tuple[dict[str, object], bool, int]]:
        """The requests at time `t`, each with whether its flight will be late, and when it will
        have landed.
        """
        known_at, label = self.requests.known_at, self.requests.label
        assert known_at is not None
        assert label is not None
        first, last = map(int, np.searchsorted(self.requests.t, [t, t + 1]))
        rows = self.requests.frame[first:last].select(self.fields).to_dicts()
        return list(
            zip(rows, map(bool, label[first:last]), map(int, known_at[first:last]), strict=True)
        )

    def landing(self, t: int) -> list[dict[str, object]]:
        """The outcomes of flights that have landed since the last call."""
        known_at, label = self.requests.known_at, self.requests.label
        assert known_at is not None
        assert label is not None
        begin = self.place
        while self.place < len(self.landed) and known_at[self.landed[self.place]] <= t:
            self.place += 1
        return [
            {
                **self.requests.frame.row(row, named=True),
                "timestamp": clock.timestamp(int(self.requests.t[row])),
                "outcome": bool(label[row]),
                "known_at": clock.timestamp(int(known_at[row])),
            }
            for row in self.landed[begin : self.place].tolist()
        ]


def recommended_level(backtest: BacktestResult | None) -> str:
    """The level that the backtest recommends, where a job serves it; empty where it recommends
    none, or a fresher one than a job's.
    """
    recommendation = None if backtest is None else backtest.recommendation
    if backtest is None or recommendation is None or recommendation.answer != "run":
        return ""
    return next(
        (
            level.name
            for level in backtest.levels
            if level.name == recommendation.level and level.mode in ("batch", "hourly")
        ),
        "",
    )


def week_levels(project: Project, recommended: str) -> Mapping[str, Level]:
    """The levels of the week, which are the arms of its experiment: daily, the recommended one, and
    live.

    recommended: as `recommended_level` gives it; an arm's name has no spaces.
    """
    if recommended in ("", *LEVELS):
        return LEVELS
    name = "_".join(re.findall("[A-Za-z0-9]+", recommended))
    return {
        "daily": LEVELS["daily"],
        name: project.named_levels[recommended],
        "live": LEVELS["live"],
    }


def in_service(
    project: Project,
    folder: Path,
    on_progress: OnProgress | None = None,
    *,
    days: float = DAYS,
    backtest: BacktestResult | None = None,
) -> InService:
    """Train each level as of 1 September, serve them during a replay of the week after it, and
    compare with training.

    An experiment runs meanwhile: each aircraft gets one level, and its decision page has the
    recommendation of the `backtest`.
    """
    for name in (
        STORE,
        "models",
        "archive",
        "served",
        daily_statistics.STATISTICS,
        "outcomes",
        "exposures",
    ):
        shutil.rmtree(folder / name, ignore_errors=True)
    began = clock.stopwatch()
    week_project = served_project(project, folder, recommended_level(backtest))
    model = week_project.models[0]
    registry = ModelRegistry(folder / "models")
    levels = week_project.named_levels
    for number, (name, level) in enumerate(levels.items()):
        if on_progress is not None:
            on_progress("training each level", number, len(levels))
        trained = train(model, level=level, level_name=name, as_of=BEGIN)
        trained.register(registry)
        # as the views define: what requests outside of the experiment would get
        if name == "daily":
            replace(trained, level=Level(), level_name=AS_DEFINED).register(registry)
    flights = _flights(model, BEGIN, BEGIN + timedelta(days=days))
    store = open_store(f"lmdb:{folder / STORE}")
    application = experiment_week.Application(folder)
    application.write()
    experiment_week.start(week_project, folder, BEGIN)
    seconds: list[float] = []
    try:
        _play(week_project, store, application, flights, seconds, on_progress)
        served_levels = {
            name: _served_level(model, name, level, registry, folder)
            for name, level in levels.items()
        }
    finally:
        store.close()
    application.write()
    daily_statistics.update(folder)  # as `headwater serve` does, for the console
    decided = experiment_week.decide(week_project, folder, BEGIN + timedelta(days=days), backtest)
    quantiles = {name: float(np.quantile(seconds, q)) for name, q in (("p50", 0.5), ("p99", 0.99))}
    line = experiment_week.line(decided, folder)
    until = clock.timestamp(int(flights.requests.t[-1])).isoformat()
    return InService(
        served_levels,
        flights.place,
        clock.stopwatch() - began,
        quantiles,
        decided.decision,
        line,
        until,
    )


def served_project(project: Project, folder: Path, recommended: str = "") -> Project:
    """The demo's model, ready to serve: its sources have streams, and an experiment compares the
    levels of `week_levels`.
    """
    late, levels = project.model("late"), week_levels(project, recommended)
    served = replace(late, features=late.features.over(_pushed), outcomes="independent")
    return Project(
        project.name,
        [served],
        levels=levels,
        experiments=[experiment_week.experiment(served, levels, folder)],
    )


_WRITTEN: Final = '''"""The demo's model as the week in service had it, by `headwater demo`."""

from pathlib import Path

import features

from headwater.demo.serve_week import served_project

project = served_project(features.project, Path(__file__).parent, recommended={recommended!r})
'''


def write_definitions(folder: Path, backtest: BacktestResult) -> Path:
    """Write a project file of the served model, for other commands; return its path."""
    path = folder / DEFINITIONS
    path.write_text(_WRITTEN.format(recommended=recommended_level(backtest)), encoding="utf-8")
    return path


def _pushed(source: Source) -> Source:
    """A source with a stream, as in production; here a replay takes its place."""
    return replace(source, stream=push(at_least_once=True))


def _flights(model: Model, first: datetime, last: datetime) -> _Flights:
    every = read_labels(model.labels)
    chosen = np.flatnonzero((every.t >= clock.micros(first)) & (every.t < clock.micros(last)))
    requests = every.take(chosen[np.argsort(every.t[chosen], kind="stable")])
    views = model.features.views
    keys = list(dict.fromkeys(str(view.request_key(key)) for view in views for key in view.keys))
    return _Flights(requests, list(model.features.needed_by()), keys)


def _play(
    project: Project,
    store: OnlineStore,
    application: experiment_week.Application,
    flights: _Flights,
    seconds: list[float],
    on_progress: OnProgress | None,
) -> None:
    """Move the clock from one request to the next; the store has exactly the events known two
    seconds before each.
    """
    model, folder, levels = project.models[0], application.folder, list(project.named_levels)
    request_times = np.unique(flights.requests.t)
    stops = [clock.timestamp(int(t)) - _LAG for t in request_times]
    live = project.variant(model.name, "live").service.views
    replay_clock = _ReplayClock(int(request_times[0]))
    scheduled = [stored.view for stored in batch_views(project)]
    due = replay_clock.now
    with ExitStack() as stack:
        log = stack.enter_context(ServedLog(folder))
        replayed = replay(
            live,
            store,
            start=BEGIN - timedelta(hours=1),
            end=stops[-1] + _LAG,
            step=stops,
            data_dir=folder,
        )
        steps = zip(request_times.tolist(), replayed, strict=False)
        client: Client | None = None
        for number, (t, _) in enumerate(steps):
            replay_clock.now = t
            if t >= due:
                materialize(project, store=store, at=clock.timestamp(t))
                due = next_due(scheduled, t)
            # the store has the views now, so the service is ready when it starts
            if client is None:
                url = stack.enter_context(
                    serve(
                        project,
                        store,
                        listen=_ADDRESS,
                        models=folder / "models",
                        levels=levels,
                        data_dir=folder,
                        options=ServeOptions(serving_log=log, now=replay_clock),
                    )
                )
                client = stack.enter_context(Client(url))
            for row, late, landed in flights.asking(t):
                for level in levels:
                    before = clock.stopwatch()
                    client.predict(model.name, row, level=level)
                    seconds.append(clock.stopwatch() - before)
                in_its_arm = client.predict(model.name, row)
                application.act(row, in_its_arm.predictions[0].value, late, (t, landed))
            _post(client, model, flights, flights.landing(t))
            if on_progress is not None:
                on_progress("a week, in service", number + 1, len(request_times))
        if client is not None:
            _post(client, model, flights, flights.landing(_AFTER))


def _post(
    client: Client, model: Model, flights: _Flights, landed: Sequence[Mapping[str, object]]
) -> None:
    """Post the outcomes of flights."""
    columns = (*flights.keys, "timestamp", "outcome", "known_at")
    if landed:
        client.outcomes(
            model.labels.name, [{name: row[name] for name in columns} for row in landed]
        )


def _served_level(
    model: Model, name: str, level: Level, registry: ModelRegistry, folder: Path
) -> ServedLevel:
    """Compare the served values of a level with outcomes, and with training on the same rows."""
    from sklearn.metrics import roc_auc_score

    frame = (
        served(folder, model=model.name)
        .filter(pl.col("headwater_level") == name, pl.col("headwater_arm").is_null())
        .collect()
    )
    known_outcomes = outcomes(folder, model.labels)
    names = list(model.features.feature_names)
    keys = [column for column in known_outcomes.columns if not column.startswith("headwater_")]
    judged = frame.join(
        known_outcomes,
        left_on=["headwater_at", *keys],
        right_on=["headwater_timestamp", *keys],
        how="inner",
        nulls_equal=True,
        validate="1:1",
    )
    rows = read_labels(model.labels)
    label_frame = rows.frame.with_columns(
        pl.Series("headwater_at", rows.t).cast(pl.Datetime("us", "UTC"))
    )
    requests = frame.select("headwater_at", *keys).join(
        label_frame,
        on=["headwater_at", *keys],
        how="left",
        nulls_equal=True,
        maintain_order="left",
        validate="1:1",
    )
    training = get_historical_features(
        model.features, requests, timestamp_field="headwater_at", level=level
    ).select(names)
    equal = differing = 0
    for feature in names:
        ours, theirs = frame[feature], training[feature]
        same = ours.eq_missing(theirs)
        equal += int(same.sum())
        if ours.dtype.is_float():
            near = ((ours - theirs).abs() <= 1e-9 * (1 + theirs.abs())).fill_null(value=False)
            same = same | near
        differing += int((~same).sum())
    again = registry.open(model, name).score(training)
    furthest = float(np.abs(frame["headwater_prediction"].to_numpy() - again).max())
    auc = float(
        roc_auc_score(judged["headwater_outcome"].cast(pl.Int64), judged["headwater_prediction"])
    )
    return ServedLevel(judged.height, auc, frame.height * len(names), equal, differing, furthest)
