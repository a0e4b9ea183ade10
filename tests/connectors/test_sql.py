"""SQL queries as tables: PostgreSQL and DuckDB give the rows that a frame in memory
gives, for any filter.
"""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import headwater as hw
from headwater.errors import ConnectError, DataError, DefinitionError, MissingExtraError
from tests.stores.servers import PostgresServer

START = datetime(2026, 3, 1, tzinfo=UTC)
ROWS = pl.DataFrame(
    {
        "user": [f"u'{n % 7}" for n in range(500)],
        "at": [START + timedelta(minutes=n * 7, microseconds=n) for n in range(500)],
        "Amount": [None if n % 11 == 0 else n / 4 for n in range(500)],
        "n": list(range(500)),
    }
)


def sql_of(rows):
    for user, at, amount, n in rows.iter_rows():
        yield (
            f"('{user.replace(chr(39), chr(39) * 2)}', '{at.isoformat()}', "
            f"{'NULL' if amount is None else amount}, {n})"
        )


@pytest.fixture(
    scope="module", params=["duckdb", pytest.param("postgresql", marks=pytest.mark.services)]
)
def orders(request, tmp_path_factory):
    pytest.importorskip("adbc_driver_manager", reason="needs the extra sql")
    values = ", ".join(sql_of(ROWS))
    create = 'CREATE TABLE orders ("user" text, "at" timestamptz, "Amount" float8, n bigint)'
    if request.param == "postgresql":
        psycopg = pytest.importorskip("psycopg")
        server = PostgresServer()
        url = f"{server.address}/postgres"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(create)
            connection.execute(f"INSERT INTO orders VALUES {values}")
        yield url
        server.close()
        return
    path = tmp_path_factory.mktemp("a shop") / f"shop.{request.param}"
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect(path) as connection:
        connection.execute(create)
        connection.execute(f"INSERT INTO orders VALUES {values}")
    yield f"{request.param}:{path}"


def read(url, query="orders"):
    return hw.sql(query, url=url).scan().with_columns(pl.col("at").dt.convert_time_zone("UTC"))


times = st.integers(-10, 510).map(lambda n: START + timedelta(minutes=7 * n, microseconds=n % 3))
comparisons = st.one_of(
    st.builds(
        lambda t, op: getattr(pl.col("at"), op)(t),
        times,
        st.sampled_from(["__lt__", "__le__", "__gt__", "__ge__", "__eq__"]),
    ),
    st.builds(
        lambda n, op: getattr(pl.col("n"), op)(n),
        st.integers(-5, 600),
        st.sampled_from(["__lt__", "__ge__", "__eq__", "__ne__"]),
    ),
    st.builds(lambda u: pl.col("user") == u, st.sampled_from(["u'1", "u'", "u'' OR 1=1", 'x"'])),
    st.builds(
        lambda a, b: pl.col("n").is_between(min(a, b), max(a, b)),
        st.integers(0, 500),
        st.integers(0, 500),
    ),
    st.just(pl.col("Amount").is_null()),
    st.builds(lambda a: pl.col("Amount") > a, st.floats(0, 130)),
    st.just(pl.col("user").str.len_chars() > 2),
)
predicates = st.recursive(
    comparisons,
    lambda inner: st.builds(
        lambda a, b, both: a & b if both else a | b, inner, inner, st.booleans()
    ),
)


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    predicate=predicates,
    columns=st.sampled_from(
        [["n"], ["user", "Amount"], ["at", "n"], ["user", "at", "Amount", "n"]]
    ),
)
def test_rows_are_those_of_a_frame(orders, predicate, columns):
    got = (
        read(orders)
        .filter(predicate)
        .select(*columns, pl.col("n").alias("order"))
        .sort("order")
        .collect()
    )
    assert_frame_equal(
        got,
        ROWS.filter(predicate).select(*columns, pl.col("n").alias("order")).sort("order"),
        check_dtypes=True,
    )


def typed(url):
    """A row of the types of each database that a string or a number stands for, or that polars has
    no word for.
    """
    number = "1.50::numeric(12, 2)"
    given = {
        "id": f"'{UUID}'::uuid",
        "mood": "'ok'::mood",
        "document": "'{\"a\": 1}'::json",
        "amount": number,
        "tags": "array['x', null]",
    }
    if url.startswith("post"):
        given |= {"code": "'ab'::char(4)", "binary": "'{\"a\": 1}'::jsonb"}
    return f"select {', '.join(f'{value} as {name}' for name, value in given.items())}"


UUID = "2d14b648-461b-42d8-aa4d-277159190600"


@pytest.fixture(scope="module")
def moods(orders):
    """The database, with an enumeration `mood`."""
    statement = "CREATE TYPE mood AS ENUM ('sad', 'ok')"
    if orders.startswith("post"):
        with pytest.importorskip("psycopg").connect(orders, autocommit=True) as connection:
            connection.execute(statement)
    else:
        with pytest.importorskip("duckdb").connect(orders.partition(":")[2]) as connection:
            connection.execute(statement)
    return orders


@pytest.mark.parametrize(
    "value",
    [
        "it's none",
        UUID,
    ],
)
def test_columns_are_compared_as_polars_compares(moods, value):
    """PostgreSQL refuses to compare a UUID, an enumeration or JSON with other strings, and pads
    those of a given length.
    """
    table = hw.sql(typed(moods), url=moods).scan()
    names = [name for name, dtype in table.collect_schema().items() if dtype == pl.String]
    # DuckDB's others are decimals and categories of polars
    assert len(names) == (5 if moods.startswith("post") else 2)
    rows = table.collect()
    for name in names:
        for predicate in (
            pl.col(name) == value,
            pl.col(name) > value,
            pl.col(name).is_null() | (pl.col(name) == rows[name][0]),
        ):
            assert_frame_equal(table.filter(predicate).collect(), rows.filter(predicate))


def test_features_are_those_of_a_frame(orders):
    def view(history):
        source = hw.Source(
            "orders", history=history, timestamp_field="at", select=["user", "Amount", "at"]
        )
        return hw.FeatureView(
            "u",
            source=source,
            keys=["user"],
            windows=["1h", "1d"],
            features=[hw.count(), hw.sum("Amount")],
            freshness=hw.on_request(),
        )

    rows = ROWS.sample(50, seed=1).select("user", at=pl.col("at") + timedelta(minutes=3))
    got, expected = (
        hw.get_historical_features(
            hw.FeatureService("f", [view(history)]), rows, timestamp_field="at"
        )
        for history in (hw.sql("orders", url=orders), ROWS)
    )
    assert_frame_equal(got, expected)


def test_a_database_that_does_not_answer_or_refuses(orders, tmp_path):
    with pytest.raises(DataError, match="refuses the query 'none'"):
        hw.sql("none", url=orders).scan()
    with pytest.raises((ConnectError, DataError)):
        hw.sql(
            "orders",
            url="postgresql://127.0.0.1:1/x"
            if orders.startswith("post")
            else f"{orders.partition(':')[0]}:{tmp_path}/no/file",
        ).scan()
    with pytest.raises(DataError):  # read-only
        hw.sql(
            "insert into orders (n) values (1) returning n"
            if orders.startswith("post")
            else "drop_all()",
            url=orders,
        ).scan()


def test_bad_definitions(monkeypatch):
    for query in ("", ";", "select 1; drop table orders"):
        with pytest.raises(DefinitionError, match="give one SELECT"):
            hw.sql(query, url="duckdb:x")
    with pytest.raises(DefinitionError, match="did you mean 'postgresql'"):
        hw.sql("orders", url="postgresq://localhost/x")
    assert "secret" not in repr(
        hw.sql("orders", url="postgresql://me:secret@db:5432/shop?options=secret")
    )
    assert (
        str(hw.sql("orders", url="postgresql://me:secret@db:5432/shop"))
        == "orders of postgresql://db:5432/shop"
    )
    with pytest.raises(MissingExtraError, match=r"pip install adbc-driver-snowflake"):
        hw.sql("orders", url="snowflake://x").scan()
    monkeypatch.setenv("SHOP_URL", "mysql://x")
    with pytest.raises(DefinitionError, match="'mysql'"):
        hw.sql("orders", url=hw.env("SHOP_URL")).scan()
    assert (
        hw.sql("orders", url=hw.env("SHOP_URL")).fingerprint
        == hw.sql("orders", url=hw.env("SHOP_URL")).fingerprint
    )
