"""Training data that Spark computes and writes has the values of `get_historical_features`, for any
features and output.
"""

from dataclasses import replace

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import headwater as hw
import headwater_spark
from headwater.connectors.spark import open_session
from headwater.errors import (
    ConnectError,
    DataError,
    DefinitionError,
    RowsLeftOutWarning,
    UsageError,
)
from tests.engine.spark import events as day
from tests.engine.spark.written import assert_same, written

pytestmark = [
    pytest.mark.filterwarnings("ignore::headwater.errors.HeadwaterWarning"),
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas"),
]
EVENTS = day.events(600)
ROWS = day.requests(80).with_columns(
    number=pl.int_range(80), amount=pl.int_range(80) / 7, other=pl.col("key") + 1
)
FEW = [hw.count(), hw.sum("real"), hw.last("word")]
RULES = {
    "ids": {"id_field": "id", "id_horizon": "1h", "known_at_field": "known"},
    "corrections": {"id_field": "id", "known_at_field": "known", "changes": "before"},
    "late events": {"known_at_field": "known"},
}


@pytest.fixture
def session(engine, session):
    session.conf.set("spark.sql.shuffle.partitions", "3")
    return session


@pytest.fixture
def rows(session):
    """The rows as a table of Spark."""
    return headwater_spark.spark_table(
        session.createDataFrame(ROWS.to_arrow()).repartition(2), name="rows"
    )


def same(features, given, engine, **options):
    """Assert that it has the bits of one machine."""
    assert_same(features, given, given if isinstance(given, hw.Labels) else ROWS, engine, **options)


@pytest.mark.parametrize("rule", RULES)
def test_rules_of_events_and_statuses(rule, engine, rows):
    same([day.view(day.source(EVENTS, **RULES[rule]), features=FEW)], rows, engine, statuses=True)


@pytest.mark.services
def test_every_aggregation_bit_by_bit(engine, rows):
    same([day.view(day.source(EVENTS, **RULES["ids"]))], rows, engine)


def test_views_aliases_and_functions_of_features(engine, session, rows):
    """Two sources, a view in two roles, keys of two columns, and a key that is a feature; functions
    that workers lack.
    """
    session.createDataFrame(EVENTS.to_arrow()).createOrReplaceTempView("some_events")
    table = day.source(headwater_spark.spark_table("some_events", session=session), **RULES["ids"])
    user = day.view(table, features=[*FEW, hw.mean("real"), hw.last("whole")])
    named = hw.FeatureView(
        "named",
        source=day.source(EVENTS),
        keys=["name", "day"],
        features=FEW,
        windows=["3h"],
        freshness=hw.batch("1h"),
    )
    alias = user.alias("other", {"key": "other"})
    last = user.alias("of_last", {"key": user["last_whole_1h"]})

    @hw.request_feature
    def above(amount: float, mean: float = user["mean_real_1h"]) -> float:
        return -1.0 if mean is None else amount - mean

    service = [user["count_1h"], named, alias, last, above]
    same(service, rows, engine)
    same(service, rows, engine, level=hw.streaming("10s"), statuses=True)


def test_events_of_a_source_that_is_read_twice_are_left_out_once(engine, rows):
    user = day.view(day.source(EVENTS), features=FEW)
    service = [user, user.alias("other", {"key": "other"})]
    without = sum(EVENTS["at"].is_null())
    with pytest.warns(
        RowsLeftOutWarning, match=rf"left out: {without} rows of source events: no at"
    ):
        written(service, rows, engine)


def test_measured_ages(engine, rows):
    """T and K of one row may be those of an earlier one: the events of all are read."""
    way = hw.measured(["0s", "3h", None, "20s", "30m"], cuts=["0s", "2h", "0s", "10s", "30m"])
    same(
        day.view(day.source(EVENTS, known_at_field="known"), features=FEW),
        rows,
        engine,
        level=way,
        statuses=True,
    )


def test_enriched_sources(engine, rows):
    base = day.source(EVENTS, known_at_field="known")
    rated = hw.enrich(base, "rated", [day.view(base, features=[hw.count(), hw.sum("real")])])
    of = hw.FeatureView(
        "of",
        source=rated,
        keys=["name"],
        features=[hw.max("view__count_1h")],
        windows=["2h"],
        freshness=hw.on_request(),
    )
    same([of, day.view(base, features=FEW)], rows, engine)


@pytest.mark.parametrize("label", ["a column", "an outcome", "an outcome of enriched events"])
def test_labels(label, engine, session):
    labelled = ROWS.with_columns(y=pl.when(pl.col("number") % 5 != 0).then(pl.col("number") % 2))
    table = headwater_spark.spark_table(session.createDataFrame(labelled.to_arrow()), name="labels")
    source = day.source(EVENTS, known_at_field="known")
    rated = hw.enrich(source, "rated", [day.view(source, features=[hw.count()])])
    outcome = {
        "a column": {"label": "y", "known_after": "1h"},
        "an outcome": {"label": hw.outcome(source, hw.count(), keys=["key"], within="2h")},
        "an outcome of enriched events": {
            "label": hw.outcome(rated, hw.sum("view__count_1h"), keys=["key"], within="2h")
        },
    }
    given = {
        name: hw.Labels(
            "y_of",
            table=of,
            timestamp_field="timestamp",
            filter=pl.col("number") > 9,
            **outcome[label],
        )
        for name, of in (("spark", table), ("local", labelled))
    }
    view = day.view(source, features=FEW)
    expected = hw.get_historical_features(
        view, given["local"], resources=hw.Resources(engine="local")
    )
    assert_frame_equal(
        written(view, given["spark"], engine), expected.sort("number"), check_exact=True
    )
    if label == "a column":
        with pytest.warns(RowsLeftOutWarning, match="labels: no y"):
            written(view, given["spark"], engine)


def test_half_of_the_rows_of_one_key_within_the_memory_of_a_task(engine, session):
    many = day.requests(3000).with_columns(
        number=pl.int_range(3000), key=pl.when(pl.int_range(3000) % 2 == 0).then(0).otherwise("key")
    )
    rows = headwater_spark.spark_table(session.createDataFrame(many.to_arrow()), name="many")
    view = day.view(day.source(day.events(9000)), features=FEW)
    resources = hw.Resources(engine=engine, memory="2MB")
    given = (
        headwater_spark.write_historical_features(
            view, rows, headwater_spark.spark_output(), resources=resources
        )
        .scan()
        .collect()
        .sort("number")
    )
    assert_frame_equal(
        given,
        hw.get_historical_features(view, many, resources=hw.Resources(engine="local")),
        check_exact=True,
    )


def test_names_of_columns_with_dots_and_blanks(engine, session):
    """Spark takes `a.b` for a field; two names that differ in case are one to it where both are
    read by name.
    """
    names = {"key": "Käufer id", "real": "amount.in EUR"}
    events, asked = (
        EVENTS.select("key", "real", "at").rename(names),
        ROWS.rename({"key": "Käufer id", "other": "a.b"}).with_columns(KEY=1),
    )
    source = hw.Source(
        "sold",
        history=headwater_spark.spark_table(
            session.createDataFrame(events.to_arrow()), name="sold"
        ),
        timestamp_field="at",
    )
    features = [hw.count(), hw.sum("amount.in EUR")]
    view = hw.FeatureView(
        "sold",
        source=source,
        keys=["Käufer id"],
        features=features,
        windows=["1h"],
        freshness=hw.on_request(),
    )
    given = headwater_spark.spark_table(session.createDataFrame(asked.to_arrow()), name="rows")
    assert_same(view, given, asked, engine)
    both = session.createDataFrame(events.with_columns(AT="at").to_arrow())
    twice = replace(source, history=headwater_spark.spark_table(both, name="twice"))
    with pytest.raises(
        DataError,
        match=r"source 'sold': the Spark DataFrame twice cannot be read: .*(?i:ambiguous)",
    ):
        written(replace(view, source=twice), given, engine)


def test_a_session_that_is_stopped(url):
    session = open_session(url)
    own = session.builder.remote(url).create()
    engine = headwater_spark.spark(own)
    view = day.view(day.source(EVENTS), features=[hw.count()])
    written(view, ROWS, engine)
    own.stop()
    with pytest.raises(
        ConnectError,
        match=r"the Spark session was stopped \(.*\)\. Give an open session, and run again",
    ):
        written(view, ROWS, engine)


def test_rows_of_this_process_and_a_data_frame_of_spark(engine, session):
    view = day.view(day.source(EVENTS), features=[hw.count()])
    same(view, ROWS, engine)
    same(view, session.createDataFrame(ROWS.to_arrow()), engine)


# ---------------------------------------------------------------- outputs


def test_a_table_of_the_catalog_and_its_modes(engine, session, rows, tmp_path):
    session.sql(f"CREATE SCHEMA shop LOCATION '{tmp_path}/shop'")
    view = day.view(day.source(EVENTS), features=[hw.count()])
    first = written(
        view, rows, engine, headwater_spark.spark_output("shop.training", format="parquet")
    )
    assert first.height == ROWS.height
    with pytest.raises(
        DataError,
        match=r'the Spark table shop\.training exists; give mode="overwrite" or mode="append", or another name',
    ):
        written(view, rows, engine, headwater_spark.spark_output("shop.training"))
    again = written(
        view,
        rows,
        engine,
        headwater_spark.spark_output("shop.training", format="parquet", mode="append"),
    )
    assert again.height == 2 * ROWS.height
    over = written(
        view,
        rows,
        engine,
        headwater_spark.spark_output("shop.training", format="parquet", mode="overwrite"),
    )
    assert_frame_equal(over, first)


def test_parquet_at_a_path(engine, rows, tmp_path):
    written_twice("parquet", rows, engine, tmp_path)


@pytest.mark.usefixtures("_delta")
def test_delta_at_a_path(engine, rows, tmp_path):
    written_twice("delta", rows, engine, tmp_path)


def test_iceberg_at_a_path(sail, tmp_path):
    """On Sail alone, which writes timestamps to Iceberg in UTC: Iceberg's jars are for older
    versions of Spark.
    """
    open_session(sail).conf.set("spark.sql.session.timeZone", "UTC")
    written_twice("iceberg", ROWS, headwater_spark.spark(sail), tmp_path)


def written_twice(form, rows, engine, folder):
    """A table at a path is written, refused, and overwritten."""
    view = day.view(day.source(EVENTS), features=[hw.count()])
    output = headwater_spark.spark_output(f"{form}.`{folder / 'training'}`", partition_by=["day"])
    first = written(view, rows, engine, output)
    assert [file for file in folder.rglob("*.parquet") if file.parent.name.startswith("day=")]
    with pytest.raises(DataError, match="exists; give mode="):
        written(view, rows, engine, output)
    again = written(
        view,
        rows,
        engine,
        headwater_spark.spark_output(output.table, mode="overwrite", partition_by=["day"]),
    )
    # of a folder of parquet, the type of a partition's column is guessed
    assert_frame_equal(again.drop("day"), first.drop("day"))


# ---------------------------------------------------------------- what goes wrong


def test_what_cannot_be_written_is_refused(engine, rows):
    view = day.view(day.source(EVENTS), features=[hw.count()])
    with pytest.raises(
        DataError,
        match=r"the Spark table nowhere\.training cannot be written: no schema nowhere; create it",
    ):
        written(view, rows, engine, headwater_spark.spark_output("nowhere.training"))
    with pytest.raises(
        (DataError, hw.errors.ConnectError),
        match=r"the Spark table rows_of cannot be written: .*papyrus",
    ):
        written(view, rows, engine, headwater_spark.spark_output("rows_of", format="papyrus"))
    with pytest.raises(DataError, match="'view__count_1h' of the rows is named like a feature"):
        written(
            view, rows.spark_frame().withColumn("view__count_1h", rows.spark_frame()["key"]), engine
        )
    with pytest.raises(DataError, match="there are no rows to compute features of"):
        written(view, rows.spark_frame().where("number < 0"), engine)
    with pytest.raises(DataError, match="no column 'asked_at' with the request times"):
        written(view, rows, engine, timestamp_field="asked_at")


def test_a_function_that_fails_on_a_worker(engine, rows):
    @hw.request_feature
    def wrong(amount: float) -> float:
        return 1 / (amount - amount) if amount > 5 else amount

    with pytest.raises(
        DataError, match=r"request feature 'wrong' failed on row .*ZeroDivisionError"
    ):
        written([wrong], rows, engine)


def test_calls_that_are_wrong():
    view = day.view(day.source(EVENTS), features=[hw.count()])
    with pytest.raises(
        UsageError,
        match=r"write_historical_features is computed by Spark; give resources=hw\.Resources",
    ):
        headwater_spark.write_historical_features(
            view, ROWS, headwater_spark.spark_output(), resources=hw.Resources(engine="local")
        )
    for table, options, message in (
        (" ", {}, "the name of the table is empty"),
        ("shop.training", {"mode": "overwite"}, "mode is 'overwite'; did you mean 'overwrite'"),
        ("delta.`/lake/x`", {"format": "iceberg"}, "leave format= out"),
    ):
        with pytest.raises(DefinitionError, match=message):
            headwater_spark.spark_output(table, **options)


def test_frames_of_spark_where_a_table_is_wanted(engine, session):
    """Their Arrow interface would fetch all rows. The pandas API is not imported: it needs an older
    pandas.
    """
    frame = session.createDataFrame(ROWS.to_arrow())
    view = day.view(day.source(EVENTS), features=[hw.count()])
    pandas_api = type("DataFrame", (), {"__module__": "pyspark.pandas.frame"})()
    for call, given, message in (
        (
            day.source,
            frame,
            r"history is a DataFrame of Spark; give headwater_spark\.spark_table\(frame, name='payments'\)",
        ),
        (
            day.source,
            pandas_api,
            r"give headwater_spark\.spark_table\(frame\.to_spark\(\), name='payments'\)",
        ),
        (
            lambda rows: hw.get_historical_features(
                view, rows, resources=hw.Resources(engine=engine)
            ),
            frame,
            r"rows is a DataFrame of Spark",
        ),
        (
            lambda rows: written(view, rows, engine),
            pandas_api,
            r"rows is a DataFrame of Spark; give headwater_spark\.spark_table\(frame\.to_spark\(\)",
        ),
        (
            lambda table: headwater_spark.spark_table(table, name="payments"),
            pandas_api,
            r"spark_table\(\): the table is a DataFrame of Spark",
        ),
    ):
        with pytest.raises(DefinitionError, match=message):
            call(given)
