"""What definitions and results show of themselves at a prompt: a few readable lines for any
contents.
"""

import dataclasses
import inspect
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from msgspec import structs

import headwater as hw
from headwater.definitions.definition import LINES, WIDTH, Definition, Readable, brief
from headwater.errors import DefinitionError
from tests.backtesting.sample_result import flights

AT = datetime(2024, 5, 1, 12, tzinfo=UTC)
EVENTS = pl.DataFrame(
    {
        "user": ["a", "b"] * 50,
        "price": [1.0, 2.0] * 50,
        "at": [AT + timedelta(hours=i) for i in range(100)],
    }
)
LABELS = EVENTS.select("user", asked="at", left=pl.col("price") > 1)
DAILY = hw.batch("1d", delay="4h")


def definitions():
    """One of each kind, some with more than a line can hold."""
    clicks = hw.Source(
        "clicks",
        history=EVENTS,
        timestamp_field="at",
        stream=hw.push(),
        select=["user", *(pl.col("price").alias(f"p{i}") for i in range(60))],
    )
    view = hw.FeatureView(
        "user",
        source=clicks,
        keys=["user"],
        features=[hw.mean(*(f"p{i}" for i in range(60))), hw.count().by("p1")],
        windows=["1h", "7d"],
        freshness=DAILY,
        ttl="30d",
    )
    labels = hw.Labels(
        "leaving", table=LABELS, timestamp_field="asked", label="left", known_after="1d"
    )
    small = hw.FeatureView(
        "small",
        source=hw.Source("s", history=EVENTS, timestamp_field="at"),
        keys=["user"],
        features=[hw.count()],
        freshness=DAILY,
    )
    model = hw.Model(
        "churn",
        features=hw.FeatureService("churn_v1", [small]),
        labels=labels,
        task="binary",
        latency_budget="50ms",
    )
    made = [
        clicks,
        view,
        labels,
        model,
        model.features,
        small["count"],
        hw.Project("shop", [model], levels=hw.evaluation.ladder()),
        *hw.evaluation.ladder().values(),
    ]
    made += [
        DAILY,
        hw.streaming("2s"),
        hw.on_request(),
        hw.never(),
        hw.measured([timedelta(seconds=3)] * 100),
        hw.window("7d", offset="1h"),
    ]
    made += [
        hw.mean("price", windows=["1h"], where="late"),
        hw.kafka("t", schema={f"c{i}": str for i in range(90)}),
        hw.appended("x"),
        hw.push(),
    ]
    made += [
        hw.Registry(
            "https://r", user="u", password="hunter2", options={"ssl.key.password": "hunter2"}
        ),
        hw.parquet("x.parquet"),
        hw.csv("x.csv"),
        hw.precomputed(DAILY, keys=["user"]),
    ]
    made += [
        hw.evaluation.rolling("2024-05-01T00:00:00Z", every="1d", folds=3),
        hw.Ranking("request", "item"),
        hw.RequestField("distance", float),
    ]
    made += [
        hw.outcome(clicks, hw.count(), keys=["user"], within="1d"),
        hw.enrich(clicks, "rich", [small]),
        hw.operations.ModelVariant("daily", model, hw.Level(DAILY)),
    ]
    made += [
        hw.HttpFeatures(
            "ip",
            url="https://ip.example/",
            request={"user": str},
            response={"score": float},
            headers={"Authorization": "hunter2"},
        )
    ]
    return [
        *made,
        hw.evaluation.Refits(seeds=3),
        hw.evaluation.Tuning(trials=3),
        hw.evaluation.metric("mine", lambda y, s: 0.0),
    ]


def results(folder):
    """One of each kind that small runs give."""
    model = next(one for one in definitions() if isinstance(one, hw.Model))
    trained = hw.train(model)
    project = hw.Project("shop", [model])
    store = hw.operations.open_store(f"lmdb:{folder / 'store'}")
    hw.apply(project, folder / "catalog.sqlite")
    yield from (
        trained,
        trained.fitted,
        trained.fitted.encoding,
        trained.register(hw.operations.ModelRegistry(folder / "models")),
        hw.operations.ModelRegistry(folder),
    )
    yield from (
        hw.plan(project, folder / "catalog.sqlite"),
        hw.plan(project, folder / "other.sqlite"),
        hw.dataset(model, folder / "rows.parquet"),
    )
    made = hw.materialize(project, store=store, at=AT + timedelta(days=3))
    yield from (
        hw.client.Client("http://127.0.0.1:9"),
        hw.operations.OnlineFeatures(model.features, store),
        hw.operations.Outcomes(folder, model.labels),
    )
    yield from (
        store,
        *made,
        hw.status(project, store=store),
        *hw.parity(project, store=store, data_dir=folder),
    )
    result = flights()
    yield from (
        hw.evaluation.Backtest(result),
        result,
        *result.levels,
        *result.comparisons,
        hw.evaluation.Backtest(structs.replace(result, levels=result.levels * 20)),
    )


def bounded(value):
    """The repr, if it is of a few lines and shows neither microseconds nor secrets."""
    text = repr(value)
    assert len(text.splitlines()) <= LINES, text
    assert max(map(len, text.splitlines())) <= WIDTH, text
    # microseconds
    assert not re.search(
        r"(?<![.\d])[1-9]\d{7,}", text.replace(str(getattr(value, "folder", "")), "")
    ), text
    assert "hunter2" not in text
    assert " object at 0x" not in text
    return text


def test_every_definition_is_readable():
    for one in definitions():
        bounded(one)


def test_every_result_is_readable(tmp_path):
    for one in results(tmp_path):
        bounded(one)


def test_no_public_dataclass_dumps_its_fields():
    """The dataclasses of the public names, and those that their fields are annotated with by
    name.
    """
    public = [getattr(hw, name) for name in hw.__all__]
    dumped = [
        one
        for one in public
        if inspect.isclass(one)
        and dataclasses.is_dataclass(one)
        and not issubclass(one, Readable)
        and one not in (hw.evaluation.Backtest, hw.operations.Delivery)
    ]
    assert dumped == []


SHOWN = {
    "a source": (
        lambda: hw.Source(
            "clicks", history=hw.csv("c.csv"), timestamp_field="at", known_after="60m"
        ),
        "Source('clicks', timestamp_field='at', history=c.csv, known_after='1h')",
    ),
    "a window": (lambda: hw.window("7d"), "Window(7d, hop 1h)"),
    "an aggregation": (
        lambda: hw.mean("price", windows=["1h"]),
        "Aggregation(mean('price', windows=['1h']))",
    ),
    "a batch": (lambda: DAILY, "Batch(every 1d at 00:00 UTC, published 4h later)"),
    "a registry": (
        lambda: hw.Registry("https://r", password="hunter2"),
        "Registry('https://r', password=...)",
    ),
}


@pytest.mark.parametrize(("made", "said"), SHOWN.values(), ids=SHOWN)
def test_what_is_shown(made, said):
    assert repr(made()) == said


def test_a_backtest_says_its_verdict_levels_and_steps():
    text = repr(hw.evaluation.Backtest(flights()))
    assert text.startswith("Run it as a job (minute); do not build a stream.")
    assert "daily" in text
    assert "LIFT" in text
    assert ".table() prints more" in text


def test_a_table_prints_itself():
    table = repr(hw.evaluation.Backtest(flights()).table())
    assert "Levels" in table
    assert "Differences in AUC" in table
    assert "checks not run" in table
    assert "_Report" not in table


def test_a_repr_changes_no_fingerprint():
    class Own(Definition):
        pass

    assert issubclass(Own, Readable)
    assert brief(EVENTS) == "DataFrame of 100 rows x 3 columns"


# ---------------------------------------------------------------- misspelt names

NAMES = {
    "cuont": "count",
    "avg": "mean",
    "average": "mean",
    "stddev": "std",
    "nunique": "count_distinct",
    "Souce": "Source",
    "bactest": "backtest",
}


@pytest.mark.parametrize(("name", "near"), NAMES.items(), ids=NAMES)
def test_a_misspelt_name_gets_a_suggestion(name, near):
    with pytest.raises(
        AttributeError, match=f"module 'headwater' has no attribute '{name}'; did you mean '{near}'"
    ):
        getattr(hw, name)
    with pytest.raises(ImportError, match=f"'{name}'; did you mean '{near}'"):
        exec(f"from headwater import {name}", {})
    assert not hasattr(hw, name)


def test_what_is_like_nothing_lists_where_to_look():
    with pytest.raises(AttributeError, match=r"has no attribute 'qqqqq'; dir\(headwater\) lists"):
        _ = hw.qqqqq
    done = subprocess.run(
        [sys.executable, "-c", "import headwater.nothing"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "No module named 'headwater.nothing'" in done.stderr


ARGUMENTS = {
    "a class": (
        lambda: hw.FeatureView("user", freshnes=DAILY),
        r"FeatureView\(\) takes no argument 'freshnes'; did you mean 'freshness'",
    ),
    "a source": (
        lambda: hw.Source("a", timestmp_field="at"),
        r"Source\(\) takes no argument 'timestmp_field'; did you mean 'timestamp_field'",
    ),
    "an aggregation": (
        lambda: hw.mean("a", windws=["1h"]),
        r"mean\(\) takes no argument 'windws'; did you mean 'windows'",
    ),
    "a freshness": (
        lambda: hw.batch("1d", dealy="4h"),
        r"batch\(\) takes no argument 'dealy'; did you mean 'delay'",
    ),
    "a stream": (
        lambda: hw.kafka("t", schma={}),
        r"kafka\(\) takes no argument 'schma'; did you mean 'schema'",
    ),
    "like nothing": (
        lambda: hw.window("1h", zzz=1),
        r"window\(\) takes no argument 'zzz'; known: hop, length, offset",
    ),
}


@pytest.mark.parametrize(("made", "said"), ARGUMENTS.values(), ids=ARGUMENTS)
def test_a_misspelt_argument_names_the_nearest(made, said):
    with pytest.raises(DefinitionError, match=said):
        made()


def test_a_missing_argument_is_named_with_those_that_are_needed():
    with pytest.raises(
        DefinitionError,
        match=r"Source\(\) is called without timestamp_field=; it needs name, timestamp_field=",
    ):
        hw.Source("a")
