"""What a user may write as a stream, the errors for the rest, and which columns a stream has."""

from datetime import UTC, date, datetime

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DefinitionError, UsageError
from headwater.ingestion.sources.stream_reader import decoder, stream_schema

AT = datetime(2024, 5, 1, 10, tzinfo=UTC)
SCHEMA = {"card": str, "at": datetime}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: hw.kafka("t", options={"enable.auto.commit": "true"}),
            "'enable.auto.commit', which headwater decides",
        ),
        (lambda: hw.kafka("t", options={"group.id": "g"}), "give group="),
        (lambda: hw.kafka("t", format="avro", registry=5), "registry is 5"),
        (
            lambda: hw.Registry("https://me:hunter2@r"),
            "holds a user or a password; give hw.Registry",
        ),
        (
            lambda: hw.Registry("https://r", options={"basic.auth.user.info": "me:x"}),
            "give user= and password=",
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
