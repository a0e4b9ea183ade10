"""Worlds whose features come from the outcomes of earlier requests: honest ones, and the same ones
with a planted leak.

Machines have states that last for hours. A request's outcome, `severity`, depends on the state; it
is known when the job has ended, and it is bad above 0. A report of each ended job is the source of
the features: mean and last severity of the machine. Every leak is a mistake in that definition or
in its data, at several strengths; its inflation is the AUC that it adds to the honest twin of the
same seed.
"""

# ruff: noqa: ARG001, ARG005 (every way to plant a leak has the same arguments)

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.signal import lfilter

import headwater as hw
from bench.validation.scenarios import times
from bench.validation.world import DAILY, logistic

DAYS, TRAIN_DAYS, EVERY = 40, 26, 600.0
Features = list[hw.FeatureView | hw.RequestField]


@dataclass(frozen=True)
class Jobs:
    """How the world is: machines, requests a day, hours after which a state has halved, its effect,
    and the length of a job in hours.
    """

    machines: int = 20
    per_day: int = 200
    half_life: float = 4.0
    effect: float = 1.0
    amount_effect: float = 0.5
    hours: float = 1.5
    grid_minutes: int = 0  # requests and reports happen on such a grid

    def rows(self, random: np.random.Generator) -> pl.DataFrame:
        """A row a request: request, machine, amount, asked, ended, severity, bad, state."""
        n, steps = DAYS * self.per_day, int(DAYS * 86_400 / EVERY)
        asked = np.sort(random.random(n)) * DAYS * 86_400
        machine, amount = random.integers(0, self.machines, n), random.normal(size=n)
        kept = 2.0 ** (-EVERY / 3600 / self.half_life)
        noise = random.normal(size=(steps, self.machines)) * np.sqrt(1 - kept**2)
        noise[0] = random.normal(size=self.machines)
        state = lfilter([1.0], [1.0, -kept], noise, axis=0)[(asked // EVERY).astype(int), machine]
        of_day = random.normal(0, 0.2, DAYS)[(asked // 86_400).astype(int)]
        severity = (
            -0.8
            + self.amount_effect * amount
            + self.effect * state
            + of_day
            + random.logistic(size=n)
        )
        ended = asked + 600 + random.exponential(self.hours * 3600, n)
        if self.grid_minutes:
            asked, ended = (
                np.ceil(at / (60 * self.grid_minutes)) * 60 * self.grid_minutes
                for at in (asked, ended)
            )
        columns = {
            "machine": machine,
            "amount": amount,
            "asked": times(asked),
            "ended": times(ended),
            "severity": severity,
            "state": state,
        }
        return pl.DataFrame(columns | {"request": np.arange(n), "bad": severity > 0})


@dataclass(frozen=True)
class World:
    """Definitions over the rows of a world: the features, and the labels' table with when its
    outcomes are known.
    """

    rows: pl.DataFrame
    features: Features
    known_at_field: str = "ended"
    hidden: tuple[str, ...] = ()  # columns that the labels' table lacks

    def model(self) -> hw.Model:
        select = [
            "machine",
            "amount",
            "asked",
            "bad",
            self.known_at_field,
            *(f.name for f in self.features if isinstance(f, hw.RequestField)),
        ]
        select += (
            ["request"]
            if any(isinstance(f, hw.FeatureView) and "request" in f.keys for f in self.features)
            else []
        )
        table = self.rows.select(
            [*dict.fromkeys([*select, *self.rows.drop("state", *self.hidden).columns])]
        )
        labels = hw.Labels(
            "outcomes", table=table, timestamp_field="asked", select=list(dict.fromkeys(select)), label="bad", known_at_field=self.known_at_field
        )  # fmt: skip
        amount = hw.RequestField("amount", float)
        service = hw.FeatureService(
            "departures_v1", [*self.features, *([] if amount in self.features else [amount])]
        )
        return hw.Model(
            "bad_job", task="binary", features=service, labels=labels, estimator=logistic()
        )


def reports(events: pl.DataFrame, name: str = "reports", **source: object) -> hw.FeatureView:
    """Mean and last severity of a machine, of events with `machine`, `at` and `severity`."""
    given = hw.Source(
        name, history=events, timestamp_field="at", select=["machine", "severity"], **source
    )
    return hw.FeatureView(
        "past",
        source=given,
        keys=["machine"],
        windows=["6h", "2d"],
        freshness=DAILY,
        features=[hw.mean("severity"), hw.last("severity")],
    )


def ended_reports(rows: pl.DataFrame) -> pl.DataFrame:
    """The honest events: each job's severity at its end."""
    return rows.select("machine", "severity", at="ended")


def honest(rows: pl.DataFrame, random: np.random.Generator, strength: float) -> World:
    """What the leaks are compared with."""
    return World(rows, [reports(ended_reports(rows))])


def local_time(rows: pl.DataFrame, random: np.random.Generator, hours: float) -> World:
    """The reports are dated in a local time, `hours` behind UTC, that was declared as UTC."""
    return World(
        rows,
        [
            reports(
                ended_reports(rows).with_columns(
                    pl.col("at") - pl.duration(minutes=int(60 * hours))
                )
            )
        ],
    )


def daylight_saving(rows: pl.DataFrame, random: np.random.Generator, hours: float) -> World:
    """The same in a zone whose clock changes on 10 March: two offsets."""
    summer = pl.col("at") >= pl.datetime(2024, 3, 10, 7, time_zone="UTC")
    behind = pl.duration(minutes=int(60 * hours)) - pl.when(summer).then(
        pl.duration(hours=1)
    ).otherwise(pl.duration(hours=0))
    return World(rows, [reports(ended_reports(rows).with_columns(pl.col("at") - behind))])


def early_stamp(rows: pl.DataFrame, random: np.random.Generator, minutes: float) -> World:
    """The reports are dated so many minutes before they were made."""
    return World(
        rows,
        [
            reports(
                ended_reports(rows).with_columns(pl.col("at") - pl.duration(minutes=int(minutes)))
            )
        ],
    )


def dated_at_request(rows: pl.DataFrame, random: np.random.Generator, share: float) -> World:
    """Another table has a share of the outcomes, each dated a minute before its request."""
    sample = rows.sample(fraction=share, shuffle=True, seed=int(random.integers(1 << 30)))
    return World(
        rows,
        [
            reports(
                sample.select("machine", "severity", at=pl.col("asked") - pl.duration(minutes=1))
            )
        ],
    )


def own_table(rows: pl.DataFrame, random: np.random.Generator, strength: float) -> World:
    """A source over the labels' own table, dated by the request."""
    table = rows.drop("state")
    source = hw.Source(
        "past_outcomes", history=table, timestamp_field="asked", select=["machine", "bad"]
    )
    view = hw.FeatureView(
        "past",
        source=source,
        keys=["machine"],
        windows=["6h"],
        freshness=DAILY,
        features=[hw.mean("bad")],
    )
    return World(rows, [view])


def daily_totals(rows: pl.DataFrame, random: np.random.Generator, strength: float) -> World:
    """A table of one row per machine and day, dated at the day's beginning. The strength is the
    number of machines: fewer rows each.
    """
    day = rows.group_by("machine", at=pl.col("asked").dt.truncate("1d")).agg(pl.mean("severity"))
    return World(rows, [reports(day.select("machine", "severity", "at"), "daily_totals")])


def rounded_down(rows: pl.DataFrame, random: np.random.Generator, hours: float) -> World:
    """The reports' timestamps are rounded down to so many hours."""
    return World(
        rows,
        [reports(ended_reports(rows).with_columns(pl.col("at").dt.truncate(f"{int(hours)}h")))],
    )


def aftermath(rows: pl.DataFrame, random: np.random.Generator, strength: float) -> World:
    """What happens to a request after its outcome, dated a minute before the request and joined by
    the request's number.
    """
    repair = pl.Series(
        "repair",
        strength * rows["bad"].cast(pl.Float64).to_numpy() + random.normal(size=rows.height),
    )
    events = rows.select("request", repair, at=pl.col("asked") - pl.duration(minutes=1))
    source = hw.Source(
        "repairs", history=events, timestamp_field="at", select=["request", "repair"]
    )
    view = hw.FeatureView(
        "repairs",
        source=source,
        keys=["request"],
        windows=["1d"],
        freshness=hw.on_request(),
        features=[hw.last("repair")],
    )
    return World(rows, [reports(ended_reports(rows)), view])


def late_request_field(rows: pl.DataFrame, random: np.random.Generator, strength: float) -> World:
    """A column of the labels' table that is written after the outcome, as a field of the
    request.
    """
    priority = strength * rows["severity"].to_numpy() / 2 + random.normal(size=rows.height)
    return World(
        rows.with_columns(priority=pl.Series(priority)),
        [reports(ended_reports(rows)), hw.RequestField("priority", float)],
    )


def late_field_of_hidden_outcome(
    rows: pl.DataFrame, random: np.random.Generator, strength: float
) -> World:
    """The same where the labels' table has the binary label alone."""
    leaking = late_request_field(rows, random, strength)
    return World(leaking.rows, leaking.features, hidden=("severity",))


def known_too_early_without_end(
    rows: pl.DataFrame, random: np.random.Generator, strength: float
) -> World:
    """The labels' table says that outcomes are known a minute after the request, and no table has
    the time at which the job ended.
    """
    rows = rows.with_columns(said=pl.col("asked") + pl.duration(minutes=1))
    events = rows.select("machine", "severity", at="asked", known="said")
    return World(
        rows, [reports(events, known_at_field="known")], known_at_field="said", hidden=("ended",)
    )


def known_too_early(rows: pl.DataFrame, random: np.random.Generator, strength: float) -> World:
    """The labels' table says that outcomes are known a minute after the request; a source reads it
    so. The job ended later.
    """
    rows = rows.with_columns(said=pl.col("asked") + pl.duration(minutes=1))
    source = hw.Source(
        "past_outcomes",
        history=rows.drop("state"),
        timestamp_field="asked",
        known_at_field="said",
        select=["machine", "severity"],
    )
    view = hw.FeatureView(
        "past",
        source=source,
        keys=["machine"],
        windows=["6h", "2d"],
        freshness=DAILY,
        features=[hw.mean("severity"), hw.last("severity")],
    )
    return World(rows, [view], known_at_field="said")


def static_dimension(rows: pl.DataFrame, random: np.random.Generator, strength: float) -> World:
    """A table of machines with their mean severity over the whole period, "known" since 2000."""
    profile = (
        rows.group_by("machine")
        .agg(pl.mean("severity").alias("usual"))
        .with_columns(at=pl.datetime(2000, 1, 1, time_zone="UTC"))
    )
    source = hw.Source(
        "machines", history=profile, timestamp_field="at", select=["machine", "usual"]
    )
    view = hw.FeatureView(
        "profile",
        source=source,
        keys=["machine"],
        freshness=DAILY,
        features=[hw.last("usual", windows=["lifetime"])],
    )
    return World(rows, [reports(ended_reports(rows)), view])


Plant = Callable[[pl.DataFrame, np.random.Generator, float], World]


@dataclass(frozen=True)
class LeakKind:
    """A way to plant a leak, its strengths, what a strength is, and the world around it."""

    plant: Plant
    strengths: tuple[float, ...]
    unit: str
    jobs: Callable[[float], Jobs] = lambda strength: Jobs()
    # whether data can show it; `CANNOT_SEE` of the audit lists the kinds that they cannot
    detectable: bool = True

    def worlds(self, seed: int, strength: float) -> tuple[hw.Model, hw.Model]:
        """The leaking model and its honest twin, of the same rows."""
        jobs, models = self.jobs(strength), []
        for plant in (self.plant, honest):
            random = np.random.default_rng(seed)
            models.append(plant(jobs.rows(random), random, strength).model())
        return models[0], models[1]


LEAKS: Mapping[str, LeakKind] = {
    "local time as UTC": LeakKind(local_time, (1, 2, 5, 8), "hours behind UTC"),
    "local time as UTC, clock change": LeakKind(daylight_saving, (5, 8), "hours behind UTC in winter"),
    "stamp too early": LeakKind(early_stamp, (15, 65, 180), "minutes"),
    "outcomes dated at the request": LeakKind(dated_at_request, (0.2, 0.6, 1.0), "share of outcomes"),
    "the labels' own table": LeakKind(own_table, (1,), ""),
    "daily totals": LeakKind(daily_totals, (5, 20, 100), "machines", lambda machines: Jobs(machines=int(machines))),
    "stamps rounded down": LeakKind(rounded_down, (1, 6, 24), "hours"),
    "aftermath": LeakKind(aftermath, (0.5, 1, 2, 4), "standard deviations"),
    "late request field": LeakKind(late_request_field, (0.25, 0.5, 1, 2), "of the outcome to noise"),
    "outcome known too early": LeakKind(known_too_early, (2, 8, 24), "hours", lambda hours: Jobs(machines=5, hours=hours, half_life=3)),
    "static dimension": LeakKind(
        static_dimension, (20, 400, 2000), "machines", lambda machines: Jobs(machines=int(machines), half_life=24)
    ),
    "late request field, outcome without detail": LeakKind(
        late_field_of_hidden_outcome, (0.5, 2), "of the outcome to noise", detectable=False
    ),
    "outcome known too early, no other time": LeakKind(
        known_too_early_without_end, (8, 24), "hours", lambda hours: Jobs(machines=5, hours=hours, half_life=3), detectable=False
    ),
}  # fmt: skip


def honest_world(seed: int) -> hw.Model:
    """An honest world with drawn properties, some of them like a leak: near-perfect fields, grids,
    events just before a request.
    """
    random = np.random.default_rng(seed)
    jobs = Jobs(
        machines=int(np.exp(random.uniform(np.log(5), np.log(300)))),
        per_day=int(random.integers(60, 250)),
        half_life=float(np.exp(random.uniform(np.log(0.5), np.log(500)))),
        effect=float(random.choice([0, 0.5, 1, 2, 4])),
        amount_effect=float(random.choice([0, 0.5, 1, 3])),
        hours=float(np.exp(random.uniform(np.log(0.1), np.log(30)))),
        grid_minutes=int(random.choice([0, 0, 5, 15, 60])),
    )
    rows = jobs.rows(random)
    extras = [
        _none,
        _totals_at_end,
        _rounded_and_declared,
        _warnings_before,
        _known_profile,
        _own_table_known,
        _triage,
        _near_perfect_field,
    ]
    return extras[int(random.integers(len(extras)))](rows, random).model()


def _none(rows: pl.DataFrame, random: np.random.Generator) -> World:
    return World(rows, [reports(ended_reports(rows))])


def _totals_at_end(rows: pl.DataFrame, random: np.random.Generator) -> World:
    """Daily totals of ended jobs, dated at the end of the day."""
    day = rows.group_by("machine", at=pl.col("ended").dt.truncate("1d") + pl.duration(days=1)).agg(
        pl.mean("severity")
    )
    return World(rows, [reports(day.select("machine", "severity", "at"), "daily_totals")])


def _rounded_and_declared(rows: pl.DataFrame, random: np.random.Generator) -> World:
    """Timestamps rounded down to the hour, and declared as known an hour later."""
    return World(
        rows,
        [
            reports(
                ended_reports(rows).with_columns(pl.col("at").dt.truncate("1h")), known_after="1h"
            )
        ],
    )


def _warnings_before(rows: pl.DataFrame, random: np.random.Generator) -> World:
    """Warnings seconds before the request that predict it well, as honest card testing does; they
    know the state, not the outcome.
    """
    warned = rows.filter(pl.Series(random.random(rows.height) < 0.7))
    seconds = pl.Series((random.integers(2, 60, warned.height)).astype(np.int64))
    at = warned["asked"] - seconds.cast(pl.Duration("ms")) * 1000
    events = pl.DataFrame({"machine": warned["machine"], "at": at, "level": warned["state"]})
    source = hw.Source(
        "warnings", history=events, timestamp_field="at", select=["machine", "level"]
    )
    view = hw.FeatureView(
        "warned",
        source=source,
        keys=["machine"],
        windows=["10m"],
        freshness=DAILY,
        features=[hw.last("level"), hw.count()],
    )
    return World(rows, [reports(ended_reports(rows)), view])


def _known_profile(rows: pl.DataFrame, random: np.random.Generator) -> World:
    """A property of each machine that was known before the period, and is informative: its rate in
    the years before.
    """
    effect = random.normal(size=int(rows["machine"].max()) + 1)  # type: ignore[arg-type, operator]
    severity = rows["severity"].to_numpy() + effect[rows["machine"].to_numpy()]
    rows = rows.with_columns(severity=pl.Series(severity), bad=pl.Series(severity > 0))
    profile = pl.DataFrame(
        {"machine": np.arange(len(effect)), "usual": effect + random.normal(0, 0.3, len(effect))}
    )
    profile = profile.with_columns(at=pl.datetime(2024, 1, 1, time_zone="UTC"))
    source = hw.Source(
        "machines", history=profile, timestamp_field="at", select=["machine", "usual"]
    )
    view = hw.FeatureView(
        "profile",
        source=source,
        keys=["machine"],
        freshness=DAILY,
        features=[hw.last("usual", windows=["lifetime"])],
    )
    return World(rows, [reports(ended_reports(rows)), view])


def _own_table_known(rows: pl.DataFrame, random: np.random.Generator) -> World:
    """A source over the labels' own table that says when each outcome is known."""
    source = hw.Source(
        "past_outcomes",
        history=rows.drop("state"),
        timestamp_field="ended",
        select=["machine", "severity"],
    )
    view = hw.FeatureView(
        "past",
        source=source,
        keys=["machine"],
        windows=["6h", "2d"],
        freshness=DAILY,
        features=[hw.mean("severity")],
    )
    return World(rows, [view])


def _triage(rows: pl.DataFrame, random: np.random.Generator) -> World:
    """A field that the request really carries and that knows the state, as an expert or another
    model does.
    """
    guess = rows["state"].to_numpy() + float(random.choice([0.3, 1, 3])) * random.normal(
        size=rows.height
    )
    return World(
        rows.with_columns(triage=pl.Series(guess)),
        [reports(ended_reports(rows)), hw.RequestField("triage", float)],
    )


def _near_perfect_field(rows: pl.DataFrame, random: np.random.Generator) -> World:
    """A field from before the outcome that decides most of it: the outcome is the field, the state,
    and a little chance.
    """
    size = random.normal(0, float(random.choice([4, 8])), rows.height)
    severity = rows["severity"].to_numpy() + size
    rows = rows.with_columns(
        severity=pl.Series(severity), bad=pl.Series(severity > 0), size=pl.Series(size)
    )
    return World(rows, [reports(ended_reports(rows)), hw.RequestField("size", float)])
