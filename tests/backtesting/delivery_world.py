"""A model that is backtested on one period and served over HTTP in the next, with a review of each
request that either arrives after its outcome, as it does in production, or bears a stamp that is
early by a different amount in each row, as no audit can see.
"""

import datetime as dt
from contextlib import ExitStack, closing

import numpy as np
import polars as pl

import headwater as hw
from headwater.ingestion.replay import replay
from headwater.models.registry import ModelRegistry
from headwater.serving.client.service_client import Client
from headwater.serving.serve import ServeOptions, serve

START = dt.datetime(2024, 3, 4, tzinfo=dt.UTC)  # a Monday
TESTED, SERVED = 42, 42  # days
TURNS, EACH = 4, 20  # times of a day, and requests at each
USERS = 200
SPLIT = START + dt.timedelta(days=14)
LIVE = START + dt.timedelta(days=TESTED)


def tables(seed=0):
    """Requests of both periods with their outcome an hour later, states of machines every hour, and
    reviews.
    """
    rng = np.random.default_rng(seed)
    days = TESTED + SERVED
    hours = days * 24
    states = (np.cumsum(rng.random((hours, 3)) < 0.12, axis=0) + rng.integers(0, 2, 3)) % 2
    n = days * TURNS * EACH
    asked = np.repeat((np.arange(days * TURNS) * 6 + 3) * 3600.0, EACH)
    machine, amount = rng.integers(0, 3, n), rng.normal(size=n)
    user = np.concatenate([rng.choice(USERS, EACH, replace=False) for _ in range(days * TURNS)])
    bad = rng.random(n) < np.clip(
        0.15 + 0.5 * states[(asked // 3600).astype(int), machine] + 0.05 * amount, 0.01, 0.99
    )
    requests = pl.DataFrame(
        {
            "user": user,
            "machine": machine,
            "amount": amount,
            "asked": _times(asked),
            "bad": bad,
            "known": _times(asked + 3600),
        }
    )
    readings = pl.concat(
        pl.DataFrame(
            {
                "machine": [m] * hours,
                "at": _times(np.arange(hours) * 3600.0 + 60),
                "state": states[:, m].astype(float),
            }
        )
        for m in range(3)
    )
    finding = np.where(rng.random(n) < 0.85, bad, ~bad).astype(float)
    late, early = asked + 3600 + rng.random(n) * 3600, asked - 60 - rng.random(n) * 3000
    reviews = {
        name: pl.DataFrame({"user": user, "at": _times(at), "finding": finding})
        for name, at in (("late", late), ("early", early))
    }
    return requests, readings, reviews


def _times(seconds):
    return (
        pl.Series(np.rint(np.asarray(seconds) * 1e6).astype(np.int64)).cast(pl.Duration("us"))
        + START
    )


def project(folder, requests, readings, reviews, *, label="bad", task="binary"):
    """The definitions over files of these tables: they are the same whichever reviews a file
    holds.
    """
    paths = {name: folder / f"{name}.parquet" for name in ("requests", "readings", "reviews")}
    for table, path in zip((requests, readings, reviews), paths.values(), strict=True):
        table.write_parquet(path)
    push = hw.push(at_least_once=True)
    machines = hw.Source(
        "readings", history=hw.parquet(paths["readings"]), timestamp_field="at", stream=push
    )
    people = hw.Source(
        "reviews", history=hw.parquet(paths["reviews"]), timestamp_field="at", stream=push
    )
    live = hw.streaming("2s")
    views = [
        hw.FeatureView(
            "machine",
            source=machines,
            keys=["machine"],
            features=[hw.last("state")],
            windows=["6h"],
            freshness=live,
        ),
        hw.FeatureView(
            "user",
            source=people,
            keys=["user"],
            features=[hw.mean("finding"), hw.count()],
            windows=["1h"],
            freshness=live,
        ),
    ]
    labels = hw.Labels(
        "payments",
        table=hw.parquet(paths["requests"]),
        timestamp_field="asked",
        label=label,
        known_at_field="known",
    )
    service = hw.FeatureService("payments_v1", [*views, hw.RequestField("amount", float)])
    levels = {"daily": hw.Level(hw.batch("1d", delay="4h")), "live": hw.Level(live)}
    model = hw.Model("risk", features=service, labels=labels, task=task)
    return hw.Project(
        "bank", [model], levels=levels, evaluation=hw.Evaluation(split=SPLIT, resamples=400)
    )


class _Clock:
    now = 0

    def __call__(self):
        return self.now


def play(bank, requests, folder, port, *, skip_outcomes=lambda row: False):
    """Serve the second period over HTTP, each request at its time, and post each outcome when it is
    known.
    """
    model = bank.models[0]
    live = requests.filter(pl.col("asked") >= LIVE).sort("asked")
    moments = live["asked"].unique(maintain_order=True).to_list()
    lag = dt.timedelta(seconds=2)
    now = _Clock()
    now.now = _micros(moments[0])
    with ExitStack() as stack:
        store = stack.enter_context(
            closing(hw.operations.open_store(f"lmdb:{folder / 'online'}?size=1GB"))
        )
        log = stack.enter_context(hw.operations.ServedLog(folder))
        stops = [moment - lag for moment in moments]
        views = model.features.views
        replayed = replay(
            views,
            store,
            start=LIVE - dt.timedelta(hours=6),
            end=moments[-1],
            step=stops,
            data_dir=folder,
        )
        client = None
        for moment, _ in zip(moments, replayed, strict=False):
            now.now = _micros(moment)
            if client is None:
                options = ServeOptions(serving_log=log, now=now)
                url = stack.enter_context(
                    serve(
                        bank,
                        store,
                        listen=f"127.0.0.1:{port}",
                        models=folder / "models",
                        data_dir=folder,
                        options=options,
                    )
                )
                client = stack.enter_context(Client(url))
            rows = live.filter(pl.col("asked") == moment)
            client.predict("risk", rows.select("user", "machine", "amount").to_dicts())
        known = [
            {
                "user": r["user"],
                "machine": r["machine"],
                "timestamp": r["asked"],
                "outcome": r[model.labels.label],
                "known_at": r["known"],
            }
            for r in live.iter_rows(named=True)
            if not skip_outcomes(r)
        ]
        client.outcomes("payments", known)


def _micros(moment):
    return round(moment.timestamp() * 1e6)


def kept(bank, folder, tested):
    """Train as of the first period's end, with the promise of its backtest."""
    promise = hw.evaluation.promised(tested, "live")
    return hw.train(bank.models[0], as_of=LIVE).register(
        ModelRegistry(folder / "models"), promise=promise
    )
