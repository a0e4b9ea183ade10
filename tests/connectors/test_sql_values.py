"""Values of databases that are read as they are on any machine, or are an error with the cast."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError
from tests.stores.servers import PostgresServer

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ROWS = """
    select * from (values ('a', 9007199254740993, timestamptz '2026-01-01 03:00+00'), ('a', 9007199254740992, timestamptz '2026-01-01 04:00+00'))
    as t("user", x, "at")
"""


@pytest.fixture(
    scope="module", params=["duckdb", pytest.param("postgresql", marks=pytest.mark.services)]
)
def database(request, tmp_path_factory):
    """The URL of an empty database."""
    pytest.importorskip("adbc_driver_manager", reason="needs the extra sql")
    if request.param == "postgresql":
        pytest.importorskip("psycopg")
        server = PostgresServer()
        yield f"{server.address}/postgres"
        server.close()
        return
    path = tmp_path_factory.mktemp("shop") / "shop.duckdb"
    pytest.importorskip("duckdb").connect(path).close()
    yield f"duckdb:{path}"


def values(query, url, features, key="user", asked="a", **source):
    view = hw.FeatureView(
        "v",
        source=hw.Source("p", history=hw.sql(query, url=url), timestamp_field="at", **source),
        keys=[key],
        features=features,
        windows=["1d"],
        freshness=hw.on_request(),
    )
    return hw.get_historical_features(view, pl.DataFrame({key: [asked], "timestamp": [NOON]})).row(
        0
    )[2:]


ZONES = """
import sys
import polars as pl, headwater as hw
from datetime import UTC, datetime
from tests.connectors.test_sql_values import values
query = 'select *, cast("at" as date) as day, extract(hour from "at") as hour from (' + sys.argv[2] + ') as rows'
early = {"select": ["user", "x", "hour"], "filter": pl.col("at").dt.hour() < 4}
print(values(query, sys.argv[1], [hw.count(), hw.last("hour")], **early), hw.sql(query, url=sys.argv[1]).scan().collect_schema()["at"])
"""


@pytest.mark.slow
@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Etc/UTC", "Asia/Kolkata"])
@pytest.mark.parametrize("database", ["duckdb"], indirect=True)
def test_times_of_duckdb_do_not_depend_on_the_zone_of_the_machine(database, zone):
    """Neither their hour in a filter, nor what the query makes of them; a server of PostgreSQL has
    a zone of its own.
    """
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ZONES, database, ROWS],
        env={**os.environ, "TZ": zone, "PYTHONPATH": os.pathsep.join([root, *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "(1, 3) Datetime(time_unit='us', time_zone='UTC')", done.stderr


@pytest.mark.parametrize("cast", ["numeric(20, 0)", "numeric(38, 0)", "bigint"])
def test_numeric_ids_are_integers(database, cast):
    query = f'select "user", x::{cast} as x, "at" from ({ROWS}) as rows'
    features = [hw.first("x"), hw.count_distinct("x"), hw.max("x"), hw.sum("x")]
    assert values(query, database, features) == (2**53 + 1, 2, 2**53 + 1, 2**54 + 1)
    assert values(query, database, [hw.count()], key="x", asked=2**53 + 1) == (1,)


def test_sums_in_the_query_are_integers_or_an_error(database):
    """HUGEINT of DuckDB is exact; NUMERIC without digits of PostgreSQL is a double, and refused
    where no double holds the value.
    """
    query = f'select "user", sum(x) as x, max("at") as "at" from ({ROWS}) as rows group by "user"'
    if database.startswith("duckdb"):
        assert values(query, database, [hw.last("x")]) == (2**54 + 1,)
        assert values(
            query.replace("sum(x)", "cast(sum(x) as hugeint)"), database, [hw.last("x")]
        ) == (2**54 + 1,)
        return
    with pytest.raises(
        DataError,
        match=r"'x' is NUMERIC without declared digits.* the integer 18014398509481985.*x::bigint AS x.*x::float8 AS x",
    ):
        values(query, database, [hw.last("x")])
    assert values(query.replace("sum(x)", "sum(x)::bigint"), database, [hw.last("x")]) == (
        2**54 + 1,
    )
    for total in (
        "2::numeric",
        "9007199254740992::numeric",
        "12345678901234567890.5::numeric",
        "sum(x)::float8",
        "-0.1::numeric",
        "null::numeric",
    ):
        assert len(values(query.replace("sum(x)", total), database, [hw.last("x")])) == 1


def test_an_infinite_known_time_has_a_remedy_that_keeps_the_row(database):
    """A null known time would mean that the row is never known."""
    rules = {"known_at_field": "known", "select": ["user", "x"]}
    query = f"""select *, '-infinity'::timestamptz as known from ({ROWS}) as rows"""
    with pytest.raises(DataError, match="'known' has a time that is infinite") as raised:
        values(query, database, [hw.count()], **rules)
    remedy = str(raised.value).partition("early time: ")[2]
    assert values(
        f'select "user", x, "at", {remedy} from ({query}) as rows', database, [hw.count()], **rules
    ) == (2,)
