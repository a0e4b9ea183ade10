"""Any value of a field of a definition is taken or refused in one form: never does an error of
Python's own come out.
"""

import contextlib
import inspect
import math
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
import headwater_aws
from headwater.errors import HeadwaterError

pytestmark = pytest.mark.filterwarnings("ignore::headwater.errors.HeadwaterWarning")
EVENTS = pl.DataFrame(
    {"user": [1], "amount": [1.0], "y": [1], "at": [datetime(2024, 5, 1, tzinfo=UTC)]}
)
SOURCE = hw.Source("pay", history=EVENTS, timestamp_field="at", select=["user", "amount", "y"])
VIEW = hw.FeatureView(
    "user",
    source=SOURCE,
    keys=["user"],
    features=[hw.count()],
    windows=["1h"],
    freshness=hw.batch("1d"),
)
SERVICE = hw.FeatureService("f", [VIEW])
LABELS = hw.Labels("l", table=EVENTS, timestamp_field="at", label="y", known_after="1h")
MODEL = hw.Model("m", features=SERVICE, labels=LABELS, task="binary")
ARMS = [hw.experiments.Arm("a", MODEL), hw.experiments.Arm("b", MODEL, hw.streaming("1s"))]

RIGHT = [
    (hw.Source, {"name": "s", "history": EVENTS, "timestamp_field": "at"}),
    (
        hw.FeatureView,
        {
            "name": "v",
            "source": SOURCE,
            "keys": ["user"],
            "features": [hw.count()],
            "freshness": hw.batch("1d"),
        },
    ),
    (VIEW.alias, {"name": "x", "keys": {"user": "u"}}),
    (hw.FeatureService, {"name": "f", "features": [VIEW]}),
    (
        hw.Labels,
        {"name": "l", "table": EVENTS, "timestamp_field": "at", "label": "y", "known_after": "1h"},
    ),
    (hw.outcome, {"source": SOURCE, "aggregation": hw.count(), "keys": ["user"], "within": "1h"}),
    (hw.Model, {"name": "m", "features": SERVICE, "labels": LABELS, "task": "binary"}),
    (hw.Project, {"name": "p", "models": [MODEL]}),
    (hw.precomputed, {"freshness": hw.batch("1d"), "keys": ["user"]}),
    (hw.Ranking, {"group": "g", "item": "i"}),
    (hw.evaluation.NegativeSampling, {"n": 3}),
    (hw.Level, {}),
    (hw.batch, {"every": "1d"}),
    (hw.streaming, {"lag": "1s"}),
    (hw.measured, {"ages": ["1s", "2s"]}),
    (hw.window, {"length": "1h"}),
    (hw.count().by, {"column": "a"}),
    (hw.each, {"of": "a"}),
    (hw.Expect, {"column": "a", "not_null": True}),
    (hw.ExpectRows, {"at_least": 1}),
    (hw.RequestField, {"name": "a", "dtype": float}),
    (
        hw.HttpFeatures,
        {
            "name": "ip",
            "url": "https://ip.example/{ip}",
            "request": {"ip": str},
            "response": {"score": float},
        },
    ),
    (hw.kafka, {"topic": "t"}),
    (headwater_aws.kinesis, {"stream": "t"}),
    (hw.push, {}),
    (hw.appended, {"path": "x"}),
    (hw.csv, {"path": "x.csv"}),
    (hw.enrich, {"source": SOURCE, "name": "r", "features": [VIEW]}),
    (hw.experiments.Arm, {"name": "a", "model": MODEL}),
    (hw.experiments.ExperimentMetric, {"name": "y"}),
    (hw.experiments.ExperimentPlan, {}),
    (hw.Experiment, {"name": "e", "arms": ARMS, "unit": "user"}),
    (hw.experiments.Switchback, {"region": "c"}),
    (hw.experiments.ClusterTest, {"cluster": "c"}),
    (hw.censored, {"above": 0.5, "holdout": 0.1, "unit": "u"}),
    (hw.Evaluation, {}),
    (hw.DecisionValue, {"volume": 3, "acted_on": 0.1, "hit": 3}),
    (hw.evaluation.Refits, {}),
    (hw.evaluation.Tuning, {}),
    (hw.evaluation.Acknowledgement, {"check": "a", "subject": "b", "reason": "c", "author": "d"}),
    (hw.evaluation.Scores, {"table": EVENTS}),
    (hw.evaluation.rolling, {"start": "2024-05-01T00:00Z"}),
]
WRONG = [
    None,
    True,
    0,
    3,
    -1,
    10**400,
    0.5,
    math.nan,
    math.inf,
    "",
    " ",
    "x",
    "x" * 300,
    "1h",
    b"ab",
    [],
    [1],
    [None],
    [""],
    {},
    {"a": 1},
    {1: 2},
]
WRONG += [
    {"user"},
    (0, 1),
    (1, 0, 2),
    object(),
    int,
    len,
    date(2024, 1, 1),
    timedelta(0),
    timedelta(hours=-1),
    hw.batch,
    hw.count(),
    MODEL,
    [MODEL],
]


@pytest.mark.parametrize(
    ("define", "right"), RIGHT, ids=lambda value: getattr(value, "__qualname__", "")
)
def test_a_value_of_another_type_is_taken_or_refused(define, right):
    define(**right)
    for field in inspect.signature(define).parameters:
        for value in WRONG:
            with contextlib.suppress(HeadwaterError):
                define(**(right | {field: value}))
