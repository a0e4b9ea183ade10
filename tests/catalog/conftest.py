"""Where a catalog can lie: an SQLite file, and a PostgreSQL server that the tests start
themselves.
"""

import time

import polars as pl
import pytest

import headwater as hw
from tests.stores.servers import serving_postgres


@pytest.fixture(scope="session")
def postgres_server():
    """The address of a PostgreSQL server of this session's own,
    `postgresql://headwater@127.0.0.1:port`.
    """
    with serving_postgres("-c", "fsync=off", "-c", "wal_level=logical") as server:
        yield server.address


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def place(request, tmp_path):
    """An empty place for a catalog."""
    if request.param == "sqlite":
        return str(tmp_path / "home" / "catalog.sqlite")
    import psycopg

    address = request.getfixturevalue("postgres_server")
    name = f"test_{time.monotonic_ns()}"
    with psycopg.connect(f"{address}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{address}/{name}"


@pytest.fixture(scope="session")
def shop_files(tmp_path_factory):
    """The tables that the definitions of `shop` name, with their columns and no rows."""
    folder = tmp_path_factory.mktemp("shop")
    time = pl.Datetime("us", "UTC")
    clicks = {
        "user": pl.String,
        "friend": pl.String,
        "amount": pl.Float64,
        "page": pl.String,
        "id": pl.String,
        "at": time,
        "known": time,
        "before": pl.Boolean,
    }
    labels = {
        "user": pl.String,
        "friend": pl.String,
        "buddy": pl.String,
        "ip_address": pl.String,
        "distance": pl.Float64,
    }
    tables = {
        "clicks": clicks,
        "elsewhere": clicks,
        "labels": labels | {"amount": pl.Float64, "asked": time, "left": pl.Boolean},
        "ip": {
            "ip_address": pl.String,
            "score": pl.Float64,
            "country": pl.String,
            "risk": pl.Float64,
            "fetched_at": time,
        },
    }
    for name, schema in tables.items():
        pl.DataFrame(schema=schema).write_parquet(folder / f"{name}.parquet")
    return folder


@pytest.fixture(autouse=True)
def shop_home(shop_files, tmp_path, monkeypatch):
    """Work in the folder of the tables; every model of the tests has a trained version in
    headwater's home.
    """
    monkeypatch.chdir(shop_files)
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    for name in ("churn", "fraud", "late"):
        hw.operations.ModelRegistry().add(name, lambda _: None)
