"""Refusals where a definition is written: each message has the subject, the allowed values, and the
remedy.
"""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DefinitionError, HeadwaterWarning, UsageError

EVENTS = pl.DataFrame({"user": [1], "amount": [1.0], "at": [datetime(2024, 5, 1, tzinfo=UTC)]})
C = pl.col("amount")


def _source(name="pay", **rules):
    return hw.Source(name, **({"history": EVENTS, "timestamp_field": "at"} | rules))


def _view(name="user", **given):
    default = {
        "source": _source(),
        "keys": ["user"],
        "features": [hw.count()],
        "windows": ["1h"],
        "freshness": hw.on_request(),
    }
    return hw.FeatureView(name, **(default | given))


def _labels(**given):
    return hw.Labels(
        "late",
        **(
            {"table": EVENTS, "timestamp_field": "at", "label": "amount", "known_after": "1h"}
            | given
        ),
    )


def _model(name="m", **given):
    return hw.Model(
        name,
        **(
            {
                "features": hw.FeatureService("f", [_view()]),
                "labels": _labels(),
                "task": "regression",
            }
            | given
        ),
    )


ROW_WISE = (
    "is not row-wise: its value on one row depends on other rows, which a stream does not have; "
    "write it with the row's own columns"
)

REFUSED = {
    # names
    "a name": (
        lambda: _source("a__b"),
        ["a source is named 'a__b'", "letters, digits and single underscores"],
    ),
    "a name that is not a string": (lambda: _view(3), ["a feature view is named 3"]),
    "an unknown feature": (
        lambda: _view()["cuont_1h"],
        ["feature view 'user' has no feature 'cuont_1h'", "did you mean 'count_1h'?"],
    ),
    "a feature far from any": (lambda: _view()["zzz"], ["no feature 'zzz'; known: count_1h"]),
    "an unknown view": (
        lambda: hw.FeatureService("f", [_view()]).view("usr"),
        ["feature service 'f' reads no view 'usr'", "did you mean 'user'?"],
    ),
    "an alias's key": (
        lambda: _view().alias("x", keys={"usr": "a"}),
        ["alias 'x' of 'user': 'usr' is not a key of it; did you mean 'user'?"],
    ),
    "an alias's filling": (
        lambda: _view().alias("x", keys={"user": 3}),
        ["'user' is filled with 3; give a request column or a feature"],
    ),
    # corrections
    "writers of another kind": (
        lambda: _source(writers="two"),
        ["source 'pay': writers is 'two'; give 'one' or 'partition'"],
    ),
    "writers of partitions whose images may change each other's events": (
        lambda: _source(changes="old", id_field="user", known_at_field="at", writers="partition"),
        [
            "source 'pay': writers='partition' lets partitions be written apart",
            "with changes='old'",
            "leave writers out",
        ],
    ),
    "writers of the partitions of a stream that has none": (
        lambda: _source(stream=hw.push(), writers="partition"),
        [
            (
                "source 'pay': writers='partition' is for a Kafka topic, and the stream is events "
                "pushed over HTTP"
            ),
            "leave writers out",
        ],
    ),
    "changes without an id": (
        lambda: _source(changes="old", known_at_field="at"),
        [
            (
                "source 'pay': changes='old' needs id_field=, the column that says which event an "
                "image is of"
            )
        ],
    ),
    "changes known by a rule": (
        lambda: _source(changes="old", id_field="user", known_after="1h"),
        [
            "source 'pay': changes='old' needs known_at_field=",
            "a correction would be known with what it corrects",
        ],
    ),
    "changes that move windows": (
        lambda: _source(changes="old", id_field="user", known_at_field="at", window_on="known_at"),
        [
            (
                "source 'pay': with changes='old', window_on='known_at' would move an event to the "
                "time of its correction"
            )
        ],
    ),
    "changes that are no column": (
        lambda: _source(changes=True, id_field="user", known_at_field="at"),
        [
            (
                "source 'pay': changes is True; give the name of the column that is true for the "
                "image before a change"
            )
        ],
    ),
    "changes with a horizon": (
        lambda: _source(changes="old", id_field="user", known_at_field="at", id_horizon="7d"),
        [
            (
                "source 'pay': with changes='old', an id means the same event for ever; leave "
                "id_horizon out"
            )
        ],
    ),
    "changes known sooner": (
        lambda: hw.Level(
            known_after={_source(changes="old", id_field="user", known_at_field="at"): "1h"}
        ),
        ["Level: known_after of 'pay', whose changes='old' are each known at a time of their own"],
    ),
    # columns that the source selects
    "an aggregated column": (
        lambda: _view(source=_source(select=["user", "amount"]), features=[hw.sum("amuont")]),
        [
            (
                "feature view 'user': sum() uses 'amuont', which source 'pay' does not select; did "
                "you mean 'amount'?"
            )
        ],
    ),
    "a where": (
        lambda: _view(
            source=_source(select=["user", "amount"]), features=[hw.count(where="amuont")]
        ),
        ["count() uses 'amuont', which source 'pay' does not select; did you mean 'amount'?"],
    ),
    "a key": (
        lambda: _view(source=_source(select=["user"]), keys=["usr"]),
        [
            (
                "feature view 'user': the key 'usr' is not selected by source 'pay'; did you mean "
                "'user'?"
            )
        ],
    ),
    "an outcome's key": (
        lambda: hw.outcome(_source(select=["user"]), hw.count(), keys=["usr"], within="1h"),
        ["outcome(): the key 'usr' is not selected by source 'pay'; did you mean 'user'?"],
    ),
    # secondary keys
    "a function without a state of one size": (
        lambda: hw.top_k("item", k=3).by("category"),
        [
            "top_k() cannot be split by 'category'",
            "These can: count, decayed_mean, decayed_sum, first, fraction, last, max",
        ],
    ),
    "several columns of one row, split": (
        lambda: hw.latest("a", "b").by("category"),
        ["latest() cannot be split by 'category'"],
    ),
    "a queue, split": (
        lambda: hw.open_count(until="a").by("category"),
        ["open_count() cannot be split by 'category'"],
    ),
    "no keys": (
        lambda: hw.count().by("category", max_keys=0),
        ["count().by('category'): max_keys is 0; give an integer from 1 to 1,000"],
    ),
    "too many keys": (
        lambda: hw.count().by("category", max_keys=1001),
        ["max_keys is 1001; give an integer from 1 to 1,000"],
    ),
    "a fraction of a key": (
        lambda: hw.count().by("category", max_keys=2.0),
        ["max_keys is 2.0; give an integer"],
    ),
    "a truth as a number of keys": (
        lambda: hw.count().by("category", max_keys=True),
        ["max_keys is True; give an integer"],
    ),
    "an expression to split by": (
        lambda: hw.count().by(C),
        [
            "count().by(): the column is ",
            "; give the name of a column; select= of the source makes one of an expression",
        ],
    ),
    "nothing to split by": (
        lambda: hw.count().by(None),
        ["count().by(): the column is None; give the name of a column"],
    ),
    "a second secondary key": (
        lambda: hw.count().by("category").by("shop"),
        ["count() is split by 'category' already; make one column of both in select"],
    ),
    "a secondary key that is not selected": (
        lambda: _view(
            source=_source(select=["user", "amount"]), features=[hw.count().by("amuont")]
        ),
        ["count() uses 'amuont', which source 'pay' does not select; did you mean 'amount'?"],
    ),
    # what stands twice
    "a feature twice": (
        lambda: _view(features=[hw.count(), hw.count()]),
        ["two features are named 'count_1h'; give one of them another name="],
    ),
    "a window twice": (lambda: _view(windows=["1h", "60m"]), ["two features are named 'count_1h'"]),
    "a view twice in a service": (
        lambda: hw.FeatureService("f", [_view(), _view()]),
        ["two features are named 'user__count_1h'; rename one, or alias its view"],
    ),
    "two views of one name": (
        lambda: hw.FeatureService("f", [_view(), _view(features=[hw.sum("amount")])]),
        ["two views are named 'user'; rename one"],
    ),
    "two models of one name": (
        lambda: hw.Project("p", [_model(), _model(default=1.0)]),
        ["two models are named 'm' and differ; rename one"],
    ),
    "two sources of one name": (
        lambda: hw.Project(
            "p",
            [
                _model(),
                _model(
                    "n",
                    features=hw.FeatureService("g", [_view("v", source=_source(known_after="1m"))]),
                ),
            ],
        ),
        ["two sources are named 'pay' and differ; rename one"],
    ),
    "one source over two streams": (
        lambda: hw.Project(
            "p",
            [
                _model(
                    features=hw.FeatureService(
                        "f",
                        [
                            _view("v", source=_source(stream=hw.kafka("a"))),
                            _view("w", source=_source(stream=hw.kafka("b"))),
                        ],
                    )
                )
            ],
        ),
        [
            "two sources are named 'pay', of the Kafka topic 'a' and of the Kafka topic 'b'",
            "rename one",
        ],
    ),
    "two views of one name in a project": (
        lambda: hw.Project(
            "p", [_model(), _model("n", features=hw.FeatureService("g", [_view(windows=["1d"])]))]
        ),
        ["two feature views are named 'user' and differ; rename one"],
    ),
    "a selected column twice": (
        lambda: _source(select=["user", C.alias("user")]),
        ["source 'pay': select gives the column 'user' twice; rename one with .alias(...)"],
    ),
    "a key twice": (
        lambda: _view(keys=["user", "user"]),
        ["a key is repeated in ['user', 'user']"],
    ),
    "a label like a feature": (
        lambda: _model(labels=_labels(label="user__count_1h")),
        ["model 'm': the label 'user__count_1h' is named like a feature; rename one"],
    ),
    # expressions that are not row-wise, however deep it hides
    "a sum in select": (
        lambda: _source(select=[C.sum()]),
        ["source 'pay': select: col(\"amount\").sum() " + ROW_WISE],
    ),
    "the next row": (
        lambda: _source(select=[C - C.shift(-1)]),
        ["source 'pay': select:", ROW_WISE],
    ),
    "the mean of all": (lambda: _source(select=[(C / C.mean()).alias("relative")]), [ROW_WISE]),
    "the next row in a branch": (
        lambda: _source(select=[pl.when(C > 0).then(C).otherwise(C.shift(-1))]),
        [ROW_WISE],
    ),
    "a fill from all": (lambda: _source(select=[C.fill_null(C.max())]), [ROW_WISE]),
    "others of the group": (lambda: _source(select=[1 + C.sum().over("user")]), [ROW_WISE]),
    "a filter": (lambda: _source(filter=C.shift() > 0), ["source 'pay': filter:", ROW_WISE]),
    "a filter of labels": (
        lambda: _labels(filter=C.rank() > 3),
        ["labels 'late': filter:", ROW_WISE],
    ),
    "a select of labels": (
        lambda: _labels(select=["at", C.cum_sum().alias("amount") + 1]),
        ["labels 'late': select:", ROW_WISE],
    ),
    "a Python function": (
        lambda: _source(select=[C.map_elements(lambda x: x, return_dtype=pl.Float64)]),
        ["cannot tell whether", "use polars' own functions"],
    ),
    "several columns together": (
        lambda: _source(select=[pl.col("user", "amount")]),
        ["name each column on its own"],
    ),
    # text where a list is needed, and one where several are
    "select": (
        lambda: _source(select="account"),
        ["source 'pay': select is the string 'account'; give a list, such as ['account']"],
    ),
    "select of labels": (
        lambda: _labels(select="amount"),
        ["labels 'late': select is the string 'amount'; give a list, such as ['amount']"],
    ),
    "keys": (
        lambda: _view(keys="user"),
        ["feature view 'user': keys is the string 'user'; give a list, such as ['user']"],
    ),
    "windows": (
        lambda: _view(windows="1h"),
        ["feature view 'user': windows is the string '1h'; give a list, such as ['1h']"],
    ),
    "one window": (
        lambda: _view(windows=timedelta(hours=1)),
        ["windows is datetime.timedelta(seconds=3600); give a list"],
    ),
    "windows of an aggregation": (
        lambda: hw.sum("amount", windows="1h"),
        ["sum(): windows is the string '1h'; give a list, such as ['1h']"],
    ),
    "one window of an aggregation": (
        lambda: hw.count(windows=hw.window("1h")),
        ["count(): windows is Window(", "give a list"],
    ),
    "features": (
        lambda: _view(features="count"),
        ["features is 'count'; give a list of at least one aggregation, such as [hw.count()]"],
    ),
    "one feature": (
        lambda: _view(features=hw.count()),
        ["feature view 'user': features is Aggregation(", "give a list"],
    ),
    "features of a service": (
        lambda: hw.FeatureService("f", "user"),
        ["feature service 'f': features is 'user'; give a list"],
    ),
    "one view of a service": (
        lambda: hw.FeatureService("f", _view()),
        ["feature service 'f': features is FeatureView(", "give a list"],
    ),
    "keys of an outcome": (
        lambda: hw.outcome(_source(), hw.count(), keys="user", within="1h"),
        ["outcome(): keys is the string 'user'; give a list, such as ['user']"],
    ),
    "keys of precomputed": (
        lambda: hw.precomputed(hw.batch("1d"), keys="user"),
        ["precomputed(): keys is the string 'user'; give a list, such as ['user']"],
    ),
    "models": (
        lambda: hw.Project("p", "m"),
        ["project 'p': models is 'm'; give a list of at least one Model"],
    ),
    "one model": (
        lambda: hw.Project("p", _model()),
        ["project 'p': models is Model(", "give a list of at least one Model"],
    ),
    "ages": (
        lambda: hw.measured("1s"),
        ["measured(): ages is '1s'; give a list of at least one duration"],
    ),
    # the wrong thing
    "no features": (
        lambda: _view(features=[]),
        ["features is []; give a list of at least one aggregation, such as [hw.count()]"],
    ),
    "no windows": (
        lambda: _view(windows=[]),
        ["windows is empty; give at least one, or leave it out for all of the past"],
    ),
    "no ages": (lambda: hw.measured([]), ["at least one duration"]),
    "a number in a service": (
        lambda: hw.FeatureService("f", [3]),
        ["feature service 'f': features holds 3; give a list of feature views, single features"],
    ),
    "a text as a source": (
        lambda: _view(source="pay"),
        ["feature view 'user': source is 'pay'; give a Source"],
    ),
    "a number as a history": (
        lambda: _source(history=3),
        [
            (
                "source 'pay': history is int; give a path, hw.parquet(path), hw.csv(path), a "
                "LazyFrame of polars, or a frame with an Arrow"
            )
        ],
    ),
    "a number in select": (
        lambda: _source(select=[3]),
        ["an item of select is 3; give a column name or a polars expression"],
    ),
    "a text as a filter": (
        lambda: _source(filter="amount > 3"),
        [
            (
                "source 'pay': filter is 'amount > 3'; give a polars expression, such as "
                "pl.col('amount') > 0"
            )
        ],
    ),
    "an expression to aggregate": (
        lambda: hw.sum(C),
        [
            "sum(): a column is ",
            "; give the name of a column; select= of the source makes one of an expression",
        ],
    ),
    "nothing to aggregate": (hw.mean, ["mean() needs a column, such as mean('amount')"]),
    "one name for two": (
        lambda: hw.mean("a", "b", name="x"),
        ["mean(): name='x' cannot name 2 features; write one mean() for each column"],
    ),
    "a ddof": (
        lambda: hw.std("amount", ddof=2),
        ["ddof is 2; give 1 for the sample's deviation or 0 for the population's"],
    ),
    "a task": (
        lambda: _model(task="classify"),
        [
            (
                "model 'm': task is 'classify'; give 'binary', 'multiclass' or 'regression', or "
                "hw.Ranking(group=, item=)"
            )
        ],
    ),
    "a timestamp that is not a name": (
        lambda: _source(timestamp_field=C),
        ["source 'pay': timestamp_field is", "give the name of the column with the event time"],
    ),
    "window_on": (
        lambda: _source(window_on="arrival"),
        ["window_on is 'arrival'; give 'timestamp' or 'known_at'"],
    ),
    "on_stale": (
        lambda: _view(on_stale="zero"),
        ["on_stale is 'zero'; give 'previous', 'null' or 'refuse'"],
    ),
    "an outcome of two columns": (
        lambda: hw.outcome(_source(), hw.sum("amount", "user"), keys=["user"], within="1h"),
        ["outcome(): sum() of 2 columns makes as many labels; give it one column"],
    ),
    "an outcome within nothing": (
        lambda: hw.outcome(_source(), hw.count(), keys=["user"], within="0s"),
        ["outcome(): within is '0s'; give a positive duration"],
    ),
    # durations, windows, hops
    "a duration": (
        lambda: hw.window("1 hour"),
        ["a window is '1 hour'; give an integer and a unit, such as"],
    ),
    "a fraction": (
        lambda: _source(known_after="1.5h"),
        ["source 'pay': known_after is '1.5h'; give an integer and a unit"],
    ),
    "less than nothing": (
        lambda: _source(known_after=timedelta(seconds=-1)),
        ["source 'pay': known_after is", "between nothing and 100 years"],
    ),
    "ttl": (lambda: _view(ttl="soon"), ["feature view 'user': ttl is 'soon'"]),
    "a window of nothing": (
        lambda: _view(windows=["0s"]),
        ["a window is '0s'; give a positive duration"],
    ),
    "a window no step divides": (
        lambda: _view(windows=["7ms"]),
        [
            "no hop divides the window 7ms",
            "10ms 100ms 1s 10s 1m 10m 1h 6h 1d",
            "round the window, or give hop=",
        ],
    ),
    "an offset no step divides": (
        lambda: hw.window("1h", offset="7ms"),
        ["no hop divides the window 1h and its offset 7ms"],
    ),
    "a hop that does not divide": (
        lambda: _view(hop="7m"),
        ["hop 7m does not divide the window 1h; choose a hop that does"],
    ),
    "a hop of nothing": (lambda: _view(hop="0s"), ["hop 0s does not divide the window 1h"]),
    "a hop that does not divide an offset": (
        lambda: hw.window("lifetime", offset="1h", hop="7m"),
        ["hop 7m does not divide the offset 1h; choose a hop that does"],
    ),
    "a hop of nothing for an offset": (
        lambda: hw.window("lifetime", offset="1h", hop="0s"),
        ["hop 0s does not divide the offset 1h"],
    ),
    # freshness
    "a text as a freshness": (
        lambda: _view(freshness="1h"),
        [
            (
                "feature view 'user': freshness is '1h'; give batch(...), streaming(lag), "
                "on_request(), measured(ages) or never()"
            )
        ],
    ),
    "a freshness not called": (
        lambda: _view(freshness=hw.on_request),
        [
            "feature view 'user': freshness is the class on_request, which is not called",
            "give batch(...)",
        ],
    ),
    "wait > delay": (
        lambda: hw.batch("1h", delay="1m", wait="2m"),
        ["batch(wait=2m) is more than delay=1m: a job cannot publish before it has waited"],
    ),
    "every 7h": (
        lambda: hw.batch("7h"),
        ["batch(): every is '7h'; give a divisor of a day or a number of whole days, such as"],
    ),
    "every 36h": (
        lambda: hw.batch("36h"),
        ["batch(): every is '36h'; give a divisor of a day or a number of whole days"],
    ),
    "every 0s": (lambda: hw.batch("0s"), ["batch(): every is '0s'; give a divisor of a day"]),
    "a time zone": (
        lambda: hw.batch("1d", timezone="Mars/Olympus"),
        [
            (
                "batch(): timezone 'Mars/Olympus' is not an IANA time zone; give one such as "
                "'America/New_York'"
            )
        ],
    ),
    "a time zone of a source": (
        lambda: _source(timezone="EDT+4"),
        ["source 'pay': timezone 'EDT+4' is not an IANA time zone"],
    ),
    "a time zone of labels": (
        lambda: _labels(timezone="Mars"),
        ["labels 'late': timezone 'Mars' is not an IANA time zone"],
    ),
    "at 25:00": (
        lambda: hw.batch("1d", at="25:00"),
        ["batch(): at is '25:00'; give a time of day, such as '02:30'"],
    ),
    "at a number": (lambda: hw.batch("1d", at=2), ["batch(): at is 2; give a time of day"]),
    "at after the first cut": (
        lambda: hw.batch("1h", at="02:00"),
        ["batch(): at is '02:00'; give a time before every=1h"],
    ),
    "a lag without a unit": (
        lambda: hw.streaming(5),
        ["streaming(): lag is 5; give an integer and a unit"],
    ),
    "an age": (lambda: hw.measured(["1s", "old"]), ["a measured age is 'old'"]),
    "a level": (lambda: hw.Level("1h"), ["Level: features is '1h'; give batch(...)"]),
    "a level by name": (
        lambda: hw.Level({"user": hw.never()}),
        [
            (
                "Level: a key of features is 'user'; give one freshness, or a mapping from the "
                "views themselves, not their names, to freshness"
            )
        ],
    ),
    "a level's freshness": (
        lambda: hw.Level({_view(): "1h"}),
        ["Level: the freshness of 'user' is '1h'"],
    ),
    "a level's sources": (
        lambda: hw.Level(known_after={"pay": "1h"}),
        [
            (
                "Level: a key of known_after is 'pay'; give a mapping from sources or labels to "
                "durations"
            )
        ],
    ),
    # when things are known
    "known twice": (
        lambda: _source(known_at_field="at", known_after="1h"),
        [
            (
                "source 'pay': known_at_field and known_after both say when a row is known; give "
                "one of them"
            )
        ],
    ),
    "labels never known": (
        lambda: _labels(known_after=None),
        [
            (
                "labels 'late' does not say when the outcome is known; give known_at_field=, or "
                "known_after="
            )
        ],
    ),
    "an outcome known twice": (
        lambda: _labels(label=hw.outcome(_source(), hw.count(), keys=["user"], within="1h")),
        [
            (
                "labels 'late': an outcome is known at its horizon; leave known_at_field and "
                "known_after out"
            )
        ],
    ),
    "a label that is not a name": (
        lambda: _labels(label=C),
        [
            "labels 'late': label is",
            "give the name of a column, or outcome(source, aggregation, keys=, within=)",
        ],
    ),
}


@pytest.mark.parametrize(("define", "says"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_definition_is_refused_where_it_is_written(define, says):
    with pytest.raises(DefinitionError) as caught:
        define()
    assert [text for text in says if text not in str(caught.value)] == [], str(caught.value)


ALLOWED = [
    C * 2,
    C.cast(pl.Int64),
    pl.when(C > 0).then(C),
    pl.from_epoch("amount", time_unit="ms").dt.replace_time_zone("UTC"),
    C.is_in([1, 2]),
    C.fill_null(0),
]
ALLOWED += [
    pl.col("text").str.to_datetime("%Y-%m-%d %H:%M:%S", time_zone="UTC"),
    pl.sum_horizontal("user", "amount"),
    (pl.col("text") == "yes").alias("y"),
]


@pytest.mark.parametrize("expression", ALLOWED, ids=str)
def test_row_wise_expressions_are_taken(expression):
    assert _source(select=["user", expression.alias("made")]).columns == {"user", "made", "at"}


@pytest.mark.parametrize(
    ("windows", "rules", "warned"),
    [
        (["1h"], {"known_after": "1h"}, True),
        (["1d", "1h"], {"known_after": "61m"}, True),
        ([hw.window("30m", offset="30m")], {"known_after": "1h"}, True),
        (["1h"], {"known_after": "59m"}, False),
        (["1h"], {"known_after": "1h", "window_on": "known_at"}, False),
        (None, {"known_after": "1h"}, False),
    ],
    ids=str,
)
def test_a_window_not_longer_than_the_delay_is_warned_of(windows, rules, warned, recwarn):
    _view(windows=windows, source=_source(**rules))
    said = [str(w.message) for w in recwarn if w.category is HeadwaterWarning]
    assert len(said) == warned
    for text in (
        "feature view 'user': the window",
        "is not longer than the delay of source 'pay'",
        "Take a longer window, or window_on='known_at'",
    ):
        assert all(text in s for s in said)


def test_the_warning_points_at_the_definition(recwarn):
    _view(source=_source(known_after="2h"))
    assert recwarn[0].filename == __file__


def test_an_unknown_model_is_named():
    with pytest.raises(UsageError, match=r"project 'p' has no model 'mm'; did you mean 'm'\?"):
        hw.Project("p", [_model()]).model("mm")
