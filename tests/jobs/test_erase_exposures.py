"""Erasing a unit from the log of exposures: its rows go, the others stay, and what cannot be
searched is named.
"""

import dataclasses
import hashlib
import hmac
import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

import headwater as hw
from headwater.jobs.erase_journal import erase_exposures
from headwater.jobs.erasure_receipt import ErasureJournal
from headwater.jobs.key_match import ErasedKey
from headwater.journal.exposure_log import EXPOSURES, ExposureLog, read_exposures, read_interleaved
from headwater.journal.exposure_rows import Exposure
from headwater.testing.examples import visiting
from tests.serving.experiment_world import EXPERIMENTED, both_levels, started

T = 1_714_521_600_000_000
KEY, OTHER = 987_654_321_123, 5
POSTS = """
import os, signal, sys
import headwater as hw
from headwater.models.experiment_store import ExperimentStore
from tests.serving.experiment_world import EXPERIMENTED
url, folder, then, *units = sys.argv[1:]
service = hw.operations.Service(EXPERIMENTED, url, models={}, data_dir=folder, experiments=ExperimentStore(f"{folder}/models"))
service.experiments.refresh()
added = service.exposures("fresh", [{"unit": int(unit)} for unit in units])
print(added.accepted, flush=True)
if then == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
sys.stdin.readline()
print(service.exposures("fresh", [{"unit": int(unit)} for unit in units]).accepted, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
"""A process that posts exposures as a service does, and is then killed, immediately or after a
line.
"""


@pytest.fixture
def project():
    shop = visiting(hw.batch("1h"))
    arms = [
        hw.experiments.Arm("hourly", shop.models[0]),
        hw.experiments.Arm("daily", shop.models[0], hw.batch("1d")),
    ]
    return dataclasses.replace(shop, experiments=[hw.Experiment("fresh", arms=arms, unit="user")])


def _log(folder, experiment="fresh"):
    with ExposureLog(folder) as log:
        log.put(
            experiment,
            1,
            [
                Exposure(str(user), "hourly", T + user, request=f"r{user}", propensity=0.5)
                for user in range(100)
            ],
        )
        log.put(
            experiment,
            1,
            [Exposure("7", "hourly", T + 500, request="r500", items=["a", "b"], teams=[0, 1])],
        )


def _erase(project, folder, *, dry_run=False, **key):
    journal = ErasureJournal.begin(project.name, key, "store", folder, dry_run=dry_run)
    erase_exposures(folder, project, [ErasedKey(key)], journal)
    return journal


def test_the_exposures_of_a_unit_go_and_the_others_stay(tmp_path, project):
    _log(tmp_path)
    journal = _erase(project, tmp_path, user="7")
    assert journal.rows_in_files(EXPOSURES) == 2
    left = read_exposures(tmp_path, "fresh")
    assert left.height == 99
    assert "7" not in left["unit"]
    assert left["propensity"].null_count() == 0
    assert read_interleaved(tmp_path, "fresh").height == 0


# ---------------------------------------------------------------- posted ones


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    made = f"lmdb:{tmp_path_factory.mktemp('posted') / 'online'}?size=1GB"
    both_levels(hw.operations.open_store(made)).close()
    return made


def posting(url, folder, then, *units):
    """A process that has posted exposures of these units."""
    command = [sys.executable, "-c", POSTS, url, str(folder), then, *map(str, units)]
    child = subprocess.Popen(
        command,
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline() == f"{len(units)}\n"
    return child


def holding(folder, text):
    """The files that hold a text, and those that are still open."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if text.encode() in path.read_bytes()], [
        path for path in files if path.suffix == ".open"
    ]


@pytest.mark.slow
def test_what_a_killed_worker_was_posted_is_erased(url, tmp_path):
    started(tmp_path / "models")
    with posting(url, tmp_path, "killed", KEY, OTHER) as child:
        child.wait()
    assert len(holding(tmp_path, str(KEY))[0]) == 1
    (torn,) = (tmp_path / "exposures").rglob("*.open")
    with torn.open("ab") as file:
        file.write(torn.read_bytes()[-60:-5])  # a record that was not written to its end
    receipt = hw.operations.erase(EXPERIMENTED, {"user": KEY}, store=url, data_dir=tmp_path)
    assert receipt.rows["exposures"] == 1
    assert "exposures" not in " ".join(entry.place for entry in receipt.not_searched)
    assert holding(tmp_path, str(KEY)) == ([], [])
    assert read_exposures(tmp_path, "fresh")["unit"].to_list() == [str(OTHER)]


@pytest.mark.slow
def test_a_worker_that_lives_goes_on_in_another_file(url, tmp_path):
    started(tmp_path / "models")
    with posting(url, tmp_path, "goes on", KEY, OTHER) as child:
        receipt = hw.operations.erase(EXPERIMENTED, {"user": KEY}, store=url, data_dir=tmp_path)
        assert receipt.rows["exposures"] == 1
        assert holding(tmp_path, str(KEY))[0] == []
        child.communicate("\n")
    # what comes later counts as new
    assert sorted(read_exposures(tmp_path, "fresh")["unit"]) == [str(OTHER), str(OTHER), str(KEY)]


# ---------------------------------------------------------------- the receipt


def test_a_receipt_tells_its_key_only_with_the_secret(url, tmp_path):
    receipt = hw.operations.erase(EXPERIMENTED, {"user": OTHER}, store=url, data_dir=tmp_path)
    written = Path(receipt.path).read_text(encoding="utf-8")
    secret = tmp_path / "erasures" / "secret"
    assert oct(secret.stat().st_mode & 0o777) == "0o600"
    assert secret.read_bytes().hex() not in written
    assert "salt" not in json.loads(written)
    expected = hmac.digest(secret.read_bytes(), b'[["user", "5"]]', "sha256").hex()
    assert json.loads(written)["key_hash"] == expected
    texts = [part for part in written.split('"') if len(part) >= 16]
    tried = itertools.product([b"", *(text.encode() for text in texts)], [b'[["user", "5"]]'])
    assert receipt.key_hash not in {hashlib.sha256(salt + key).hexdigest() for salt, key in tried}
    assert (
        hw.operations.erase(EXPERIMENTED, {"user": OTHER}, store=url, data_dir=tmp_path).key_hash
        == expected
    )
    assert (
        hw.operations.erase(
            EXPERIMENTED, {"user": OTHER}, store=url, data_dir=tmp_path, dry_run=True
        ).key_hash
        == ""
    )
