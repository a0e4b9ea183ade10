"""Wrong definitions and wrong data are refused: the class of the error, and the words it must name.

Each row has the fault, the call, the class, the given value and the allowed ones. The words are
names, values and alternatives, never a sentence, so that messages may be rewritten.
"""

import re
import warnings
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import polars as pl
import pytest

import headwater as hw
import headwater_aws
from headwater.errors import (
    DataError,
    DefinitionError,
    HeadwaterError,
    LeakError,
    NoEventsWarning,
    UsageError,
)

pytestmark = pytest.mark.filterwarnings("ignore::headwater.errors.HeadwaterWarning")
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
EVENTS = pl.DataFrame(
    {
        "user": [1, 1, 2],
        "id": [1, 2, 3],
        "price": [1.0, 2.0, 3.0],
        "word": ["a", "b", "c"],
        "flag": [True, False, None],
        "at": [NOON - n * MINUTE for n in (30, 20, 10)],
    }
)
ROWS = pl.DataFrame({"user": [1, 2], "timestamp": [NOON, NOON]})
LATER = EVENTS.with_columns(paid=pl.col("at") + timedelta(hours=1))


def source(history=EVENTS, **given):
    return hw.Source("pay", **({"history": history, "timestamp_field": "at"} | given))


def view(*features, **given):
    usual = {
        "source": source(),
        "keys": ["user"],
        "features": [*features] or [hw.count()],
        "windows": ["1d"],
    }
    return hw.FeatureView(**({"name": "card"} | usual | {"freshness": hw.on_request()} | given))


def ask(*features, rows=ROWS, given=None, **of_source):
    """The features of a view over a source with these arguments."""
    return hw.get_historical_features(
        view(*features, source=source(**of_source)), rows, **(given or {})
    )


def column(series, feature):
    """A feature over a column of these values."""
    return ask(feature, history=EVENTS.with_columns(x=pl.Series(series)))


def keyed(values, requested):
    """The count of keys of these values, for requests of others."""
    rows = pl.DataFrame({"user": pl.Series(requested), "timestamp": [NOON] * len(requested)})
    return ask(rows=rows, history=EVENTS.with_columns(user=pl.Series(values)))


def labels(table=None, **given):
    table = ROWS.with_columns(y=pl.Series([1.0, 0.0])) if table is None else table
    return hw.Labels(
        "bought",
        **(
            {"table": table, "timestamp_field": "timestamp", "label": "y", "known_after": "1m"}
            | given
        ),
    )


def model(**given):
    return hw.Model(
        "m",
        **(
            {"features": hw.FeatureService("f", [view()]), "labels": labels(), "task": "binary"}
            | given
        ),
    )


def images(**given):
    rules = {
        "changes": "flag",
        "id_field": "id",
        "known_at_field": "at",
        "select": ["user", "price"],
    }
    return source(EVENTS.with_columns(flag=pl.Series([False, True, False])), **(rules | given))


NAIVE = EVENTS.with_columns(pl.col("at").dt.replace_time_zone(None))
ITEMS = view().alias("basket", keys={"user": hw.each("list", max_length=2)})
LISTS = pl.DataFrame({"list": [[1, 2, 3]], "timestamp": [NOON]})
PRECISE = pl.Series([Decimal("1234567890123456.78")] * 3, dtype=pl.Decimal(30, 2))
DEFINITIONS = {
    # names and plain arguments
    "a name with a space": (lambda: view(name="my view"), ["my view", "letters"]),
    "a name with two underscores": (lambda: view(name="my__view"), ["my__view", "underscore"]),
    "a name that ends with an underscore": (
        lambda: hw.Source("s_", timestamp_field="at"),
        ["s_", "underscore"],
    ),
    "a name of another type": (lambda: hw.FeatureService(3, [view()]), ["3", "name"]),
    "a misspelt argument": (lambda: view(freshnes=1), ["freshnes", "freshness"]),
    "an argument too few": (
        lambda: hw.FeatureView("u", source=source(), keys=[], features=[hw.count()]),
        ["freshness"],
    ),
    "no event time": (lambda: hw.Source("s", timestamp_field=None), ["timestamp_field", "None"]),
    "a source that is none": (lambda: view(source=EVENTS), ["source", "Source"]),
    "a history that is a list": (lambda: source([{"at": 1}]), ["list", "DataFrame"]),
    "window_on another time": (
        lambda: source(window_on="arrival"),
        ["arrival", "timestamp", "known_at"],
    ),
    "an unknown zone": (lambda: source(timezone="Berlin"), ["Berlin", "Europe/Berlin"]),
    "two rules for known times": (
        lambda: source(known_at_field="at", known_after="1h"),
        ["known_at_field", "known_after"],
    ),
    "a period in words": (lambda: source(known_after="an hour"), ["an hour", "1h"]),
    "a negative period": (lambda: source(known_after=-MINUTE), ["known_after"]),
    "a select that is not a list": (lambda: source(select="user"), ["user"]),
    "a select of other rows": (
        lambda: source(select=["user", pl.col("price").shift(1).alias("before")]),
        ["before", "row"],
    ),
    "a select that counts": (
        lambda: source(select=["user", pl.col("price").mean().alias("m")]),
        ["m", "row"],
    ),
    "a select of neighbours": (
        lambda: source(select=["user", pl.col("price").cum_sum().alias("m")]),
        ["m", "row"],
    ),
    "a filter of other rows": (
        lambda: source(filter=pl.col("price") > pl.col("price").mean()),
        ["filter", "row"],
    ),
    "a filter by name": (lambda: source(filter="price > 1"), ["filter", "price > 1"]),
    # changes
    "changes without ids": (lambda: images(id_field=None), ["changes", "id_field"]),
    "changes without known times": (
        lambda: images(known_at_field=None),
        ["changes", "known_at_field"],
    ),
    "changes in windows of known times": (
        lambda: images(window_on="known_at"),
        ["window_on", "known_at"],
    ),
    "changes with a horizon": (lambda: images(id_horizon="2d"), ["id_horizon"]),
    "writers of partitions whose images change each other's events": (
        lambda: images(writers="partition"),
        ["writers", "partition", "flag"],
    ),
    "writers of partitions that there are not": (
        lambda: source(stream=hw.push(), writers="partition"),
        ["writers", "Kafka", "pushed"],
    ),
    "writers of another kind": (lambda: source(writers="two"), ["two", "one", "partition"]),
    "changes by a boolean": (lambda: images(changes=True), ["changes", "True"]),
    "a level of changes": (
        lambda: hw.Level(known_after={images(): "1h"}),
        ["known_after", "changes", "pay"],
    ),
    "enriched changes": (lambda: hw.enrich(images(), "e", [view()]), ["changes", "pay"]),
    # views
    "no list of keys": (lambda: view(keys="user"), ["user", "list"]),
    "keys that are none": (lambda: view(keys=None), ["keys", "None"]),
    "an empty key": (lambda: view(keys=[""]), ["key"]),
    "a key twice": (lambda: view(keys=["user", "user"]), ["user"]),
    "a key that is not selected": (
        lambda: view(source=source(select=["user"]), keys=["usr"]),
        ["usr", "user", "pay"],
    ),
    "a column that is not selected": (
        lambda: view(hw.sum("prise"), source=source(select=["user", "price"])),
        ["prise", "price", "pay"],
    ),
    "no features": (lambda: view(features=[]), ["features", "count()"]),
    "a feature by name": (lambda: view("count"), ["count", "features"]),
    "a function that is not called": (lambda: view(hw.count), ["count", "called"]),
    "two features of one name": (
        lambda: view(hw.sum("price"), hw.sum("price")),
        ["sum_price_1d", "name="],
    ),
    "no windows": (lambda: view(windows=[]), ["windows", "empty"]),
    "windows as text": (lambda: view(windows="1d"), ["1d", "list"]),
    "a window of nothing": (lambda: view(windows=["0s"]), ["window"]),
    "a window without a unit": (lambda: view(windows=["60"]), ["60", "1h"]),
    "a window that no hop divides": (lambda: view(windows=["7us"]), ["7us", "hop"]),
    "a hop that does not divide": (lambda: hw.window("1h", hop="7m"), ["7m", "1h"]),
    "a hop that does not divide the offset": (
        lambda: hw.window("1h", offset="90s", hop="1m"),
        ["90s", "1m"],
    ),
    "a hop of nothing": (lambda: hw.window("1h", hop="0s"), ["0s"]),
    "no freshness": (
        lambda: view(freshness="1d"),
        ["1d", "batch", "streaming", "on_request", "never"],
    ),
    "a freshness that is not called": (lambda: view(freshness=hw.batch), ["batch", "called"]),
    "another on_stale": (lambda: view(on_stale="drop"), ["drop", "previous", "null", "refuse"]),
    "another on_incomplete": (
        lambda: view(on_incomplete="nul"),
        ["nul", "null", "value", "refuse"],
    ),
    "a version below one": (lambda: view(version=0), ["version", "0", "1"]),
    "a feature that is not there": (lambda: view()["cuont_1d"], ["cuont_1d", "count_1d", "card"]),
    "an alias of another key": (
        lambda: view().alias("a", keys={"usr": "x"}),
        ["usr", "user", "card"],
    ),
    "an alias filled with a number": (lambda: view().alias("a", keys={"user": 3}), ["user", "3"]),
    "an alias filled with each of no list": (
        lambda: view().alias("a", keys={"user": hw.each(view()["count_1d"])}),
        ["count_1d", "list"],
    ),
    "an alias filled with two lists": (
        lambda: view(keys=["user", "id"]).alias(
            "a", keys={"user": hw.each("x"), "id": hw.each("y")}
        ),
        ["id", "user", "list"],
    ),
    # aggregations
    "a sum of nothing": (hw.sum, ["sum", "column"]),
    "a column that is an expression": (lambda: hw.sum(pl.col("price")), ["select", "column"]),
    "one name for two features": (lambda: hw.sum("a", "b", name="x"), ["x", "2"]),
    "a rate of a lifetime": (lambda: view(hw.rate(), windows=["lifetime"]), ["rate", "lifetime"]),
    "a top_k by category": (lambda: hw.top_k("word", k=2).by("flag"), ["top_k", "flag", "sum"]),
    "by an expression": (lambda: hw.count().by(pl.col("word")), ["count", "select"]),
    "by two columns": (lambda: hw.count().by("word").by("flag"), ["word", "select"]),
    "a ddof of two": (lambda: hw.std("price", ddof=2), ["ddof", "2", "1", "0"]),
    "a half-life of nothing": (
        lambda: hw.decayed_sum("price", half_life="0s"),
        ["half_life", "0s"],
    ),
    # freshness
    "a batch of five hours": (lambda: hw.batch("5h"), ["5h", "day"]),
    "a batch of no time": (lambda: hw.batch("0s"), ["every"]),
    "a cut after the period": (lambda: hw.batch("1h", at="02:00"), ["02:00", "1h"]),
    "a cut at no time of day": (lambda: hw.batch("1d", at="25:00"), ["25:00", "02:30"]),
    "a job that waits longer than it takes": (
        lambda: hw.batch("1d", delay="1h", wait="2h"),
        ["wait", "2h", "1h"],
    ),
    "a batch in no zone": (lambda: hw.batch("1d", timezone="Nowhere"), ["Nowhere"]),
    "a lag in words": (lambda: hw.streaming("soon"), ["soon"]),
    "no ages": (lambda: hw.measured([]), ["ages"]),
    "no age that was there": (lambda: hw.measured([None]), ["never()"]),
    "a cut too few": (lambda: hw.measured(["1s", "2s"], cuts=["1s"]), ["cuts", "2"]),
    # requests, labels, levels, models
    "a request field of no type": (lambda: hw.RequestField("x", list), ["x", "float", "str"]),
    "a lambda": (lambda: hw.request_feature(lambda a: a), ["lambda", "def"]),
    "each of nothing": (lambda: hw.each("x", max_length=0), ["max_length", "0"]),
    "labels known at no time": (
        lambda: labels(known_after=None),
        ["known_at_field", "known_after"],
    ),
    "an outcome with a known time": (
        lambda: labels(label=hw.outcome(source(), hw.count(), keys=["user"], within="1h")),
        ["known_after", "outcome"],
    ),
    "an outcome of no time": (
        lambda: hw.outcome(source(), hw.count(), keys=["user"], within="0s"),
        ["within"],
    ),
    "an outcome of two columns": (
        lambda: hw.outcome(source(), hw.sum("a", "b"), keys=["user"], within="1h"),
        ["sum", "2"],
    ),
    "an outcome by another key": (
        lambda: hw.outcome(source(select=["user"]), hw.count(), keys=["usr"], within="1h"),
        ["usr", "user"],
    ),
    "an outcome by one key as text": (
        lambda: hw.outcome(source(), hw.count(), keys="user", within="1h"),
        ["user", "list"],
    ),
    "a level by a view's name": (lambda: hw.Level({"card": hw.batch("1d")}), ["card"]),
    "a level of another kind": (lambda: hw.Level("daily"), ["daily", "batch"]),
    "a level known after by name": (lambda: hw.Level(known_after={"pay": "1h"}), ["pay"]),
    "a misspelt task": (lambda: model(task="binry"), ["binry", "binary"]),
    "a model without features": (lambda: model(features=view()), ["FeatureService"]),
    "a frame as labels": (lambda: model(labels=ROWS), ["Labels", "DataFrame"]),
    "a project of views": (lambda: hw.Project("p", [view()]), ["FeatureView", "Model"]),
    "enriched by a field": (lambda: hw.enrich(source(), "e", [hw.RequestField("x", int)]), ["x"]),
    "enriched by nothing": (lambda: hw.enrich(source(), "e", []), ["features"]),
    "enriched by a view of other keys": (
        lambda: hw.enrich(
            source(select=["user"]), "e", [view(keys=["shop"], source=source(select=["shop"]))]
        ),
        ["shop", "pay", "alias"],
    ),
    "a feature like a column": (
        lambda: hw.enrich(
            source(select=["user", pl.col("price").alias("card__count_1d")]), "e", [view()]
        ),
        ["card__count_1d", "select"],
    ),
    "a known_after of enriched events": (
        lambda: hw.Level(known_after={hw.enrich(source(), "e", [view()]): "1h"}),
        ["e", "pay"],
    ),
    # files
    "a separator of two characters": (lambda: hw.csv("x.csv", separator="::"), ["::", ";"]),
    "another order of dates": (
        lambda: hw.csv("x.csv", dates="year-first"),
        ["year-first", "day-first", "month-first"],
    ),
    "several paths": (lambda: hw.parquet(["a", "b"]), ["a", "path"]),
}


@pytest.mark.parametrize(("call", "words"), DEFINITIONS.values(), ids=DEFINITIONS)
def test_a_wrong_definition_is_refused(call, words):
    assert_refused(call, DefinitionError, words)


DATA = {
    # times
    "a naive event time": (lambda: ask(history=NAIVE), DataError, ["pay", "at", "timezone"]),
    "a naive request time": (
        lambda: ask(rows=ROWS.with_columns(pl.col("timestamp").dt.replace_time_zone(None))),
        DataError,
        ["timestamp", "timezone"],
    ),
    "a date without a zone": (
        lambda: ask(history=EVENTS.with_columns(pl.col("at").dt.date())),
        DataError,
        ["at", "timezone", "Europe"],
    ),
    "a request on a date": (
        lambda: ask(rows=ROWS.with_columns(pl.col("timestamp").dt.date())),
        DataError,
        ["timestamp", "date"],
    ),
    "a time of text": (lambda: ask(timestamp_field="word"), DataError, ["word", "select"]),
    "a time of numbers": (lambda: ask(timestamp_field="price"), DataError, ["price", "select"]),
    "a known time of text": (lambda: ask(known_at_field="word"), DataError, ["word", "select"]),
    "no column of that name": (lambda: ask(timestamp_field="att"), DataError, ["att", "at"]),
    "no request time": (
        lambda: ask(rows=ROWS.rename({"timestamp": "ts"})),
        DataError,
        ["timestamp", "ts"],
    ),
    "a null request time": (
        lambda: ask(rows=ROWS.with_columns(timestamp=pl.lit(None, pl.Datetime("us", "UTC")))),
        DataError,
        ["2", "timestamp"],
    ),
    "a queue that ends at a number": (
        lambda: ask(hw.open_count(until="price")),
        DataError,
        ["price", "open_count"],
    ),
    # keys
    "strings for integers": (
        lambda: keyed([1, 1, 2], ["1", "2"]),
        DataError,
        ["user", "Int64", "String"],
    ),
    "integers for strings": (
        lambda: keyed(["1", "1", "2"], [1, 2]),
        DataError,
        ["user", "Int64", "String"],
    ),
    "dates for integers": (
        lambda: keyed([1, 1, 2], [date(2024, 1, 1)]),
        DataError,
        ["user", "Date", "Int64"],
    ),
    "booleans for integers": (
        lambda: keyed([1, 1, 2], [True]),
        DataError,
        ["user", "Boolean", "Int64"],
    ),
    "floats as keys": (lambda: keyed([1.0, 1.0, 2.0], [1.0]), DataError, ["user", "float", "cast"]),
    "a key that the rows lack": (lambda: ask(rows=ROWS.drop("user")), DataError, ["user"]),
    "a key that the table lacks": (
        lambda: ask(history=EVENTS.drop("user")),
        DataError,
        ["user", "pay"],
    ),
    "a list that is too long": (
        lambda: hw.get_historical_features(ITEMS, LISTS),
        DataError,
        ["basket", "3", "2"],
    ),
    "no list of keys": (
        lambda: hw.get_historical_features(ITEMS, ROWS.rename({"user": "list"})),
        DataError,
        ["basket", "list"],
    ),
    # values
    "an infinite number": (
        lambda: column([1.0, float("inf"), float("-inf")], hw.sum("x")),
        DataError,
        ["x", "2", "infinite"],
    ),
    "an infinite number that is counted": (
        lambda: column([1.0, float("inf"), 2.0], hw.count("x")),
        DataError,
        ["x", "1", "infinite"],
    ),
    "a mean of text": (lambda: ask(hw.mean("word")), DataError, ["word", "mean", "String"]),
    "a sum of times": (lambda: ask(hw.sum("at")), DataError, ["at", "sum"]),
    "a share of numbers": (
        lambda: ask(hw.fraction("price")),
        DataError,
        ["price", "fraction", "Float64"],
    ),
    "where a number": (lambda: ask(hw.count(where="price")), DataError, ["price", "where"]),
    "a percentile of text": (
        lambda: ask(hw.approx_percentile("word", q=0.5)),
        DataError,
        ["word", "approx_percentile"],
    ),
    "a ratio of text": (lambda: ask(hw.ratio("price", "word")), DataError, ["word", "ratio"]),
    "by a float": (lambda: ask(hw.count().by("price")), DataError, ["price", "float"]),
    "by a decimal with a fraction": (
        lambda: column([Decimal("1.50")] * 3, hw.count().by("x")),
        DataError,
        ["x", "Decimal", "select"],
    ),
    "bytes": (lambda: column([b"a"] * 3, hw.last("x")), DataError, ["x", "Binary"]),
    "a struct": (lambda: column([{"a": 1}] * 3, hw.last("x")), DataError, ["x", "Struct"]),
    "a decimal of too many digits": (lambda: column(PRECISE, hw.last("x")), DataError, ["x", "15"]),
    "a distinct count of such": (
        lambda: column(PRECISE, hw.count_distinct("x")),
        DataError,
        ["x", "15"],
    ),
    "an integer beyond int64": (
        lambda: column(pl.Series([2**64 - 1] * 3, dtype=pl.UInt64), hw.max("x")),
        DataError,
        ["x", "int64"],
    ),
    "a misspelt column": (lambda: ask(hw.mean("prise")), DataError, ["prise", "price", "pay"]),
    "a misspelt filter": (lambda: ask(filter=pl.col("prise") > 1), DataError, ["prise", "price"]),
    "a filter of numbers": (lambda: ask(filter=pl.col("price") * 2), DataError, ["filter"]),
    "an id that is missing": (
        lambda: ask(history=EVENTS.with_columns(id=pl.Series([1, None, 2])), id_field="id"),
        DataError,
        ["id", "1"],
    ),
    "changes of numbers": (
        lambda: ask(known_at_field="at", id_field="id", changes="price", select=["user"]),
        DataError,
        ["price", "boolean"],
    ),
    "an image that is neither": (
        lambda: ask(known_at_field="at", id_field="id", changes="flag", select=["user"]),
        DataError,
        ["flag", "1"],
    ),
    # leaks
    "a table with later times": (
        lambda: ask(history=LATER),
        LeakError,
        ["paid", "pay", "select", "100"],
    ),
    "a label's column that is known before the label": (
        lambda: hw.dataset(early_label(), "unused.parquet", as_of=NOON + timedelta(days=2)),
        LeakError,
        ["y", "pay"],
    ),
    # names that shadow
    "a column like a feature": (
        lambda: ask(rows=ROWS.with_columns(card__count_1d=1)),
        DataError,
        ["card__count_1d"],
    ),
    "a column like a status": (
        lambda: ask(rows=ROWS.with_columns(card__count_1d__status=1), given={"statuses": True}),
        DataError,
        ["card__count_1d__status"],
    ),
    "a label like a feature": (
        lambda: hw.dataset(
            model(labels=labels(ROWS.with_columns(card__count_1d=1.0), label="card__count_1d")),
            "unused.parquet",
        ),
        HeadwaterError,
        ["card__count_1d"],
    ),
    # labels
    "a label of text": (
        lambda: hw.dataset(
            model(labels=labels(ROWS.with_columns(y=pl.lit("yes")))), "unused.parquet"
        ),
        DataError,
        ["y", "String"],
    ),
    "a label that is not there": (
        lambda: hw.dataset(model(labels=labels(label="yy")), "unused.parquet"),
        DataError,
        ["yy", "y"],
    ),
    "labels of no rows": (
        lambda: hw.get_historical_features(view(), labels(ROWS.with_columns(y=1.0).clear())),
        DataError,
        ["bought"],
    ),
    "labels known later than asked": (
        lambda: hw.dataset(model(), "unused.parquet", as_of=NOON - MINUTE),
        DataError,
        ["bought", "2024-05-01"],
    ),
    "a negative weight": (
        lambda: hw.get_historical_features(
            view(), labels(ROWS.with_columns(y=1.0, w=-1.0), weight="w")
        ),
        DataError,
        ["w", "-1", "0"],
    ),
    "an outcome of text": (
        lambda: hw.dataset(
            model(
                labels=labels(
                    known_after=None,
                    label=hw.outcome(source(), hw.last("word"), keys=["user"], within="1h"),
                )
            ),
            "unused.parquet",
        ),
        DataError,
        ["word", "last", "String"],
    ),
    # calls
    "a level by name": (lambda: ask(given={"level": "daily"}), HeadwaterError, ["daily", "Level"]),
    "a level of another view": (
        lambda: ask(given={"level": hw.Level({view(windows=["2d"]): hw.batch("1d")})}),
        DefinitionError,
        ["card"],
    ),
    "a misspelt argument": (
        lambda: ask(given={"timestamp_feild": "at"}),
        HeadwaterError,
        ["timestamp_feild", "timestamp_field"],
    ),
    "a frame as features": (
        lambda: hw.get_historical_features(ROWS, ROWS),
        HeadwaterError,
        ["DataFrame"],
    ),
    "a feature by its name": (
        lambda: hw.get_historical_features("card", ROWS),
        HeadwaterError,
        ["card"],
    ),
    "rows as a list": (lambda: ask(rows=[{"user": 1}]), HeadwaterError, ["list", "DataFrame"]),
    "a source without a history": (lambda: ask(history=None), DefinitionError, ["pay", "history"]),
    "another ending": (
        lambda: hw.dataset(model(), "rows.xlsx"),
        UsageError,
        [".xlsx", ".parquet", ".csv"],
    ),
    "lists in a CSV file": (
        lambda: hw.dataset(
            model(features=hw.FeatureService("f", [view(hw.last_n("word", k=2))])),
            "unused.csv",
            as_of=NOON + timedelta(days=2),
        ),
        UsageError,
        ["card__last_n_word_1d", ".parquet"],
    ),
    "no threads": (lambda: hw.Resources(threads=0), UsageError, ["threads", "0", "1"]),
    "memory in words": (lambda: hw.Resources(memory="lots"), UsageError, ["lots", "4GB"]),
    "a file that is not there": (
        lambda: ask(history=hw.parquet("evs.parquet")),
        DataError,
        ["evs.parquet", "events.parquet"],
    ),
    "parquet read as CSV": (
        lambda: ask(history=hw.csv("events.parquet")),
        DataError,
        ["events.parquet", "hw.parquet"],
    ),
    "CSV read as parquet": (
        lambda: ask(history=hw.parquet("semicolons.csv")),
        DataError,
        ["semicolons.csv", "hw.csv"],
    ),
    "another separator": (
        lambda: ask(history=hw.csv("semicolons.csv")),
        DataError,
        ["semicolons.csv", "';'", "separator"],
    ),
    "a CSV file of nothing": (
        lambda: ask(history=hw.csv("empty.csv")),
        DataError,
        ["empty.csv", "empty"],
    ),
    "JSON lines that are none": (
        lambda: ask(history=hw.json_lines("semicolons.csv")),
        DataError,
        ["semicolons.csv"],
    ),
    "an empty folder": (
        lambda: ask(history=hw.parquet("folder")),
        DataError,
        ["folder", ".parquet"],
    ),
    # the worth of a decision
    **{
        f"a {name} of {value}": (
            lambda name=name, value=value: hw.DecisionValue(
                **({"volume": 10, "acted_on": 0.1, "hit": 1} | {name: value})
            ),
            UsageError,
            [name, str(value), "0"],
        )
        for name, value in (
            *(("volume", -1), ("acted_on", 0), ("acted_on", 1.5), ("hit", float("nan"))),
            *(("false_alarm", -2.5), ("late", 1.0), ("late", -0.1), ("late", "2 %")),
        )
    },
}


def early_label():
    """A model whose view counts the label's column, known at the request, over the labels' own
    table.
    """
    table = EVENTS.with_columns(timestamp=pl.col("at"), y=pl.col("price"))
    counted = hw.Source("pay", history=table, timestamp_field="at", select=["user", "y"])
    return model(
        features=hw.FeatureService("f", [view(hw.sum("y"), source=counted)]),
        labels=labels(table, known_after="1h"),
        task="regression",
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("refused")
    EVENTS.write_parquet(place / "events.parquet")
    EVENTS.write_csv(place / "semicolons.csv", separator=";")
    (place / "empty.csv").touch()
    (place / "folder").mkdir()
    return place


@pytest.mark.parametrize(("call", "kind", "words"), DATA.values(), ids=DATA)
def test_wrong_data_are_refused(call, kind, words, folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HEADWATER_HOME", str(folder / "home"))
    assert_refused(call, kind, words)
    assert not list(folder.glob("unused.*")), "refused rows are not written"


KINESIS = {
    "no name": ({"stream": ""}, ["stream", "1 to 128"]),
    "a long name": ({"stream": "s" * 129}, ["stream", "1 to 128"]),
    "an ARN": ({"stream": "arn:aws:kinesis:eu-central-1:1:stream/s"}, ["stream", "no ARN"]),
    "an endpoint without a scheme": (
        {"endpoint_url": "localhost:4566"},
        ["endpoint_url", "http://"],
    ),
    "a start": ({"start": "first"}, ["start", "earliest", "latest"]),
    "a start without an offset": ({"start": "2026-01-31T08:00"}, ["start", "offset"]),
    "a format": ({"format": "yaml"}, ["format", "json"]),
}


@pytest.mark.parametrize(("more", "words"), KINESIS.values(), ids=KINESIS)
def test_a_wrong_stream_of_kinesis_is_refused(more, words):
    assert_refused(
        lambda: headwater_aws.kinesis(**({"stream": "s"} | more)), DefinitionError, words
    )


@pytest.mark.parametrize(
    "start",
    ["earliest", "latest", "2026-01-31T08:00Z", datetime(2026, 1, 31, 8, tzinfo=UTC)],
    ids=str,
)
def test_a_stream_of_kinesis_begins_where_it_says(start):
    stream = headwater_aws.kinesis("s" * 128, start=start, endpoint_url="https://localhost")
    moment = 1_769_846_400_000_000
    assert stream.start == (start if start in ("earliest", "latest") else moment)


PIPELINES = {
    "a streaming view of enriched events": (
        lambda: view(
            source=hw.enrich(
                source(stream=hw.push()),
                "rated",
                [view(name="inner", source=source(stream=hw.push()), freshness=hw.batch("1d"))],
            ),
            freshness=hw.streaming("2s"),
        ),
        ["rated", "enriched"],
    ),
    "a streaming view by known times": (
        lambda: view(
            source=source(stream=hw.push(), window_on="known_at"), freshness=hw.streaming("2s")
        ),
        ["pay", "window_on", "known_at"],
    ),
    "a window on request": (
        lambda: view(freshness=hw.on_request()),
        ["on_request", "pay", "streaming"],
    ),
    "measured ages": (
        lambda: view(freshness=hw.measured(["1s"])),
        ["measured", "batch", "streaming"],
    ),
    "nothing that is kept": (lambda: view(freshness=hw.never()), ["never", "batch"]),
}


@pytest.mark.parametrize(("make", "words"), PIPELINES.values(), ids=PIPELINES)
def test_views_that_no_pipeline_can_keep_are_refused(make, words, folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HEADWATER_HOME", str(folder / "home"))
    project = hw.Project("p", [model(features=hw.FeatureService("f", [make()]))])
    assert_refused(lambda: hw.apply(project), HeadwaterError, words)


def test_a_streaming_view_without_a_stream_is_warned_of_by_a_plan_and_refused_by_ingestion(
    folder, monkeypatch
):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HEADWATER_HOME", str(folder / "home"))
    project = hw.Project(
        "p", [model(features=hw.FeatureService("f", [view(freshness=hw.streaming("2s"))]))]
    )
    assert "no stream" in str(hw.apply(project))
    assert_refused(
        lambda: hw.ingest(project, f"lmdb:{folder}/none?size=10MB", once=True),
        DefinitionError,
        ["card", "pay", "stream=", "batch"],
    )


def test_another_writer_of_a_stream_than_before_is_refused(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path))
    schema = {"user": int, "id": int, "at": hw.definitions.connectors.datetime}

    def apply(**rules):
        pay = source(stream=hw.kafka("pay", schema=schema), select=["user"], **rules)
        features = hw.FeatureService("f", [view(source=pay, freshness=hw.streaming("2s"))])
        return hw.apply(hw.Project("p", [model(features=features)]), store="redis://127.0.0.1:1/0")

    assert apply().applied == 1
    assert_refused(
        lambda: apply(id_field="id"),
        UsageError,
        ["pay", "id", "one process", "writers='partition'", "another name", "prefix="],
    )
    assert apply(id_field="id", writers="partition").applied == 2


def assert_refused(call, kind, words):
    """The error is of the class, names each word, and is as short as a person reads."""
    with pytest.raises(HeadwaterError) as raised:
        call()
    said = str(raised.value)
    assert isinstance(raised.value, kind), f"{type(raised.value).__name__}: {said}"
    assert [word for word in words if word.lower() not in said.lower()] == [], said
    assert not re.search(r"\binf\b", said), said  # what has no bound is not bounded by infinity
    assert len(said) < 900


def test_what_the_refusals_are_variations_of_is_accepted():
    """The usual arguments of every row above make a definition, and features."""
    assert ask()["card__count_1d"].to_list() == [2, 1]
    assert images().changes == "flag"
    assert model().name == "m"
    assert hw.get_historical_features(ITEMS, LISTS.with_columns(pl.col("list").list.head(2)))[
        "basket__count_1d"
    ].to_list() == [[2, 1]]


def test_rows_whose_keys_are_written_otherwise_are_warned_of():
    """With a key of the rows and one of the source; a row that has events is enough for none."""
    history = EVENTS.with_columns(user=pl.Series(["u1", "u1", "u2"]))

    def said(users):
        rows = pl.DataFrame({"user": users, "timestamp": [NOON] * len(users)})
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            ask(rows=rows, history=history)
        return [str(one.message) for one in caught if one.category is NoEventsWarning]

    (warned,) = said(["U1"] * 30)
    assert "'U1'" in warned
    assert "'u1'" in warned or "'u2'" in warned
    assert said(["U1"] * 29 + ["u2"]) == []


def test_a_plan_says_which_levels_nothing_feeds(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path))
    levels = {"live": hw.Level(hw.streaming("2s")), "nightly": hw.Level(hw.batch("1d"))}
    features = hw.FeatureService("f", [view(freshness=hw.batch("1d"))])
    said = str(hw.apply(hw.Project("p", [model(features=features)], levels=levels)))
    (line,) = (line for line in said.splitlines() if "backtests" in line)
    assert all(word in line for word in ("live", "card", "pay", "stream"))


def test_a_variant_at_a_level_by_name_is_refused():
    assert_refused(
        lambda: hw.operations.ModelVariant("live", model(), "daily"), DefinitionError, ["daily"]
    )


def test_a_definition_shows_its_expressions():
    assert "filter=price > 2" in repr(source(filter=pl.col("price") > 2))
