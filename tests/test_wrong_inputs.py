"""Wrong inputs of users: each is refused or warned of with what was given, the allowed values, the
remedy, and the nearest name.
"""

import socket
import warnings
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

import headwater as hw
from headwater.cli import main
from headwater.cli.projects import load
from headwater.errors import HeadwaterError, HeadwaterWarning
from tests.cli.conftest import PROJECT, tables

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
EVENTS = pl.DataFrame(
    {
        "user": [1, 1, 2],
        "price": [1.0, 2.0, 3.0],
        "name": ["a", "b", "c"],
        "at": [NOON - timedelta(hours=h) for h in (4, 3, 2)],
    }
)
ROWS = pl.DataFrame({"user": [1, 2], "timestamp": [NOON, NOON]})
LABELS = pl.DataFrame(
    {
        "user": [1, 2] * 20,
        "timestamp": [NOON + timedelta(minutes=i) for i in range(40)],
        "y": [i % 3 == 0 for i in range(40)],
    }
)
LEVELS = {"daily": hw.batch("1d"), "instant": hw.on_request()}
EARLY = pl.col("timestamp") - timedelta(days=900)


def source(name="pay", **given):
    return hw.Source(name, **({"history": EVENTS, "timestamp_field": "at"} | given))


def view(name="user", **given):
    usual = {
        "source": source(),
        "keys": ["user"],
        "features": [hw.count(), hw.mean("price")],
        "windows": ["1d"],
    }
    return hw.FeatureView(name, **(usual | {"freshness": hw.on_request()} | given))


def of(**given):
    """A view over a source with these arguments."""
    return view(source=source(**given))


def labels(**given):
    return hw.Labels(
        "bought",
        **(
            {"table": LABELS, "timestamp_field": "timestamp", "label": "y", "known_after": "1m"}
            | given
        ),
    )


def early():
    """Labels from before the first event."""
    return labels(table=LABELS.with_columns(EARLY))


def model(read=None, **given):
    service = hw.FeatureService("f", [read or view()])
    return hw.Model("m", **({"features": service, "labels": labels(), "task": "binary"} | given))


def project(read=None, **given):
    return hw.Project("p", [model(read, **given)])


def ask(rows=ROWS, read=None, **given):
    return hw.get_historical_features(read or view(), rows, **given)


def keyed(expression):
    return ask(ROWS.with_columns(expression.alias("user")))


def backtest(**given):
    return hw.backtest(model(**given), LEVELS)


def pipeline(columns):
    return make_pipeline(
        ColumnTransformer([("filled", SimpleImputer(), columns)]), LogisticRegression()
    )


BATCH = view(freshness=hw.batch("1d"))
AT = "2024-05-02T00:00Z"


def online(rows, read=BATCH, at=AT, **given):
    return hw.get_online_features(read, rows, store="lmdb:online?size=1GB", at=at, **given)


def arms():
    return [hw.experiments.Arm("a", model()), hw.experiments.Arm("b", model(), hw.batch("1d"))]


def experiment(**given):
    return hw.Experiment("x", **({"arms": arms(), "unit": "user"} | given))


def metric(**given):
    return hw.experiments.ExperimentMetric("y", **given)


REFUSED = {
    # rows
    "text keys": (
        lambda: keyed(pl.col("user").cast(str)),
        ["the key 'user' is Int64 in the source and String in the requests; cast one"],
    ),
    "number keys of text": (
        lambda: ask(read=of(history=EVENTS.with_columns(pl.col("user").cast(str)))),
        ["is String in the source and Int64 in the requests; cast one"],
    ),
    "date keys": (
        lambda: keyed(pl.lit(date(2024, 5, 1))),
        ["is Int64 in the source and Date in the requests; cast one"],
    ),
    "float keys": (
        lambda: keyed(pl.col("user") + 0.5),
        ["the key 'user' is a float", "cast both to integers or strings"],
    ),
    "no request time": (
        lambda: ask(ROWS.rename({"timestamp": "ts"})),
        ["no column 'timestamp'", "timestamp_field='ts'"],
    ),
    "a misspelt request time": (
        lambda: ask(timestamp_field="timestmp"),
        ["did you mean 'timestamp'? Name it"],
    ),
    "a null request time": (
        lambda: ask(ROWS.with_columns(pl.lit(None, pl.Datetime("us", "UTC")).alias("timestamp"))),
        ["2 of 2 rows have no 'timestamp'"],
    ),
    "no columns": (
        lambda: ask(pl.DataFrame()),
        ["the frame has no columns. Name it, such as timestamp_field='asked_at'"],
    ),
    "rows as a list": (
        lambda: ask([{"user": 1}]),
        ["rows is list; give a path", "polars.DataFrame(...) makes a frame of it"],
    ),
    "a missing file": (
        lambda: ask("evs.parquet"),
        ["no file at evs.parquet", "did you mean 'ev.parquet'?"],
    ),
    "a Windows path": (
        lambda: ask(r"C:\data\ev.parquet"),
        [r"no file at C:\data\ev.parquet", "did you mean 'ev.parquet'?"],
    ),
    "a text file": (
        lambda: ask("notes.txt"),
        ["notes.txt cannot be read as parquet", "Give hw.csv(path) or hw.json_lines(path)"],
    ),
    "an empty folder": (
        lambda: ask(hw.parquet("folder")),
        ["the folder folder has no file that ends with '.parquet'; it holds nothing"],
    ),
    "a misspelt argument": (
        lambda: ask(timestamp_feild="at"),
        ["takes no argument 'timestamp_feild'; did you mean 'timestamp_field'?"],
    ),
    "a column like a feature": (
        lambda: ask(ROWS.with_columns(user__count_1d=1)),
        ["named like a feature; rename it"],
    ),
    "a level by name": (
        lambda: ask(level="daily"),
        ["the level is 'daily'; give a Level or a freshness"],
    ),
    "a level of another view": (
        lambda: ask(level=hw.Level({view(windows=["2d"]): hw.batch("1d")})),
        [
            (
                "Level names a view 'user' that differs from the view 'user' that is read; give "
                "that view itself"
            )
        ],
    ),
    "a view as rows": (lambda: ask(view()), ["rows is FeatureView; give a path"]),
    "a frame as features": (
        lambda: hw.get_historical_features(ROWS, ROWS),
        ["holds a DataFrame; give a list of feature views"],
    ),
    "a feature by name": (
        lambda: ask(read="user:count_1d"),
        ["features are given by the name 'user:count_1d'; give the definitions"],
    ),
    "a misspelt feature": (
        lambda: view()["cuont_1d"],
        ["feature view 'user' has no feature 'cuont_1d'; did you mean 'count_1d'?"],
    ),
    # history
    "parquet read as CSV": (
        lambda: ask(read=of(history=hw.csv("ev.parquet"))),
        ["ev.parquet is not CSV", "Give hw.parquet(path)"],
    ),
    "JSON read as CSV": (
        lambda: ask(read=of(history=hw.csv("json.csv"))),
        ["json.csv is not CSV", "hw.json_lines(path)"],
    ),
    "semicolons": (
        lambda: ask(read=of(history=hw.csv("semi.csv"))),
        ["separated by ';'", "Give hw.csv(path, separator=';')"],
    ),
    "an empty CSV": (lambda: ask(read=of(history=hw.csv("empty.csv"))), ["empty.csv is empty"]),
    "a misspelt event time": (
        lambda: ask(read=of(timestamp_field="att")),
        ["no column 'att'; did you mean 'at'?"],
    ),
    "an event time of text": (
        lambda: ask(read=of(timestamp_field="name")),
        ["the timestamp 'name' is text; parse it in select"],
    ),
    "an event time of numbers": (
        lambda: ask(read=of(timestamp_field="user")),
        ["a number of unknown unit"],
    ),
    "a time without a zone": (
        lambda: ask(read=of(history=EVENTS.with_columns(pl.col("at").dt.replace_time_zone(None)))),
        ["has no time zone; give timezone="],
    ),
    "a zone by its city": (
        lambda: source(timezone="Berlin"),
        ["not an IANA time zone; did you mean 'Europe/Berlin'?"],
    ),
    "a misspelt column": (
        lambda: ask(read=view(features=[hw.mean("prise")])),
        ["no column 'prise'; did you mean 'price'?"],
    ),
    "a mean of text": (
        lambda: ask(read=view(features=[hw.mean("name")])),
        ["mean() takes numbers or booleans, and the column is String"],
    ),
    "a misspelt filter": (
        lambda: ask(read=of(filter=pl.col("prise") > 1)),
        ["filter: no column 'prise'; did you mean 'price'?"],
    ),
    # definitions
    "no freshness": (
        lambda: hw.FeatureView("u", source=source(), keys=["user"], features=[hw.count()]),
        [
            (
                "FeatureView() is called without freshness=; it needs name, source=, keys=, "
                "features=, freshness="
            )
        ],
    ),
    "no lag": (hw.streaming, ["streaming() is called without lag; it needs lag"]),
    "a misspelt freshness": (
        lambda: view(freshnes=1),
        ["takes no argument 'freshnes'; did you mean 'freshness'?"],
    ),
    "a freshness that is not called": (
        lambda: view(freshness=hw.batch),
        ["the class batch, which is not called; give batch(...)"],
    ),
    "a freshness as text": (lambda: view(freshness="1d"), ["freshness is '1d'; give batch(...)"]),
    "a period in words": (
        lambda: hw.batch("daily"),
        ["batch(): every is 'daily'; give an integer and a unit"],
    ),
    "an aggregation that is not called": (
        lambda: view(features=[hw.count]),
        ["features holds the function count, which is not called"],
    ),
    "no keys": (lambda: view(keys=None), ["keys is None; give a list"]),
    "windows as text": (
        lambda: view(windows="1d"),
        ["windows is the string '1d'; give a list, such as ['1d']"],
    ),
    "a name with a space": (
        lambda: view("my view"),
        ["a feature view is named 'my view'; a name has letters, digits"],
    ),
    "no path": (
        lambda: hw.parquet(None),
        ["parquet(): path is None; give one path, glob, folder or URL"],
    ),
    "paths": (lambda: hw.csv(["a", "b"]), ["csv(): path is ['a', 'b']; give one path"]),
    "a stream that is not called": (
        lambda: source(stream=hw.push),
        ["the class push, which is not called; give hw.kafka(topic)"],
    ),
    "a stream without a schema": (
        lambda: source(history=None, stream=hw.push()),
        ["give the stream a schema="],
    ),
    "a function of another library": (
        lambda: hw.avg("price"),
        ["no attribute 'avg'; did you mean 'mean'?"],
    ),
    "a misspelt function": (
        lambda: hw.cuont("price"),
        ["no attribute 'cuont'; did you mean 'count'?"],
    ),
    "a misspelt class": (lambda: hw.Featureview, ["did you mean 'FeatureView'?"]),
    "a misspelt task": (
        lambda: model(task="binry"),
        ["task is 'binry'; give 'binary', 'multiclass' or 'regression'", "did you mean 'binary'?"],
    ),
    "an estimator's class": (
        lambda: model(estimator=LogisticRegression),
        [
            (
                "is the class LogisticRegression, not an instance; give one: "
                "estimator=LogisticRegression()"
            )
        ],
    ),
    "views as a model's features": (
        lambda: model(features=[view()]),
        ["features is [FeatureView('user')]; give hw.FeatureService(name,"],
    ),
    "a frame as labels": (
        lambda: model(labels=LABELS),
        ["labels is a DataFrame; give hw.Labels(name, table=, timestamp_field=, label="],
    ),
    "labels that are known at no time": (
        lambda: hw.Labels("bought", table=LABELS, timestamp_field="timestamp", label="y"),
        [
            (
                "labels 'bought' does not say when the outcome is known; give known_at_field=, or "
                "known_after="
            )
        ],
    ),
    "a project of views": (
        lambda: hw.Project("p", [view()]),
        ["models holds FeatureView('user'", "give a list of at least one Model"],
    ),
    "a level as text": (
        lambda: hw.Project("p", [model()], levels={"a": "1d"}),
        ["project 'p': the level 'a' is '1d'; give a Level"],
    ),
    "a level of a view that is not read": (
        lambda: hw.Project("p", [model()], levels={"a": hw.Level({view("usr"): hw.batch("1d")})}),
        ["the level 'a' names the view 'usr', which no model reads; did you mean 'user'?"],
    ),
    "a level by a view's name": (
        lambda: hw.Level({"user": hw.batch("1d")}),
        ["Level: a key of features is 'user'", "not their names"],
    ),
    "a ladder's zone": (
        lambda: hw.evaluation.ladder("Berlin"),
        ["ladder(): timezone 'Berlin' is not an IANA time zone"],
    ),
    "a lambda": (
        lambda: hw.request_feature(lambda a: a),
        ["a request feature is a lambda, which has no name and no types"],
    ),
    # calls
    "a model as a project": (
        lambda: hw.plan(model()),
        ["plan() takes a Project, and was given Model; give hw.Project(name, [models])"],
    ),
    "a view as a project": (
        lambda: hw.materialize(view()),
        ["materialize() takes a Project, and was given FeatureView"],
    ),
    "a project as a model": (
        lambda: hw.train(project()),
        ["train() takes a Model, and was given Project; take one from project.models"],
    ),
    "a model to be served": (
        lambda: hw.operations.serve(model()),
        ["serve() takes a Project, and was given Model"],
    ),
    "a model with status": (
        lambda: hw.status(model()),
        ["status() takes a Project, and was given Model"],
    ),
    "no output": (
        lambda: hw.dataset(model()),
        ["dataset() is called without output; it needs model, output"],
    ),
    "an output of no known kind": (
        lambda: hw.dataset(model(), "rows.xlsx"),
        ["known: .csv, .parquet"],
    ),
    "a job at a misspelt store": (
        lambda: hw.materialize(project(BATCH), stroe="x"),
        ["takes no argument 'stroe'; did you mean 'store'?"],
    ),
    "a job of the future": (
        lambda: hw.materialize(project(BATCH), store="lmdb:x", at="2190-01-01T00:00Z"),
        ["has not come"],
    ),
    "a job of no such view": (
        lambda: hw.materialize(project(BATCH), ["usr"], store="lmdb:x"),
        ["no batch view 'usr'; did you mean 'user'?"],
    ),
    # training
    "levels by name": (
        lambda: hw.backtest(model(), ["daily"]),
        ["levels is a mapping from names to Levels"],
    ),
    "a misspelt metric": (
        lambda: hw.backtest(model(), LEVELS, hw.Evaluation(metrics=["acu"])),
        ["unknown metric 'acu'; did you mean 'auc'?"],
    ),
    "a misspelt cost": (
        lambda: hw.backtest(model(), LEVELS, hw.Evaluation(costs={"false_positve": 5})),
        ["costs names 'false_positve'; did you mean 'false_positive'?"],
    ),
    "labels of one class": (
        lambda: backtest(labels=labels(table=LABELS.with_columns(y=True))),
        ["labels are 1; both outcomes are needed. Check the label"],
    ),
    "labels of text": (
        lambda: backtest(labels=labels(table=LABELS.with_columns(y=pl.lit("yes")))),
        ["the label 'y' is String", "Make one in select"],
    ),
    "a misspelt label": (
        lambda: backtest(labels=labels(label="yy")),
        ["no column 'yy'; did you mean 'y'?"],
    ),
    "labels without rows": (
        lambda: backtest(labels=labels(table=LABELS.clear())),
        ["no row is left of the table"],
    ),
    "a column that a pipeline does not have": (
        lambda: backtest(estimator=pipeline(["count_1d"])),
        [
            "{'count_1d'}",
            (
                "The columns are numbers (NaN where missing) and categories: user__count_1d, "
                "user__mean_price_1d"
            ),
        ],
    ),
    "an estimator that takes no nulls": (
        lambda: backtest(estimator=LogisticRegression()),
        ["a pipeline with an imputer takes them"],
    ),
    "a classifier of numbers": (
        lambda: backtest(
            task="regression", estimator=make_pipeline(SimpleImputer(), LogisticRegression())
        ),
        [
            (
                "predicts classes, and the task is 'regression'; give a regressor, such as "
                "HistGradientBoostingRegressor"
            )
        ],
    ),
    # plan
    "a plan over a missing file": (
        lambda: hw.apply(project(of(history="evs.parquet"))),
        ["no file at evs.parquet", "'ev.parquet'?"],
    ),
    "a plan over a misspelt column": (
        lambda: hw.apply(project(view(features=[hw.mean("prise")]))),
        ["'prise'; did you mean 'price'?"],
    ),
    "a plan over a misspelt expectation": (
        lambda: hw.apply(project(of(expectations=[hw.Expect("prise", not_null=True)]))),
        ["an expectation: no column 'prise'; did you mean 'price'?"],
    ),
    # online
    "an online text key": (
        lambda: online([{"user": "1"}]),
        ["is Int64 in the source and String in the requests; cast one"],
    ),
    "a misspelt online key": (
        lambda: online([{"usr": 1}]),
        ["has a field 'usr', which 'features' does not read; did you mean 'user'?"],
    ),
    "an online key too many": (
        lambda: online([{"user": 1, "usr": 2}]),
        ["has a field 'usr', which 'features' does not read"],
    ),
    "no online rows": (
        lambda: online([]),
        ["rows is empty and has no columns; features of 'features' need: user"],
    ),
    "online rows by Feast's name": (
        lambda: hw.get_online_features(BATCH, entity_rows=[]),
        ["takes no argument 'entity_rows'"],
    ),
    "a view that no job stores": (
        lambda: online([{"user": 1}], view()),
        [
            (
                "its freshness is at request time, which no job stores, and source 'pay' has no "
                "stream. Give it freshness=hw.batch(...)"
            )
        ],
    ),
    "a view that is not stored": (
        lambda: online([{"user": 1}], view("other", freshness=hw.batch("1d"))),
        ["run `headwater materialize`"],
    ),
    "a time in words": (
        lambda: online([{"user": 1}], at="yesterday"),
        ["at is 'yesterday'; give a timestamp as ISO 8601"],
    ),
    "a misspelt store": (
        lambda: hw.get_online_features(BATCH, [], store="lmbd:x"),
        ["'lmbd:x' is not known; give lmdb:FOLDER, redis://"],
    ),
    "a store that is not there": (
        lambda: hw.get_online_features(BATCH, [], store="lmdb:nix"),
        ["no online store in nix"],
    ),
    # experiments and expectations
    "an experiment without arms": (
        lambda: hw.Experiment("x"),
        ["is called without arms, unit=; it needs name, arms, unit="],
    ),
    "an arm alone": (
        lambda: experiment(arms=arms()[:1]),
        ["give at least two hw.experiments.Arm(name, model, level), the control first"],
    ),
    "a misspelt unit": (
        lambda: experiment(unit="usr"),
        ["unit is 'usr', which a request of model 'm' does not carry; did you mean 'user'?"],
    ),
    "no unit": (
        lambda: experiment(unit=None),
        ["unit is None; give the name of a column of the request"],
    ),
    "a kind's class": (
        lambda: experiment(kind=hw.experiments.ABTest),
        ["the class ABTest, which is not called; give a kind of hw.experiments: ABTest()"],
    ),
    "a plan of plain values": (
        lambda: experiment(plan={"looks": 3}),
        ["plan is {'looks': 3}; give hw.experiments.ExperimentPlan(duration=, looks=, ...)"],
    ),
    "a guardrail by name": (
        lambda: experiment(guardrails=["x"]),
        ["guardrails holds 'x'; give a list of hw.experiments.ExperimentMetric(name, margin=)"],
    ),
    "a guardrail without a margin": (
        lambda: experiment(guardrails=[metric()]),
        ["the guardrail 'y' has no margin"],
    ),
    "a margin in percent": (
        lambda: metric(margin="1%"),
        ["margin is '1%'; give a share from 0 to below 1, such as 0.01"],
    ),
    "a quantile in words": (
        lambda: metric(quantile="p99"),
        ["quantile is 'p99'; give a number above 0 and below 1"],
    ),
    "one stage": (
        lambda: hw.experiments.ExperimentPlan(enrolled=0.5),
        ["enrolled is 0.5; give rising shares up to 1, such as (0.02"],
    ),
    "power in percent": (
        lambda: hw.experiments.ExperimentPlan(power="80%"),
        ["power is '80%'; give a number above 0 and below 1"],
    ),
    "a misspelt range": (
        lambda: hw.Expect("price", in_rnage=(0, 1)),
        ["takes no argument 'in_rnage'; did you mean 'in_range'?"],
    ),
    "an expectation of nothing": (lambda: hw.Expect("price"), ["expects nothing; give in_range="]),
    "a null that may be": (
        lambda: hw.Expect("price", not_null="yes"),
        ["not_null is 'yes'; give True or False"],
    ),
    "rows by place": (
        lambda: hw.ExpectRows(1000),
        ["takes no values without a name, and was given 1; write their names: at_least=, at_most="],
    ),
    "rows below nothing": (
        lambda: hw.ExpectRows(at_least=-5),
        ["at_least is -5; give an integer of at least 0"],
    ),
    # databases
    "a database of no kind": (
        lambda: hw.sql("orders", url="postgrs://x/y"),
        ["begins with 'postgrs'; did you mean 'postgres'?"],
    ),
    "no database": (
        lambda: hw.sql("orders", url=None),
        ["sql(): url is None; give the database's URL"],
    ),
    "a database that is not named": (
        lambda: hw.sql("orders"),
        ["sql() is called without url=; it needs query, url="],
    ),
    "a manifest that is not there": (
        lambda: hw.dbt("manifest.json", "orders").scan(),
        ["no manifest at manifest.json", "`dbt parse` writes it"],
    ),
    "a manifest named twice": (
        lambda: hw.dbt("orders", manifest="m.json"),
        ["is given manifest twice", "the order is manifest, name"],
    ),
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A user's folder, which no test changes: tables, project files and a store of `BATCH`."""
    folder = tmp_path_factory.mktemp("shop")
    EVENTS.write_parquet(folder / "ev.parquet")
    EVENTS.write_csv(folder / "semi.csv", separator=";")
    hw.materialize(project(BATCH), store=f"lmdb:{folder}/online?size=1GB", at=AT)
    (folder / "empty.csv").touch()
    (folder / "notes.txt").write_text("hello", encoding="utf-8")
    (folder / "json.csv").write_text('{"a": 1}\n', encoding="utf-8")
    (folder / "folder").mkdir()
    (folder / "feast").mkdir()
    events, outcomes = tables(rows=60)
    events.write_parquet(folder / "events.parquet")
    events.write_csv(folder / "events.csv", separator=";")
    outcomes.write_parquet(folder / "labels.parquet")
    (folder / "features.py").write_text(PROJECT, encoding="utf-8")
    (folder / "two.py").write_text(
        PROJECT.replace("project =", "one =") + 'other = hw.Project("b", [model])\n',
        encoding="utf-8",
    )
    (folder / "both.py").write_text(
        PROJECT + 'other = hw.Project("b", [model])\n', encoding="utf-8"
    )
    (folder / "lacks.py").write_text(
        PROJECT.replace(', freshness=hw.batch("1d")', ""), encoding="utf-8"
    )
    return folder


@pytest.fixture(autouse=True)
def here(shop, tmp_path, monkeypatch):
    monkeypatch.chdir(shop)
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize(("call", "says"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_input_is_refused_with_what_to_do(call, says):
    with pytest.raises((HeadwaterError, AttributeError)) as raised:
        call()
    assert isinstance(raised.value, HeadwaterError) or "headwater" in str(raised.value)
    assert [text for text in says if text not in str(raised.value)] == [], str(raised.value)
    assert len(str(raised.value)) < 700


WARNED = {
    "rows before any event": (
        lambda: ask(ROWS.with_columns(EARLY)),
        "no event of source 'pay' is known before any of the 2 rows",
    ),
    "a history without rows": (
        lambda: ask(read=of(history=EVENTS.clear())),
        "no event of source 'pay'",
    ),
    "training before any event": (
        lambda: hw.train(model(labels=early(), estimator=DummyClassifier())),
        "no event of source 'pay'",
    ),
    "a backtest before any event": (
        lambda: backtest(labels=early(), estimator=DummyClassifier()),
        "no event of source 'pay'",
    ),
    "a value that is old": (
        lambda: online([{"user": 1}], at="2025-05-02T00:00Z"),
        "view 'user' is 365d old",
    ),
    "a value of a later time": (
        lambda: online([{"user": 1}], at="2023-05-03T00:00Z"),
        (
            "view 'user' is 365d later than the request: a store keeps the last values alone, and "
            "get_historical_features has those"
        ),
    ),
    "a job of the past": (
        lambda: hw.materialize(
            project(BATCH), store="lmdb:online?size=1GB", at="2020-01-01T00:00Z"
        ),
        "nothing was done for at=2020-01-01",
    ),
}
TAKEN = {
    "a lazy frame": lambda: ask(ROWS.lazy()),
    "no rows": lambda: ask(ROWS.clear()),
    "null keys": lambda: keyed(pl.lit(None, pl.Int64)),
    "an online null key": lambda: online([{"user": None}]),
    "a column of a pipeline": lambda: backtest(estimator=pipeline(["user__count_1d"])),
}


@pytest.mark.parametrize(
    ("call", "says"),
    [*WARNED.values(), *((call, None) for call in TAKEN.values())],
    ids=[*WARNED, *TAKEN],
)
def test_an_input_that_is_probably_wrong_is_warned_of(call, says):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    found = [str(one.message) for one in caught if issubclass(one.category, HeadwaterWarning)]
    assert [says in message for message in found] == [True] if says else found == [], found


COMMANDS = {
    "a command": (["backtst"], ["no command 'backtst'; did you mean 'backtest'?"]),
    "an option": (
        ["backtest", "--ouput", "x.html"],
        ["no option --ouput; did you mean '--output'? See: headwater backtest --help"],
    ),
    "an output": (
        ["backtest", "--output", "/proc/x.html"],
        ["--output /proc/x.html cannot be written", "name another path"],
    ),
    "a project file": (
        ["plan", "--project", "featurs.py"],
        ["no project file at featurs.py; did you mean 'features.py'?"],
    ),
    "two projects": (
        ["plan", "--project", "two.py"],
        ["two.py defines no `project`; rename 'one' or 'other'."],
    ),
    "a definition": (
        ["plan", "--project", "lacks.py"],
        ["lacks.py:6: FeatureView() is called without freshness="],
    ),
    "a level": (
        ["backtest", "--levels", "dayly"],
        ["unknown level 'dayly'; did you mean 'daily'?"],
    ),
    "a model": (["train", "--model", "chrun"], ["no model 'chrun'; did you mean 'churn'?"]),
    "a view": (["materialize", "usr"], ["no batch view 'usr'; did you mean 'user'?"]),
    "a table": (
        ["init", "evens.parquet", "labels.parquet", "--output", "new.py"],
        ["did you mean 'events.parquet'?"],
    ),
    "a Feast folder": (
        ["init", "--feast", "nix", "--output", "new.py"],
        ["no folder nix; give the folder of the Feast repository"],
    ),
    "an empty Feast folder": (
        ["init", "--feast", "feast", "--output", "new.py"],
        ["feast has no feature_store.yaml"],
    ),
    "a store": (["status", "--store", "lmbd:x"], ["'lmbd:x' is not known; give lmdb:FOLDER"]),
    "a scope": (
        ["token", "new", "--scope", "admn"],
        ["unknown scope 'admn'; did you mean 'admin'?"],
    ),
    "an address": (
        ["console", "--listen", "localhost"],
        ["the address is 'localhost'; give HOST:PORT"],
    ),
    "a time": (
        ["parity", "--at", "yesterday"],
        ["--at is 'yesterday'; give a timestamp as ISO 8601"],
    ),
    "a time of the console": (
        ["console", "--at", "yesterday"],
        ["--at is 'yesterday'; give a timestamp as ISO 8601"],
    ),
    "no stream": (["ingest"], ["has no streaming view; give one freshness=hw.streaming('2s')"]),
    "an action": (["experiment", "strt", "x"], ["no action 'strt'; did you mean 'start'?"]),
}


@pytest.mark.filterwarnings("ignore::headwater.serving.process.ingest_process.UnappliedWarning")
@pytest.mark.parametrize(("arguments", "says"), COMMANDS.values(), ids=COMMANDS)
def test_a_wrong_call_of_the_command_line_is_refused(arguments, says, capsys):
    assert main(arguments) in (1, 2)
    error = capsys.readouterr().err
    assert [text for text in says if text not in error] == [], error
    assert not Path("new.py").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::headwater.serving.process.ingest_process.UnappliedWarning")
@pytest.mark.parametrize("command", ["console", "serve"])
def test_a_port_in_use_is_named(command, capsys):
    assert main(["materialize", "--at", "2024-02-20T00:00Z"]) == 0
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert main([command, "--listen", address]) == 2
    error = capsys.readouterr().err
    assert f"cannot listen on {address}: Address already in use" in error
    assert "give another address with --listen" in error


def test_the_other_projects_of_a_file_are_named():
    with pytest.warns(
        HeadwaterWarning,
        match="defines the projects 'project', 'other'; `project` is read, and the others are not",
    ):
        load("both.py")
