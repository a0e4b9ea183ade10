"""Where a catalog can lie: an SQLite file, and a PostgreSQL server that the tests start themselves."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import polars as pl
import pytest

from headwater.models.registry import ModelRegistry


@pytest.fixture(scope="session")
def postgres_server():
    """The address of a PostgreSQL server of this session's own, `postgresql://headwater@127.0.0.1:port`."""
    psycopg = pytest.importorskip("psycopg", reason="needs the extra postgres")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres")) or [p for p in [shutil.which("postgres")] if p]
    if not found:
        pytest.skip("needs PostgreSQL's own binaries: apt-get install postgresql")
    binaries = Path(found[-1]).parent
    owner = _owner()
    data = Path(tempfile.mkdtemp(prefix="headwater-postgres-"))
    process = None
    try:
        if owner:
            os.chown(data, owner.pw_uid, owner.pw_gid)
        as_owner = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []} if owner else {}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT, "cwd": data, **as_owner}
        made = [binaries / "initdb", "-D", data / "db", "-U", "headwater", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C"]
        subprocess.run(made, check=True, **quiet)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = ["-p", str(port), "-h", "127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "wal_level=logical"]
        process = subprocess.Popen([binaries / "postgres", "-D", data / "db", *options], **quiet)
        address = f"postgresql://headwater@127.0.0.1:{port}"
        for _ in range(100):
            try:
                psycopg.connect(f"{address}/postgres").close()
                break
            except psycopg.OperationalError:
                assert process.poll() is None, "PostgreSQL did not start"
                time.sleep(0.1)
        yield address
    finally:
        if process is not None:
            process.send_signal(signal.SIGINT)  # a fast shutdown
            process.wait(timeout=30)
        shutil.rmtree(data, ignore_errors=True)


def _owner():
    """Whom the server runs as: root it refuses."""
    if os.geteuid():
        return None
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    return names.get("postgres") or names["nobody"]


@pytest.fixture(params=["sqlite", "postgresql"])
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
    labels = {"user": pl.String, "friend": pl.String, "buddy": pl.String, "ip_address": pl.String, "distance": pl.Float64}
    tables = {
        "clicks": clicks,
        "elsewhere": clicks,
        "labels": labels | {"amount": pl.Float64, "asked": time, "left": pl.Boolean},
        "ip": {"ip_address": pl.String, "score": pl.Float64, "country": pl.String, "risk": pl.Float64, "fetched_at": time},
    }
    for name, schema in tables.items():
        pl.DataFrame(schema=schema).write_parquet(folder / f"{name}.parquet")
    return folder


@pytest.fixture(autouse=True)
def shop_home(shop_files, tmp_path, monkeypatch):
    """Work beside the tables; every model of the tests has a trained version in headwater's home."""
    monkeypatch.chdir(shop_files)
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    for name in ("churn", "fraud", "late"):
        ModelRegistry().add(name, lambda _: None)
