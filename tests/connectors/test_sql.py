"""SQL queries and dbt models as tables: PostgreSQL and DuckDB give the rows that a frame in memory
gives, for any filter.
"""

import json
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import headwater as hw
from headwater.connectors import sql as sql_module
from headwater.connectors.sql import Dialect, sql_filter
from headwater.errors import ConnectError, DataError, DefinitionError, MissingExtraError
from tests.effort import FULL
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


@pytest.fixture(scope="module", params=["postgresql", "duckdb"])
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
    max_examples=25 if FULL else 8,
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


def test_types_of_databases_are_plain_ones(moods):
    got = hw.sql(typed(moods), url=moods).scan().collect()
    expected = {
        "id": UUID,
        "mood": "ok",
        "document": '{"a": 1}',
        "amount": "1.50",
        "tags": ["x", None],
    }
    if moods.startswith("post"):
        expected |= {"code": "ab  ", "binary": '{"a": 1}'}
        assert {
            name: dtype for name, dtype in got.schema.items() if name != "tags"
        } == dict.fromkeys(["id", "mood", "document", "code", "binary"], pl.String) | {
            "amount": pl.Decimal(38, 2)
        }
    assert got.with_columns(pl.col("mood", "amount").cast(pl.String)).row(0, named=True) == expected


def numbers(orders, *values):
    """A column of each kind; DuckDB's have digits always, and at most 38."""
    kinds = (
        ["numeric(10, 2)", "numeric", "numeric(60, 30)"]
        if orders.startswith("post")
        else ["numeric(10, 2)"]
    )
    rows = (
        f"select {', '.join(f'CAST({value} AS {kind}) as n{n}' for n, kind in enumerate(kinds))}"
        for value in values
    )
    return hw.sql(" union all ".join(rows), url=orders).scan()


def test_a_numeric_is_a_number(orders):
    """A decimal where its digits are declared, and one has room for them; else a double."""
    rows = numbers(orders, "1.25", "null", "-12345678.5").collect()
    kinds = [pl.Decimal(38 if orders.startswith("post") else 10, 2), pl.Float64, pl.Float64]
    assert rows.dtypes == kinds[: rows.width]
    assert [rows[name].cast(pl.Float64).to_list() for name in rows.columns] == [
        [1.25, None, -12345678.5]
    ] * rows.width


def test_a_numeric_may_be_no_number(orders):
    if orders.startswith("post"):
        assert hw.sql("select 'NaN'::numeric as n", url=orders).scan().collect()["n"].is_nan().all()
        with pytest.raises(
            Exception,
            match=(
                "'n0' is NUMERIC and has the value nan; convert it in the query: n0::float8 AS n0"
            ),
        ):
            numbers(orders, "1", "'NaN'").collect()


def test_a_numeric_that_is_rounded_here_is_compared_here(orders):
    table = numbers(orders, "3.0000000000000000000001")
    for name in table.collect_schema():
        for predicate in (pl.col(name) <= 3, pl.col(name) == 3):
            assert table.filter(predicate).collect().height == 1, predicate


@pytest.mark.parametrize("value", ["it's none", UUID, '{"a": 1}', "ab", "1.5"])
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


def test_strings_are_compared_in_columns_of_strings_and_never_by_order():
    assert sql_filter(pl.col("city") == "Bø", Dialect(strings=["city"])) == "\"city\" = 'Bø'"
    assert (
        sql_filter(pl.col("city") == "Bø", Dialect(cast="VARCHAR", strings=["city"]))
        == "CAST(\"city\" AS VARCHAR) = 'Bø'"
    )
    assert sql_filter(pl.col("id") == "Bø", Dialect(strings=["city"])) is None
    # collations differ
    assert sql_filter(pl.col("city") >= "Bø", Dialect(strings=["city"])) is None


def test_an_interval_is_refused_by_name(orders):
    with pytest.raises(
        DataError,
        match=r"has the columns \['wait'\] of type INTERVAL.*extract\(epoch from wait\) AS wait",
    ):
        hw.sql("select n, interval '1 day' as wait from orders", url=orders).scan()


def test_the_database_is_asked_for_columns_and_times_that_are_needed(orders, monkeypatch):
    asked = []
    run = sql_module._QueryRows._run
    monkeypatch.setattr(
        sql_module._QueryRows,
        "_run",
        lambda rows, cursor, text: (asked.append(text), run(rows, cursor, text))[1],
    )
    source = hw.Source(
        "orders",
        history=hw.sql("orders", url=orders),
        timestamp_field="at",
        select=["user", "Amount"],
        filter=pl.col("user") != "u'1",
    )
    view = hw.FeatureView(
        "u",
        source=source,
        keys=["user"],
        windows=["1h"],
        features=[hw.count()],
        freshness=hw.on_request(),
    )
    rows = pl.DataFrame({"user": ["u'2"], "at": [START + timedelta(hours=30)]})
    hw.get_historical_features(hw.FeatureService("f", [view]), rows, timestamp_field="at")
    (statement,) = (text for text in asked if not text.endswith("LIMIT 0"))
    columns, _, condition = statement.partition(" FROM orders WHERE ")
    assert set(columns.removeprefix("SELECT ").split(", ")) == {'"at"', '"user"'}
    assert "\"at\" <= CAST('2026-03-02 06:00:00.000001+00:00'" in condition
    assert '"at" >= CAST(\'2026-03-02 04:5' in condition


def test_a_table_that_has_changed_is_an_error_that_names_the_column(orders):
    view = hw.FeatureView(
        "u",
        source=hw.Source(
            "orders",
            history=hw.sql("changing", url=orders),
            timestamp_field="at",
            select=["user", "Amount"],
        ),
        keys=["user"],
        windows=["1h"],
        features=[hw.sum("Amount")],
        freshness=hw.on_request(),
    )
    rows = pl.DataFrame({"user": ["u'2"], "at": [START]})
    for definition, message in (
        (
            'select "user", "at", cast("Amount" as text) as "Amount" from orders',
            r"the column 'Amount': sum\(\) takes numbers or booleans, and the",
        ),
        ('select "user", "at", n from orders', "no column 'Amount'"),
        (None, "refuses the query 'changing'"),
    ):
        change(orders, f"CREATE VIEW changing AS {definition}" if definition else None)
        with pytest.raises(DataError, match=message):
            hw.get_historical_features(hw.FeatureService("f", [view]), rows, timestamp_field="at")


def change(url, statement):
    """Put a view in the place of `changing`."""
    module, target = (
        ("psycopg", url) if url.startswith("post") else ("duckdb", url.partition(":")[2])
    )
    with pytest.importorskip(module).connect(target) as connection:
        for text in ("DROP VIEW IF EXISTS changing", statement):
            if text:
                connection.execute(text)


def test_limits_and_queries(orders):
    assert read(orders, "select * from orders where \"user\" = 'u''1' order by n;").head(
        3
    ).collect()["n"].to_list() == [1, 8, 15]
    assert (
        hw.sql("orders", url=orders).scan().filter(pl.col("n") > 400).head(2).collect().height == 2
    )
    assert hw.sql("select n from orders where false", url=orders).scan().collect().is_empty()


@pytest.mark.parametrize("zone", ["UTC", None])
@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_a_condition_lets_through_what_the_predicate_does(unit, zone):
    literal = pl.lit(
        1_700_000_000_123_456_789 // {"ms": 10**6, "us": 10**3, "ns": 1}[unit], dtype=pl.Int64
    ).cast(pl.Datetime(unit, zone))
    text = sql_filter((pl.col("at") >= literal) & (pl.col("at").dt.hour() > 3), Dialect())
    assert text == (
        None
        if unit == "ns"  # between two microseconds
        else (
            f"\"at\" >= CAST('2023-11-14 22:13:20.{'123000' if unit == 'ms' else '123456'}+00:00' "
            "AS TIMESTAMP WITH TIME ZONE)"
        )
        if zone
        else f"\"at\" >= TIMESTAMP '2023-11-14 22:13:20.{'123000' if unit == 'ms' else '123456'}'"
    )
    assert sql_filter((pl.col("at") >= literal) | (pl.col("n").abs() > 3), Dialect()) is None


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


def manifest(path, **nodes):
    path.write_text(json.dumps({"metadata": {}, "nodes": {n["unique_id"]: n for n in nodes.values() if n["resource_type"] != "source"},
                                "sources": {n["unique_id"]: n for n in nodes.values() if n["resource_type"] == "source"}}))  # fmt: skip


def node(name, kind="model", package="shop", **more):
    return {
        "unique_id": f"{kind}.{package}.{name}",
        "name": name,
        "resource_type": kind,
        "config": {"materialized": "table"},
        **more,
    }


def test_models_of_dbt(orders, tmp_path):
    ROWS.write_parquet(tmp_path / "daily.parquet")
    manifest(
        tmp_path / "manifest.json",
        a=node("orders", relation_name="orders"),
        b=node(
            "daily",
            config={"materialized": "external", "location": str(tmp_path / "{name}.parquet")},
        ),
        c=node("raw", kind="source", source_name="shop", identifier="orders"),
        d=node("helper", config={"materialized": "ephemeral"}),
        e=node("raw", kind="seed", alias="orders"),
    )
    path = str(tmp_path / "manifest.json")
    assert hw.dbt(path, "orders", url=orders).scan().collect().height == 500
    assert hw.dbt(path, "shop.raw", url=orders).scan().collect().height == 500
    assert hw.dbt(path, "daily").scan().collect().equals(ROWS)
    assert hw.dbt(path, "daily").state() == hw.dbt(path, "daily").state()
    for name, message in (
        ("order", "did you mean 'orders'"),
        ("raw", "give one of these"),
        ("helper", "is ephemeral"),
    ):
        with pytest.raises(DataError, match=message):
            hw.dbt(path, name, url=orders).scan()
    with pytest.raises(DefinitionError, match="give its url="):
        hw.dbt(path, "orders").scan()
    with pytest.raises(DataError, match="dbt parse"):
        hw.dbt(str(tmp_path / "none.json"), "orders").scan()
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(DataError, match="is not a manifest"):
        hw.dbt(path, "orders").scan()


@pytest.mark.parametrize(
    ("url", "error", "said"),
    [
        (
            "duckdb:shop.duckdb",
            DataError,
            "no file at shop.duckdb; in .*: did you mean 'shops.duckdb'",
        ),
        (
            "duckdb:none/shop.duckdb",
            DataError,
            "no file at none/shop.duckdb; its folder does not exist",
        ),
        (
            "duckdb:shops.duckdb",
            DataError,
            "shops.duckdb cannot be opened by DuckDB: .* not a valid DuckDB database file",
        ),
        (
            "mysql://shop/orders",
            DefinitionError,
            "begins with 'mysql'; known: bigquery.*pl.read_database",
        ),
        ("snowflake://shop/orders", MissingExtraError, "pip install adbc-driver-snowflake$"),
    ],
)
def test_databases_that_cannot_be_opened(url, error, said, tmp_path, monkeypatch):
    pytest.importorskip("adbc_driver_duckdb", reason="needs the extra sql")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shops.duckdb").write_text("not a database " * 1000)
    with pytest.raises(error, match=said):
        hw.sql("orders", url=url).scan()


def test_urls_as_sqlalchemy_writes_them(orders):
    scheme, _, rest = orders.partition(":")
    assert hw.sql("orders", url=f"{scheme}+driver:{rest}").scan().collect().height == 500
    assert hw.sql("orders", url=f"{scheme}+driver:{rest}") == hw.sql("orders", url=orders)
