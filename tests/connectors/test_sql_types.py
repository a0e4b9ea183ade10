"""Types of PostgreSQL, alone and within arrays and composites: a plain value."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

import headwater as hw
from tests.stores.servers import PostgresServer

UUID = "2d14b648-461b-42d8-aa4d-277159190600"
TYPES = (
    "CREATE TYPE mood AS ENUM ('sad', 'ok')",
    "CREATE TYPE pair AS (id uuid, price numeric, waits int[])",
    "CREATE DOMAIN price AS numeric(8, 2)",
    "CREATE DOMAIN word AS text",
    (
        "CREATE TABLE orders AS SELECT n, array[n, null]::numeric[] AS prices, '10.0.0.1'::inet AS "
        "address, array[n] AS grid FROM generate_series(1, 3) AS n"
    ),
    "UPDATE orders SET grid = array[[1, 2], [3, 4]] WHERE n = 3",
)


@pytest.fixture(scope="module")
def database():
    pytest.importorskip("adbc_driver_manager", reason="needs the extra sql")
    psycopg = pytest.importorskip("psycopg")
    server = PostgresServer()
    url = f"{server.address}/postgres"
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in TYPES:
            connection.execute(statement)
    yield url
    server.close()


def value(database, expression):
    rows = hw.sql(f"select {expression} as x", url=database).scan()
    read = rows.collect()
    assert read.schema == rows.collect_schema()
    return read.dtypes[0], read["x"].to_list()[0]


@pytest.mark.services
@pytest.mark.parametrize(
    ("expression", "dtype", "expected"),
    [
        ("array[1.5, null]::numeric[]", pl.List(pl.Float64), [1.5, None]),
        ("null::numeric(8, 2)[]", pl.List(pl.Float64), None),
        ("array[]::numeric[]", pl.List(pl.Float64), []),
        ("array['-Infinity', '1e200']::numeric[]", pl.List(pl.Float64), [-float("inf"), 1e200]),
        ("array[1.5]::price[]", pl.List(pl.Float64), [1.5]),
        (f"array['{UUID}', null]::uuid[]", pl.List(pl.String), [UUID, None]),
        ("array['{\"a\": 1}']::jsonb[]", pl.List(pl.String), ['{"a": 1}']),
        ("array['ok']::mood[]", pl.List(pl.String), ["ok"]),
        (
            "array['2024-05-01 12:00+02', null]::timestamptz[]",
            pl.List(pl.Datetime("us", "UTC")),
            [datetime(2024, 5, 1, 10, tzinfo=UTC), None],
        ),
        ("array['2024-05-01']::date[]", pl.List(pl.Date), [date(2024, 5, 1)]),
        ("'x'::word", pl.String, "x"),
        ("'<a/>'::xml", pl.String, "<a/>"),
        (
            f"array[row('{UUID}', 1.5, array[1, 2])::pair]",
            pl.List(pl.Struct({"id": pl.String, "price": pl.Float64, "waits": pl.List(pl.Int32)})),
            [{"id": UUID, "price": 1.5, "waits": [1, 2]}],
        ),
    ],
)
def test_arrays_and_composites_have_plain_values(database, expression, dtype, expected):
    assert value(database, expression) == (dtype, expected)
