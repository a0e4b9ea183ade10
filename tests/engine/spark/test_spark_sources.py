"""Where Spark reads a history: its tables and DataFrames, files, and rows of the calling process;
and the verbs on top.
"""

import re
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import headwater as hw
import headwater_spark
from headwater.assessing.doctor import doctor
from headwater.connectors.spark import narrowed, open_session
from headwater.definitions.connectors import as_table
from headwater.errors import ConnectError, DataError, DefinitionError, MissingExtraError, UsageError
from headwater.online.view_reader import OnlineView
from tests.engine.spark import events as day
from tests.flow import Flow, clock, frame, micros, streaming_view  # noqa: F401 (clock is a fixture)
from tests.stores.servers import serving

pytestmark = [
    pytest.mark.filterwarnings("ignore::headwater.errors.HeadwaterWarning"),
    pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas"),
]
EVENTS = day.events(400)
ROWS = day.requests(60)
FEATURES = [hw.count(), hw.sum("real"), hw.last("word"), hw.max("moment")]
RULES = {"known_at_field": "known", "id_field": "id", "id_horizon": "1h"}


def rows_of(history, engine, **rules):
    view = day.view(day.source(history, **(rules or RULES)), features=FEATURES)
    return hw.get_historical_features(view, ROWS, resources=hw.Resources(engine=engine))


@pytest.fixture(scope="module")
def expected():
    return rows_of(EVENTS, "local")


@pytest.fixture
def files(tmp_path):
    """A folder of three parquet files."""
    folder = tmp_path / "payments"
    folder.mkdir()
    for number, rows in enumerate(EVENTS.iter_slices(150)):
        rows.write_parquet(folder / f"{number}.parquet")
    return folder


def test_files_that_the_workers_read(files, engine, expected):
    assert_frame_equal(rows_of(str(files), engine), expected, check_exact=True)
    EVENTS.write_ndjson(files.parent / "events.jsonl")
    with pytest.raises(DataError, match="'at' is text"):
        rows_of(hw.json_lines(files.parent / "events.jsonl"), engine)


def test_files_of_partitions_and_of_several_schemas_are_one_table_on_the_workers(tmp_path, engine):
    """Each worker reads some files, with the partitions and columns of the whole table."""
    for place in ("payments", "word=none/payments"):
        folder = tmp_path / place
        for word, rows in (
            EVENTS.filter(pl.col("word").is_not_null())
            .partition_by("word", as_dict=True, include_key=False)
            .items()
        ):
            part = folder / f"word={word[0]}"
            part.mkdir(parents=True)
            half = rows.height // 2
            rows[:half].drop("real").write_parquet(part / "a.parquet")
            rows[half:].write_parquet(part / "b.parquet")
        (folder / "_temporary").mkdir()
        EVENTS.write_parquet(folder / "_temporary" / "c.parquet")
        assert_frame_equal(
            rows_of(str(folder), engine), rows_of(str(folder), "local"), check_exact=True
        )


def test_tables_and_data_frames_of_spark(files, engine, session, expected, monkeypatch):
    frame = session.read.parquet(str(files))
    frame.createOrReplaceTempView("payments")
    for table in (
        headwater_spark.spark_table(frame, name="payments"),
        headwater_spark.spark_table("payments"),
        headwater_spark.spark_table(f"parquet.`{files}`"),
    ):
        assert_frame_equal(rows_of(table, engine), expected, check_exact=True)
        mine = table if table.frame is not None else table.with_fields(session=engine.session)
        assert_frame_equal(rows_of(mine, "local"), expected, check_exact=True)
    monkeypatch.setenv("HEADWATER_ENGINE", f"spark:{engine.session}")
    assert_frame_equal(
        rows_of(headwater_spark.spark_table("payments"), None), expected, check_exact=True
    )
    assert (
        headwater_spark.spark_table("payments").contents()
        == headwater_spark.spark_table(frame, name="payments").contents()
    )


def test_times_and_texts_are_compared_by_spark(session):
    """Rows of other times do not leave Spark, in any zone of its session; a text with a backslash
    is compared here.
    """
    session.createDataFrame(
        EVENTS.with_columns(word=pl.lit("a\\b'")).to_arrow()
    ).createOrReplaceTempView("compared")
    session.conf.set("spark.sql.session.timeZone", "America/New_York")
    try:
        table, noon = headwater_spark.spark_table("compared", session=session), day.NOON
        late = pl.col("at").is_between(noon + timedelta(hours=3), noon + timedelta(hours=5))
        expected = EVENTS.filter(late).height
        assert table.scan().filter(late).collect().height == expected > 0
        assert narrowed(table.spark_frame(), ["at"], late).count() == expected
        assert table.scan().filter(pl.col("word") == "a\\b'").collect().height == EVENTS.height
    finally:
        session.conf.unset("spark.sql.session.timeZone")


@pytest.mark.usefixtures("_delta")
def test_delta_tables(tmp_path, engine, expected):
    deltalake = pytest.importorskip("deltalake", reason="needs deltalake")
    deltalake.write_deltalake(tmp_path / "lake", EVENTS.to_arrow())
    table = headwater_spark.spark_table(f"delta.`{tmp_path / 'lake'}`")
    assert_frame_equal(rows_of(table, engine), expected, check_exact=True)


@pytest.mark.parametrize(
    "rules", [{}, {"known_at_field": "known"}, RULES], ids=["plain", "late events", "ids"]
)
def test_enriched_events_stay_on_the_workers(rules, engine, monkeypatch):
    """Two views of one enriched source, which is enriched again; no event comes to this process."""
    base = day.source(EVENTS, **rules)
    rated = hw.enrich(base, "rated", [day.view(base, features=[hw.count(), hw.last("word")])])
    of = {
        "features": [hw.max("view__count_1h"), hw.last("view__last_word_1h")],
        "windows": ["2h"],
        "freshness": hw.on_request(),
    }
    first = hw.FeatureView("first", source=rated, keys=["name"], **of)
    again = hw.enrich(rated, "again", [first])
    second = hw.FeatureView(
        "second",
        source=again,
        keys=["day"],
        features=[hw.max("first__max_view__count_1h_2h")],
        windows=["3h"],
        freshness=hw.batch("1h"),
    )
    expected = hw.get_historical_features(
        [first, second], ROWS, resources=hw.Resources(engine="local")
    )
    monkeypatch.setattr(
        type(engine), "events", lambda *_: pytest.fail("events came to this process")
    )
    given = hw.get_historical_features([first, second], ROWS, resources=hw.Resources(engine=engine))
    assert_frame_equal(given, expected, check_exact=True)


def test_an_enriched_source_without_events(engine):
    base = day.source(EVENTS.clear())
    rated = hw.enrich(base, "rated", [day.view(base, features=[hw.count()])])
    view = hw.FeatureView(
        "of",
        source=rated,
        keys=["name"],
        features=[hw.max("view__count_1h")],
        windows=["2h"],
        freshness=hw.on_request(),
    )
    given, expected = (
        hw.get_historical_features(view, ROWS, resources=hw.Resources(engine=of))
        for of in (engine, "local")
    )
    assert_frame_equal(given, expected, check_exact=True)


def test_an_error_among_enriched_events(engine):
    base = day.source(EVENTS.with_columns(real=pl.lit(float("inf"))))
    rated = hw.enrich(base, "rated", [day.view(base, features=[hw.sum("real")])])
    view = hw.FeatureView(
        "of",
        source=rated,
        keys=["name"],
        features=[hw.max("view__sum_real_1h")],
        windows=["2h"],
        freshness=hw.on_request(),
    )
    with pytest.raises(DataError, match="infinite"):
        hw.get_historical_features(view, ROWS, resources=hw.Resources(engine=engine))


@pytest.fixture(params=["lmdb", "redis"])
def stores(request, tmp_path):
    """The URLs of two stores."""
    if request.param == "lmdb":
        yield [f"lmdb:{tmp_path}/{number}?size=100MB" for number in range(2)]
    else:
        with serving(tmp_path / "redis0") as first, serving(tmp_path / "redis1") as second:
            yield [first.url, second.url]


def test_materialize_and_parity(files, engine, session, stores):
    session.read.parquet(str(files)).createOrReplaceTempView("batch_payments")
    source = day.source(headwater_spark.spark_table("batch_payments", session=session), **RULES)
    view = day.view(source, features=FEATURES, freshness=hw.batch("1h"))
    labels = hw.Labels(
        "y_of",
        table=ROWS.with_columns(y=1).drop_nulls(),
        timestamp_field="timestamp",
        label="y",
        known_after="1h",
    )
    model = hw.Model(
        "m", task="regression", features=hw.FeatureService("service", [view]), labels=labels
    )
    project, at = hw.Project("shop", [model]), day.NOON + timedelta(hours=5)
    mine, values = hw.Resources(engine=engine), {}
    for name, resources, store in zip(
        ("spark", "local"), (mine, hw.Resources(engine="local")), stores, strict=True
    ):
        for cut in (at, at + timedelta(hours=4)):
            (done,) = hw.materialize(project, store=store, at=cut, resources=resources)
        values[name] = (done.events, done.keys, done.left_out)
        (compared,) = hw.parity(
            project, store=store, at=at + timedelta(hours=4), resources=resources
        )
        assert compared.mismatches == []
        assert compared.rows > 0
    assert values["spark"] == values["local"]


def test_a_stream_begins_with_a_history_that_spark_reads(
    engine, session, tmp_path, clock, monkeypatch
):
    """Half of the stream's events are in the history too; ids tell which."""
    rows = frame([(n % 5, n, 2.0**n) for n in range(20)], id=[f"e{n}" for n in range(20)])
    session.createDataFrame(rows.to_arrow()).createOrReplaceTempView("before_the_stream")
    stream = hw.push(schema={"key": int, "amount": float, "at": datetime, "id": str})
    values = {}
    for name, history in (
        ("local", rows),
        (f"spark:{engine.session}", headwater_spark.spark_table("before_the_stream")),
    ):
        monkeypatch.setenv("HEADWATER_ENGINE", name)
        rules = {
            "history": history,
            "stream": stream,
            "id_field": "id",
            "id_horizon": "1h",
            "select": ["key", "amount"],
        }
        view = streaming_view([hw.sum("amount"), hw.last_n("amount", k=3)], source=rules)
        with closing(hw.operations.open_store(f"lmdb:{tmp_path}/{name[:5]}?size=100MB")) as store:
            clock(20)
            flow = Flow([view], store, tmp_path / name[:5])
            flow.send(
                [{"key": n % 5, "at": n, "amount": 2.0**n, "id": f"e{n}"} for n in range(10, 30)],
                31,
            )
            values[name] = (
                OnlineView(view, store).read(pl.DataFrame({"key": range(6)}), micros(40)).features
            )
    spark, local = values.values()
    assert [s.to_list() for s in spark] == [s.to_list() for s in local]
    assert spark[0].to_list() == [sum(2.0**n for n in range(30) if n % 5 == k) for k in range(6)]


def test_backtest(engine):
    view = day.view(day.source(EVENTS), features=[hw.count(), hw.sum("whole")])
    many = day.requests(600, seed=3).drop_nulls().with_columns(y=pl.int_range(pl.len()) % 2)
    labels = hw.Labels("y_of", table=many, timestamp_field="timestamp", label="y", known_after="1m")
    model = hw.Model(
        "m", task="binary", features=hw.FeatureService("service", [view]), labels=labels
    )
    evaluation = hw.Evaluation(split=day.NOON + timedelta(hours=16), resamples=50)
    given, expected = (
        hw.backtest(
            model,
            {"hourly": hw.Level(hw.batch("1h"))},
            evaluation,
            resources=hw.Resources(engine=of, progress=False),
        )
        for of in (engine, "local")
    )
    assert_frame_equal(given.predictions, expected.predictions)


def test_doctor_inspects_the_cluster(engine, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_ENGINE", f"spark:{engine.session}")
    (check,) = [check for check in doctor(data_dir=tmp_path).checks if check.part == "engine"]
    assert check.health == "ok"
    assert re.fullmatch(
        r"Spark [0-9.]+; workers have Python 3[0-9.]+, headwater [0-9.a-z]+ and polars [0-9.]+",
        check.evidence,
    )
    monkeypatch.setattr(
        "headwater.engine.spark.spark_job.versions", lambda: ["headwater 9.9", "polars 1"]
    )
    (check,) = doctor(data_dir=tmp_path).broken
    assert "the Spark workers have headwater" in check.evidence


def test_doctor_names_a_cluster_that_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_ENGINE", "spark:sc://127.0.0.1:1")
    (check,) = doctor(data_dir=tmp_path).broken
    assert (check.part, "no Spark Connect server answers" in check.evidence) == ("engine", True)


# ---------------------------------------------------------------- what goes wrong


def test_a_renamed_column_is_named_before_spark_works(engine, session):
    session.createDataFrame(EVENTS.rename({"real": "reel"}).to_arrow()).createOrReplaceTempView(
        "changed"
    )
    with pytest.raises(DataError, match="no column 'real'; did you mean 'reel'"):
        rows_of(headwater_spark.spark_table("changed"), engine)


def test_a_table_that_is_missing(engine):
    with pytest.raises(DataError, match=r"the Spark table no_such cannot be read: .*no_such"):
        rows_of(headwater_spark.spark_table("no_such"), engine)


def test_an_error_on_a_worker_is_that_of_this_process(engine):
    endless = EVENTS.with_columns(real=pl.lit(float("inf")))
    with pytest.raises(DataError, match="infinite"):
        rows_of(endless, engine)


def test_workers_of_another_version(engine, monkeypatch):
    monkeypatch.setattr(
        "headwater.engine.spark.spark_job.versions", lambda: ["headwater 9.9", "polars 1"]
    )
    with pytest.raises(
        UsageError,
        match=r"the Spark workers have headwater .* and this process headwater 9\.9 and polars 1",
    ):
        rows_of(EVENTS, engine)


def test_files_that_a_worker_does_not_see(files, sail, monkeypatch):
    def lost(table):
        return [replace(as_table(str(files), "history"), path="/nowhere/0.parquet")]

    monkeypatch.setattr("headwater.engine.spark.spark_job._pieces", lost)
    with pytest.raises(
        DataError,
        match=r"a Spark worker finds no file at /nowhere/0\.parquet; put the files where every worker sees them",
    ):
        rows_of(str(files), headwater_spark.spark(sail))


def test_no_server_answers():
    with pytest.raises(
        ConnectError,
        match=r"no Spark Connect server answers at sc://127\.0\.0\.1:1: Connection refused. Start one",
    ):
        rows_of(EVENTS, "spark:sc://127.0.0.1:1/;token=secret")


def test_no_session_and_a_wrong_url(monkeypatch):
    monkeypatch.delenv("SPARK_REMOTE", raising=False)
    with pytest.raises(
        UsageError,
        match=(
            "the URL of Spark is 'http://host:1'; give that of a Spark Connect server, such as "
            "sc://host:15002"
        ),
    ):
        open_session("http://host:1")
    with pytest.raises(UsageError, match="'local' takes no address; give 'local'"):
        rows_of(EVENTS, "local:sc://host")


def test_without_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyspark.sql", None)
    with pytest.raises(
        MissingExtraError,
        match=r"pyspark is not installed; install it with: pip install 'headwater\[spark\]'",
    ):
        rows_of(EVENTS, "spark:sc://127.0.0.1:1")


def test_a_table_that_is_none():
    for table, name in ((7, None), ("", None), ("shop.payments", "other")):
        with pytest.raises(DefinitionError, match="spark_table"):
            headwater_spark.spark_table(table, name=name)
