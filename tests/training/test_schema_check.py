"""Wrong definitions, and what plan, apply and backtest say of them before anything is read or
written.
"""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

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


# the fault -> the project, the definition that is named, and a part of the message
WRONG = {
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
    "the group of a ranking": (
        lambda: project(task=hw.Ranking(group="grp", item="user")),
        "labels 'leaving'",
        "'grp', which the ranking's group",
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
