"""What init writes passes plan, apply, train, ingest and serve unchanged, as real processes, on files of many shapes."""

import signal
import subprocess
import sys
import time
import uuid

import httpx
import polars as pl
import pytest

from tests.cli.conftest import tables
from tests.serving.world import free_port

SHAPES = ["parquet", "csv", "uuid", "integer", "naive", "dates", "totals", "duplicates"]


def shaped(shape, folder):
    """Write the files of a shape, and give the arguments of init."""
    events, labels = tables(rows=1500, users=20)
    arguments = ["--request-time", "asked", "--known-at", "settled"]
    if shape == "uuid":
        ids = {f"u{i:02}": str(uuid.UUID(int=i * 7_919)) for i in range(100)}
        events, labels = (frame.with_columns(pl.col("user_id").replace_strict(ids)) for frame in (events, labels))
    if shape == "integer":
        events, labels = (frame.with_columns(pl.col("user_id").str.slice(1).cast(pl.Int64)) for frame in (events, labels))
    if shape in ("naive", "dates", "totals"):
        events = events.with_columns(pl.col("at").dt.replace_time_zone(None))
        labels = labels.with_columns(pl.col("asked", "settled").dt.replace_time_zone(None))
        arguments += ["--timezone", "Europe/Oslo"]
    if shape == "dates":
        events = events.with_columns(pl.col("at").dt.date())
    if shape == "totals":
        day = pl.col("at").dt.truncate("1d").alias("day")
        events = events.group_by("user_id", day).agg(pl.col("amount").sum(), pl.len().alias("visits")).sort("day")
    if shape == "duplicates":
        events = pl.concat([events, events.head(40)])
    ending = "csv" if shape in ("csv", "naive") else "parquet"
    for name, frame in (("events", events), ("labels", labels)):
        path = folder / f"{name}.{ending}"
        frame.write_csv(path) if ending == "csv" else frame.write_parquet(path)
    return [f"events.{ending}", f"labels.{ending}", *arguments]


def until_it_answers(folder, url, *command):
    """Start a command, wait until the address answers, stop it by its pid, and give what it printed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "headwater", *command], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    end, answer = time.monotonic() + 90, None
    while answer is None and time.monotonic() < end and process.poll() is None:
        try:
            answer = httpx.get(url, timeout=2)
        except httpx.HTTPError:
            time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    printed, _ = process.communicate(timeout=60)
    assert answer is not None, printed
    return printed


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_the_project_runs_unchanged(tmp_path, run, shape):
    (tmp_path / "features.py").unlink(missing_ok=True)
    for call in (["init", *shaped(shape, tmp_path)], ["plan"], ["apply"], ["train"]):
        done = run(*call)
        assert done.returncode == 0, (call, done.stderr)
    for verb, path in (("ingest", "/v1/health"), ("serve", "/v1/health")):
        port = free_port()
        printed = until_it_answers(tmp_path, f"http://127.0.0.1:{port}{path}", verb, "--listen", f"127.0.0.1:{port}")
        assert "error" not in printed.lower(), printed


def test_defaults_answer_every_question_that_has_one(tmp_path, run):
    events, labels = tables(rows=600, users=20)
    events.with_columns(pl.col("at").dt.replace_time_zone(None)).write_parquet(tmp_path / "events.parquet")
    labels.with_columns(pl.col("asked", "settled").dt.replace_time_zone(None)).write_parquet(tmp_path / "labels.parquet")
    done = run("init", "events.parquet", "labels.parquet", "--yes")
    assert done.returncode == 0, done.stderr
    assert "--yes took --request-time asked, --known-at settled, --timezone UTC: check each" in done.stderr
    mixed = labels.drop("settled")
    mixed.write_parquet(tmp_path / "labels.parquet")
    done = run("init", "events.parquet", "labels.parquet", "--yes", "--force")
    assert done.returncode == 2
    assert "--known-after" in done.stderr  # nothing in the table says when the outcome is known
    assert "--timezone" in done.stderr  # local times next to times with a zone
