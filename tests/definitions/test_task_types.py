"""What a task says of itself, and what a model says of its task."""

import polars as pl
import pytest

import headwater as hw
from headwater.definitions.model import TASKS, written
from headwater.metrics import resolve

TABLE = pl.DataFrame({"user": ["u"], "item": ["i"], "at": [0], "label": [1]})
VIEW = hw.FeatureView(
    "v",
    source=hw.Source("s", history=TABLE, timestamp_field="at"),
    keys=["user"],
    features=[hw.count()],
    freshness=hw.streaming("1s"),
)
GIVEN = {name: name for name in written()} | {"ranking": hw.Ranking("user", "item")}


def model(task):
    labels = hw.Labels("l", table=TABLE, timestamp_field="at", label="label", known_after="1h")
    return hw.Model("m", task=task, features=hw.FeatureService("f", [VIEW]), labels=labels)


@pytest.mark.parametrize("name", TASKS)
def test_a_model_says_its_task(name):
    made = model(GIVEN[name])
    assert made.task_type is TASKS[name]
    assert made.task_kind == name
    assert made.ranking is (made.task if name == "ranking" else None)


def test_every_task_is_told_apart_by_one_fact():
    assert {
        name: (row.positives, row.classes, row.values, row.lists) for name, row in TASKS.items()
    } == {
        "binary": (True, False, False, False),
        "multiclass": (False, True, False, False),
        "regression": (False, False, True, False),
        "ranking": (False, False, False, True),
    }


@pytest.mark.parametrize("name", TASKS)
def test_the_headline_is_a_metric_of_the_task(name):
    (metric,) = resolve([TASKS[name].headline], name)
    assert metric.task_type is TASKS[name]
