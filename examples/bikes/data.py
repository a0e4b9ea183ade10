"""The hourly rentals of Capital Bikeshare in Washington in 2011, with every time in UTC.

The table is Bikeshare.csv of the package ISLP, whose code is not needed: `pip install --no-deps
ISLP`.

    python data.py FOLDER        writes FOLDER/hours.parquet
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import polars as pl

WASHINGTON = "America/New_York"


def hours() -> pl.DataFrame:
    """One row an hour in which someone rented: `begins_at`, `bikers`, the weather of the hour, and
    what a calendar knows of it.
    """
    package = find_spec("ISLP")
    if package is None or package.origin is None:
        raise SystemExit(
            "the data are in the package ISLP, which is not installed: pip install --no-deps ISLP"
        )
    raw = pl.read_csv(Path(package.origin).parent / "data" / "Bikeshare.csv")
    day = pl.datetime(2011, 1, 1) + pl.duration(days=pl.col("day") - 1, hours=pl.col("hr"))
    local = day.dt.replace_time_zone(WASHINGTON, ambiguous="earliest")
    return raw.select(
        begins_at=local.dt.convert_time_zone("UTC"),
        hour=pl.col("hr"),
        weekday="weekday",
        holiday="holiday",
        working_day="workingday",
        weather="weathersit",
        temperature="temp",
        humidity="hum",
        wind="windspeed",
        bikers=pl.col("bikers").cast(pl.Float64),
    ).sort("begins_at")


def write(folder: Path) -> Path:
    """Write hours.parquet and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    hours().write_parquet(folder / "hours.parquet")
    return folder / "hours.parquet"


if __name__ == "__main__":
    print(write(Path(sys.argv[1] if len(sys.argv) > 1 else "data")))
