"""Views that are looked up by each element of a list, in rows that Spark writes: the values of
`get_historical_features`.
"""

import threading
from random import Random

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import headwater as hw
import headwater_spark
from headwater.connectors.spark import open_session
from headwater.errors import DataError
from tests.engine.spark import events as day
from tests.engine.spark.conftest import end_session, started
from tests.engine.spark.written import assert_same, written

pytestmark = [
    pytest.mark.filterwarnings("ignore::headwater.errors.HeadwaterWarning"),
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas"),
]
EVENTS = day.events(600)
FEW = [hw.count(), hw.sum("real"), hw.last("word")]


def baskets(number, seed=2):
    """Rows with lists: null, empty, of nulls, of duplicates, of unknown keys; rows that are alike,
    and alike but for the order of a list or the time.

    The first and the last row in time have no elements.
    """
    random = Random(seed)
    keys = [None, 0, 0, 99, *range(1, 30)]
    rows = day.requests(number, seed).to_dicts()
    for n, row in enumerate(rows):
        size = random.choice([0, 1, 3, 12])
        row["keys"] = None if n % 11 == 0 else [random.choice(keys) for _ in range(size)]
        row["names"] = [f"n{random.randrange(12)}é" for _ in range(size)]
    schema = {**day.requests(1).schema, "keys": pl.List(pl.Int64), "names": pl.List(pl.String)}
    frame = pl.DataFrame(rows, schema=schema).sort("timestamp")
    ends = pl.int_range(pl.len()).is_in([0, number - 1])
    frame = frame.with_columns(
        pl.when(ends)
        .then(pl.lit([], pl.List(frame.schema[name].inner)))
        .otherwise(name)
        .alias(name)
        for name in ("keys", "names")
    )
    turned = frame.tail(9).with_columns(pl.col("keys", "names").list.reverse())
    earlier = frame.slice(number // 2, 9).with_columns(pl.col("timestamp").dt.offset_by("-1h"))
    return pl.concat([frame, frame.head(5), turned, earlier]).with_columns(
        number=pl.int_range(pl.len())
    )


@pytest.fixture
def session(engine, session):
    session.conf.set("spark.sql.shuffle.partitions", "3")
    return session


def asserted(features, rows, engine, session, **options):
    given = headwater_spark.spark_table(
        session.createDataFrame(rows.to_arrow()).repartition(2), name="rows"
    )
    assert_same(features, given, rows, engine, **options)


def test_lists_of_integers_and_strings_and_a_list_with_a_plain_key(engine, session):
    """Lists of every shape; values that are lists themselves; statuses; a function of a list."""
    view = day.view(
        day.source(EVENTS, id_field="id", id_horizon="1h", known_at_field="known"),
        features=[*FEW, hw.last_n("word", k=3)],
    )
    each = view.alias("each", {"key": hw.each("keys")})
    both = hw.FeatureView(
        "both",
        source=day.source(EVENTS),
        keys=["name", "day"],
        features=FEW,
        windows=["3h"],
        freshness=hw.batch("1h"),
    )

    @hw.request_feature
    def most(counts: list[int] | None = each["count_1h"]) -> int | None:
        return max(counts or (), default=None)

    service = [each, view, both.alias("named", {"name": hw.each("names")}), most]
    asserted(service, baskets(60), engine, session)
    asserted(service, baskets(60), engine, session, statuses=True, level=hw.streaming("10s"))


def test_a_list_that_is_a_feature(engine, session):
    """A stage of lists after one of plain keys, and a plain one after it."""
    source = day.source(EVENTS)
    user = day.view(source, features=[hw.last_n("name", k=4), hw.last("whole")])
    named = hw.FeatureView(
        "named",
        source=source,
        keys=["name"],
        features=[hw.count(), hw.sum("real")],
        windows=["3h"],
        freshness=hw.on_request(),
    )
    of_last = named.alias("of_last", {"name": hw.each(user["last_n_name_1h"])})
    asserted([of_last, named, user], baskets(40), engine, session, statuses=True)


def test_lists_in_an_enriched_source(engine, session):
    """Events with lists ask for the features of each element."""
    ordered = (
        baskets(80)
        .rename({"timestamp": "at"})
        .drop("number", "key")
        .with_columns(user=pl.int_range(pl.len()) % 5)
    )
    product = hw.FeatureView(
        "product",
        source=day.source(EVENTS),
        keys=["key"],
        features=FEW,
        windows=["3h"],
        freshness=hw.on_request(),
    )
    orders = hw.Source("orders", history=ordered, timestamp_field="at", select=["user", "keys"])
    counts = product.alias("bought", {"key": hw.each("keys")})

    @hw.request_feature
    def total(counts: list[int] | None = counts["count_3h"]) -> float:
        return float(sum(counts or ()))

    rated = hw.enrich(orders, "rated", [total])
    view = hw.FeatureView(
        "of",
        source=rated,
        keys=["user"],
        features=[hw.sum("total")],
        windows=["1d"],
        freshness=hw.on_request(),
    )
    rows = day.requests(30).with_columns(user=pl.int_range(30) % 6, number=pl.int_range(30))
    asserted(view, rows, engine, session)


def test_a_long_list_within_the_memory_of_a_task(engine, session):
    """A request with 100,000 candidates next to small ones; half of all elements are of one key."""
    size = 100_000
    elements = pl.Series(range(size)) % 400
    keys = pl.select(pl.when(pl.int_range(size) % 2 == 0).then(0).otherwise(elements)).to_series()
    rows = baskets(40).with_columns(
        keys=pl.when(pl.col("number") == 7).then(pl.lit(keys.implode())).otherwise("keys")
    )
    view = day.view(day.source(day.events(9000)), features=FEW)
    each = view.alias("each", {"key": hw.each("keys", max_length=size)})
    asserted(each, rows, engine, session, resources=hw.Resources(engine=engine, memory="2MB"))


def test_a_list_that_is_too_long_and_a_column_without_lists(engine, session):
    each = day.view(day.source(EVENTS), features=FEW).alias(
        "each", {"key": hw.each("keys", max_length=5)}
    )
    rows = baskets(40)
    with pytest.raises(
        DataError,
        match=r"'keys' holds 12 keys, and feature view 'each' takes up to 5; give a shorter list",
    ):
        asserted(each, rows, engine, session)
    with pytest.raises(
        DataError,
        match=(
            "'each': it is looked up by a list, and the column 'keys' is Int64; give lists of keys"
        ),
    ):
        asserted(each, rows.with_columns(keys=pl.lit(1, pl.Int64)), engine, session)


@pytest.mark.services
def test_lists_are_whole_after_a_worker_is_killed(tmp_path_factory, tmp_path):
    """Elements and rows that Spark deals again find each other. In a cluster of its own, while
    workers compute.
    """
    cluster = started(tmp_path_factory)
    try:
        rows, engine = baskets(6000), headwater_spark.spark(cluster.url)
        each = day.view(day.source(day.events(40_000)), features=FEW).alias(
            "each", {"key": hw.each("keys")}
        )
        session = open_session(cluster.url)
        session.conf.set("spark.sql.shuffle.partitions", "8")
        given = headwater_spark.spark_table(
            session.createDataFrame(rows.to_arrow()).repartition(6), name="rows"
        )
        tables = []
        output = headwater_spark.spark_output(f"parquet.`{tmp_path}/training`")
        thread = threading.Thread(
            target=lambda: tables.append(written([each], given, engine, output))
        )
        thread.start()
        cluster.wait_for_spilled_rows()
        assert thread.is_alive()
        cluster.kill_worker(1)
        thread.join(240)
        expected = hw.get_historical_features([each], rows, resources=hw.Resources(engine="local"))
        assert_frame_equal(tables[0], expected.sort("number"), check_exact=True)
    finally:
        end_session(cluster.url)
        cluster.run("stop")
