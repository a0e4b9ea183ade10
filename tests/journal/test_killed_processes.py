"""What serving was answered for, and what it has answered, is there after kill -9, a torn end and
damaged bytes, once and in one order.
"""

import itertools
import shutil
import subprocess
import sys
import threading
from contextlib import closing, contextmanager, suppress

import httpx
import polars as pl
import pytest

import headwater as hw
from tests.serving.experiment_world import EXPERIMENTED, both_levels, started
from tests.serving.world import ROW, free_port
from tests.waiting import until

LABELS = next(model.labels for model in EXPERIMENTED.models if model.name == "churn")
SENDERS = 3


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    url = f"lmdb:{tmp_path_factory.mktemp('journal') / 'online'}?size=1GB"
    both_levels(hw.operations.open_store(url)).close()
    return url


@contextmanager
def service(store, folder):
    """A service in a process of its own, and a client of it."""
    port = free_port()
    command = [sys.executable, "-m", "tests.journal.journal_child", store, str(folder), str(port)]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "ready\n"
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60
        ) as client:
            yield child, client
    finally:
        child.kill()
        child.communicate()


def outcome(name, *, value=True, **more):
    return {"request_id": name, "outcome": value, "known_at": "2024-05-02T00:00:00Z", **more}


def posted_outcomes(folder):
    with suppress(hw.errors.DataError):
        return hw.operations.outcomes(folder, LABELS)["headwater_request"].to_list()
    return []


def exposed(folder):
    """How many exposures of the experiment are logged, by arm."""
    places = hw.experiments.ExperimentPlaces(models=folder / "models", data_dir=folder)
    return sum(
        hw.experiments.experiment_status(EXPERIMENTED, "fresh", places=places).exposed.values()
    )


def served_ids(folder):
    with suppress(hw.errors.DataError):
        return hw.operations.served(folder).collect()["headwater_request"].to_list()
    return []


def sending(url, route, bodies, answered):
    """Post until the service is gone; each body that was answered for."""
    with (
        httpx.Client(base_url=url, trust_env=False, timeout=60) as client,
        suppress(httpx.HTTPError),
    ):
        for name, body in bodies:
            if client.post(route, json=body).status_code == 200:
                answered.append(name)


def test_what_was_posted_and_answered_for_is_there_after_kill_9(store, tmp_path):
    started(tmp_path / "models")
    outcomes, exposures = [], []
    with service(store, tmp_path) as (child, client):
        threads = []
        for sender in range(SENDERS):
            numbers = [f"{sender}-{n}" for n in range(100_000)]
            work = [
                ("/v1/outcomes/left", ((name, outcome(name)) for name in numbers), outcomes),
                (
                    "/v1/exposures/fresh",
                    ((name, {"unit": name, "arm": "hourly"}) for name in numbers),
                    exposures,
                ),
            ]
            threads += [
                threading.Thread(target=sending, args=(str(client.base_url), *each))
                for each in work
            ]
        for thread in threads:
            thread.start()
        until(lambda: min(len(outcomes), len(exposures)) >= 20, "answers")
        child.kill()
        for thread in threads:
            thread.join(60)
    there = posted_outcomes(tmp_path)
    assert set(outcomes) <= set(there)
    assert len(there) == len(set(there)) <= len(outcomes) + SENDERS
    assert len(exposures) <= exposed(tmp_path) <= len(exposures) + SENDERS


@pytest.mark.slow
def test_what_was_served_longer_ago_than_a_moment_is_there_after_kill_9(store, tmp_path):
    started(tmp_path / "models")
    with service(store, tmp_path) as (child, client):
        for n in range(20):
            assert (
                client.post(
                    "/v1/predict/churn", json={"row": ROW}, headers={"x-request-id": f"r{n}"}
                ).status_code
                == 200
            )
        until(lambda: (len(served_ids(tmp_path)), exposed(tmp_path)) == (20, 20), "all are there")
        child.kill()
    assert sorted(served_ids(tmp_path)) == sorted(f"r{n}" for n in range(20))
    assert exposed(tmp_path) == 20


@pytest.fixture(scope="module")
def killed(store, tmp_path_factory):
    """A data directory of a killed service: requests that were served, and outcomes and exposures
    that were posted, five of each.
    """
    folder = tmp_path_factory.mktemp("killed")
    started(folder / "models")
    with service(store, folder) as (child, client):
        for n in range(5):
            assert (
                client.post(
                    "/v1/predict/churn", json={"row": ROW}, headers={"x-request-id": f"served-{n}"}
                ).status_code
                == 200
            )
            assert client.post("/v1/outcomes/left", json=outcome(f"posted-{n}")).status_code == 200
            until(lambda: len(served_ids(folder)) == n + 1)  # noqa: B023 (a record of each)
            assert (
                client.post(
                    "/v1/exposures/fresh", json={"unit": f"exposed-{n}", "arm": "hourly"}
                ).status_code
                == 200
            )
        child.kill()
    return folder


def file_with(folder, kind, text):
    """The file of a kind that holds a text."""
    root = folder / {"served": "served", "posted": "outcomes", "exposed": "exposures"}[kind]
    (path,) = [path for path in root.rglob("*") if path.is_file() and text in path.read_bytes()]
    return path


READS = {
    "served": lambda folder: [name for name in served_ids(folder) if name.startswith("served")],
    "posted": posted_outcomes,
}


@pytest.mark.parametrize("kind", ["served", "posted", "exposed"])
@pytest.mark.parametrize("damage", ["torn", "middle", "zeros"])
def test_damage_costs_the_records_that_it_hits(kind, damage, killed, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(killed, folder)
    before = exposed(folder)
    path = file_with(folder, kind, f"{kind}-2".encode())
    data = bytearray(path.read_bytes())
    if damage == "torn":
        del data[data.index(f"{kind}-4".encode()) + 3 :]
    elif damage == "middle":
        data[data.index(f"{kind}-2".encode()) + 1] ^= 0xFF
    else:
        data += bytes(5000)
    path.write_bytes(data)
    left = {"torn": [0, 1, 2, 3], "middle": [0, 1, 3, 4], "zeros": [0, 1, 2, 3, 4]}[damage]
    if kind == "exposed":
        assert exposed(folder) == before - 5 + len(left)
    else:
        assert sorted(READS[kind](folder)) == [f"{kind}-{n}" for n in left]


@pytest.mark.parametrize("kind", ["served", "posted", "exposed"])
def test_another_format_is_refused_with_the_remedy(kind, killed, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(killed, folder)
    path = file_with(folder, kind, f"{kind}-2".encode())
    data = bytearray(path.read_bytes())
    data[6:8] = b"\xf0\x00"
    path.write_bytes(data)
    with pytest.raises(hw.errors.StoreError, match=rf"(?s){path.name}.*move the file elsewhere"):
        {"served": served_ids, "posted": posted_outcomes, "exposed": exposed}[kind](folder)


@pytest.mark.slow
def test_another_process_goes_on_where_a_killed_one_stopped(store, killed, tmp_path):
    """Its files are closed by whoever finds them, and nothing is read twice."""
    folder = tmp_path / "copy"
    shutil.copytree(killed, folder)
    before = exposed(folder)
    left = set(folder.rglob("*.open"))
    assert left
    with service(store, folder) as (child, client):
        assert (
            client.post(
                "/v1/outcomes/left", json=[outcome("posted-2"), outcome("posted-5")]
            ).status_code
            == 200
        )
        assert (
            client.post(
                "/v1/exposures/fresh", json={"unit": "exposed-5", "arm": "hourly"}
            ).status_code
            == 200
        )
        assert sorted(posted_outcomes(folder)) == [f"posted-{n}" for n in range(6)]
        child.communicate("")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "headwater",
            "logs",
            "ship",
            f"file://{tmp_path}/shared",
            "--data-dir",
            str(folder),
        ],
        check=True,
    )
    assert not left & set(folder.rglob("*.open"))
    assert sorted(posted_outcomes(folder)) == [f"posted-{n}" for n in range(6)]
    assert exposed(folder) == before + 1
    assert sorted(READS["served"](folder)) == [f"served-{n}" for n in range(5)]


def said(folder):
    frame = hw.operations.outcomes(folder, LABELS)
    return frame.select(
        "headwater_request", "headwater_outcome", pl.col("headwater_known_at").dt.day()
    ).rows()


@pytest.mark.slow
@pytest.mark.parametrize("writers", [1, 2])
def test_outcomes_are_ordered_by_when_they_were_known(writers, tmp_path):
    """Then by when they were posted; the same again is one, a correction is kept, and a repeated
    post takes none back.
    """
    posts = [
        outcome("a", known_at="2024-05-03T00:00:00Z"),
        outcome("b", known_at="2024-05-02T00:00:00Z"),
        outcome("a", known_at="2024-05-04T00:00:00Z", value=False),
        outcome("a", known_at="2024-05-03T00:00:00Z"),
        outcome("a", known_at="2024-05-05T00:00:00Z", value=False),
        outcome("b", known_at="2024-05-06T00:00:00Z", value=False),
        outcome("b", known_at="2024-05-07T00:00:00Z"),
    ]
    made = [hw.operations.Outcomes(tmp_path, LABELS) for _ in range(writers)]
    for writer, row in zip(itertools.cycle(made), posts, strict=False):
        writer.add([row])
    for writer in made:
        writer.close()
    expected = [("b", True, 2), ("a", True, 3), ("a", False, 4), ("b", False, 6), ("b", True, 7)]
    assert sorted(said(tmp_path)) == sorted(expected)
    with closing(hw.operations.Outcomes(tmp_path, LABELS)) as again:
        again.add([{"request_id": "a", "outcome": True}])
    assert len(said(tmp_path)) == len(expected), (
        "what does not say when it was known repeats what was said before"
    )
