"""Runs of materialize are timed, kept in a file, and read by the cost of a job."""

import json

import pytest

import headwater as hw
from headwater.assessing.cost import cost
from headwater.assessing.locations import Locations
from headwater.jobs.run_times import record, run_time, runs_of
from headwater.testing.examples import temporary_store, visiting
from tests.cli.conftest import run  # noqa: F401 (a fixture)


def test_a_run_is_timed_and_a_cut_that_was_there_is_not(tmp_path):
    project = visiting(hw.batch("1h"))
    with temporary_store() as store:
        for at in ("2024-05-01T11:00Z", "2024-05-01T12:00Z", "2024-05-01T12:10Z"):
            done = hw.materialize(project, store=store, at=at)
            record(tmp_path, done)
    first, second = runs_of(tmp_path)
    assert (first.view, first.after, second.after) == ("user", False, True)
    assert second.events > 0
    assert second.keys > 0
    assert 0 < second.cpu_seconds < 60
    assert run_time([first], "user") is None, "the first run computes the whole history"
    assert run_time([first, second], "user").cpu_seconds == second.cpu_seconds


def test_the_file_keeps_the_latest_runs_and_survives_a_cut_line(tmp_path):
    line = (
        json.dumps(
            {"view": "user", "T": 1, "events": 2, "keys": 3, "cpu_seconds": 0.5, "after": True}
        )
        + "\n"
    )
    path = tmp_path / "jobs" / "runs.jsonl"
    path.parent.mkdir()
    path.write_text(line * 4_000 + line[:20] + "\n")
    assert len(runs_of(tmp_path)) == 4_000
    project = visiting(hw.batch("1h"))
    with temporary_store() as store:
        record(tmp_path, hw.materialize(project, store=store, at="2024-05-01T12:00Z"))
    kept = runs_of(tmp_path)
    assert 1_000 < len(kept) < 2_500
    assert (kept[-1].events, kept[-1].after) == (12, False)
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.slow
def test_the_cost_of_a_job_uses_measured_seconds(tmp_path):
    project = visiting(hw.batch("1h"))
    before = cost(project, locations=Locations(data_dir=tmp_path)).inputs
    assert "no run of user was timed" in before["s_run"].reason
    folder = tmp_path / "jobs"
    folder.mkdir()
    (folder / "runs.jsonl").write_text("".join(json.dumps(each) + "\n" for each in _runs()))
    measured = cost(project, locations=Locations(data_dir=tmp_path)).inputs
    assert (measured["s_run"].value, measured["e_run"].value) == (2.0, 150.0)
    assert measured["s_run"].source == "CPU, mean of 2 runs of `headwater materialize`, of user"
    prices = tmp_path / "prices.toml"
    prices.write_text("s_run = 7.0\n")
    given = cost(project, locations=Locations(data_dir=tmp_path, prices=prices)).inputs
    assert given["s_run"].value == 7.0
    assert given["e_run"].value is None, "seconds that were given hold for each run"


def _runs():
    for events, seconds, after in ((9_000, 60.0, False), (100, 1.0, True), (200, 3.0, True)):
        yield {
            "view": "user",
            "T": 1,
            "events": events,
            "keys": 3,
            "cpu_seconds": seconds,
            "after": after,
        }


def test_the_command_keeps_times_in_the_data_folder(tmp_path, run, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    file = tmp_path / "features.py"
    file.write_text(
        "import headwater as hw\nfrom headwater.testing.examples import visiting\nproject = "
        "visiting(hw.batch('1h'))\n"
    )
    where = [
        "--project",
        file,
        "--store",
        f"lmdb:{tmp_path / 'online'}?size=100MB",
        "--data-dir",
        tmp_path / "data",
    ]
    done = run("materialize", *where, "--at", "2024-05-01T12:00Z", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["views"][0]["cpu_seconds"] > 0
    assert [found.view for found in runs_of(tmp_path / "data")] == ["user"]
    blocked = tmp_path / "file"
    blocked.write_text("")
    done = run("materialize", *where[:4], "--data-dir", blocked, "--at", "2024-05-01T13:00Z")
    assert done.returncode == 0, "times that cannot be kept are a warning"
    assert "the times of runs are not kept" in done.stderr
