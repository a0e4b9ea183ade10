"""Types of PostgreSQL, alone and within arrays and composites: a plain value, or an error that
names the column and the cast.
"""

from datetime import UTC, date, datetime

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError
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


@pytest.mark.services
@pytest.mark.parametrize(
    ("expression", "said"),
    [
        (
            "array['1 day']::interval[]",
            r"columns \['x'\] of type INTERVAL, .* convert them to a string: x::text AS x",
        ),
        (
            "array[[1, 2], [3, 4]]",
            (
                "'x' has arrays of 2 dimensions, and a list has one; convert it in the query: "
                "x::text AS x"
            ),
        ),
        (
            "'10.0.0.1'::inet",
            (
                "'x' has the type inet, whose values cannot be read; convert it in the query: "
                "x::text AS x, or leave it out"
            ),
        ),
        (
            "array['10.0.0.1']::inet[]",
            r"'x' has the type inet, .*: x::text\[\] AS x, or leave it out",
        ),
        ("'1.50'::money", "'x' has the type money, .*: x::numeric AS x"),
        (
            "'infinity'::timestamptz",
            r"'x' has a time that is infinite; .*: CASE WHEN x = '-infinity' .* WHEN isfinite\(x\) THEN x END AS x",
        ),
        ("'-infinity'::timestamp", "'x' has a time that is infinite"),
        ("'infinity'::date", "'x' has a time that is infinite"),
        (
            "row(1, 2)",
            r"the rows of the query .* cannot be read: .*A record needs a type: row\(\.\.\.\)::type",
        ),
    ],
)
def test_other_types_are_errors_that_name_the_cast(database, expression, said):
    with pytest.raises(DataError, match=said):
        value(database, expression)


@pytest.mark.services
def test_the_cast_of_an_error_is_read(database):
    for column, value in (
        ("'{[1,3)}'::int4multirange::text", "{[1,3)}"),
        ("array[[1, 2]]::text", "{{1,2}}"),
        ("array['10.0.0.1']::inet[]::text[]", ["10.0.0.1/32"]),
        ("'1.50'::money::numeric", 1.5),
        ("extract(epoch from interval '1 day')", 86400.0),
        (
            (
                "(SELECT CASE WHEN isfinite(x) THEN x END FROM (SELECT 'infinity'::timestamptz) AS "
                "t(x))"
            ),
            None,
        ),
    ):
        assert hw.sql(f"select {column} as x", url=database).scan().collect()["x"].to_list() == [
            value
        ], column


@pytest.mark.services
def test_only_columns_and_rows_that_are_read_are_checked(database):
    """The others of the table may have any type; a value is compared here where the database
    compares otherwise.
    """
    orders = hw.sql("orders", url=database).scan()
    assert orders.select("prices", "n").filter(pl.col("n") > 1).sort("n").collect()[
        "prices"
    ].to_list() == [[2.0, None], [3.0, None]]
    assert orders.select("grid", "n").filter(pl.col("n") < 3).sort("n").collect()[
        "grid"
    ].to_list() == [[1], [2]]
    with pytest.raises(DataError, match="'grid' has arrays of 2 dimensions"):
        orders.select("grid").collect()
    with pytest.raises(DataError, match="'address' has the type inet"):
        orders.select("address").collect()
