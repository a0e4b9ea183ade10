"""A model that is trained, and served for some weeks over HTTP from events that are archived;
outcomes come an hour after the request.
"""

import datetime as dt
import socket
from dataclasses import replace

import polars as pl

import headwater as hw
from headwater.models.registry import ModelRegistry
from tests.backtesting.delivery_world import LIVE, play, project, tables

SERVED = 16  # days
_named = ("u" + pl.col("user").cast(pl.String)).alias("user")


def bank(folder, until=LIVE + dt.timedelta(days=SERVED), **more):
    """The project over files with requests before `until`, and its requests."""
    requests, readings, reviews = tables()
    requests = requests.filter(pl.col("asked") < until).with_columns(_named)
    known = project(
        folder,
        requests,
        readings.filter(pl.col("at") < until),
        reviews["late"].filter(pl.col("at") < until).with_columns(_named),
    )
    model = replace(known.models[0], outcomes="independent", **more)
    # A cut reads what was known four hours after it: requests come every six hours, and events are
    # committed with them.
    levels = {
        "daily": hw.Level(hw.batch("1d", delay="4h", wait="4h")),
        "live": known.levels["live"],
    }
    return hw.Project("bank", [model], levels=levels, evaluation=known.evaluation), requests


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def served(folder, **more):
    """The project after its weeks in service."""
    known, requests = bank(folder, **more)
    hw.train(known.models[0], as_of=LIVE, seed=3).register(ModelRegistry(folder / "models"))
    play(known, requests, folder, free_port())
    return known
