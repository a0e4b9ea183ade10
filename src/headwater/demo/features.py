"""Will a flight from New York arrive more than 15 minutes late? Asked an hour before its scheduled
departure.
"""

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl

import headwater as hw

NEW_YORK = "America/New_York"
zone = ZoneInfo(NEW_YORK)
data = Path(__file__).parent / "data"
flights = hw.parquet(data / "flights.parquet")  # one row a flight; all times in UTC
hours = hw.parquet(data / "weather.parquet")  # one row an hour and airport
keys = ["origin", "dest", "carrier", "tailnum"]
daily = hw.batch("1d", at="00:00", timezone=NEW_YORK, delay="4h")


def outcomes(name: str, at: str, delay: str, least: int) -> hw.Source:
    """Delays count from when they are known: the moment of departure, or of arrival."""
    minutes = pl.col(delay)
    select: list[str | pl.Expr] = [
        *keys,
        minutes.clip(least, 240).alias("delay"),
        (minutes > 15).alias("late"),
    ]
    return hw.Source(
        name, history=flights, timestamp_field=at, filter=pl.col(at).is_not_null(), select=select
    )


departures = outcomes("departures", "departed_at", "dep_delay", least=-30)
arrivals = outcomes("arrivals", "arrived_at", "arr_delay", least=-60)
# due, not gone; a cancelled flight for six hours
queue = [hw.open_count(until="departed_at"), hw.open_age(until="departed_at")]
schedule = hw.Source("schedule", history=flights, timestamp_field="scheduled_at", select=["origin"])
sky = hw.latest("temp", "dewp", "wind_speed", "wind_gust", "precip", "pressure", "visib")
# once its hour has ended
weather = hw.Source("weather", history=hours, timestamp_field="time_hour", known_after="1h")

view = partial(hw.FeatureView, freshness=daily)
delays = partial(
    view,
    windows=["1h", "3h", "1d", "7d"],
    features=[hw.count(), hw.mean("delay"), hw.mean("late", name="late_share")],
)
views = [
    delays("departures", source=departures, keys=["origin"]),
    delays("departures_carrier", source=departures, keys=["origin", "carrier"]),
    delays("departures_route", source=departures, keys=["origin", "dest"]),
    delays(
        "departures_line",
        source=departures,
        keys=["carrier", "origin", "dest"],
        windows=["1d", "7d"],
    ),
    delays("departures_tail", source=departures, keys=["tailnum"], windows=["1d", "7d"]),
    delays("arrivals", source=arrivals, keys=["origin"]),
    delays("arrivals_carrier", source=arrivals, keys=["origin", "carrier"]),
    delays("arrivals_dest", source=arrivals, keys=["dest"]),
    delays(
        "arrivals_line", source=arrivals, keys=["carrier", "origin", "dest"], windows=["1d", "7d"]
    ),
    delays("arrivals_tail", source=arrivals, keys=["tailnum"], windows=["1d", "7d"]),
    view(
        "aircraft",
        source=arrivals,
        keys=["tailnum"],
        windows=["3d"],
        features=[hw.last("delay"), hw.since_last()],
    ),
    view("queue", source=schedule, keys=["origin"], windows=["6h"], features=queue),
    view("weather", source=weather, keys=["origin"], features=[sky]),
]


@hw.request_feature
def hour(scheduled_at: datetime) -> int:
    """The scheduled hour in New York."""
    return scheduled_at.astimezone(zone).hour


@hw.request_feature
def minute(scheduled_at: datetime) -> int:
    """The scheduled minute: New York lies whole hours from UTC."""
    return scheduled_at.minute


@hw.request_feature
def weekday(scheduled_at: datetime) -> int:
    """0 for Monday."""
    return scheduled_at.astimezone(zone).weekday()


@hw.request_feature
def arrival_minute(scheduled_arrival_at: datetime) -> int:
    """The scheduled minute of arrival, of the day in New York."""
    local = scheduled_arrival_at.astimezone(zone)
    return local.hour * 60 + local.minute


# No day of the year: a model trained until August has not seen what December is like, and would
# guess.
fields = [
    hw.RequestField("distance", float),
    *(hw.RequestField(name, str) for name in ("carrier", "origin", "dest")),
]
service = hw.FeatureService("flights_v1", [*views, hour, minute, weekday, arrival_minute, *fields])
# without the first 8 days, while windows fill
warm = pl.col("scheduled_at") >= datetime(2013, 1, 9, 5, tzinfo=UTC)


def labels(name: str, label: str, outcome: pl.Expr) -> hw.Labels:
    """One row a flight that arrived; `outcome` is known when it does."""
    request = [*keys, "distance", "scheduled_at", "scheduled_arrival_at"]
    asked_at = (pl.col("scheduled_at") - pl.duration(minutes=60)).alias("asked_at")
    return hw.Labels(
        name,
        table=flights,
        filter=pl.col("arr_delay").is_not_null() & warm,
        select=[*request, "arrived_at", asked_at, outcome.alias(label)],
        timestamp_field="asked_at",
        label=label,
        known_at_field="arrived_at",
    )


late = hw.Model(
    "late",
    task="binary",
    features=service,
    labels=labels("flights", "late15", pl.col("arr_delay") > 15),
)
delay = hw.Model(
    "delay",
    task="regression",
    features=service,
    labels=labels("delays", "minutes_late", pl.col("arr_delay")),
)

levels = {
    "request only": hw.Level(hw.never()),
    "daily": hw.Level(daily),
    "hourly": hw.Level(hw.batch("1h", delay="15m")),
    "minute": hw.Level(hw.batch("1m", delay="60s")),
    "instant": hw.Level(hw.on_request()),
}
scheduled_hour = pl.col("scheduled_at").dt.convert_time_zone(NEW_YORK).dt.hour()
slices = {"before 08:00": scheduled_hour < 8, "from 17:00": scheduled_hour >= 17}
# Daily features serve today. A fresher level has to gain 0.02 of AUC to be worth its jobs.
evaluation = hw.Evaluation(
    split="2013-09-01T00:00-04:00", slices=slices, baseline="daily", min_lift=0.02
)
project = hw.Project("flights", [late, delay], levels=levels, evaluation=evaluation)

if __name__ == "__main__":
    hw.backtest(late, project.levels, project.evaluation).write_html("report.html")
