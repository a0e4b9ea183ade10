"""How many bikes will be rented in the hour that begins? Asked when it begins, to set its price."""

import polars as pl

import headwater as hw

hours = hw.parquet("data/hours.parquet")
# An hour's rentals, and its weather, are known when it is over.
rentals = hw.Source("rentals", history=hours, timestamp_field="begins_at", known_after="1h")

WASHINGTON = "America/New_York"
daily = hw.batch("1d", timezone=WASHINGTON, delay="4h")


def demand(name: str, *keys: str, windows: list[str]) -> hw.FeatureView:
    """Rentals an hour, of the hours that have these keys."""
    features = [hw.mean("bikers"), hw.last("bikers"), hw.max("bikers")]
    return hw.FeatureView(
        name, source=rentals, keys=keys, windows=windows, freshness=daily, features=features
    )


city = demand("city", windows=["2h", "4h", "8h", "1d", "7d"])
hour_of_day = demand("hour_of_day", "hour", windows=["2d", "7d", "28d"])
hour_of_kind = demand("hour_of_kind", "hour", "working_day", windows=["7d", "28d"])
weather = hw.FeatureView(
    "weather",
    source=rentals,
    keys=[],
    windows=["12h"],
    freshness=daily,
    features=[hw.last("weather", "temperature", "humidity", "wind")],
)


@hw.request_feature
def pace(
    now: float | None = city["mean_bikers_2h"], week: float | None = city["mean_bikers_7d"]
) -> float | None:
    """The last hours against the week: the city doubles its rentals from winter to summer."""
    return None if now is None or not week else now / week


@hw.request_feature
def usual(
    then: float | None = hour_of_kind["mean_bikers_28d"],
    now: float | None = city["mean_bikers_1d"],
    month: float | None = hour_of_day["mean_bikers_28d"],
) -> float | None:
    """What this hour of such a day usually sees, moved as far as the last day is off the month."""
    return None if then is None or now is None or not month else then * now / month


calendar = [hw.RequestField(name, int) for name in ("hour", "weekday", "holiday", "working_day")]
bikers = hw.Model(
    "bikers",
    task="regression",
    features=hw.FeatureService(
        "bikers_v1", [city, hour_of_day, hour_of_kind, weather, pace, usual, *calendar]
    ),
    labels=hw.Labels(
        "rented",
        table=hours,
        select=[
            "begins_at",
            "hour",
            "weekday",
            "holiday",
            "working_day",
            pl.col("bikers").alias("rented"),
        ],
        # windows fill in January
        filter=pl.col("begins_at") >= pl.datetime(2011, 2, 1, time_zone="UTC"),
        timestamp_field="begins_at",
        label="rented",
        known_after="1h",
    ),
)
levels = {
    "request only": hw.Level(hw.never()),
    "daily": hw.Level(daily),
    "every 6 hours": hw.Level(hw.batch("6h", delay="2h")),
    "hourly, 1 h late": hw.Level(hw.batch("1h", delay="1h")),
    "hourly": hw.Level(hw.batch("1h")),
}
project = hw.Project(
    "bikes",
    [bikers],
    levels=levels,
    evaluation=hw.Evaluation(split="2011-09-15T00:00-04:00", refits=24),
)

if __name__ == "__main__":
    hw.backtest(bikers, project.levels, project.evaluation).write_html("report.html")
