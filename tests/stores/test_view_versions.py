"""Two versions of a view in one store: a stream fills both, names read one, fitted models the one
that they were trained on.
"""

import contextlib
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError, UsageError
from headwater.jobs.compact_views import compact_store
from headwater.models.compatibility import ages
from headwater.models.promoted_views import PromotedViews
from headwater.serving.http import handlers
from headwater.serving.http.request_schema import FeaturesRequest
from headwater.stores import keyspace
from headwater.stores.keyspace import scoped
from tests.flow import Flow, at, clock, home, micros

FIXTURES = clock, home

ROOT = Path(__file__).resolve().parents[2]
HISTORY = pl.DataFrame(
    {
        "user": ["ä", "b", "ä", "c"],
        "amount": [1.0, 2.0, 4.0, 8.0],
        "at": [at(s) for s in (-3000, -2000, -1000, -500)],
    }
)
EVENTS = hw.Source(
    "events",
    history=HISTORY,
    timestamp_field="at",
    select=["user", "amount"],
    stream=hw.push(schema={"user": str, "amount": float, "at": datetime}, at_least_once=True),
)


def version(number, features):
    more = {"windows": ["1h"], "freshness": hw.streaming("2s")}
    return hw.FeatureView(
        "user", source=EVENTS, keys=["user"], features=features, version=number, **more
    )


V1 = version(1, [hw.sum("amount", name="spent")])
V2 = version(2, [hw.count(name="spent"), hw.max("amount")])
LABELS = hw.Labels(
    "labels",
    table=pl.DataFrame(
        {
            "user": ["ä", "b", "c"] * 4,
            "asked": [at(s) for s in range(-1200, 0, 100)],
            "left": [0.0, 1.0, 2.0] * 4,
        }
    ),
    timestamp_field="asked",
    label="left",
    known_after="1m",
)


class Total:
    """Predicts the sum of a row's features."""

    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.nansum(X, axis=1)


def project_of(*views, versions=(), **more):
    """A project whose models are written with these views; the others are their `versions`."""
    service = hw.FeatureService("scores_v1", list(views))
    models = [
        hw.Model(name, task="regression", features=service, labels=LABELS, estimator=Total())
        for name in ("one", "two")
    ]
    return hw.Project("shop", models, versions=list(versions), **more)


PROJECT = project_of(V2, versions=[V1])
SPENT = [
    ({"user": "ä", "amount": 10.0, "at": 1}, 2),
    ({"user": "ä", "amount": 30.0, "at": 3}, 4),
    ({"user": "b", "amount": 5.0, "at": 5}, 6),
]


def columns_of(features):
    (row,) = features.rows
    return {name: feature.value for name, feature in row.items()}


def predicted_by(service, model):
    answer = service.predict(model, {"user": "ä"})
    return answer.version, answer.predictions[0].value


@pytest.fixture
def filled(make_store, clock, tmp_path):
    """The store after a few commits, and the flow that wrote them."""
    with contextlib.closing(make_store()) as store:
        clock(0)
        flow = Flow([V1, V2], scoped(store, "shop", write=True), None)
        for event, now in SPENT:
            clock(now)
            flow.send([event], now)
        clock(7)
        yield store, flow


stores = pytest.mark.parametrize("make_store", ["lmdb", "redis", "postgres"], indirect=True)


@stores
def test_both_versions_are_filled_and_one_is_read_by_name(filled, tmp_path, clock):
    store, flow = filled
    registry = tmp_path / "models"
    one = {"user__spent_1h": 45.0}  # 1 + 4 of the history, 10 + 30 of the stream
    two = {"user__spent_1h": 4, "user__max_amount_1h": 30.0}
    hw.train(PROJECT.pinned("one", {"user": 1})).register(hw.operations.ModelRegistry(registry))
    hw.train(PROJECT.pinned("two", {"user": 2})).register(hw.operations.ModelRegistry(registry))
    with hw.operations.Service(PROJECT, store, models=registry, allow_pickle=True) as service:

        def answers(row):
            return (
                columns_of(service.features("scores_v1", row)),
                *(service.predict(name, row).predictions[0].value for name in ("one", "two")),
            )

        assert answers({"user": "ä"}) == (one, 45.0, 34.0)
        hw.operations.promote_view(PROJECT, "user@2", store=store, models=registry)
        assert answers({"user": "ä"})[0] == one  # until the worker looks
        service.refresh()
        assert answers({"user": "ä"}) == (two, 45.0, 34.0)
        flow.send([{"user": "ä", "amount": 60.0, "at": 7}], 8)  # the stream goes on into both
        clock(8)
        assert answers({"user": "ä"}) == (
            {"user__spent_1h": 5, "user__max_amount_1h": 60.0},
            105.0,
            65.0,
        )
        assert answers({"user": "nobody"})[0] == {"user__spent_1h": 0, "user__max_amount_1h": None}
        assert service.explain("user__spent_1h", {"user": "b"}).online == 2
        assert hw.operations.rollback_view(PROJECT, "user", store=store, models=registry) == 1
        service.refresh()
        assert answers({"user": "ä"}) == ({"user__spent_1h": 105.0}, 105.0, 65.0)
        assert service.explain("user__spent_1h", {"user": "b"}).online == 7.0
    versions = hw.operations.view_versions(PROJECT, store=store, models=registry)
    assert [(str(v), v.promoted, v.state) for v in versions] == [
        ("user@1", True, {"user": "approximate"}),
        ("user@2", False, {"user@2": "approximate"}),
    ]
    assert [v.models for v in versions] == [
        ("one as defined, version 1",),
        ("two as defined, version 1",),
    ]


@pytest.mark.parametrize("make_store", ["lmdb"], indirect=True)
def test_a_request_is_answered_by_the_version_that_parsed_it(filled, tmp_path):
    store, _ = filled
    registry = tmp_path / "models"
    for name in ("one", "two"):
        hw.train(PROJECT.pinned(name, {"user": 1})).register(hw.operations.ModelRegistry(registry))
    with hw.operations.Service(PROJECT, store, models=registry, allow_pickle=True) as service:
        body = msgspec.json.decode(b'{"row": {"user": "\xc3\xa4"}}', type=FeaturesRequest)
        before = handlers.read_features(service, "scores_v1", body, micros(7))
        PromotedViews(PROJECT, hw.operations.ModelRegistry(registry)).promote("user", 2)
        service.refresh()
        after = handlers.read_features(service, "scores_v1", body, micros(7))
        answered = [
            msgspec.json.decode(handlers.features("scores_v1", body, micros(7), parsed, None).body)
            for parsed in (before, after)
        ]
    assert [list(answer["features"]) for answer in answered] == [
        ["user__spent_1h"],
        ["user__spent_1h", "user__max_amount_1h"],
    ]
    assert [answer["features"]["user__spent_1h"]["value"] for answer in answered] == [45.0, 4]


@pytest.mark.slow
@stores
def test_no_answer_mixes_versions_while_they_are_promoted_and_rolled_back(filled, tmp_path):
    store, _ = filled
    registry = hw.operations.ModelRegistry(tmp_path / "models")
    for name in ("one", "two"):
        hw.train(PROJECT.pinned(name, {"user": 1})).register(registry)
    right = ({"user__spent_1h": 45.0}, {"user__spent_1h": 4, "user__max_amount_1h": 30.0})
    wrong, seen, stop = [], [0, 0], threading.Event()
    with hw.operations.Service(
        PROJECT, store, models=registry.folder, allow_pickle=True
    ) as service:
        service.features("scores_v1", {"user": "ä"})

        def ask(lane):
            while not stop.is_set():
                answer = columns_of(lane.features("scores_v1", {"user": "ä"}))
                _, predicted = predicted_by(lane, "one")
                if answer not in right or predicted != 45.0:
                    wrong.append((answer, predicted))
                else:
                    seen[right.index(answer)] += 1

        threads = [threading.Thread(target=ask, args=(service.lane(),)) for _ in range(2)]
        for thread in threads:
            thread.start()
        promoted = PromotedViews(PROJECT, registry)
        for _ in range(6):
            for step in (lambda: promoted.promote("user", 2), lambda: promoted.rollback("user")):
                step()
                service.refresh()
                count = sum(seen)
                while sum(seen) < count + 4 and not wrong:
                    stop.wait(0.001)
        stop.set()
        for thread in threads:
            thread.join(timeout=60)
        assert service.refused == {}
    assert wrong == []
    assert min(seen) > 0


@pytest.mark.parametrize("make_store", ["lmdb"], indirect=True)
def test_a_model_moves_to_another_version_by_its_own_promotion(filled, tmp_path):
    store, _ = filled
    registry = hw.operations.ModelRegistry(tmp_path / "models")
    for name in ("one", "two"):
        hw.train(PROJECT.pinned(name, {"user": 1})).register(registry)
    with hw.operations.Service(
        PROJECT, store, models=registry.folder, allow_pickle=True
    ) as service:

        def predicted():
            service.refresh()
            return predicted_by(service, "one")

        assert predicted() == ("1", 45.0)
        hw.train(PROJECT.pinned("one", {"user": 2})).register(registry)
        assert predicted() == ("2", 34.0)
        registry.rollback("one")
        assert predicted() == ("1", 45.0)
        # the bare name has not moved
        assert columns_of(service.features("scores_v1", {"user": "ä"})) == {"user__spent_1h": 45.0}


@pytest.mark.parametrize("make_store", ["lmdb"], indirect=True)
def test_a_version_that_cannot_be_read_is_not_promoted_and_not_served(make_store, clock, tmp_path):
    registry = hw.operations.ModelRegistry(tmp_path / "models")
    for name in ("one", "two"):
        hw.train(PROJECT.pinned(name, {"user": 1})).register(registry)
    with contextlib.closing(make_store()) as store:
        clock(0)
        flow = Flow([V1], scoped(store, "shop", write=True), None)
        flow.send([SPENT[0][0]], 2)
        clock(3)
        with pytest.raises(
            UsageError,
            match=r"user@2 cannot be read yet: user@2 is absent in the online store\. Fill it with",
        ):
            hw.operations.promote_view(PROJECT, "user@2", store=store, models=registry.folder)
        with hw.operations.Service(
            PROJECT, store, models=registry.folder, allow_pickle=True
        ) as service:
            PromotedViews(PROJECT, registry).promote("user", 2)  # by hand, past the check
            service.refresh()
            assert columns_of(service.features("scores_v1", {"user": "ä"})) == {
                "user__spent_1h": 15.0
            }
            assert "'user' is not in the online store" in service.refused["views", None]


def test_training_reads_the_version_that_it_is_pinned_to(tmp_path):
    rows = pl.DataFrame({"user": ["ä", "b"], "timestamp": [at(0), at(0)]})
    pinned = {number: PROJECT.pinned("one", {"user": number}) for number in (1, 2)}
    made = {
        number: hw.get_historical_features(model.features, rows) for number, model in pinned.items()
    }
    assert made[1]["user__spent_1h"].to_list() == [5.0, 2.0]
    assert made[2]["user__spent_1h"].to_list() == [2, 1]
    manifest = hw.train(pinned[1]).register(hw.operations.ModelRegistry(tmp_path)).manifest
    assert manifest.view_versions == {"user": 1}
    with pytest.raises(
        DataError, match="view 'user' is read at version 2, and it was trained at version 1"
    ):
        ages(PROJECT.model("one"), hw.Level(), manifest, "1")


@pytest.mark.parametrize(
    ("versions", "reason"),
    [
        (
            [replace(V1, version=2)],
            r"two views are version 2 of 'user'; give the newer one version=3",
        ),
        (
            [replace(V1, name="usr")],
            r"versions has 'usr', and no model reads a view 'usr'; did you mean 'user'\?",
        ),
        (
            [replace(V1, keys=["amount"])],
            r"'user' has the keys \['amount'\], and 'user@2' \['user'\]; versions of a view have the same keys",
        ),
        (
            [V1.alias("buyer", {})],
            "give feature views, other versions of those that the models read",
        ),
        (["user@1"], "give feature views"),
    ],
)
def test_versions_that_do_not_fit_are_refused(versions, reason):
    with pytest.raises(hw.errors.DefinitionError, match=reason):
        project_of(V2, versions=versions)


def test_a_single_feature_has_to_be_in_each_version():
    with pytest.raises(
        hw.errors.DefinitionError,
        match="reads the feature 'user__max_amount_1h', which user@1 does not have",
    ):
        project_of(V2["max_amount_1h"], versions=[V1])


@pytest.mark.parametrize("given", [0, -1, True, "2", 1.5])
def test_a_version_is_an_integer_from_one_on(given):
    with pytest.raises(
        hw.errors.DefinitionError, match=r"version is .*; give an integer of at least 1"
    ):
        version(given, [hw.count()])


PROMOTES = """
import sys
from headwater.models.compatibility import ages
from headwater.models.promoted_views import PromotedViews
from headwater.models.registry import ModelRegistry
from tests.stores.test_view_versions import PROJECT
promoted = PromotedViews(PROJECT, ModelRegistry(sys.argv[1]))
print("ready", flush=True)
while True:
    promoted.promote("user", 2)
    promoted.promote("user", 1)
"""


@pytest.mark.slow
def test_a_process_that_is_killed_while_it_promotes_leaves_one_version_promoted(tmp_path):
    registry = hw.operations.ModelRegistry(tmp_path / "models")
    promoted = PromotedViews(PROJECT, registry)
    assert promoted.current("user") == 1
    child = subprocess.Popen(
        [sys.executable, "-c", PROMOTES, str(registry.folder)], stdout=subprocess.PIPE, cwd=ROOT
    )
    with child:
        assert child.stdout.readline() == b"ready\n"
        time.sleep(0.007)
        child.kill()
    assert promoted.current("user") in (1, 2)
    promoted.promote("user", 2)  # the lock ended with the process
    assert promoted.current("user") == 2


@stores
def test_a_version_that_was_dropped_leaves_the_store(filled, clock):
    """Once no process fills it, compaction drops its sections and state, and the other version
    answers as before.
    """
    store, _ = filled
    only = project_of(V2)
    row = [{"user": "ä"}]
    before = hw.get_online_features(only.models[0].features, row, store=store, details=True).row(0)
    # ingestion maintains both until now
    assert [compacted.view for compacted in compact_store(only, store=store)] == ["user@2"]
    Flow([V2], scoped(store, "shop", write=True), None).send([], 8)
    assert [
        (compacted.view, compacted.compaction.after.records)
        for compacted in compact_store(only, store=store)
    ] == [
        ("user@2", 3),
        ("user (earlier definition)", 0),
    ]
    assert list(store.scan(keyspace.stream_state(V1.tiles_fingerprint))) == []
    assert [key for key, _ in store.scan(keyspace.records(V2.record_group))] != []
    assert (
        hw.get_online_features(only.models[0].features, row, store=store, details=True).row(0)[:2]
        == before[:2]
        == (4, 30.0)
    )
    with pytest.raises(UsageError, match="has no version 'user@1' of a view"):
        hw.operations.promote_view(only, "user@1", store=store)
