"""A run over a history larger than its memory that is killed goes on where it was; what has changed
since is never mixed in.
"""

import os
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

import headwater as hw

# a process takes more memory than these runs are given
pytestmark = pytest.mark.filterwarnings("ignore:memory=1MB may not be held")

START = datetime(2024, 5, 1, tzinfo=UTC)
MEMORY = "1MB"
KILLED = """
import os, signal, sys
sys.path.insert(0, {root!r})
import headwater as hw
from tests.laws import test_stopped_runs as runs
left = [int(sys.argv[2])]
def progress(what, done, total):
    left[0] -= what == sys.argv[1]
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
runs.computed(progress)
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with events and rows that ask."""
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    chance = random.Random(7)
    events = [
        {
            "key": chance.randrange(50),
            "at": START + timedelta(seconds=chance.randrange(90_000)),
            "amount": chance.choice([0.1, 1e9 / 3, -1e9 / 7, 2.5, None]),
        }
        for _ in range(4_000)
    ]
    asked = [
        {"key": chance.randrange(60), "timestamp": START + timedelta(seconds=1_000 * n)}
        for n in range(100)
    ]
    pl.DataFrame(events).write_parquet("events.parquet")
    pl.DataFrame(asked).write_parquet("asked.parquet")
    return tmp_path


def computed(progress=False, memory=MEMORY):
    source = hw.Source("events", history=hw.parquet("events.parquet"), timestamp_field="at")
    view = hw.FeatureView(
        "v",
        source=source,
        keys=["key"],
        features=[hw.count(), hw.sum("amount"), hw.last_n("amount", k=3)],
        windows=["1h", "1d"],
        freshness=hw.on_request(),
    )
    resources = hw.Resources(memory=memory, progress=progress, threads=1)
    return hw.get_historical_features(view, hw.parquet("asked.parquet"), resources=resources)


def killed(what, steps):
    """A process that is killed in a step of its progress."""
    root = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-c", KILLED.format(root=root), what, str(steps)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr


def read_again():
    """How often events were read by the run that follows, and what it gives."""
    seen = []
    found = computed(lambda what, *_: seen.append(what))
    return seen.count("reading events"), found


@pytest.mark.slow
@pytest.mark.parametrize(("what", "steps"), [("reading events", 0), ("v", 1), ("v", 4)])
def test_a_run_that_is_killed_goes_on(here, what, steps):
    killed(what, steps)
    left = list((here / "home" / "work").iterdir())
    read, found = read_again()
    assert left
    assert (read == 0) == (what == "v"), "events that were split before are not split again"
    assert found.equals(computed(memory=None))
    assert list((here / "home" / "work").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("changed", ["events.parquet", "asked.parquet"])
def test_what_has_changed_since_is_not_mixed_in(here, changed):
    killed("v", 4)
    table = pl.read_parquet(changed)
    (
        table.reverse() if "asked" in changed else table.with_columns(pl.col("amount") + 1)
    ).write_parquet(changed)
    os.utime(changed, ns=(1, 1))
    read, found = read_again()
    assert read > 0 or "asked" in changed
    assert found.equals(computed(memory=None))
