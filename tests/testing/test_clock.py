"""`headwater.testing.clock`: one clock for a test, its threads, and the processes that it
starts.
"""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import pytest

import headwater as hw
from headwater.clock import stopwatch, wait
from headwater.errors import ClockError, UsageError
from headwater.stores import HeldError
from headwater.testing import clock

PROJECT = """
import headwater as hw, polars as pl
source = hw.Source("visits", stream=hw.appended("visits.jsonl", schema={"user": str, "at": pl.Datetime("us", "UTC")}), timestamp_field="at")
view = hw.FeatureView("user", source=source, keys=["user"], features=[hw.count()], windows=["1h"], freshness=hw.streaming("2s"))
asked = pl.DataFrame({"user": ["a"], "asked": ["2024-01-01T00:00Z"], "left": [True]}).with_columns(pl.col("asked").str.to_datetime(time_zone="UTC"))
labels = hw.Labels("left", table=asked, timestamp_field="asked", label="left", known_after="1d")
project = hw.Project("shop", [hw.Model("churn", task="binary", features=hw.FeatureService("s", [view]), labels=labels)])
"""


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A project of a view of visits, whose folder is the working folder."""
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "features.py").write_text(PROJECT, encoding="utf-8")
    names = {}
    exec(PROJECT, names)
    return names


def visit(at):
    with Path("visits.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"user": "a", "at": at}) + "\n")


def ingest(project, **limits):
    options = hw.operations.IngestOptions(allow_unapplied=True)
    hw.ingest(project, once=True, limits=hw.operations.IngestLimits(**limits), options=options)


def test_blocks_lie_within_each_other():
    with clock.at("2024-05-01T12:00Z") as outer:
        with clock.at(datetime(2023, 1, 1, tzinfo=UTC)) as inner:
            inner.advance("1d")
            assert inner.time() == datetime(2023, 1, 2, tzinfo=UTC)
        assert outer.time() == datetime(2024, 5, 1, 12, tzinfo=UTC)


def test_a_time_needs_an_offset():
    with pytest.raises(UsageError, match="has no time zone"), clock.at("2024-05-01T12:00"):
        pass


def test_time_that_passes_is_no_jump_and_a_clock_that_is_set_is(shop):
    with clock.at("2024-05-01T12:00Z") as now:
        visit("2024-05-01T11:30Z")
        ingest(shop["project"])
        now.advance("20m")
        visit("2024-05-01T12:10Z")
        ingest(shop["project"])
        assert hw.get_online_features(shop["view"], [{"user": "a"}]).row(0) == (2,)
        now.set("2024-05-01T12:14Z")
        with pytest.raises(ClockError, match="behind the last commit"):
            ingest(shop["project"])
        now.set("2024-05-01T12:20Z")
        ingest(shop["project"])


@pytest.mark.slow
def test_a_process_reads_the_clock_of_the_test(shop, tmp_path):
    with clock.at("2024-05-01T12:00Z", file=tmp_path / "time") as now:
        visit("2024-05-01T11:30Z")
        now.advance("5m")
        command = [
            sys.executable,
            "-m",
            "headwater.testing.clock",
            str(tmp_path / "time"),
            "ingest",
            "--once",
            "--allow-unapplied",
        ]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        now.advance("10m")
        with closing(
            hw.operations.open_store(f"lmdb:{tmp_path}/home/online", readonly=True)
        ) as store:
            read = hw.get_online_features(shop["view"], [{"user": "a"}], store=store, details=True)
    assert (read["user__count_1h"][0], read["user__count_1h__age"][0]) == (1, 600.0)


def test_a_command_is_run_by_a_clock_that_was_set():
    command = [sys.executable, "-m", "headwater.testing.clock"]
    for arguments, code, said in (
        ([], 2, "give a time or a file"),
        (["2024"], 2, "give a timestamp as ISO 8601"),
        (["2024-05-01T12:00Z", "--version"], 0, "headwater"),
    ):
        ended = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        assert (ended.returncode, said in ended.stdout + ended.stderr) == (code, True), arguments


def test_a_wait_ends_when_the_clock_has_moved_so_far():
    with clock.at("2024-05-01T12:00Z") as now, ThreadPoolExecutor(1) as pool:
        began, event = stopwatch(), Event()
        waiting = pool.submit(wait, 3_600, event)
        now.advance("1h")
        assert waiting.result(60) is False
        assert stopwatch() - began >= 3_600
        waiting = pool.submit(wait, 3_600, event)
        event.set()
        assert waiting.result(60) is True


def test_who_skips_waits_moves_the_clock():
    with clock.at("2024-05-01T12:00Z", skips=True) as now:
        began = stopwatch()
        assert wait(90) is False
        assert stopwatch() - began >= 90
        assert now.time().isoformat() == "2024-05-01T12:01:30+00:00"
    assert stopwatch() - began < 90


def test_a_held_lease_is_refused_after_the_wait(tmp_path):
    url = f"lmdb:{tmp_path}/store?size=10MB"
    with (
        clock.at("2024-05-01T12:00Z", skips=True),
        closing(hw.operations.open_store(url)) as store,
        store.lease("ingest", wait=0),
    ):
        began = stopwatch()
        with pytest.raises(HeldError), store.lease("ingest", wait=600):
            pass
        assert stopwatch() - began >= 600
