"""A model with string users, served over HTTP for four days from events that are archived, and a
version at a daily level.
"""

import datetime as dt
import socket
from dataclasses import replace

import polars as pl

import headwater as hw
from headwater.experiments.frozen_plan import freeze
from headwater.models.experiment_store import ExperimentStore
from headwater.models.registry import ModelRegistry
from tests.backtesting.delivery_world import LIVE, play, project, tables

DAYS = 4
DAY = (LIVE + dt.timedelta(days=1)).date()
AFTER = (LIVE + dt.timedelta(days=DAYS + 1)).isoformat()
_named = ("u" + pl.col("user").cast(pl.String)).alias("user")


def bank(folder, **more):
    """The project over files with requests of four days, and its requests."""
    until = LIVE + dt.timedelta(days=DAYS)
    requests, readings, reviews = tables()
    requests = requests.filter(pl.col("asked") < until).with_columns(_named)
    readings, late = (
        readings.filter(pl.col("at") < until),
        reviews["late"].filter(pl.col("at") < until).with_columns(_named),
    )
    known = project(folder, requests, readings, late)
    model = replace(known.models[0], **{"outcomes": "independent", **more})
    levels = {
        "daily": hw.Level(hw.batch("1d", delay="4h", wait="4h")),
        "live": hw.Level(hw.streaming("2s")),
    }
    value = hw.DecisionValue(volume=80, acted_on=0.1, hit=100, false_alarm=20, costs={"daily": 1.0})
    arms = [
        hw.experiments.Arm("now", model),
        hw.experiments.Arm("nightly", model, levels["daily"]),
        hw.experiments.Arm("untrained", model, hw.batch("1h", delay="5m")),
    ]
    beside = hw.Experiment(
        "beside",
        arms,
        unit="user",
        kind=hw.experiments.Shadow(),
        plan=hw.experiments.ExperimentPlan(duration="30d"),
    )
    evaluation = hw.Evaluation(split=known.evaluation.split, headline="auc", value=value)
    return hw.Project(
        "bank", [model], levels=levels, evaluation=evaluation, experiments=[beside]
    ), requests


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def served(folder, **more):
    """The project after its days in service; the shadow was started, and one of its arms has no
    model any more.
    """
    known, requests = bank(folder, **more)
    model, registry = known.models[0], ModelRegistry(folder / "models")
    hw.train(model, as_of=LIVE, seed=3).register(registry)
    hw.train(
        model, as_of=LIVE, level=known.named_levels["daily"], level_name="daily", seed=3
    ).register(registry)
    arms = known.experiments[0].arms
    untrained = known.arm_variant(known.experiments[0], arms[2])
    hw.train(model, as_of=LIVE, level=untrained.level, level_name=untrained.name, seed=3).register(
        registry
    )
    start = round(LIVE.timestamp() * 1e6)
    ExperimentStore(folder / "models").start(
        freeze(known, known.experiments[0], registry, start), start, "tests"
    )
    play(known, requests, folder, free_port())
    return known
