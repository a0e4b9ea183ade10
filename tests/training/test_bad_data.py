"""What only data can tell: each message names the source or labels, the column, the allowed values,
and the remedy.
"""

import math
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError, DefinitionError, LeakError
from headwater.training.label_rows import check_finite, read_labels

AT = datetime(2024, 5, 1, 12, tzinfo=UTC)
EVENTS = pl.DataFrame({"user": [1, 1], "amount": [1.0, 2.0], "text": ["a", "b"], "at": [AT, AT]})
ROWS = pl.DataFrame({"user": [1], "timestamp": [AT + timedelta(hours=1)]})
COUNT = (hw.count(),)
LABELS = pl.DataFrame({"user": [1], "asked": [AT], "y": [1.0], "known": [AT]})


def _view(features=COUNT, keys=("user",), **rules):
    source = hw.Source("pay", **({"history": EVENTS, "timestamp_field": "at"} | rules))
    return hw.FeatureView(
        "user",
        source=source,
        keys=keys,
        features=features,
        windows=["1d"],
        freshness=hw.on_request(),
    )


def _ask(view=None, rows=ROWS, **more):
    return hw.get_historical_features(view or _view(), rows, **more)


def _labels(table=LABELS, **given):
    default = {"timestamp_field": "asked", "label": "y"} | (
        {} if "known_at_field" in given else {"known_after": "1h"}
    )
    return read_labels(hw.Labels("late", table=table, **(default | given)))


def _history(**columns):
    return EVENTS.with_columns(
        **{
            name: pl.lit(value) if isinstance(value, str | bytes) else value
            for name, value in columns.items()
        }
    )


CHANGES = {"id_field": "user", "known_at_field": "at", "changes": "old"}

RETYPED = {
    "naive": lambda c: c.dt.replace_time_zone(None),
    "text": lambda c: c.dt.strftime("%Y-%m-%d %H:%M:%S"),
    "number": lambda c: c.dt.epoch("ms"),
    "date": lambda c: c.dt.date(),
    "flag": lambda c: c.is_not_null(),
}


def _retyped(frame, name, kind):
    return frame.with_columns(RETYPED[kind](pl.col(name)))


MISSPELT = {
    "the timestamp": (
        lambda: _ask(_view(timestamp_field="att")),
        "source 'pay'",
        "'att'",
        "did you mean 'at'?",
    ),
    "the known time": (
        lambda: _ask(_view(known_at_field="att")),
        "source 'pay'",
        "'att'",
        "did you mean 'at'?",
    ),
    "the id": (
        lambda: _ask(_view(id_field="usre")),
        "source 'pay'",
        "'usre'",
        "did you mean 'user'?",
    ),
    "an id next to a selection": (
        lambda: _ask(_view(id_field="usre", select=["user"])),
        "source 'pay'",
        "'usre'",
        "did you mean 'user'?",
    ),
    "the changes": (
        lambda: _ask(_view(id_field="user", known_at_field="at", changes="usre")),
        "source 'pay'",
        "no column 'usre'",
        "did you mean 'user'?",
    ),
    "a selected column": (
        lambda: _ask(_view(select=["user", "amuont"])),
        "source 'pay'",
        "select: no column 'amuont'",
        "did you mean 'amount'?",
    ),
    "within an expression": (
        lambda: _ask(_view(select=["user", pl.col("amuont") * 2])),
        "source 'pay'",
        "select: no column 'amuont'",
        "did you mean 'amount'?",
    ),
    "a filter": (
        lambda: _ask(_view(filter=pl.col("amuont") > 2)),
        "source 'pay'",
        "filter: no column 'amuont'",
        "did you mean 'amount'?",
    ),
    "an aggregated column": (
        lambda: _ask(_view([hw.sum("amuont")])),
        "source 'pay'",
        "no column 'amuont'",
        "did you mean 'amount'?",
    ),
    "a where": (
        lambda: _ask(_view([hw.count(where="txet")])),
        "source 'pay'",
        "no column 'txet'",
        "did you mean 'text'?",
    ),
    "an until": (
        lambda: _ask(_view([hw.open_count(until="amuont")], select=["user"])),
        "source 'pay'",
        "no column 'amuont'",
        "known: at, user",
    ),
    "an aggregated column, never read": (
        lambda: _ask(_view([hw.sum("amuont")]), level=hw.Level(hw.never())),
        "source 'pay'",
        "no column 'amuont'",
        "did you mean 'amount'?",
    ),
    "a key of the source": (
        lambda: _ask(_view(keys=["usr"]), ROWS.rename({"user": "usr"})),
        "source 'pay'",
        "no column 'usr'",
        "did you mean 'user'?",
    ),
    "a key of the rows": (
        lambda: _ask(rows=ROWS.rename({"user": "usr"})),
        "the rows have no column 'user', which view 'user' needs",
        "did you mean 'usr'?",
    ),
    "the rows' timestamp": (
        lambda: _ask(rows=ROWS.rename({"timestamp": "time_stamp"})),
        "rows: no column 'timestamp'",
        "did you mean 'time_stamp'?",
    ),
    "the label": (
        lambda: _labels(label="yy"),
        "labels 'late'",
        "no column 'yy'",
        "did you mean 'y'?",
    ),
    "the labels' timestamp": (
        lambda: _labels(timestamp_field="askd"),
        "labels 'late'",
        "no column 'askd'",
        "did you mean 'asked'?",
    ),
    "the labels' known time": (
        lambda: _labels(known_at_field="knwn"),
        "labels 'late'",
        "no column 'knwn'",
        "did you mean 'known'?",
    ),
    "the labels' filter": (
        lambda: _labels(filter=pl.col("askd").is_not_null()),
        "labels 'late'",
        "filter: no column 'askd'",
        "did you mean 'asked'?",
    ),
    "the labels' selection": (
        lambda: _labels(select=["asked", "y", "usre"]),
        "labels 'late'",
        "select: no column 'usre'",
        "did you mean 'user'?",
    ),
    "an outcome's key": (
        lambda: _labels(
            LABELS.rename({"user": "usr"}),
            known_after=None,
            label=hw.outcome(_view().source, hw.count(), keys=["user"], within="1h"),
        ),
        "labels 'late': outcome",
        "no column 'user'",
        "did you mean 'usr'?",
    ),
}

TIMES = {
    "naive": ["has no time zone; give timezone="],
    "text": [
        "is text; parse it in select, such as pl.col(",
        ".str.to_datetime('%Y-%m-%d %H:%M:%S'), and give timezone=",
    ],
    "number": [
        "is a number of unknown unit; say which in select, such as pl.from_epoch(",
        "time_unit='ms').dt.replace_time_zone('UTC')",
    ],
    "date": ["is a date"],
    "flag": ["is Boolean; a timestamp is a Datetime with a time zone"],
}
PLACES = {
    "the event time": (
        "source 'pay'",
        "'at'",
        lambda kind: _ask(_view(history=_retyped(EVENTS, "at", kind))),
    ),
    "the known time": (
        "source 'pay'",
        "'known'",
        lambda kind: _ask(
            _view(
                history=_retyped(EVENTS.with_columns(known="at"), "known", kind),
                known_at_field="known",
            )
        ),
    ),
    "the request time": (
        "rows",
        "'timestamp'",
        lambda kind: _ask(rows=_retyped(ROWS, "timestamp", kind)),
    ),
    "the labels' time": (
        "labels 'late'",
        "'asked'",
        lambda kind: _labels(_retyped(LABELS, "asked", kind)),
    ),
    "the labels' known time": (
        "labels 'late'",
        "'known'",
        lambda kind: _labels(_retyped(LABELS, "known", kind), known_at_field="known"),
    ),
}

WRONG = {
    "null request times": (
        lambda: _ask(
            rows=pl.concat(
                [ROWS, ROWS.with_columns(timestamp=pl.lit(None, pl.Datetime("us", "UTC")))]
            )
        ),
        "rows: 1 of 2 rows have no 'timestamp'",
        "Filter them out first",
    ),
    "a sum of strings": (
        lambda: _ask(_view([hw.sum("text")])),
        (
            "source 'pay': the column 'text': sum() takes numbers or booleans, and the column is "
            "String"
        ),
        "cast it in the source's select",
    ),
    "a mean of times": (
        lambda: _ask(_view([hw.mean("at")])),
        "the column 'at': mean() takes numbers or booleans, and the column is Datetime",
    ),
    "a where of strings": (
        lambda: _ask(_view([hw.count(where="text")])),
        "source 'pay': where='text' of count() takes a column of booleans, and it is String",
        "make one in the source's select",
    ),
    "a where of numbers": (
        lambda: _ask(_view([hw.count(where="amount")])),
        "where='amount' of count() takes a column of booleans, and it is Float64",
        "(pl.col('amount') > 0)",
    ),
    "an until that is a number": (
        lambda: _ask(_view([hw.open_count(until="amount")])),
        (
            "source 'pay': the column 'amount': open_count(until=) takes a timestamp, and the "
            "column is Float64"
        ),
    ),
    "a naive until": (
        lambda: _ask(
            _view(
                [hw.open_age(until="end")],
                select=["user"],
                history=_history(end=pl.lit(datetime(2024, 5, 1))),  # noqa: DTZ001
            )
        ),
        (
            "the column 'end': open_age(until=) takes a timestamp with a time zone, and the column "
            "has none; give the source timezone='UTC'"
        ),
    ),
    "lists": (
        lambda: _ask(_view([hw.last("x")], history=_history(x=pl.concat_list("amount")))),
        "source 'pay'",
        (
            "the column 'x' is List(Float64); features are computed from numbers, booleans, times "
            "and strings"
        ),
    ),
    "bytes": (
        lambda: _ask(_view([hw.last("x")], history=_history(x=b"a"))),
        "the column 'x' is Binary; features are computed from",
    ),
    "beyond int64": (
        lambda: _ask(_view([hw.sum("x")], history=_history(x=pl.lit(2**63, pl.UInt64)))),
        (
            "the column 'x' holds integers beyond int64, such as 9223372036854775808; cast it in "
            "the source's select, to a string where it is an id"
        ),
    ),
    "infinite values": (
        lambda: _ask(_view([hw.sum("x")], history=_history(x=math.inf * pl.col("amount")))),
        "source 'pay'",
        (
            "the column 'x' has 2 infinite values; filter them out, or replace them in the "
            "source's select"
        ),
    ),
    "null ids": (
        lambda: _ask(_view(history=_history(id=pl.Series([None, 1])), id_field="id")),
        (
            "source 'pay': 1 rows have no 'id', which should identify each event; filter them "
            "out, or leave id_field out"
        ),
    ),
    "null ids of changes": (
        lambda: _ask(
            _view(
                history=_history(id=pl.Series([None, 1]), old=pl.lit(False)),
                **(CHANGES | {"id_field": "id"}),
            )
        ),
        "source 'pay': 1 rows have no 'id', which should identify each event; filter them out",
    ),
    "neither before nor after": (
        lambda: _ask(_view(history=_history(old=pl.Series([None, True])), **CHANGES)),
        (
            "source 'pay': 1 rows do not say whether they are images before or after a change: "
            "'old' is null. Fill it in the source's select"
        ),
    ),
    "changes that are no booleans": (
        lambda: _ask(_view(history=_history(old=pl.Series([0, 1])), **CHANGES)),
        "source 'pay'",
        (
            "the changes column 'old' is Int64; it takes booleans, true for the image before a "
            "change: make one in select"
        ),
    ),
    "a key of another type": (
        lambda: _ask(rows=ROWS.with_columns(pl.col("user").cast(pl.String))),
        (
            "source 'pay': the key 'user' is Int64 in the source and String in the requests; cast "
            "one of them"
        ),
    ),
    "a float as a key": (
        lambda: _ask(rows=ROWS.with_columns(pl.col("user").cast(pl.Float64))),
        "source 'pay': the key 'user' is a float (Int64 in the source, Float64 in the requests)",
        "cast both to integers or strings",
    ),
    "a column named like a feature": (
        lambda: _ask(rows=ROWS.with_columns(user__count_1d=1)),
        "the column 'user__count_1d' of the rows is named like a feature; rename it",
    ),
    "a label that is text": (
        lambda: _labels(LABELS.with_columns(y=pl.lit("yes"))),
        "labels 'late'",
        "the label 'y' is String; it must be a number or a boolean",
        "(pl.col('y') == 'yes').alias('y')",
    ),
    "an outcome that is text": (
        lambda: _labels(
            known_after=None,
            label=hw.outcome(_view().source, hw.last("text"), keys=["user"], within="1h"),
        ),
        "labels 'late'",
        "the outcome last('text') is String; it must be a number or a boolean",
        "Make one in the select of source 'pay'",
    ),
    "no label left by the filter": (
        lambda: _labels(filter=pl.col("y") > 5),
        "labels 'late'",
        "no row is left of the table; check its filter and that the table has rows",
    ),
    "no label in the table": (
        lambda: _labels(LABELS.clear()),
        "labels 'late'",
        "no row is left of the table",
    ),
    "only labels of NaN": (
        lambda: _labels(LABELS.with_columns(y=pl.lit(math.nan))),
        "labels 'late'",
        "no row has a time, an outcome and a time at which it was known; left out: 1 labels: no y",
    ),
    "only infinite labels": (
        lambda: _labels(LABELS.with_columns(y=pl.lit(-math.inf))),
        "no row has a time, an outcome",
        "1 labels: no y",
    ),
    "labels of NaN to train on": (
        lambda: check_finite(np.array([1.0, math.nan, math.inf]), "labels 'late'"),
        "labels 'late': 2 labels are NaN or infinite; filter those rows out",
    ),
}


@pytest.mark.parametrize("case", [*MISSPELT.values(), *WRONG.values()], ids=[*MISSPELT, *WRONG])
def test_wrong_data_are_refused(case):
    call, *says = case
    with pytest.raises(DataError) as caught:
        call()
    assert [text for text in says if text not in str(caught.value)] == [], str(caught.value)


@pytest.mark.parametrize("kind", TIMES)
@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_moment_is_refused(place, kind):
    owner, column, call = PLACES[place]
    with pytest.raises(DataError) as caught:
        call(kind)
    where = "rows.with_columns(...)" if place == "the request time" else "select"
    says = [
        owner,
        f"the timestamp {column}",
        *(text.replace("in select", f"in {where}") for text in TIMES[kind]),
    ]
    assert [text for text in says if text not in str(caught.value)] == [], str(caught.value)


def test_an_error_of_the_data_says_where_the_source_was_written():
    with pytest.raises(DataError, match=r"source 'pay' \(test_bad_data.py:\d+\)"):
        _ask(_view(timestamp_field="att"))


def test_the_advice_for_text_and_numbers_is_taken():
    made = [
        pl.col("at").str.to_datetime("%Y-%m-%d %H:%M:%S", time_zone="UTC"),
        pl.from_epoch("at", time_unit="ms").dt.replace_time_zone("UTC"),
        pl.col("at").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"),
    ]
    for kind, parsed in zip(("text", "number", "date"), made, strict=True):
        assert _ask(_view(history=_retyped(EVENTS, "at", kind), select=["user", parsed]))[
            "user__count_1d"
        ].to_list() == [2]


@pytest.mark.parametrize(
    ("zone", "count"), [("UTC", 0), ("America/New_York", 2), ("Europe/Berlin", 0)]
)
def test_a_declared_zone_is_that_of_naive_times(zone, count):
    """08:00 on the wall is 12:00 UTC in New York, and 06:00 in Berlin: only the first falls into
    the hour asked for.
    """
    history = pl.DataFrame({"user": [1, 1], "at": [datetime(2024, 5, 1, 8)] * 2})  # noqa: DTZ001
    source = hw.Source("pay", history=history, timestamp_field="at", timezone=zone)
    view = hw.FeatureView(
        "user",
        source=source,
        keys=["user"],
        features=[hw.count()],
        windows=["1h"],
        freshness=hw.on_request(),
    )
    for rows, zone_of_rows in (
        (ROWS, None),
        (pl.DataFrame({"user": [1], "timestamp": [datetime(2024, 5, 1, 9)]}), "America/New_York"),  # noqa: DTZ001
    ):
        assert _ask(view, rows, timezone=zone_of_rows)["user__count_1h"].to_list() == [count]


def test_events_without_a_time_are_left_out_and_counted():
    history = pl.DataFrame({"user": [1, 1, 1], "at": [AT, None, AT], "known": [AT, AT, None]})
    assert _ask(_view(history=history, known_at_field="known"))["user__count_1d"].to_list() == [1]


NAN = pl.DataFrame({"user": [1, 1, 1], "amount": [1.0, math.nan, None], "at": [AT] * 3})


@pytest.mark.parametrize(
    ("feature", "value"),
    [
        (hw.count(), 3),
        (hw.count("amount"), 1),
        (hw.sum("amount"), 1.0),
        (hw.max("amount"), 1.0),
        (hw.last("amount"), 1.0),
        (hw.latest("amount"), 1.0),
    ],
)
def test_nan_in_events_is_null(feature, value):
    assert _ask(_view([feature], history=NAN)).row(0)[-1] == value


# ---------------------------------------------------------------- files


@pytest.fixture
def files(tmp_path):
    EVENTS.drop("at").with_columns(at=pl.lit("2024-05-01T12:00:00Z")).write_csv(
        tmp_path / "events.csv"
    )
    EVENTS.write_parquet(tmp_path / "events.parquet")
    for name in ("empty.csv", "empty.parquet"):
        (tmp_path / name).touch()
    (tmp_path / "text.parquet").write_text("user,at\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("make", "name", "says"),
    [
        (
            hw.parquet,
            "evnts.parquet",
            ["no file at", "evnts.parquet", "did you mean 'events.parquet'?"],
        ),
        (hw.csv, "evnts.csv", ["no file at", "did you mean 'events.csv'?"]),
        (
            hw.parquet,
            "nowhere/events.parquet",
            ["no file at", "nowhere/events.parquet; its folder does not exist"],
        ),
        (hw.csv, "nowhere/*.csv", ["no file at", "nowhere/*.csv; its folder does not exist"]),
        (hw.parquet, "*.pq", ["no file at", "*.pq"]),
        (
            hw.parquet,
            "empty.parquet",
            [
                (
                    "empty.parquet is empty: it has no bytes, so no columns either; write the "
                    "table again"
                )
            ],
        ),
        (
            hw.csv,
            "empty.csv",
            ["empty.csv is empty: it has no bytes, so no columns either; write the table again"],
        ),
        (hw.parquet, "text.parquet", ["text.parquet cannot be read as parquet"]),
    ],
)
@pytest.mark.parametrize("use", ["history", "rows", "labels"])
def test_missing_and_empty_files(files, make, name, says, use):
    table = make(files / name)
    with pytest.raises(DataError) as caught:
        {
            "history": lambda: _ask(_view(history=table)),
            "rows": lambda: _ask(rows=table),
            "labels": lambda: _labels(table),
        }[use]()
    assert [text for text in says if text not in str(caught.value)] == [], str(caught.value)


def test_files_that_are_there_are_read(files):
    for table in (
        hw.parquet(files / "events.parquet"),
        hw.csv(files / "events.csv"),
        hw.csv(str(files / "ev*.csv")),
    ):
        assert _ask(_view(history=table))["user__count_1d"].to_list() == [2]


def test_a_source_without_history_is_read_nowhere():
    with pytest.raises(
        DefinitionError,
        match=r"source 'pay' has no history: give history=hw.parquet\(path\) or a frame",
    ):
        _ask(_view(history=None))
    assert _ask(_view(history=None), level=hw.Level(hw.never()))["user__count_1d"].to_list() == [0]


# ---------------------------------------------------------------- leaks

LEAKS = [
    # rules, minutes after the event time of `paid` in each row, share that is later than known
    ({}, [1, -1, 0, -5], "25.0%"),
    ({}, [1, 1, 1, 1], "100.0%"),
    ({"known_after": "10m"}, [10, 11, 12, 0], "50.0%"),
    ({"known_at_field": "known"}, [20, 30, 31, 45], "50.0%"),
    ({}, [-1, 0, None, -9], None),
    ({"known_after": "10m"}, [10, 9, 8, None], None),
    ({"known_at_field": "known"}, [30, 1, 2, 3], None),
    ({"select": ["user"]}, [1, 1, 1, 1], None),
]


@pytest.mark.parametrize(("rules", "minutes", "share"), LEAKS)
def test_later_timestamps_without_a_selection_are_a_leak(rules, minutes, share):
    paid = pl.Series(
        [None if m is None else AT + timedelta(minutes=m) for m in minutes],
        dtype=pl.Datetime("us", "UTC"),
    )
    history = pl.DataFrame(
        {
            "user": 1,
            "at": [AT] * 4,
            "known": [AT + timedelta(minutes=30)] * 4,
            "paid": paid,
            "birthday": [date(2050, 1, 1)] * 4,
        }
    )
    view = _view(history=history if "known_at_field" in rules else history.drop("known"), **rules)
    if share is None:
        _ask(view)
        return
    with pytest.raises(LeakError) as caught:
        _ask(view)
    by = "known" if "known_at_field" in rules else "at" + (" + 10m" if rules else "")
    says = [
        "source 'pay' (test_bad_data.py:",
        f"({by})",
        f"'paid' (in {share} of rows)",
        (
            "Name with select= the columns known at the event time; two times of one table are two "
            "sources"
        ),
    ]
    assert [text for text in says if text not in str(caught.value)] == [], str(caught.value)
    assert "birthday" not in str(caught.value)
