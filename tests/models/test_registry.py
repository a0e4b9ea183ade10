"""Versions of fitted models: written whole, one of them current, replaced atomically, and reloaded
during requests.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import headwater as hw
from headwater.definitions.level import AS_DEFINED
from headwater.errors import DataError, UsageError
from headwater.models import registry as registries
from headwater.models.artifact import save
from headwater.models.fit import Fitted
from headwater.models.hot_reload import Reloading
from tests.models.worlds import FIELDS, imputed, model, table

UNTIL = "2024-04-01T00:00Z"
FRAME = table().select("x", "noise", "shade")


class Constant:
    """Says one number."""

    def __init__(self, value):
        self.value_ = value

    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.full(len(X), self.value_)


OF = model("regression", estimator=Constant(0.0), fields=FIELDS[:2])


def constant(value, *, broken=False):
    """What writes a version that says `value`."""

    def write(folder):
        fitted = hw.train(OF, as_of=UNTIL).fitted
        made = Fitted(Constant(value), fitted.encoding, fitted.kind, "a constant")
        save(made, folder, {"model": OF.name}, table().select("x", "noise").head(2))
        if broken:
            (folder / "model.pkl").write_bytes(b"no pickle")

    return write


@pytest.fixture
def versions(tmp_path):
    """A registry with versions 1 and 2 that say 1.0 and 2.0."""
    made = hw.operations.ModelRegistry(tmp_path / "models")
    for value in (1.0, 2.0):
        made.add("shades", constant(value))
    return made


def says(registry, level=AS_DEFINED, version=None):
    return registry.open(OF, level, version=version, allow_pickle=True).one([0.0, 0.0])


# ---- which one is served


def test_versions_stand_beside_each_other(versions):
    assert [v.number for v in versions.versions("shades")] == [1, 2]
    assert (versions.current("shades").number, says(versions)) == (2, 2.0)
    assert (says(versions, version=1), says(versions, version=2)) == (1.0, 2.0)
    assert versions.open(OF, version=1, allow_pickle=True).version == "1"
    assert versions.variants() == [("shades", AS_DEFINED)]


def test_promote_and_rollback_go_through_what_was_current(versions):
    versions.add("shades", constant(3.0), promote=False)
    assert says(versions) == 2.0
    assert versions.promote(3, "shades").number == 3
    assert versions.promote(3, "shades").number == 3  # again is not a step
    versions.promote(1, "shades")
    assert [versions.rollback("shades").number for _ in range(3)] == [3, 2, 1]
    with pytest.raises(
        UsageError, match="no version was current before version 1; promote one of 1 to 3"
    ):
        versions.rollback("shades")


def test_one_at_a_time_says_what_is_current(versions, monkeypatch):
    versions.add("shades", constant(3.0), promote=False)
    both, read = threading.Barrier(2, timeout=0.3), registries.read_pointer

    def slow(place):
        found = read(place)
        # a thread that has to wait for the lock never comes here meanwhile
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait()
        return found

    monkeypatch.setattr(registries, "read_pointer", slow)
    threads = [
        threading.Thread(target=versions.promote, args=(number, "shades")) for number in (1, 3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    monkeypatch.undo()
    # both steps, and the one before
    assert len([versions.rollback("shades") for _ in range(3)]) == 3


def test_rollback_steps_over_a_version_that_was_removed(versions):
    versions.add("shades", constant(3.0))
    folder = versions.version(2, "shades").folder
    folder.rename(folder.parent / "put away")
    assert versions.rollback("shades").number == 1


@pytest.mark.parametrize(
    "level", ["live", "request only", "..", "a/b", "ä.b", ".new-x", "7", "current"]
)
def test_a_level_may_have_any_name(tmp_path, level):
    made = hw.operations.ModelRegistry(tmp_path / "models")
    made.add("shades", constant(1.0), level=level)
    made.add("shades", constant(2.0))
    assert made.variants() == sorted([("shades", level), ("shades", AS_DEFINED)])
    assert (says(made, level), says(made)) == (1.0, 2.0)
    assert [p.name for p in tmp_path.iterdir()] == ["models"]


# ---- written whole


def test_a_version_that_fails_leaves_nothing(versions):
    def fails(folder):
        (folder / "half").write_text("a")
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        versions.add("shades", fails)
    place = versions.version(1, "shades").folder.parent
    assert sorted(p.name for p in place.iterdir()) == [".lock", "1", "2", "current"]
    assert says(versions) == 2.0


def test_what_a_killed_writer_left_is_taken_away_after_a_day(versions, monkeypatch):
    place = versions.version(1, "shades").folder.parent
    (place / ".new-dead").mkdir()
    versions.add("shades", constant(3.0))
    assert (place / ".new-dead").is_dir()  # it may still be written
    later = time.time_ns() // 1000 + 2 * 86_400 * 1_000_000
    monkeypatch.setattr(registries.clock, "now_micros", lambda: later)
    versions.add("shades", constant(4.0))
    assert not (place / ".new-dead").exists()
    assert [v.number for v in versions.versions("shades")] == [1, 2, 3, 4]


_WRITER = """
import sys
from headwater.models.registry import ModelRegistry
def write(folder):
    for i in range(200):
        (folder / f"part{i}").write_text("x" * 1000)
    (folder / "manifest.json").write_text("{}")
registry = ModelRegistry(sys.argv[1])
for _ in range(int(sys.argv[2])):
    print(registry.add("m", write).number, flush=True)
"""


def _writer(folder, times):
    return subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(folder), str(times)], stdout=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_processes_that_write_at_once_get_a_number_each(tmp_path):
    writers = [_writer(tmp_path, 5) for _ in range(3)]
    numbers = [
        int(line) for writer in writers for line in writer.communicate(timeout=120)[0].split()
    ]
    assert sorted(numbers) == list(range(1, 16))
    made = hw.operations.ModelRegistry(tmp_path)
    assert [v.number for v in made.versions("m")] == list(range(1, 16))
    pointer = json.loads((tmp_path / "m" / AS_DEFINED / "current").read_text())
    assert sorted([*pointer["before"], pointer["version"]]) == list(range(1, 16))


@pytest.mark.slow
def test_a_writer_that_is_killed_leaves_whole_versions_only(tmp_path):
    made = hw.operations.ModelRegistry(tmp_path)
    for wait in (0.0, 0.01, 0.03, 0.05):
        writer = _writer(tmp_path, 1000)
        writer.stdout.readline()  # one is done
        time.sleep(wait)  # in the middle of one of the next
        os.kill(writer.pid, signal.SIGKILL)
        writer.communicate(timeout=60)
        assert all(len(list(v.folder.iterdir())) == 201 for v in made.versions("m"))
        assert made.current("m").folder.is_dir()
    last = made.versions("m")[-1].number
    assert (
        made.add("m", lambda folder: (folder / "manifest.json").write_text("{}")).number == last + 1
    )


# ---- reloaded during requests


def test_another_version_takes_the_place_of_the_one_before(versions):
    serving = Reloading(versions, OF, allow_pickle=True)
    before = serving.served
    for number, value in ((1, 1.0), (2, 2.0)):
        versions.promote(number, "shades")
        assert serving.moved
        assert serving.one([0.0, 0.0]) != value  # until it is refreshed
        assert serving.refresh()
        assert (serving.version, serving.one([0.0, 0.0])) == (str(number), value)
        assert serving.score(table().select("x", "noise").head(2)).tolist() == [value, value]
    versions.rollback("shades")
    assert serving.refresh()
    assert serving.version == "1"
    assert before.one([0.0, 0.0]) == 2.0  # a request that began with it goes on


def test_a_version_that_cannot_be_loaded_is_not_served_nor_tried_again(versions):
    serving = Reloading(versions, OF, allow_pickle=True)
    versions.add("shades", constant(3.0, broken=True))
    with pytest.raises(DataError, match=r"is not what was kept: model.pkl has changed"):
        serving.refresh()
    assert not serving.refresh()
    assert serving.version == "2"
    versions.add("shades", constant(4.0))
    assert serving.refresh()
    assert serving.one([0.0, 0.0]) == 4.0


def test_a_version_that_does_not_pass_the_check_is_not_served(versions):
    def check(served):
        if served.version == "3":
            raise DataError("staler")

    serving = Reloading(versions, OF, allow_pickle=True, check=check)
    versions.add("shades", constant(3.0))
    with pytest.raises(DataError, match="staler"):
        serving.refresh()
    assert serving.version == "2"


@pytest.mark.slow
def test_requests_go_on_while_versions_change(versions):
    serving, found, stop = Reloading(versions, OF, allow_pickle=True), [], threading.Event()

    def ask():
        mine = []
        while not stop.is_set():
            served = serving.served
            mine.append((served.version, served.one([0.0, 0.0])))
        found.append(mine)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in (1, 2) * 10:
        versions.promote(number, "shades")
        serving.refresh()
    stop.set()
    for thread in threads:
        thread.join(timeout=60)
    answers = {answer for mine in found for answer in mine}
    assert answers == {("1", 1.0), ("2", 2.0)}
    assert len(found) == 4


def test_default_models_load_without_trust(tmp_path):
    made = hw.operations.ModelRegistry(tmp_path)
    of = model()
    hw.train(of, as_of=UNTIL, resources=hw.Resources(threads=1)).register(made)
    assert Reloading(made, of).one(FRAME.row(0)) == made.open(of).one(FRAME.row(0))
    hw.train(model(estimator=imputed(), fields=FIELDS[:2]), as_of=UNTIL).register(made)
    with pytest.raises(
        UsageError, match="is pickled, and loading a pickle runs code; pass allow_pickle=True"
    ):
        made.open(model(fields=FIELDS[:2]))
    assert Path(made.current("shades").folder / "model.pkl").is_file()
