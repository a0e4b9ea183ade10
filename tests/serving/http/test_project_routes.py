"""The JSON routes about a project, as HTTP and as the clients read them."""

import pytest

import headwater as hw
from headwater.catalog.lineage import lineage
from headwater.journal.conversion import convert
from headwater.monitoring.daily_statistics import update
from tests.serving.world import PROJECT, ROW, asking, filled


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A data directory with what was served in it."""
    return tmp_path_factory.mktemp("project")


@pytest.fixture(scope="module")
def client(folder):
    patch = pytest.MonkeyPatch()
    patch.setenv("HEADWATER_HOME", str(folder))
    patch.setenv("HEADWATER_RUNS", "on")
    store = filled(hw.operations.open_store(f"lmdb:{folder / 'online'}?size=1GB"))
    with (
        hw.operations.ServedLog(folder) as log,
        asking(store, data_dir=folder, serving_log=log) as http,
    ):
        for _ in range(3):
            http.post("/v1/features/churn_v1", json={"row": ROW})
        hw.parity(hw.Project("shop", PROJECT.models), ["user"], store=store, data_dir=folder)
        yield http
    store.close()
    patch.undo()


@pytest.fixture
def python(client):
    with hw.client.Client(str(client.base_url)) as made:
        yield made


def test_status_has_the_views_and_their_promises(client, python):
    found = python.status()
    views = {view.view: view for view in found.views}
    assert (views["user"].promise, views["user"].source, views["user"].kept) == (
        3600.0,
        "visits",
        views["user"].state == "current",
    )
    assert views["user@nightly"].state == "absent"
    assert client.get("/v1/status").json()["at"]


def test_lineage_is_that_of_the_project(python):
    assert python.lineage().to_dict() == lineage(PROJECT).to_dict()
    around = python.lineage(around="model churn")
    assert {node.name for node in around.nodes if node.kind == "view"} == {"user"}


def test_a_feature_has_its_readers_and_its_parity(python):
    found = python.feature("user__count_2d")
    assert (found.view, found.computed.partition(" over")[0], found.promise) == (
        "user",
        "count()",
        3600.0,
    )
    readers = {(reader.kind, reader.name) for reader in found.consumers}
    assert readers >= {("service", "churn_v1"), ("model", "churn"), ("model", "feed")}
    assert (found.parity.mismatches, found.parity.served, found.parity.keys) == (0, False, 6)
    assert found.parity == python.parity().views[0]


def test_plan_runs_and_models(python):
    assert {change.action for change in python.plan().changes} == {"added"}
    runs = python.runs()
    assert (runs.total, runs.runs[0].kind, runs.runs[0].sentence) == (
        1,
        "parity",
        "0 of 18 values differ from what training computes",
    )
    assert python.runs(kind="backtest").total == 0
    assert python.models().models == []


def test_what_was_served(client, python, folder):
    assert python.served().uncovered in (0, 1)
    convert(folder, close=True, wait=20)
    update(folder)
    (found,) = python.served(days=2).served
    assert (found.kind, found.name, sum(day.rows for day in found.days)) == (
        "service",
        "churn_v1",
        3,
    )
    assert found.days[-1].timings[0].stage == ""


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/v1/lineage?around=view usr", "did you mean 'view user'"),
        ("/v1/lineage?arund=x", "did you mean 'around'"),
        ("/v1/plan?x=1", "this route has none"),
        ("/v1/feature", "name a feature"),
        ("/v1/feature?feature=user__cont_2d", "did you mean 'user__count_2d'"),
        ("/v1/served?days=0", "give an integer from 1 to 400"),
        ("/v1/served?days=x", "give an integer from 1 to 400"),
    ],
)
def test_what_is_refused(client, path, says):
    answer = client.get(path)
    assert (answer.status_code, says in answer.json()["error"]) == (422, True), answer.text


def test_the_document_describes_the_parameters(client):
    paths = client.get("/openapi.json").json()["paths"]
    named = {
        path: [one["name"] for one in paths[path]["get"].get("parameters", [])]
        for path in paths
        if "get" in paths[path]
    }
    assert named["/v1/runs"] == ["kind", "subject"]
    assert named["/v1/served"] == ["days"]
    assert named["/v1/status"] == []
    assert paths["/v1/status"]["get"]["responses"]["200"]["content"]["application/json"][
        "schema"
    ] == {"$ref": "#/components/schemas/FreshnessResult"}
