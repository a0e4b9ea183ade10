"""Wrong definitions, and what plan, apply and backtest say of them before anything is read or
written.
"""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

import headwater as hw
from headwater.errors import DataError, DefinitionError
from headwater.training.schema_check import problems
from tests.catalog.conftest import shop_files, shop_home  # noqa: F401 (fixtures)

AT = datetime(2024, 5, 1, 12, tzinfo=UTC)
DAILY = hw.batch("1d", delay="4h")
EVENTS = pl.DataFrame(
    {
        "user": ["a"],
        "price": [1.0],
        "paid": [True],
        "page": ["x"],
        "number": [7],
        "tags": [["x"]],
        "at": [AT],
        "until": [AT],
        "day": [AT.date()],
        "written": ["2024-05-01"],
    }
)
LABELS = pl.DataFrame(
    {
        "user": ["a", "b"],
        "asked": [AT + timedelta(days=1)] * 2,
        "settled": [AT + timedelta(days=2)] * 2,
        "left": [True, False],
        "n": [1, 2],
    }
)


def project(*, source=None, view=None, labels=None, features=(), **model):
    """Project `shop`: view `user` over source `clicks`, labels `leaving`, model `churn`; any
    argument can be given otherwise.
    """
    clicks = hw.Source("clicks", **({"history": EVENTS, "timestamp_field": "at"} | (source or {})))
    shown = {
        "keys": ["user"],
        "features": [hw.mean("price")],
        "windows": ["1d"],
        "freshness": DAILY,
    } | (view or {})
    user = hw.FeatureView("user", **({"source": clicks} | shown))
    given = {"table": LABELS, "timestamp_field": "asked", "label": "left"} | (labels or {})
    if not {"known_at_field", "known_after"} & set(given) and isinstance(given["label"], str):
        given["known_after"] = "1d"
    service = hw.FeatureService("churn_v1", [user, *features])
    return hw.Project(
        "shop",
        [
            hw.Model(
                "churn",
                features=service,
                labels=hw.Labels("leaving", **given),
                **({"task": "binary"} | model),
            )
        ],
    )


def over(*features, **more):
    return lambda: project(view={"features": features, **more})


@hw.request_feature
def twice(n: str) -> str:
    return n * 2


PUSHED = {"user": str, "price": float, "at": datetime}
ENRICHED = hw.Source("base", history=EVENTS, timestamp_field="at")
RATED = hw.FeatureView(
    "rated",
    source=ENRICHED,
    keys=["user"],
    features=[hw.mean("page")],
    windows=["1d"],
    freshness=DAILY,
)
USUAL = hw.FeatureView(
    "usual",
    source=ENRICHED,
    keys=["user"],
    features=[hw.mean("price")],
    windows=["1d"],
    freshness=DAILY,
)
STREAMED = {"history": None, "stream": hw.push(schema=PUSHED)}

# the fault -> the project, the definition that is named, and a part of the message
WRONG = {
    "no file": (
        lambda: project(source={"history": hw.parquet("nope.parquet")}),
        "source 'clicks'",
        "no file at nope.parquet",
    ),
    "another file": (
        lambda: project(source={"history": hw.csv("clikcs.csv")}),
        "source 'clicks'",
        "did you mean 'clicks.csv'?",
    ),
    "no file of labels": (
        lambda: project(labels={"table": hw.csv("nope.csv")}),
        "labels 'leaving'",
        "no file at nope.csv",
    ),
    "no parquet": (
        lambda: project(source={"history": hw.parquet("clicks.csv")}),
        "source 'clicks'",
        "cannot be read as parquet",
    ),
    "the timestamp": (
        lambda: project(source={"timestamp_field": "untill"}),
        "source 'clicks'",
        "no column 'untill'; did you mean 'until'?",
    ),
    "a timestamp of text": (
        lambda: project(source={"timestamp_field": "written"}),
        "source 'clicks'",
        "'written' is text; parse it in select",
    ),
    "a timestamp in a CSV": (
        lambda: project(source={"history": hw.csv("clicks.csv"), "timestamp_field": "at"}),
        "source 'clicks'",
        "the timestamp 'at' has no time zone",
    ),
    "the known time": (
        lambda: project(source={"known_at_field": "untill"}),
        "source 'clicks'",
        "did you mean 'until'?",
    ),
    "a known time of numbers": (
        lambda: project(source={"known_at_field": "number"}),
        "source 'clicks'",
        "a number of unknown unit",
    ),
    "the id": (
        lambda: project(source={"id_field": "numbre"}),
        "source 'clicks'",
        "did you mean 'number'?",
    ),
    "the images": (
        lambda: project(
            source={"changes": "page", "id_field": "number", "known_at_field": "until"}
        ),
        "source 'clicks'",
        "the changes column 'page' is String",
    ),
    "select": (
        lambda: project(source={"select": ["user", "price", "pgae"]}),
        "source 'clicks'",
        "select: no column 'pgae'",
    ),
    "select, within an expression": (
        lambda: project(source={"select": ["user", "price", (pl.col("prise") * 2).alias("twice")]}),
        "source 'clicks'",
        "select: no column 'prise'; did you mean 'price'?",
    ),
    "select, of the wrong type": (
        lambda: project(
            source={"select": ["user", "price", pl.col("page").dt.hour().alias("hour")]}
        ),
        "source 'clicks'",
        (
            'select: col("page").dt.hour().alias("hour"): `hour` operation not supported for dtype '
            "`str`"
        ),
    ),
    "filter": (
        lambda: project(source={"filter": pl.col("prise") > 1}),
        "source 'clicks'",
        "filter: no column 'prise'",
    ),
    "filter, of the wrong type": (
        lambda: project(source={"filter": pl.col("price") + 1}),
        "source 'clicks'",
        "filter gives Float64",
    ),
    "a key": (
        over(hw.count(), keys=["usre"]),
        "feature view 'user'",
        "no column 'usre'; did you mean 'user'?",
    ),
    "a column": (
        over(hw.mean("prise")),
        "feature view 'user'",
        "mean() over source 'clicks': no column 'prise'; did you mean 'price'?",
    ),
    "a column of text": (
        over(hw.mean("page")),
        "feature view 'user'",
        "mean() takes numbers or booleans, and the column is String",
    ),
    "a column of lists": (
        over(hw.last("tags")),
        "feature view 'user'",
        "is List(String); features are computed from",
    ),
    "a share of numbers": (
        over(hw.fraction("price")),
        "feature view 'user'",
        "fraction() takes a column of booleans",
    ),
    "where": (
        over(hw.count(where="piad")),
        "feature view 'user'",
        "no column 'piad'; did you mean 'paid'?",
    ),
    "where, of numbers": (
        over(hw.count(where="price")),
        "feature view 'user'",
        "where='price' of count() takes a column of booleans",
    ),
    "a secondary key": (over(hw.count().by("pgae")), "feature view 'user'", "did you mean 'page'?"),
    "a secondary key of floats": (
        over(hw.count().by("price")),
        "feature view 'user'",
        "'price' is a secondary key and a float",
    ),
    "an end": (over(hw.open_count(until="untill")), "feature view 'user'", "did you mean 'until'?"),
    "an end of text": (
        over(hw.open_count(until="page")),
        "feature view 'user'",
        "open_count(until=) takes a timestamp",
    ),
    "a stream's schema": (
        lambda: project(source=STREAMED, view={"features": [hw.mean("prise")]}),
        "feature view 'user'",
        "did you mean 'price'?",
    ),
    "a stream's schema next to a history": (
        lambda: project(source={"stream": hw.push(schema={"user": str, "at": datetime})}),
        "feature view 'user'",
        "no column 'price'",
    ),
    "a stream's timestamp": (
        lambda: project(source={"history": None, "stream": hw.push(schema=PUSHED | {"at": str})}),
        "source 'clicks'",
        "the timestamp 'at' is text",
    ),
    "what enriches": (
        lambda: project(
            source={"history": hw.enrich(ENRICHED, "rich", [RATED]).history},
            view={"features": [hw.count()]},
        ),
        "feature view 'rated'",
        "mean() takes numbers or booleans",
    ),
    "the labels' time": (
        lambda: project(labels={"timestamp_field": "aksed"}),
        "labels 'leaving'",
        "did you mean 'asked'?",
    ),
    "the labels' known time": (
        lambda: project(labels={"known_at_field": "setled"}),
        "labels 'leaving'",
        "did you mean 'settled'?",
    ),
    "the label": (
        lambda: project(labels={"label": "lefft"}),
        "labels 'leaving'",
        "no column 'lefft'; did you mean 'left'?",
    ),
    "a label of text": (
        lambda: project(labels={"label": "user"}),
        "labels 'leaving'",
        "the label 'user' is String; it must be a number",
    ),
    "the labels' select": (
        lambda: project(labels={"select": ["usre", "left"]}),
        "labels 'leaving'",
        "select: no column 'usre'",
    ),
    "the labels' filter": (
        lambda: project(labels={"filter": pl.col("m") > 1}),
        "labels 'leaving'",
        "filter: no column 'm'",
    ),
    "an outcome": (
        lambda: project(
            labels={"label": hw.outcome(ENRICHED, hw.sum("prise"), keys=["user"], within="1d")}
        ),
        "labels 'leaving'",
        "did you mean 'price'?",
    ),
    "an outcome of text": (
        lambda: project(
            labels={"label": hw.outcome(ENRICHED, hw.last("page"), keys=["user"], within="1d")}
        ),
        "labels 'leaving'",
        "is String; it must be a number",
    ),
    "a key that requests lack": (
        lambda: project(view={"keys": ["page"]}),
        "labels 'leaving'",
        "no column 'page', which view 'user' of model 'churn' needs",
    ),
    "keys of two types": (
        lambda: project(
            view={"keys": ["number"]}, labels={"select": [pl.col("user").alias("number"), "left"]}
        ),
        "source 'clicks'",
        "the key 'number' is Int64 in the source and String in the requests",
    ),
    "a request feature": (
        lambda: project(features=[twice]),
        "labels 'leaving'",
        "the field 'n' is declared str, and the column is Int64",
    ),
    "a request field": (
        lambda: project(features=[hw.RequestField("distance", float)]),
        "labels 'leaving'",
        "no column 'distance', which request field 'distance' of model 'churn' needs",
    ),
    "the answers of a third party": (
        lambda: project(
            features=[
                hw.HttpFeatures(
                    "risk",
                    url="https://ip.example/",
                    request={"user": str},
                    response={"page": float},
                    history=ENRICHED,
                )
            ]
        ),
        "source 'base'",
        "'page' is declared float, and the column is String",
    ),
    "the group of a ranking": (
        lambda: project(task=hw.Ranking(group="grp", item="user")),
        "labels 'leaving'",
        "'grp', which the ranking's group",
    ),
    "keys of predictions": (
        lambda: project(predictions=hw.precomputed(DAILY, keys=["usre"])),
        "labels 'leaving'",
        "no column 'usre', which precomputed(keys=)",
    ),
    "a regressor of classes": (
        lambda: project(task="multiclass", estimator=LinearRegression()),
        "model 'churn'",
        "LinearRegression predicts numbers, and the task is 'multiclass'",
    ),
    "a classifier of numbers": (
        lambda: project(task="regression", estimator=LogisticRegression()),
        "model 'churn'",
        "LogisticRegression predicts classes, and the task is 'regression'",
    ),
}


@pytest.fixture(autouse=True)
def files(shop_home, tmp_path, monkeypatch):
    """Work in a folder with clicks.csv."""
    monkeypatch.chdir(tmp_path)
    EVENTS.drop("tags").with_columns(pl.col("at").dt.strftime("%Y-%m-%d %H:%M:%S")).write_csv(
        "clicks.csv"
    )


@pytest.mark.parametrize(("made", "subject", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_definition_is_named_at_once(made, subject, said):
    wrong = made()
    found = hw.plan(wrong, "catalog.sqlite")
    assert [
        lint
        for lint in found.refused
        if lint.subject.startswith(f"{subject} (test_schema_check.py:") and said in lint.message
    ], found.lints
    assert f"✗ refused: {subject}" in str(found)
    with pytest.raises(DefinitionError) as refused:
        hw.apply(wrong, "catalog.sqlite")
    assert said in str(refused.value)
    assert hw.plan(wrong, "catalog.sqlite").version == 0
    with pytest.raises(DataError) as stopped:
        hw.backtest(wrong.models[0])
    assert subject in str(stopped.value)
    assert said in str(stopped.value)


def test_all_problems_are_listed_at_once():
    wrong = project(
        source={"select": ["user", "price", "pgae", "uesr"]},
        view={"features": [hw.mean("price"), hw.last("price")]},
        labels={"timestamp_field": "aksed", "label": "lefft"},
    )
    found = [one.message for one in problems(wrong.models)]
    assert [message.partition(";")[0].partition("column ")[2] for message in found] == [
        "'pgae'",
        "'uesr'",
        "'aksed'",
        "'lefft'",
    ]
    with pytest.raises(
        DefinitionError, match=r"\(1\) .*pgae.*\(2\) .*uesr.*\(3\) .*aksed.*\(4\) .*lefft"
    ):
        hw.apply(wrong, "catalog.sqlite")


def test_a_problem_is_said_once_of_all_that_depends_on_it():
    wrong = project(
        source={"select": ["user", (pl.col("prise") * 2).alias("price")]},
        view={"features": [hw.mean("price"), hw.max("price")]},
    )
    assert len(problems(wrong.models)) == 1


def test_no_row_is_read(tmp_path):
    """Neither are the types of a select that only rows could refuse a problem, nor is a file of
    gigabytes opened beyond its footer.
    """
    cast = {"select": ["user", pl.col("page").cast(pl.Float64).alias("price")]}
    assert problems(project(source=cast).models) == ()


def test_a_stream_without_a_history_is_checked_by_its_schema_alone():
    streamed = project(source=STREAMED, view={"freshness": hw.streaming("2s")})
    assert hw.plan(streamed, "catalog.sqlite").refused == ()


RIGHT = {
    "the project itself": project,
    "keys of strings": lambda: project(source={"id_field": "page"}),
    "categories and strings": lambda: project(
        source={"select": [pl.col("user").cast(pl.Categorical), "price"]}
    ),
    "no key": lambda: project(view={"keys": []}),
    "every type of column": over(
        hw.last("user", "price", "paid", "number", "until", "day"), hw.count_distinct("page")
    ),
    "an end outside of the selection": lambda: project(
        source={"select": ["user"]}, view={"features": [hw.open_count(until="until")]}
    ),
    "maps and lists, which can be served": over(hw.count().by("page"), hw.top_k("price", k=2)),
    "naive times in a zone": lambda: project(
        source={
            "history": EVENTS.with_columns(pl.col("at").dt.replace_time_zone(None)),
            "timezone": "Europe/Oslo",
        }
    ),
    "days in a zone": lambda: project(source={"timestamp_field": "day", "timezone": "Europe/Oslo"}),
    "an outcome": lambda: project(
        labels={"label": hw.outcome(ENRICHED, hw.count(), keys=["user"], within="1d")}
    ),
    "classes of text": lambda: project(labels={"label": "user"}, task="multiclass"),
    "a regressor that orders two classes": lambda: project(estimator=LinearRegression()),
    "enriched events": lambda: project(
        source={"history": hw.enrich(ENRICHED, "rich", [USUAL]).history},
        view={"features": [hw.max("usual__mean_price_1d")]},
    ),
    "a third party without a history": lambda: project(
        features=[
            hw.HttpFeatures(
                "risk", url="https://ip.example/", request={"user": str}, response={"score": float}
            )
        ]
    ),
}


@pytest.mark.parametrize("made", RIGHT.values(), ids=RIGHT)
def test_a_right_definition_is_not_refused(made):
    assert problems(made().models) == ()
