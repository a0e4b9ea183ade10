"""One store and several projects, or streams: no project counts another's events, and whose a store
is is said by name.
"""

import itertools
from contextlib import closing

import polars as pl
import pytest

import headwater as hw
from headwater.errors import StoreError
from tests.flow import at, clock, home  # noqa: F401 (fixtures)
from tests.stores.commands import headwater

NUMBERS = itertools.count()
ALICE, BOB = 3, 2
"""How many events each sends first."""


@pytest.fixture(params=["lmdb", pytest.param("redis", marks=pytest.mark.services)])
def url(request, tmp_path):
    if request.param == "lmdb":
        return f"lmdb:{tmp_path}/shared?size=1GB"
    return f"{request.getfixturevalue('redis_url')}?prefix=ownership{next(NUMBERS)}"


@pytest.fixture
def store(url):
    with closing(hw.operations.open_store(url)) as made:
        yield made


@pytest.fixture(autouse=True)
def no_server_clock(store, monkeypatch):
    """The time of these tests is not that of the server."""
    monkeypatch.setattr(type(store), "server_time", lambda _: None)


def view(folder, name="view", **more):
    source = hw.Source(
        "events",
        stream=hw.appended(
            folder / "events.ndjson", schema={"at": pl.Datetime("us", "UTC"), "id": int, "key": str}
        ),
        timestamp_field="at",
        select=["key", "id"],
        **more,
    )
    return hw.FeatureView(
        name,
        source=source,
        keys=["key"],
        features=[hw.count()],
        windows=["1h"],
        freshness=hw.streaming("2s"),
    )


def project(name, of):
    table = pl.DataFrame({"asked": [at(0)], "y": [1], "key": ["a"]})
    labels = hw.Labels(
        "labels", table=table, timestamp_field="asked", label="y", known_after="1h", select=["key"]
    )
    return hw.Project(
        name,
        [
            hw.Model(
                "model", task="binary", features=hw.FeatureService("service", [of]), labels=labels
            )
        ],
    )


def send(folder, count, first=0):
    folder.mkdir(exist_ok=True)
    with (folder / "events.ndjson").open("a") as file:
        file.writelines(
            f'{{"at": "{at(n).isoformat()}", "id": {n}, "key": "a"}}\n'
            for n in range(first, first + count)
        )


def count(of, store, project=None):
    return hw.get_online_features(
        of, [{"key": "a"}], store=store, at=at(120), project=project, details=True
    )[f"{of.name}__count_1h"][0]


def run(made, store, folder, **more):
    hw.ingest(
        made,
        store,
        data_dir=folder,
        listen=None,
        once=True,
        options=hw.operations.IngestOptions(allow_unapplied=True, **more),
    )


@pytest.mark.slow
@pytest.mark.parametrize("alike", [True, False], ids=["one stream", "two streams of one name"])
@pytest.mark.parametrize("ids", [{}, {"id_field": "id"}], ids=["no ids", "ids"])
def test_two_projects_share_nothing(store, tmp_path, clock, alike, ids):
    clock(100)
    ours, theirs = tmp_path / "ours", tmp_path / "ours" if alike else tmp_path / "theirs"
    alice, bob = (
        project(name, view(place, **ids)) for name, place in (("alice", ours), ("bob", theirs))
    )
    mine, other = (one.models[0].features.views[0] for one in (alice, bob))
    send(ours, ALICE)
    if not alike:
        send(theirs, BOB)
    sent = ALICE if alike else BOB
    run(alice, store, tmp_path)
    with pytest.raises(
        StoreError,
        match=r"belongs to project 'alice', and this is project 'bob'.*--allow-shared-store",
    ):
        run(bob, store, tmp_path)
    assert count(mine, store) == ALICE
    run(bob, store, tmp_path, shared=True)
    assert (count(mine, store), count(other, store, "bob"), count(mine, store, "alice")) == (
        ALICE,
        sent,
        ALICE,
    )
    send(theirs, 2, first=10)
    for one in (bob, alice, bob, alice):  # what was said once holds
        run(one, store, tmp_path)
    assert (count(mine, store), count(other, store, "bob")) == (ALICE + 2 * alike, sent + 2)
    for one, expected in ((alice, ALICE + 2 * alike), (bob, sent + 2)):
        (parity,) = hw.parity(one, store=store, data_dir=tmp_path, at=at(120))
        assert (parity.mismatches, parity.events) == ([], expected)
        seen = hw.status(one, store=store, data_dir=tmp_path, at=at(100))
        assert ([v.state for v in seen.views], [s.archived for s in seen.streams]) == (
            ["current"],
            [expected],
        )
    assert {place.name for place in (tmp_path / "archive").iterdir()} == {"events", "bob.events"}
    assert hw.operations.forget(bob, ["view"], store=store) == {"view": 1}
    assert count(mine, store) == ALICE + 2 * alike


@pytest.mark.slow
@pytest.mark.parametrize(
    "call",
    [
        "status",
        "forget",
        "compact",
        "erase",
        "serve",
    ],
)
def test_every_command_refuses_the_store_of_another_project(store, url, tmp_path, clock, call):
    clock(100)
    send(tmp_path / "ours", ALICE)
    run(project("alice", view(tmp_path / "ours")), store, tmp_path)
    other = project("bob", view(tmp_path / "ours"))
    calls = {
        "status": lambda: hw.status(other, store=store, data_dir=tmp_path),
        "parity": lambda: hw.parity(other, store=store, data_dir=tmp_path),
        "forget": lambda: hw.operations.forget(other, ["view"], store=store),
        "compact": lambda: compact(tmp_path, url),
        "explain": lambda: hw.operations.explain(
            other, "view__count_1h", {"key": "a"}, store=store, data_dir=tmp_path
        ),
        "erase": lambda: hw.operations.erase(other, {"key": "a"}, store=store, data_dir=tmp_path),
        "serve": lambda: hw.operations.Service(other, store),
    }
    with pytest.raises(StoreError, match="belongs to project 'alice', and this is project 'bob'"):
        calls[call]()


def compact(folder, url):
    """`headwater store compact` of bob's project."""
    (folder / "features.py").write_text(
        "import pathlib\nfrom tests.stores.test_ownership import project, view\n"
        f"project = project('bob', view(pathlib.Path({str(folder / 'ours')!r})))\n"
    )
    file = str(folder / "features.py")
    code, said = headwater("store", "compact", "--project", file, "--store", url)
    if code:
        raise StoreError(said)


def test_who_comes_first_owns_a_store(store, tmp_path, clock):
    clock(100)
    send(tmp_path / "ours", ALICE)
    bob = project("bob", view(tmp_path / "ours"))
    assert [found.state for found in hw.status(bob, store=store, data_dir=tmp_path).views] == [
        "absent"
    ]
    run(project("alice", view(tmp_path / "ours")), store, tmp_path)
    with pytest.raises(StoreError, match="belongs to project 'alice'"):
        run(bob, store, tmp_path)
