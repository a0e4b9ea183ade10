"""The demo's week in service: predictions over HTTP an hour before each departure, at two levels, and outcomes posted later."""

from __future__ import annotations

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
from headwater.definitions.freshness import streaming
from headwater.definitions.level import Level
from headwater.definitions.model import Model
from headwater.definitions.project import Project
from headwater.definitions.source import Source
from headwater.definitions.streams import push
from headwater.ingestion.replay import replay
from headwater.jobs.materialize import batch_views, materialize, next_due
from headwater.kernel.arrays import I64
from headwater.logs.outcome_journal import outcomes
from headwater.logs.serving_log import ServedLog
from headwater.logs.serving_log_files import served
from headwater.models.registry import ModelRegistry
from headwater.online_stores import OnlineStore, open_store
from headwater.serving.client.client import Client
from headwater.serving.serve import serve
from headwater.training.historical import get_historical_features
from headwater.training.label_rows import read_labels
from headwater.training.requests import Requests
from headwater.training.resources import Tick
from headwater.training.train import train

_ZONE = ZoneInfo("America/New_York")
BEGIN, DAYS = datetime(2013, 9, 1, tzinfo=_ZONE), 7.0
_LAG = timedelta(seconds=2)
LEVELS: Final[Mapping[str, Level]] = {"daily": Level(), "live": Level(streaming(_LAG))}
_ADDRESS = "127.0.0.1:8325"
_AFTER: Final = 2**62  # microseconds: when every flight has landed


@dataclass(frozen=True)
class LevelResult:
    """Result of one level: number of predictions with outcomes, their AUC, and the comparison with training.

    values, equal, differing: feature values compared with training on the same rows; equal to the bit; different by more than 1e-9.
    furthest: the largest difference between a served prediction and the model's score of the training values.
    """

    predictions: int
    auc: float
    values: int
    equal: int
    differing: int
    furthest: float


@dataclass(frozen=True)
class InService:
    """Result of the week, by level. seconds: of the whole run. answers: seconds of a request, by quantile."""

    arms: Mapping[str, LevelResult]
    outcomes: int
    seconds: float
    answers: Mapping[str, float]

    def __str__(self) -> str:
        predictions = next(iter(self.arms.values())).predictions
        lines = [
            (
                f"A week in service: {predictions:,} flights, predicted over HTTP an hour before departure; {self.outcomes:,} outcomes posted as flights "
                f"landed; {self.seconds:.0f} s. A request took {self.answers['p50'] * 1e3:.1f} ms (99 %: {self.answers['p99'] * 1e3:.1f} ms)"
            )
        ]
        for name, arm in self.arms.items():
            lines.append(
                f"  {name}: AUC {arm.auc:.3f}; of {arm.values:,} feature values served, {arm.equal:,} are those of training to the bit, "
                f"{arm.differing} differ by more than 1e-9; predictions differ by {arm.furthest:.0e} at most"
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, object]:
        """The result as a JSON object."""
        return {
            "arms": {name: vars(arm) for name, arm in self.arms.items()},
            "outcomes": self.outcomes,
            "seconds": self.seconds,
            "answer_seconds": dict(self.answers),
        }


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

    def asking(self, t: int) -> list[dict[str, object]]:
        """The requests at time `t`."""
        first, last = np.searchsorted(self.requests.t, [t, t + 1])
        return self.requests.frame[int(first) : int(last)].select(self.fields).to_dicts()

    def landing(self, t: int) -> list[dict[str, object]]:
        """The outcomes of flights that have landed since the last call."""
        known, label = self.requests.known_at, self.requests.label
        assert known is not None
        assert label is not None
        begin = self.place
        while self.place < len(self.landed) and known[self.landed[self.place]] <= t:
            self.place += 1
        return [
            {
                **self.requests.frame.row(row, named=True),
                "timestamp": clock.moment(int(self.requests.t[row])),
                "outcome": bool(label[row]),
                "known_at": clock.moment(int(known[row])),
            }
            for row in self.landed[begin : self.place].tolist()
        ]


def in_service(project: Project, folder: Path, tick: Tick | None = None, *, days: float = DAYS) -> InService:
    """Train both levels as of 1 September, serve them during a replay of the week after it, and compare with training."""
    for name in ("service", "models", "archive", "served", "outcomes"):
        shutil.rmtree(folder / name, ignore_errors=True)
    began = clock.stopwatch()
    late = project.model("late")
    model = replace(late, features=late.features.over(_pushed))
    mine = Project(project.name, [model], levels=LEVELS)
    registry = ModelRegistry(folder / "models")
    for number, (name, level) in enumerate(LEVELS.items()):
        if tick is not None:
            tick("training both levels", number, len(LEVELS))
        train(model, level=level, level_name=name, until=BEGIN).register(registry)
    flights = _flights(model, BEGIN, BEGIN + timedelta(days=days))
    store = open_store(f"lmdb:{folder / 'service'}")
    seconds: list[float] = []
    try:
        _play(mine, store, folder, flights, seconds, tick)
        arms = {name: _arm(model, name, registry, folder) for name in LEVELS}
    finally:
        store.close()
    quantiles = {name: float(np.quantile(seconds, q)) for name, q in (("p50", 0.5), ("p99", 0.99))}
    return InService(arms, flights.place, clock.stopwatch() - began, quantiles)


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


def _play(project: Project, store: OnlineStore, folder: Path, flights: _Flights, seconds: list[float], tick: Tick | None) -> None:
    """Move the clock from one request to the next; the store has exactly the events known two seconds before each."""
    model = project.models[0]
    request_times = np.unique(flights.requests.t)
    stops = [clock.moment(int(t)) - _LAG for t in request_times]
    live = project.arm(model.name, "live").service.views
    moment = _ReplayClock(int(request_times[0]))
    daily = [stored.view for stored in batch_views(project)]
    due = moment.now
    with ExitStack() as stack:
        log = stack.enter_context(ServedLog(folder))
        replayed = replay(live, store, start=BEGIN - timedelta(hours=1), end=stops[-1] + _LAG, step=stops, folder=folder)
        steps = zip(request_times.tolist(), replayed, strict=False)
        client: Client | None = None
        for number, (t, _) in enumerate(steps):
            moment.now = t
            if t >= due:
                materialize(project, store=store, at=clock.moment(t))
                due = next_due(daily, t)
            if client is None:  # the store has the views now, so the service is ready when it starts
                url = stack.enter_context(
                    serve(
                        project,
                        store,
                        http=_ADDRESS,
                        models=folder / "models",
                        levels=list(LEVELS),
                        folder=folder,
                        served=log,
                        now=moment,
                    )
                )
                client = stack.enter_context(Client(url))
            rows = flights.asking(t)
            for level in LEVELS:
                before = clock.stopwatch()
                client.predict(model.name, rows, level=level)
                seconds.append(clock.stopwatch() - before)
            _post(client, model, flights, flights.landing(t))
            if tick is not None:
                tick("a week, in service", number + 1, len(request_times))
        if client is not None:
            _post(client, model, flights, flights.landing(_AFTER))


def _post(client: Client, model: Model, flights: _Flights, landed: Sequence[Mapping[str, object]]) -> None:
    """Post the outcomes of flights."""
    columns = (*flights.keys, "timestamp", "outcome", "known_at")
    if landed:
        client.outcomes(model.labels.name, [{name: row[name] for name in columns} for row in landed])


def _arm(model: Model, level: str, registry: ModelRegistry, folder: Path) -> LevelResult:
    """Compare the served values of a level with outcomes, and with training on the same rows."""
    from sklearn.metrics import roc_auc_score

    frame = served(folder, model=model.name).filter(pl.col("headwater_level") == level).collect()
    known = outcomes(folder, model.labels)
    names = list(model.features.feature_names)
    keys = [name for name in known.columns if not name.startswith("headwater_")]
    judged = frame.join(
        known, left_on=["headwater_at", *keys], right_on=["headwater_timestamp", *keys], how="inner", nulls_equal=True, validate="1:1"
    )
    rows = read_labels(model.labels)
    own = rows.frame.with_columns(pl.Series("headwater_at", rows.t).cast(pl.Datetime("us", "UTC")))
    requests = frame.select("headwater_at", *keys).join(
        own, on=["headwater_at", *keys], how="left", nulls_equal=True, maintain_order="left", validate="1:1"
    )
    training = get_historical_features(model.features, requests, timestamp_field="headwater_at", level=LEVELS[level]).select(names)
    equal = differing = 0
    for name in names:
        ours, theirs = frame[name], training[name]
        same = ours.eq_missing(theirs)
        equal += int(same.sum())
        if ours.dtype.is_float():
            near = ((ours - theirs).abs() <= 1e-9 * (1 + theirs.abs())).fill_null(value=False)
            same = same | near
        differing += int((~same).sum())
    again = registry.open(model, level).score(training)
    furthest = float(np.abs(frame["headwater_prediction"].to_numpy() - again).max())
    auc = float(roc_auc_score(judged["headwater_outcome"].cast(pl.Int64), judged["headwater_prediction"]))
    return LevelResult(judged.height, auc, frame.height * len(names), equal, differing, furthest)
