"""A project with an experiment, and histories of orders with a known effect, for tests of its
analysis.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

import headwater as hw
from headwater.journal.exposure_rows import EXPOSURE_SCHEMA
from headwater.models.experiment_store import ExperimentStore, FrozenArm, FrozenPlan
from tests.experiments.frozen_plans import frozen_plan

START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = 86_400_000_000
AT = pl.Datetime("us", "UTC")
KINDS = {
    "ab": hw.experiments.ABTest(),
    "switchback": hw.experiments.Switchback("city"),
    "cluster": hw.experiments.ClusterTest("city"),
}


def micros(at: datetime) -> int:
    return round(at.timestamp() * 1_000_000)


@dataclass
class World:
    """Orders of users: `before` days of history, an experiment of `days`, an effect on the rate of
    orders of the streaming arm.
    """

    seed: int = 1
    users: int = 2_000
    days: int = 10
    effect: float = 0.0
    rate: float = 1.0
    within: str = "2d"
    late: float = 0.0
    ints: bool = False
    never: str = "zero"
    kind: str = "ab"
    units_needed: int | None = None
    looks: int = 5
    arms: tuple[str, ...] = ("daily", "streaming")
    base: object = None
    guardrails: tuple = ()
    orders: pl.DataFrame | None = None
    exposures: pl.DataFrame | None = None
    changes: dict = field(default_factory=dict)

    def __post_init__(self) -> None:
        random = np.random.default_rng(self.seed)
        kept_orders, kept_exposures = self.orders, self.exposures
        self._draw(random)
        self.orders = self.orders if kept_orders is None else kept_orders
        self.exposures = self.exposures if kept_exposures is None else kept_exposures

    def _draw(self, random: np.random.Generator) -> None:
        users, span = self.users, (28 + self.days + 4) * DAY
        begin = micros(START) - 28 * DAY
        arm = random.integers(0, len(self.arms), users)
        first = micros(START) + random.integers(0, self.days * DAY, users)
        # a fifth never orders before
        level = random.gamma(4.0, self.rate / 4.0, users) * (random.random(users) > 0.2)
        level = np.where(level == 0, self.rate * 0.5, level)
        silent = random.random(users) < 0.2
        count = random.poisson(level * span / DAY)
        user = np.repeat(np.arange(users), count)
        at = begin + random.integers(0, span, len(user))
        keep = ~(silent[user] & (at < first[user]))
        user, at = user[keep], at[keep]
        more = (
            (arm[user] > 0)
            & (at >= first[user])
            & (random.random(len(user)) < abs(self.effect) * (arm[user] > 0))
        )
        if self.effect >= 0:
            user, at = np.concatenate([user, user[more]]), np.concatenate([at, at[more] + 1])
        else:
            user, at = user[~more], at[~more]
        known = at + 60_000_000 + np.where(random.random(len(user)) < self.late, 3 * DAY, 0)
        self.orders = pl.DataFrame(
            {
                "user": self._names(user),
                "at": at,
                "known": known,
                "amount": random.integers(1, 9, len(user)),
            }
        ).with_columns(pl.col("at", "known").cast(AT))
        again = random.poisson(0.7, users)
        who = np.concatenate([np.arange(users), np.repeat(np.arange(users), again)])
        when = np.concatenate(
            [first, np.repeat(first, again) + random.integers(1, 3 * DAY, int(again.sum()))]
        )
        self.exposures = exposures_of(
            [str(name) for name in self._names(who)], [self.arms[a] for a in arm[who]], when
        )

    def _names(self, number):
        return [int(n) for n in number] if self.ints else [f"u{n}" for n in number]

    def source(self, orders: pl.DataFrame | None = None) -> hw.Source:
        return hw.Source(
            "orders",
            history=self.orders if orders is None else orders,
            timestamp_field="at",
            known_at_field="known",
            select=["user", "amount"],
        )

    def outcome(self, aggregation=None, within=None, keys=("user",)):
        return hw.outcome(
            self.source(), aggregation or hw.count(), keys=list(keys), within=within or self.within
        )

    def project(self, metric: hw.experiments.ExperimentMetric | None = None) -> hw.Project:
        source = self.source()
        view = hw.FeatureView(
            "user",
            source=source,
            keys=["user"],
            features=[hw.count()],
            windows=["1d"],
            freshness=hw.on_request(),
        )
        fields = [hw.RequestField("city", str)]
        table = (
            pl.DataFrame({"user": ["u0"], "city": ["c0"], "asked": [START], "y": [1.0]})
            if not self.ints
            else pl.DataFrame({"user": [0], "city": ["c0"], "asked": [START], "y": [1.0]})
        )
        labels = hw.Labels(
            "asked", table=table, timestamp_field="asked", label="y", known_after="1d"
        )
        model = hw.Model(
            "taste",
            task="binary",
            features=hw.FeatureService("v1", [view, *fields]),
            labels=labels,
            outcomes="independent",
        )
        levels = {
            "daily": hw.Level(hw.batch("1d")),
            "hourly": hw.Level(hw.batch("1h")),
            "streaming": hw.Level(hw.on_request()),
        }
        deciding = metric or hw.experiments.ExperimentMetric(
            "orders", value=self.outcome(), base=self.base, never=self.never
        )
        experiment = hw.Experiment(
            "fresh",
            [hw.experiments.Arm(name, model, levels[name]) for name in self.arms],
            unit="user",
            kind=KINDS[self.kind],
            metrics=[deciding],
            guardrails=list(self.guardrails),
            plan=hw.experiments.ExperimentPlan(duration=f"{self.days}d", looks=self.looks),
        )
        return hw.Project("shop", [model], levels=levels, experiments=[experiment])

    def plan(self, **changed) -> FrozenPlan:
        share = 1 / len(self.arms)
        settings = {
            "switchback": {"length": 7 * DAY // 24, "washout": 0, "random_bounds": False},
            "cluster": {"burn_in": 0},
        }
        values = {
            "experiment": "fresh",
            "fingerprint": "f",
            "arms": tuple(FrozenArm(name, "taste", name, share, 1) for name in self.arms),
            "kind": self.kind,
            "columns": {}
            if self.kind == "ab"
            else {"region" if self.kind == "switchback" else "cluster": "city"},
            "settings": settings.get(self.kind, {}),
            "metrics": ("orders",),
            "guardrails": tuple(metric.name for metric in self.guardrails),
            "start": micros(START),
            "duration": self.days * DAY,
            "looks": self.looks,
            "min_lift": 0.05,
            "units_needed": self.units_needed,
        }
        return frozen_plan(**{**values, **self.changes, **changed})

    def analyse(
        self,
        folder,
        *,
        at: datetime | None = None,
        stopped: datetime | None = None,
        metric=None,
        **more,
    ):
        from headwater.experiments.analyse_experiment import analyse

        store = ExperimentStore(folder)
        store.start(self.plan(), micros(START), "test")
        if stopped is not None:
            store.stop("fresh", micros(stopped), "test", "enough")
        when = at or START + timedelta(days=self.days + 4)
        exposures = more.pop("exposures", self.exposures)
        return analyse(
            self.project(metric),
            "fresh",
            models=folder,
            data_dir=folder,
            at=when,
            exposures=exposures,
            **more,
        )


def exposures_of(units, arms, at, **more) -> pl.DataFrame:
    n = len(units)
    columns = {
        "unit": units,
        "arm": arms,
        "at": at,
        "request": [f"r{i}" for i in range(n)],
        "propensity": [0.5] * n,
        "age": [1.0] * n,
        "promised_age": [10.0] * n,
        "fallback": [False] * n,
        "override": [False] * n,
        "cluster": [None] * n,
        "bucket": [None] * n,
        **more,
    }
    return pl.DataFrame(
        columns,
        schema_overrides={name: dtype for name, dtype in EXPOSURE_SCHEMA.items() if name != "at"},
        strict=False,
    ).with_columns(pl.col("at").cast(AT))
