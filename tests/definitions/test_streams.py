"""What a user may write as a stream, the errors for the rest, and which columns a stream has."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

import headwater as hw
from headwater.connectors import scan
from headwater.definitions.connectors import as_table
from headwater.errors import DataError, DefinitionError, HeadwaterError, UsageError
from headwater.ingestion.sources.stream_reader import decoder, open_feed, stream_schema

AT = datetime(2024, 5, 1, 10, tzinfo=UTC)
SCHEMA = {"card": str, "at": datetime}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: hw.kafka("my topic"), "give a name of 1 to 249 letters"),
        (lambda: hw.kafka(""), "give a name of 1 to 249 letters"),
        (
            lambda: hw.kafka("t", format="jsn"),
            "format is 'jsn'; give 'json', 'avro', 'protobuf' or 'debezium'; did you mean 'json'",
        ),
        (lambda: hw.kafka("t", timestamps="ns"), "timestamps is 'ns'"),
        (lambda: hw.kafka("t", start="end"), "start is 'end'; give 'earliest' or 'latest'"),
        (lambda: hw.kafka("t", schema={}), "schema is {}; give columns"),
        (lambda: hw.kafka("t", schema={"a": "str"}), "schema= gives 'a' the type 'str'"),
        (lambda: hw.kafka("t", schema={"a": list}), "schema= gives 'a' the type <class 'list'>"),
        (lambda: hw.kafka("t", schema={1: str}), "schema= gives 1 the type"),
        (
            lambda: hw.kafka("t", options={"enable.auto.commit": "true"}),
            "'enable.auto.commit', which headwater decides",
        ),
        (lambda: hw.kafka("t", options={"group.id": "g"}), "give group="),
        (lambda: hw.kafka("t", options={"linger.ms": 5}), "'linger.ms' is 5; give a string"),
        (lambda: hw.kafka("t", format="avro"), "needs either registry=.* or avro="),
        (
            lambda: hw.kafka("t", format="avro", avro="a.avsc", registry="http://r"),
            "needs either registry=",
        ),
        (lambda: hw.kafka("t", format="protobuf"), "needs either registry=.* or message="),
        (
            lambda: hw.kafka("t", avro="a.avsc"),
            "avro= is for format='avro' or 'debezium', and format is 'json'",
        ),
        (lambda: hw.kafka("t", registry="http://r"), "JSON is read by schema="),
        (lambda: hw.kafka("t", format="avro", registry=5), "registry is 5"),
        (
            lambda: hw.Registry("https://me:hunter2@r"),
            "holds a user or a password; give hw.Registry",
        ),
        (lambda: hw.Registry("https://r", options=5), "options is int"),
        (
            lambda: hw.Registry("https://r", options={"basic.auth.user.info": "me:x"}),
            "give user= and password=",
        ),
        (lambda: hw.Registry("https://r", options={"timeout": None}), "'timeout' is NoneType"),
        (lambda: hw.env("A B"), "give the name of an environment variable"),
        (lambda: hw.push(format="csv"), "format is 'csv'; give 'json'"),
        (lambda: hw.appended("x", format="parquet"), "format is 'parquet'"),
        (
            lambda: hw.Source("s", timestamp_field="at", stream="payments"),
            "stream is 'payments'; give hw.kafka",
        ),
        (
            lambda: hw.Source("s", timestamp_field="at", stream=hw.kafka("t")),
            "the columns of the Kafka topic 't' are not known",
        ),
    ],
)
def test_what_does_not_fit_is_said(make, said):
    with pytest.raises(DefinitionError, match=said):
        make()


def test_a_stream_is_no_part_of_the_fingerprint():
    history = pl.DataFrame({"card": ["a"], "at": [AT]})
    sources = [
        hw.Source("s", timestamp_field="at", history=history, stream=stream)
        for stream in (None, hw.kafka("t"), hw.kafka("t", servers="elsewhere:9092"), hw.push())
    ]
    assert len({source.fingerprint for source in sources}) == 1


def test_a_secret_is_not_shown_and_must_be_set(monkeypatch):
    from headwater import settings

    stream = hw.kafka("t", options={"sasl.password": hw.env("SECRET_OF_TESTS")}, schema=SCHEMA)
    monkeypatch.setenv("SECRET_OF_TESTS", "hunter2")
    assert settings.secret("SECRET_OF_TESTS") == "hunter2"
    assert "hunter2" not in repr(stream) + repr(stream.options)
    monkeypatch.delenv("SECRET_OF_TESTS")
    with pytest.raises(UsageError, match="SECRET_OF_TESTS is not set"):
        settings.secret("SECRET_OF_TESTS")


def test_pushed_events_are_not_read_from_anywhere():
    with pytest.raises(DefinitionError, match="events pushed over HTTP"):
        open_feed(hw.Source("s", timestamp_field="at", stream=hw.push(schema=SCHEMA)), dict, list)
    with pytest.raises(DefinitionError, match="it has no stream"):
        open_feed(
            hw.Source("s", timestamp_field="at", history=pl.DataFrame({"at": [AT]})), dict, list
        )


# ---------------------------------------------------------------- columns


HISTORY = pl.DataFrame(
    {
        "card": pl.Series(["a"], dtype=pl.Categorical),
        "amount": pl.Series([1], dtype=pl.Int32),
        "unused": [1.5],
        "ok": [True],
        "at": pl.Series([AT], dtype=pl.Datetime("ms", "Europe/Berlin")),
        "day": [date(2024, 5, 1)],
    }
)
READ = HISTORY.with_columns(pl.col("at").dt.convert_time_zone("UTC"))


def test_without_a_schema_columns_are_those_of_the_history():
    whole = hw.Source("s", timestamp_field="at", history=HISTORY, stream=hw.push())
    assert stream_schema(whole) == dict(READ.schema)
    some = hw.Source(
        "s",
        timestamp_field="at",
        history=HISTORY,
        stream=hw.push(),
        filter=pl.col("ok"),
        select=["card", (pl.col("amount") * 2).alias("double")],
    )
    assert stream_schema(some) == {
        name: READ.schema[name] for name in ("card", "amount", "ok", "at")
    }
    assert list(stream_schema(some, also=["day"])) == ["card", "amount", "ok", "at", "day"]


def test_rows_have_the_dtypes_of_the_history_so_that_expressions_say_the_same():
    found = decoder(hw.Source("s", timestamp_field="at", history=HISTORY, stream=hw.push()))(
        [
            b'{"card":"a","amount":1,"unused":1.5,"ok":true,"at":"2024-05-01T10:00:00Z","day":"2024-05-01"}'
        ]
    )
    assert found.frame.equals(READ)
    assert found.frame.schema == READ.schema


@pytest.mark.parametrize(
    "text", ["2024-05-01T06:00:00", "2024-05-01T10:00:00Z", "2024-05-01T12:00:00+02:00"]
)
def test_a_naive_history_stays_naive_in_the_zone_of_its_source(text):
    naive = pl.DataFrame({"at": [datetime(2024, 5, 1, 6)]})  # noqa: DTZ001 (it is about such)
    source = hw.Source(
        "s", timestamp_field="at", history=naive, stream=hw.push(), timezone="America/New_York"
    )
    assert decoder(source)([b'{"at":"%s"}' % text.encode()]).frame.equals(naive)


def test_a_naive_timestamp_without_a_zone_is_refused():
    with pytest.raises(
        DefinitionError, match=r"the timestamp 'at' has no time zone; give the source a timezone="
    ):
        stream_schema(
            hw.Source("s", timestamp_field="at", stream=hw.push(schema={"at": pl.Datetime("us")}))
        )


def test_a_schema_must_have_what_the_source_reads():
    with pytest.raises(
        DataError, match=r"has no column 'crd', which the source reads; did you mean 'card'"
    ):
        stream_schema(
            hw.Source("s", timestamp_field="at", stream=hw.push(schema=SCHEMA), select=["crd"])
        )
    with pytest.raises(DataError, match="has no column 'paid_at'"):
        stream_schema(hw.Source("s", timestamp_field="paid_at", stream=hw.push(schema=SCHEMA)))
    made = hw.Source(
        "s",
        timestamp_field="t",
        stream=hw.push(schema=SCHEMA),
        select=["card", pl.col("at").alias("t")],
    )
    assert list(stream_schema(made)) == ["card", "at"]


def test_a_history_that_is_not_there_yet_says_what_to_do(tmp_path):
    source = hw.Source(
        "s", timestamp_field="at", history=hw.parquet(tmp_path / "none"), stream=hw.push()
    )
    with pytest.raises(DataError, match="or give the stream a schema="):
        stream_schema(source)


def test_an_enriched_source_has_the_stream_of_the_events_below_it():
    base = hw.Source(
        "s", timestamp_field="at", history=HISTORY, stream=hw.push(), select=["card", "amount"]
    )
    card = hw.FeatureView(
        "c",
        source=base,
        keys=["card"],
        features=[hw.count()],
        windows=["1d"],
        freshness=hw.streaming("1s"),
    )
    assert stream_schema(hw.enrich(base, "rated", [card])) == stream_schema(base)


def test_every_error_is_one_of_headwater():
    assert issubclass(hw.errors.RetentionError, DataError)
    assert issubclass(hw.errors.ConnectError, HeadwaterError)


@pytest.mark.parametrize("how", ["text", "path", "csv", "lazy", "lazy scan"])
def test_a_path_or_a_lazy_frame_is_a_table(tmp_path, how):
    """history= or table= give the same as hw.parquet, hw.csv and a frame."""
    frame = pl.DataFrame({"user": ["a", "b"], "amount": [1, 2]})
    frame.write_parquet(tmp_path / "t.parquet")
    frame.write_csv(tmp_path / "t.csv")
    given = {
        "text": str(tmp_path / "t.parquet"),
        "path": tmp_path / "t.parquet",
        "csv": str(tmp_path / "t.csv"),
        "lazy": frame.lazy(),
        "lazy scan": pl.scan_parquet(tmp_path / "t.parquet").filter(pl.col("amount") > 0),
    }[how]
    source = hw.Source("pay", history=given, timestamp_field="at")
    labels = hw.Labels("left", table=given, timestamp_field="at", label="left", known_after="1d")
    assert scan(source.table).collect().equals(frame)
    assert scan(as_table(labels.table, "table")).collect().equals(frame)
