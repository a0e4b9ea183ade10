"""`headwater materialize` as a user starts it: staying, and with a bound on memory."""

import itertools
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from tests.flow import home  # noqa: F401 (fixtures)

PROJECT = """
import headwater as hw

events = hw.Source("events", history=hw.parquet("events.parquet"), timestamp_field="at", select=["key", "amount"])
view = hw.FeatureView("view", source=events, keys=["key"], windows=["300d"], features=[hw.count(), hw.sum("amount")], freshness=hw.batch(EVERY))
labels = hw.Labels("labels", table=hw.parquet("labels.parquet"), timestamp_field="at", label="amount", known_after="1h")
model = hw.Model("model", task="regression", features=hw.FeatureService("service", [view]), labels=labels)
project = hw.Project("project", [model])
"""


def write(folder, events, every):
    events.write_parquet(folder / "events.parquet")
    events.head(1).write_parquet(folder / "labels.parquet")
    (folder / "features.py").write_text(PROJECT.replace("EVERY", repr(every)), encoding="utf-8")


def start(folder, *arguments, through=None, **more):
    before = [] if through is None else [sys.executable, "-c", through]
    command = [
        *before,
        sys.executable,
        "-m",
        "headwater.cli",
        "materialize",
        "--store",
        f"lmdb:{folder}/online?size=4GB",
        "--json",
        *arguments,
    ]
    return subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
        **more,
    )


@pytest.mark.slow
def test_watch_makes_each_cut_when_it_can_be_made(tmp_path):
    now = datetime.now(UTC)
    write(
        tmp_path, pl.DataFrame({"key": [1], "amount": [1.0], "at": [now - timedelta(days=1)]}), "5s"
    )
    with start(tmp_path, "--watch") as watching:
        cuts, told, text = [], [], ""
        while len(cuts) < 3:
            line = watching.stdout.readline()
            assert line, watching.stderr.read()
            text += line
            if line == "}\n":
                cuts.append(datetime.fromisoformat(json.loads(text)["views"][0]["cut"]))
                told.append(datetime.now(UTC))
                text = ""
        watching.send_signal(signal.SIGTERM)
        # it has a handler, without which SIGTERM does nothing to the first process of a container
        assert watching.wait(60) == 0
    steps = [(b - a).total_seconds() for a, b in itertools.pairwise(cuts)]
    assert min(steps) >= 5  # more, where the machine had no time for one
    assert [step % 5 for step in steps] == [0, 0]
    lateness = [(at - cut).total_seconds() for at, cut in zip(told, cuts, strict=True)][1:]
    assert min(lateness) >= 0


AHEAD = """
import sys
from headwater import clock
real = clock.now_micros
clock.now_micros = lambda: real() + 3_600_000_000
from headwater.__main__ import main
sys.exit(main())
"""


@pytest.mark.slow
def test_a_job_of_the_present_asks_the_clock(tmp_path):
    """A cut of the future is there, made by a clock that was ahead, so that the wall clock is
    behind it; with --at it is not asked.
    """
    now = datetime.now(UTC)
    write(
        tmp_path,
        pl.DataFrame({"key": [1], "amount": [1.0], "at": [now - timedelta(hours=1)]}),
        "10m",
    )
    made = [
        sys.executable,
        "-c",
        AHEAD,
        "materialize",
        "--store",
        f"lmdb:{tmp_path}/online?size=4GB",
    ]
    subprocess.run(made, cwd=tmp_path, check=True, capture_output=True)
    for arguments, code in (
        ([], 1),
        (["--at", now.isoformat()], 0),
        (["view", "--full-refresh"], 0),
    ):
        process = start(tmp_path, *arguments)
        _, said = process.communicate(timeout=120)
        assert (process.returncode != 0) == bool(code), said
        assert ("behind the last commit of the online store" in said) == bool(code)
