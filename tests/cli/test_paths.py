"""Paths on the command line: outputs are checked before a long run; paths in a project file are
relative to it.
"""

import json
import os
from datetime import UTC, datetime

import polars as pl
import pytest

from headwater.cli import main

STREAM = """
from datetime import datetime

import headwater as hw
clicks = hw.Source("clicks", stream=hw.appended("log/*.ndjson", schema={"user": str, "at": datetime}), timestamp_field="at")
view = hw.FeatureView("user", source=clicks, keys=["user"], windows=["1d"], features=[hw.count()], freshness=hw.streaming("2s"))
labels = hw.Labels("left", table=hw.parquet("labels.parquet"), timestamp_field="at", label="left", known_after="1d")
model = hw.Model("left", task="binary", features=hw.FeatureService("left_v1", [view]), labels=labels)
project = hw.Project("shop", [model])
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["backtest", "--output", "/proc/x.html"],
        ["train", "--output", "/proc/model"],
        ["assess", "--output", "/proc/x.html"],
        ["backtest", "--output", "."],
        ["dataset", "--output", "features.py/rows.parquet"],
    ],
    ids=" ".join,
)
def test_an_output_that_cannot_be_written_fails_before_the_run(
    folder, monkeypatch, capsys, arguments
):
    (folder / "events.parquet").unlink()  # a run would fail of this
    monkeypatch.chdir(folder)
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert arguments[-1].rpartition("/")[0] in said
    assert arguments[-2] in said


def test_a_project_runs_from_another_folder(folder, monkeypatch, capsys, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / ".headwater").mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.delenv("HEADWATER_HOME", raising=False)
    project = ["--project", str(folder / "features.py")]
    assert main(["dataset", "--output", "rows.parquet", *project]) == 0, capsys.readouterr().err
    assert "warning: headwater's home is" in capsys.readouterr().err
    assert pl.read_parquet(elsewhere / "rows.parquet").height == 1500
    assert (folder / ".headwater").is_dir()
    assert list((elsewhere / ".headwater").iterdir()) == []
    relative = os.path.relpath(folder / "features.py", elsewhere)
    assert main(["dataset", "--output", "again.parquet", "--project", relative]) == 0, (
        capsys.readouterr().err
    )
    assert pl.read_parquet(elsewhere / "again.parquet").equals(
        pl.read_parquet(elsewhere / "rows.parquet")
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_files_of_a_stream_are_the_same_from_another_folder(
    tmp_path, tmp_path_factory, monkeypatch, capsys
):
    """Offsets are by file: under another name, all of it would be read again and count twice."""
    (tmp_path / "log").mkdir()
    (tmp_path / "features.py").write_text(STREAM, encoding="utf-8")
    now = datetime.now(UTC)
    (tmp_path / "log" / "one.ndjson").write_text(
        json.dumps({"user": "a", "at": now.isoformat()}) + "\n", encoding="utf-8"
    )
    monkeypatch.delenv("HEADWATER_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert main(["ingest", "--once"]) == 0
    assert "1 accepted" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert main(["ingest", "--once", "--project", str(tmp_path / "features.py")]) == 0
    assert "0 records" in capsys.readouterr().err
