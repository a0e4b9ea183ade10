"""Lineage: nodes, edges, and neighbours."""

import polars as pl
import pytest

import headwater as hw
from headwater.catalog.lineage import lineage

_EVENTS = pl.DataFrame({"user": [1], "shop": [2], "amount": [1.0], "at": [0]})


@pytest.fixture(scope="module")
def found():
    payments = hw.Source(
        "payments",
        history=_EVENTS,
        timestamp_field="at",
        timezone="UTC",
        known_after="0s",
        owner="Growth team",
        tags=["pii"],
    )
    user = hw.FeatureView(
        "user",
        source=payments,
        keys=["user"],
        features=[hw.count()],
        windows=["1d"],
        freshness=hw.batch("1h"),
    )
    rich = hw.enrich(payments, "rich_payments", [user])
    shop = hw.FeatureView(
        "shop",
        source=rich,
        keys=["shop"],
        features=[hw.mean("user__count_1d")],
        freshness=hw.batch("1h"),
    )
    other = user.alias("receiver", keys={"user": "to_user"})
    labels = hw.Labels(
        "fraud",
        table=_EVENTS,
        timestamp_field="at",
        timezone="UTC",
        label="amount",
        known_after="1h",
    )
    model = hw.Model(
        "risk",
        features=hw.FeatureService("risk_v1", [user, shop, other]),
        labels=labels,
        task="regression",
    )
    arms = [
        hw.experiments.Arm("a", model, hw.batch("1d")),
        hw.experiments.Arm("b", model, hw.batch("1h")),
    ]
    test = hw.Experiment(
        "hourly",
        arms,
        unit="user",
        metrics=[hw.experiments.ExperimentMetric("amount", value="label")],
    )
    return lineage(hw.Project("shop", [model], experiments=[test]))


def test_edges_go_from_sources_to_experiments(found):
    assert sorted((edge.start, edge.end) for edge in found.edges) == [
        ("model risk", "experiment hourly"),
        ("service risk_v1", "model risk"),
        ("source payments", "source rich_payments"),
        ("source payments", "view user"),
        ("source rich_payments", "view shop"),
        ("view receiver", "service risk_v1"),
        ("view shop", "service risk_v1"),
        ("view user", "service risk_v1"),
        ("view user", "source rich_payments"),
        ("view user", "view receiver"),
    ]
    kinds = ["source", "source", "view", "view", "view", "service", "model", "experiment"]
    assert sorted(node.kind for node in found.nodes) == sorted(kinds)
