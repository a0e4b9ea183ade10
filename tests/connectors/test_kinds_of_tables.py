"""Every kind of table gives the same features, to the bit and in the same types."""

import json
import sqlite3
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import headwater as hw
from tests.stores.servers import PostgresServer

START = datetime(2026, 3, 1, tzinfo=UTC)
BEYOND_DOUBLES = 2**53 + 1  # the least integer that no double holds
USERS = ["ann", "o'hara", "zoë, jr.", 'say "hi"', "", "u 6"]


def _events(count=600):
    """Strings with quotes, ids beyond doubles, microseconds, late rows and null amounts."""
    at = [START + timedelta(minutes=37 * n, microseconds=n * 7919 % 10**6) for n in range(count)]
    return pl.DataFrame(
        {
            "user": [USERS[n * n % 6] for n in range(count)],
            "at": at,
            "known": [t + timedelta(hours=n % 90 if n % 10 == 0 else 0) for n, t in enumerate(at)],
            "amount": [None if n % 33 == 0 else n * 0.1 - 7 for n in range(count)],
            "merchant": [BEYOND_DOUBLES + n % 5 for n in range(count)],
            "units": [n * 7 % 11 - 3 for n in range(count)],
            "paid": [n % 3 == 0 for n in range(count)],
        }
    )


EVENTS = _events()
REQUESTS = pl.DataFrame(
    {
        "user": [USERS[n % 6] for n in range(90)],
        "timestamp": [START + timedelta(hours=5 * n, microseconds=n) for n in range(90)],
    }
)
FEATURES = [
    hw.count(),
    hw.count("amount"),
    hw.sum("amount"),
    hw.sum("units"),
    hw.mean("amount"),
    hw.last("at", name="last_at"),
    hw.count_distinct("merchant"),
    hw.max("merchant"),
]


def features(history, **source):
    """The requests with the features of a table."""
    events = hw.Source(
        "events", history=history, timestamp_field="at", known_at_field="known", **source
    )
    view = hw.FeatureView(
        "v",
        source=events,
        keys=["user"],
        features=FEATURES,
        windows=["7d"],
        freshness=hw.on_request(),
    )
    return hw.get_historical_features(view, REQUESTS)


@pytest.fixture(scope="module")
def expected():
    return features(EVENTS)


def test_the_features_are_those_of_plain_python(expected):
    rows_of = defaultdict(list)
    for row in EVENTS.sort("at", maintain_order=True).iter_rows(named=True):
        rows_of[row["user"]].append(row)
    for request in expected.iter_rows(named=True):
        t = request["timestamp"]
        begin = (t - timedelta(days=7)).replace(minute=0, second=0, microsecond=0)  # hops of 1h
        rows = [r for r in rows_of[request["user"]] if begin <= r["at"] < t and r["known"] <= t]
        amounts = [r["amount"] for r in rows if r["amount"] is not None]
        merchants = {r["merchant"] for r in rows}
        assert request["v__count_7d"] == len(rows)
        assert request["v__count_amount_7d"] == len(amounts)
        assert request["v__sum_units_7d"] == sum(r["units"] for r in rows)
        assert request["v__sum_amount_7d"] == pytest.approx(sum(amounts), abs=1e-9)
        assert request["v__mean_amount_7d"] == (
            pytest.approx(sum(amounts) / len(amounts), abs=1e-9) if amounts else None
        )
        assert request["v__count_distinct_merchant_7d"] == len(merchants)
        assert request["v__max_merchant_7d"] == max(merchants, default=None)
        assert request["v__last_at_7d"] == (rows[-1]["at"] if rows else None)


# ---------------------------------------------------------------- kinds


OSLO = pl.col("at", "known").dt.convert_time_zone("Europe/Oslo")
TIMES = [pl.col(name).str.to_datetime("%+", time_unit="us") for name in ("at", "known")]
PLAIN = [name for name in EVENTS.columns if name not in ("at", "known")]
EXACT = pl.Decimal(38, 0)


def written(folder, frames, name="part"):
    """The folder with the frames as parquet files, in their order."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames):
        frame.write_parquet(folder / f"{name}-{number}.parquet", row_group_size=100)
    return str(folder)


def halves(first=(), second=()):
    """Two frames, each with some columns in another type or form."""
    return [EVENTS[:300].with_columns(first), EVENTS[300:].with_columns(second)]


def csv_file(folder, frame=EVENTS, **options):
    path = folder / "events.csv"
    frame.write_csv(path, datetime_format="%Y-%m-%dT%H:%M:%S%.6fZ", **options)
    return str(path)


def json_file(folder, frame=EVENTS):
    path = folder / "events.jsonl"
    frame.with_columns(pl.col("at", "known").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")).write_ndjson(
        path
    )
    return str(path)


def hive(folder):
    for (units,), frame in EVENTS.partition_by("units", as_dict=True).items():
        written(folder / f"units={units}", [frame.drop("units")])
    return str(folder)


def duckdb_of(folder, columns="*"):
    duckdb = pytest.importorskip("duckdb")
    path = folder / "shop.duckdb"
    if not path.exists():
        with duckdb.connect(path) as connection:
            connection.register("given", EVENTS.to_arrow())
            connection.execute("create table events as select * from given")
    return hw.sql(f"select {columns} from events", url=f"duckdb:{path}")


def sqlite_of(folder):
    """As docs say of other databases: a frame of the query's rows."""
    with sqlite3.connect(folder / "shop.db") as connection:
        connection.execute("create table events (user, at, known, amount, merchant, units, paid)")
        rows = EVENTS.with_columns(pl.col("at", "known").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"))
        connection.executemany("insert into events values (?, ?, ?, ?, ?, ?, ?)", rows.rows())
        return pl.read_database("select * from events", connection, infer_schema_length=None)


def dbt_of(folder, **config):
    """A model of dbt: a table of DuckDB, or an external file."""
    node = {"name": "events", "unique_id": "model.shop.events", "resource_type": "model"}
    nodes = {node["unique_id"]: node | {"relation_name": "events", "config": config}}
    (folder / "manifest.json").write_text(json.dumps({"nodes": nodes}))
    url = None if config else duckdb_of(folder).url
    return hw.dbt(str(folder / "manifest.json"), "events", url=url)


def delta_of(folder):
    pytest.importorskip("deltalake", reason="needs the extra delta")
    for frame in halves():
        frame.write_delta(str(folder / "dl"), mode="append")
    return hw.delta(str(folder / "dl"))


def delta_widened(folder):
    pytest.importorskip("deltalake", reason="needs the extra delta")
    EVENTS[:300].drop("paid").write_delta(str(folder / "dl"))
    EVENTS[300:].write_delta(
        str(folder / "dl"), mode="append", delta_write_options={"schema_mode": "merge"}
    )
    return hw.delta(str(folder / "dl"))


def catalog_of(folder):
    catalogs = pytest.importorskip("pyiceberg.catalog", reason="needs the extra iceberg")
    properties = {
        "type": "sql",
        "uri": f"sqlite:///{folder}/catalog.db",
        "warehouse": f"file://{folder}/warehouse",
    }
    (folder / "warehouse").mkdir()
    catalog = catalogs.load_catalog("lake", **properties)
    catalog.create_namespace("shop")
    return catalog, hw.iceberg("shop.events", catalog="lake", properties=properties)


def arrow(frame):
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def iceberg_of(folder):
    catalog, table = catalog_of(folder)
    made = catalog.create_table("shop.events", schema=arrow(EVENTS).schema)
    for frame in halves():
        made.append(arrow(frame))
    return table


def iceberg_changed(folder):
    """int promoted to long, a column renamed, and one added, between two writes."""
    catalog, table = catalog_of(folder)
    old = EVENTS[:300].cast({"units": pl.Int32}).rename({"amount": "price"}).drop("paid")
    made = catalog.create_table("shop.events", schema=arrow(old).schema)
    made.append(arrow(old))
    from pyiceberg.types import BooleanType, LongType

    with made.update_schema() as change:
        change.update_column("units", LongType())
        change.rename_column("price", "amount")
        change.add_column("paid", BooleanType())
    made.append(arrow(EVENTS[300:]))
    return table


KINDS = {
    "a frame": lambda _: EVENTS,
    "pandas": lambda _: EVENTS.to_pandas(),
    "pyarrow": lambda _: EVENTS.to_arrow(),
    "a lazy frame": lambda _: EVENTS.lazy(),
    "a frame in Oslo": lambda _: EVENTS.with_columns(OSLO),
    "parquet": lambda folder: written(folder, [EVENTS]) + "/part-0.parquet",
    "folder": lambda folder: written(folder, halves()),
    "glob": lambda folder: written(folder, halves()) + "/part-*.parquet",
    "URL": lambda folder: "file://" + written(folder, [EVENTS]) + "/part-0.parquet",
    "files in another order": lambda folder: written(folder, halves()[::-1]),
    "hive": lambda folder: hive(folder / "units=x" / "t"),
    "an empty file among them": lambda folder: written(folder, [EVENTS.clear(), *halves()]),
    "hidden names": lambda folder: (
        written(folder / "t", halves())
        and written(folder / "t" / "_temporary", halves())
        and written(folder / "t", halves(), ".part")
    ),
    "milliseconds": lambda folder: written(
        folder, [EVENTS.clear().cast({"at": pl.Datetime("ms", "UTC")}), EVENTS]
    ),
    "nanoseconds": lambda folder: written(
        folder, [EVENTS.cast({"at": pl.Datetime("ns", "UTC"), "known": pl.Datetime("ns", "UTC")})]
    ),
    "nanoseconds in one": lambda folder: written(
        folder, halves([], pl.col("at", "known").dt.cast_time_unit("ns"))
    ),
    "Oslo": lambda folder: written(folder, [EVENTS.with_columns(OSLO)]),
    "Oslo in one": lambda folder: written(folder, halves(OSLO)),
    "int32 in one": lambda folder: written(folder, halves(pl.col("units").cast(pl.Int32))),
    "int64, then int8": lambda folder: written(folder, halves([], pl.col("units").cast(pl.Int8))),
    "decimals without a fraction": lambda folder: written(
        folder, [EVENTS.cast({"merchant": EXACT, "units": EXACT})]
    ),
    "an added column": lambda folder: written(folder, [EVENTS[:300].drop("paid"), EVENTS[300:]]),
    "a column that was dropped": lambda folder: written(
        folder, [EVENTS[:300], EVENTS[300:].drop("paid")]
    ),
    "csv": csv_file,
    "csv with types": lambda folder: hw.csv(
        csv_file(folder, EVENTS.with_columns(pl.lit("007").alias("code"))),
        types={"code": str, "units": int, "amount": float},
    ),
    "csv with words for null": lambda folder: hw.csv(
        csv_file(folder, null_value="NULL"), null_values=["NULL", "n/a"]
    ),
    "delta": delta_of,
    "delta with an added column": delta_widened,
    "iceberg": iceberg_of,
    "iceberg with changed columns": iceberg_changed,
    "duckdb": duckdb_of,
    "dbt": dbt_of,
    "an external model of dbt": lambda folder: dbt_of(
        folder,
        materialized="external",
        location=written(folder, [EVENTS]) + "/part-0.parquet",
    ),
    "duckdb's HUGEINT": lambda folder: duckdb_of(
        folder, "* replace (merchant::hugeint as merchant, units::decimal(20, 0) as units)"
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_table_gives_the_same_features(tmp_path, expected, kind):
    assert_frame_equal(features(KINDS[kind](tmp_path)), expected, check_exact=True)


@pytest.mark.parametrize("write", [json_file, sqlite_of])
def test_a_kind_without_times_gives_them_with_select(tmp_path, expected, write):
    got = features(write(tmp_path), select=[*PLAIN, *TIMES])
    assert_frame_equal(got, expected, check_exact=True)


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("name", ["events", "*", ""])
def test_an_object_store_gives_the_same_features(s3, tmp_path, expected, kind, name):
    """One object, a glob, and a folder, each with hidden names among them."""
    rows = [EVENTS] if name == "events" else halves()
    place = f"kinds/{kind}/{name or 'folder'}".replace("*", "glob")
    for number, frame in enumerate(rows):
        (tmp_path / str(number)).mkdir()
        if kind == "parquet":
            content = frame
        else:
            write = csv_file if kind == "csv" else json_file
            content = Path(write(tmp_path / str(number), frame)).read_bytes()
        for below in ("", "_temporary/0/", "."):
            s3.put(f"{place}/{below}events{'' if len(rows) == 1 else number}.{kind}", content)
    url = f"s3://shop/{place}/{f'{name}.{kind}' if name else ''}"
    make = {"parquet": hw.parquet, "csv": hw.csv, "jsonl": hw.json_lines}[kind]
    select = {"select": [*PLAIN, *TIMES]} if kind == "jsonl" else {}
    got = features(make(url, storage_options=s3.options), **select)
    assert_frame_equal(got, expected, check_exact=True)


@pytest.fixture(scope="module")
def postgres_url():
    pytest.importorskip("adbc_driver_postgresql", reason="needs the extra sql")
    psycopg = pytest.importorskip("psycopg")
    server = PostgresServer()
    url = f"{server.address}/postgres"
    with psycopg.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute(
            'create table events ("user" text, "at" timestamptz, known timestamptz, amount float8, '
            "merchant bigint, units int, paid bool)"
        )
        with cursor.copy("copy events from stdin") as copy:
            for row in EVENTS.iter_rows():
                copy.write_row(row)
    yield url
    server.close()


@pytest.mark.parametrize(
    "query",
    [
        "events",
        'select "user", at, known, amount, merchant::numeric(20) as merchant, units from events',
    ],
)
def test_postgresql_gives_the_same_features(postgres_url, expected, query):
    got = features(hw.sql(query, url=postgres_url))
    assert_frame_equal(got, expected, check_exact=True)
