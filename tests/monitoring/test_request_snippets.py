"""Snippets are accepted by the service as they are, for all types of keys."""

import json
import shlex
from datetime import UTC, date, datetime

import msgspec
import polars as pl
import pytest

import headwater as hw
from headwater.monitoring.request_snippets import request_snippets
from headwater.testing.examples import temporary_store

_NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
_KEYS = {
    "text": "it's",
    "number": 7,
    "day": date(2024, 5, 1),
    "moment": _NOON,
    "naive": datetime(2024, 5, 1, 12),  # noqa: DTZ001 (a naive key)
    "flag": True,
}


@hw.request_feature
def doubled(amount: float) -> float:
    return amount * 2


def project_of(keys):
    events = pl.DataFrame({name: [_KEYS[name]] for name in keys} | {"amount": [1.0], "at": [_NOON]})
    source = hw.Source(
        "payments", history=events, timestamp_field="at", known_after="0s", select=[*keys, "amount"]
    )
    view = hw.FeatureView(
        "v",
        source=source,
        keys=keys,
        features=[hw.sum("amount")],
        windows=["1d"],
        freshness=hw.batch("1h"),
    )
    labels = hw.Labels(
        "fraud", table=events, timestamp_field="at", label="amount", known_after="1h"
    )
    service = hw.FeatureService("all_of_it", [view, doubled, hw.RequestField("channel", str)])
    return hw.Project(
        "shop", [hw.Model("risk", features=service, labels=labels, task="regression")]
    )


@pytest.mark.parametrize(
    "keys",
    [["text"], ["number"], ["day"], ["moment"], ["naive"], ["flag"], ["text", "number", "day"]],
    ids=str,
)
def test_both_snippets_are_answered(keys, monkeypatch):
    project = project_of(keys)
    found = request_snippets(project, "v__sum_amount_1d")
    assert found.service == "all_of_it"
    command = shlex.split(found.curl)
    assert command[:4] == ["curl", "-X", "POST", "http://127.0.0.1:8320/v1/features/all_of_it"]
    assert json.loads(command[-1]) == {"row": found.row}
    asked = []
    with temporary_store() as store:
        hw.materialize(project, store=store, at="2024-05-01T13:00Z")
        with hw.operations.Service(project, store, models={}) as service:
            schema = service.endpoints.features("all_of_it", None).rows.schema
            body = msgspec.json.decode(command[-1].encode(), type=dict[str, schema.row])
            assert body["row"] is not None

            class Client:
                def __init__(self, url, **more):
                    asked.append((url, more))

                def __enter__(self):
                    return service

                def __exit__(self, *error):
                    pass

            monkeypatch.setattr(hw.client, "Client", Client, raising=False)
            exec(found.python, {})
    assert asked == [("http://127.0.0.1:8320", {"token": hw.env("HEADWATER_TOKEN")})]


def test_a_feature_that_no_service_has_has_no_snippet():
    assert request_snippets(project_of(["text"]), "v__sum_amount_2d") is None


def test_a_history_that_is_gone_leaves_texts():
    project = project_of(["number"])
    source = hw.Source(
        "payments",
        history="gone.parquet",
        timestamp_field="at",
        known_after="0s",
        select=["number", "amount"],
    )
    view = hw.FeatureView(
        "v",
        source=source,
        keys=["number"],
        features=[hw.sum("amount")],
        windows=["1d"],
        freshness=hw.batch("1h"),
    )
    (model,) = project.models
    other = hw.Model(
        "risk", features=hw.FeatureService("s", [view]), labels=model.labels, task="regression"
    )
    assert request_snippets(hw.Project("shop", [other]), "v__sum_amount_1d").row == {"number": "a"}
