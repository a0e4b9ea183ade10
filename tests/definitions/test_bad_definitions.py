"""Refusals where a definition is written: each message has the subject, the allowed values, and the
remedy.
"""

from datetime import UTC, datetime

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DefinitionError

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
    # corrections
    "changes known sooner": (
        lambda: hw.Level(
            known_after={_source(changes="old", id_field="user", known_at_field="at"): "1h"}
        ),
        ["Level: known_after of 'pay', whose changes='old' are each known at a time of their own"],
    ),
    # columns that the source selects
    # secondary keys
    # what stands twice
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
    # the wrong thing
    # durations, windows, hops
    # freshness
    # when things are known
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
