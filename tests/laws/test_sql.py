"""A table of a database gives the features of the same rows in memory, whatever its source filters
by: conditions on columns of each type are written as SQL, or left to this process.
"""

from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import headwater as hw

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
ROWS = pl.DataFrame(
    [
        {
            "user": ["ann", "b'b", "ü", 'x"y'][n % 4],
            "at": NOON - timedelta(minutes=n, microseconds=n),
            "n": None if n % 11 == 0 else n - 30,
            "amount": None if n % 7 == 0 else n / 4,
            "good": None if n % 5 == 0 else n % 3 == 0,
            "day": date(2024, 4, 20) + timedelta(days=n % 20),
            "hour": time(n % 24, n % 60),
            "local": NOON.replace(tzinfo=None) - timedelta(hours=n),
            "text": ["", "a", "12", "%", None, "a'; DROP TABLE visits"][n % 6],
        }
        for n in range(90)
    ]
)
COLUMNS = {
    "user": "text",
    "at": "timestamptz",
    "n": "bigint",
    "amount": "float8",
    "good": "boolean",
    "day": "date",
    "hour": "time",
    "local": "timestamp",
    "text": "text",
}
N, AMOUNT, GOOD, DAY, AT, TEXT = map(pl.col, ["n", "amount", "good", "day", "at", "text"])
FILTERS = {
    "integer": N > 3,
    "integer is not": N != 4,
    "integer as float": N >= 3.5,
    "float": AMOUNT < 9.25,
    "float by integer": AMOUNT <= 9,
    "boolean": GOOD,
    "boolean is false": GOOD == False,  # noqa: E712
    "not boolean": ~GOOD,
    "date": date(2024, 4, 25) == DAY,
    "date from": date(2024, 4, 30) <= DAY,
    "time": pl.col("hour") < time(9, 9),
    "instant": NOON - timedelta(minutes=40) <= AT,
    "instant of another zone": AT.dt.convert_time_zone("Asia/Tokyo").dt.hour() == 20,
    "local time": pl.col("local") > NOON.replace(tzinfo=None) - timedelta(hours=50),
    "text": TEXT == "a'; DROP TABLE visits",
    "text with a digit": TEXT == "12",
    "text order": TEXT < "b",
    "text is not": TEXT != "a",
    "text begins": TEXT.str.starts_with("%"),
    "list": N.is_in([1, 5, 9, 400]),
    "nothing": AMOUNT.is_null(),
    "something": TEXT.is_not_null(),
    "two": (N > -20) & (AMOUNT > 2) & (date(2024, 5, 4) > DAY),
    "either": (N < -20) | GOOD | (TEXT == "a"),
    "neither": ~((N < 0) | (AMOUNT > 20)),
    "computed": (N * 2 - AMOUNT) > 1,
}


@pytest.fixture(
    scope="module", params=["duckdb", pytest.param("postgresql", marks=pytest.mark.services)]
)
def visits(request, tmp_path_factory):
    """The URL of a database whose table `visits` has the rows."""
    pytest.importorskip("adbc_driver_manager", reason="needs the extra sql")
    declared = ", ".join(f'"{name}" {kind}' for name, kind in COLUMNS.items())
    marks = "?" if request.param == "duckdb" else "%s"
    insert = f"INSERT INTO visits VALUES ({', '.join([marks] * len(COLUMNS))})"
    if request.param == "duckdb":
        duckdb = pytest.importorskip("duckdb")
        path = tmp_path_factory.mktemp("sql") / "visits.duckdb"
        with duckdb.connect(path) as connection:
            connection.execute(f"CREATE TABLE visits ({declared})")
            connection.executemany(insert, ROWS.rows())
        yield f"duckdb:{path}"
        return
    psycopg = pytest.importorskip("psycopg")
    url = request.getfixturevalue("postgres_url")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS visits")
        connection.execute(f"CREATE TABLE visits ({declared})")
        with closing(connection.cursor()) as cursor:
            cursor.executemany(insert, ROWS.rows())
    yield url
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE visits")


def features(table, condition):
    source = hw.Source(
        "visits",
        history=table,
        timestamp_field="at",
        select=["user", "n", "amount", "text"],
        filter=condition,
    )
    view = hw.FeatureView(
        "v",
        source=source,
        keys=["user"],
        windows=["30m", "lifetime"],
        features=[hw.count(), hw.sum("n"), hw.last("amount"), hw.last("text")],
        freshness=hw.on_request(),
    )
    rows = ROWS.select("user", timestamp=pl.col("at") + timedelta(minutes=3))
    return hw.get_historical_features(view, rows)


@pytest.mark.filterwarnings("ignore::headwater.errors.HeadwaterWarning")
@pytest.mark.parametrize("condition", FILTERS.values(), ids=FILTERS)
def test_a_filter_leaves_the_rows_of_a_frame(visits, condition):
    in_memory, in_database = (
        features(table, condition) for table in (ROWS, hw.sql("visits", url=visits))
    )
    assert_frame_equal(in_database, in_memory)
    assert in_memory["v__count_lifetime"].n_unique() > 1


ARRAYS = pl.DataFrame(
    {
        "user": ["ann", "bob", "ann", "ann"],
        "at": [NOON - timedelta(minutes=n) for n in range(1, 5)],
        "prices": [[1.25, 2.5], [], None, [10.0, None]],
        "ids": [
            ["6ba7b810-9dad-11d1-80b4-00c04fd430c8"],
            None,
            ["00000000-0000-0000-0000-00000000000a", "6ba7b814-9dad-11d1-80b4-00c04fd430c8"],
            [],
        ],
    },
    schema_overrides={"prices": pl.List(pl.Float64), "ids": pl.List(pl.String)},
)


@pytest.fixture
def arrays(request):
    """The URL of a PostgreSQL whose table `baskets` has the rows of ARRAYS, and lists of what no
    column can have.
    """
    pytest.importorskip("adbc_driver_postgresql", reason="needs the extra sql")
    psycopg = pytest.importorskip("psycopg")
    url = request.getfixturevalue("postgres_url")
    declared = '"user" text, at timestamptz, prices numeric(8,2)[], ids uuid[], hosts inet[]'
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS baskets")
        connection.execute(f"CREATE TABLE baskets ({declared})")
        with closing(connection.cursor()) as cursor:
            cursor.executemany(
                "INSERT INTO baskets VALUES (%s, %s, %s, %s::uuid[], ARRAY[inet '10.0.0.1'])",
                ARRAYS.rows(),
            )
    yield url
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE baskets")


def of_arrays(table, *more):
    source = hw.Source(
        "baskets",
        history=table,
        timestamp_field="at",
        select=[
            "user",
            pl.col("prices").list.sum().cast(pl.Float64).alias("paid"),
            pl.col("ids").list.last().alias("item"),
            *more,
        ],
    )
    view = hw.FeatureView(
        "v",
        source=source,
        keys=["user"],
        windows=["1h"],
        features=[hw.count(), hw.sum("paid"), hw.last("item"), *(hw.sum("hosts") for _ in more)],
        freshness=hw.on_request(),
    )
    return hw.get_historical_features(
        view, pl.DataFrame({"user": ["ann", "bob"], "timestamp": [NOON] * 2})
    )


@pytest.mark.services
def test_arrays_are_lists_of_what_they_hold(arrays):
    table = hw.sql("baskets", url=arrays)
    assert_frame_equal(of_arrays(table), of_arrays(ARRAYS))
    with pytest.raises(hw.errors.DataError, match=r"hosts.*inet"):
        of_arrays(table, pl.col("hosts").list.len())
