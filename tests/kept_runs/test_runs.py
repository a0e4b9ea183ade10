"""Runs: the stored parts of a result, reading it again, and comparisons."""

import datetime as dt
import subprocess

import polars as pl
import pytest

import headwater as hw
from headwater import settings
from headwater.errors import DataError, UsageError
from headwater.kept_runs.run_page import page_of
from headwater.monitoring.parity import Mismatch, Parity, ParityRun
from headwater.results.stored_runs import RunRecord, StoredRuns, keep_run
from headwater.testing.examples import churn

HOURS = [dt.datetime(2024, 5, 1, tzinfo=dt.UTC) + dt.timedelta(hours=5 * n) for n in range(60)]
ROWS = pl.DataFrame({"id": range(60), "time": HOURS, "label": [n % 2 for n in range(60)]})
SCORES = ROWS.with_columns(stale=pl.lit(0.5), fresh=pl.col("label") * 0.8 + 0.1)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_RUNS", "on")
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HEADWATER_DATA_DIR", raising=False)
    return tmp_path / "home"


def test_a_backtest_is_kept_and_read_again_as_it_was(home):
    made = hw.backtest(scores=SCORES)
    (run,) = hw.runs()
    assert run.result.to_dict() == made.result.to_dict()
    assert run.record.kind == "backtest"
    assert run.record.by == settings.who()
    assert run.record.sentence == made.result.verdict
    assert run.record.figures["auc fresh"] == 1.0
    assert run.record.figures["auc fresh over stale"] == 0.5
    assert page_of(run) == page_of(hw.runs()["latest"])
    assert hw.runs().frame()["id"].to_list() == [run.id]


def _parity(values, mismatches=0):
    at = dt.datetime(2024, 5, 1, tzinfo=dt.UTC)
    views = [Parity("user", 1, values, at, at, 9, [Mismatch("a", {}, 1, 2, "why")] * mismatches)]
    keep_run("parity", "done", ParityRun("p", served=False, views=views), subject="p")
    return hw.runs()[0].record


def test_runs_are_compared_by_their_figures_and_by_what_differs(home):
    first, second = _parity(3), _parity(4, mismatches=1)
    keep_run("backtest", "done", ParityRun("p", served=False, views=[]), churn())
    other = hw.runs(kind="backtest")[0].record
    compared = hw.runs().compare(first.id, second.id, other.id)
    assert compared.rows() == [
        ("views", 1.0, 1.0, 0.0),
        ("values", 3.0, 4.0, 0.0),
        ("mismatches", 0.0, 1.0, 0.0),
    ]
    assert hw.runs().differences(first.id, other.id)["model churn"] == ["", churn().fingerprint]
    with pytest.raises(UsageError, match="two runs or more"):
        hw.runs().compare(first.id)
    with pytest.raises(UsageError, match="one run twice"):
        hw.runs().compare(first.id, first.id)


def test_a_result_of_another_version_is_said_and_the_record_stays(home):
    StoredRuns().add(
        RunRecord(
            "backtest-1",
            "backtest",
            "m",
            "2024-05-01T00:00:00+00:00",
            "ann",
            "done",
            headwater="0.0.1",
        ),
        {"model": 3},
    )
    StoredRuns().add(
        RunRecord("other-1", "other", "m", "2024-05-01T00:00:00+00:00", "ann", "done"), {}
    )
    with pytest.raises(DataError, match=r"written by headwater 0\.0\.1"):
        _ = hw.runs()["backtest-1"].result
    with pytest.raises(DataError, match="kind that this version"):
        _ = hw.runs()["other-1"].result


def test_what_a_killed_writer_leaves_is_no_run(home):
    folder = StoredRuns().folder
    (folder / ".new-abc").mkdir(parents=True)
    (folder / "backtest-half").mkdir()
    (folder / "notes.txt").write_text("mine")
    assert len(hw.runs()) == 0
    with pytest.raises(UsageError, match="no run is kept"):
        hw.runs()["latest"]


def test_a_run_that_cannot_be_kept_is_a_warning_and_costs_nothing(home):
    home.parent.mkdir(exist_ok=True)
    home.write_text("a file where the folder should be")
    with pytest.warns(hw.errors.HeadwaterWarning, match="this run was not kept"):
        assert hw.backtest(scores=SCORES).result.levels


def test_the_commit_of_the_project_is_kept_with_a_mark_where_files_changed(home, tmp_path):
    place = tmp_path / "project"
    place.mkdir()
    git = ["git", "-C", str(place), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    (place / "features.py").write_text("1")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    with settings.project_folder(place):
        clean = _parity(3)
    head = subprocess.run(
        [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout
    assert head.startswith(clean.commit)
    assert len(clean.commit) == 12
    (place / "features.py").write_text("2")
    with settings.project_folder(place):
        assert _parity(3).commit == f"{clean.commit}+"
