"""What init writes passes plan, apply, train, ingest and serve unchanged, as real processes, on
files of many shapes.
"""

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

SHAPES = [
    "parquet",
    "csv",
    "uuid",
    "integer",
    "naive",
    "dates",
    "totals",
    "duplicates",
    "jsonl",
    "epoch_ms",
    "names",
    "words",
    "keyless",
    "spaces",
]


def shaped(shape, folder):
    """Write the files of a shape, and give the arguments of init."""
    events, labels = tables(rows=1500, users=20)
    arguments = ["--request-time", "asked", "--known-at", "settled"]
    if shape == "uuid":
        ids = {f"u{i:02}": str(uuid.UUID(int=i * 7_919)) for i in range(100)}
        events, labels = (
            frame.with_columns(pl.col("user_id").replace_strict(ids)) for frame in (events, labels)
        )
    if shape == "integer":
        events, labels = (
            frame.with_columns(pl.col("user_id").str.slice(1).cast(pl.Int64))
            for frame in (events, labels)
        )
    if shape in ("naive", "dates", "totals"):
        events = events.with_columns(pl.col("at").dt.replace_time_zone(None))
        labels = labels.with_columns(pl.col("asked", "settled").dt.replace_time_zone(None))
        arguments += ["--timezone", "Europe/Oslo"]
    if shape == "dates":
        events = events.with_columns(pl.col("at").dt.date())
    if shape == "totals":
        day = pl.col("at").dt.truncate("1d").alias("day")
        events = (
            events.group_by("user_id", day)
            .agg(pl.col("amount").sum(), pl.len().alias("visits"))
            .sort("day")
        )
    if shape == "duplicates":
        events = pl.concat([events, events.head(40)])
    if shape == "epoch_ms":
        events = events.with_columns(pl.col("at").dt.epoch("ms"))
        labels = labels.with_columns(pl.col("asked", "settled").dt.epoch("ms"))
    if shape == "names":
        events, labels = events.rename({"user_id": "uid"}), labels.rename({"user_id": "customer"})
    if shape == "words":
        labels = labels.with_columns(
            pl.when(pl.col("churned") == 1)
            .then(pl.lit("yes"))
            .otherwise(pl.lit("no"))
            .alias("churned")
        )
    if shape == "keyless":
        events, labels = events.drop("user_id"), labels.drop("user_id")
        arguments += ["--keys", "none"]
    if shape == "spaces":
        events = events.rename(
            {
                "user_id": "Kunden Nr",
                "at": "Buchungs Zeit",
                "amount": "Betrag (€)",
                "country": "Größe",
            }
        )
        labels = labels.rename(
            {
                "user_id": "Kunden Nr",
                "asked": "Anfrage Zeit",
                "settled": "Bezahlt am",
                "churned": "Gekündigt",
            }
        )
        arguments = [
            "--request-time",
            "Anfrage Zeit",
            "--known-at",
            "Bezahlt am",
            "--label",
            "Gekündigt",
        ]
    ending = {"csv": "csv", "naive": "csv", "spaces": "csv", "jsonl": "jsonl"}.get(shape, "parquet")
    for name, frame in (("events", events), ("labels", labels)):
        path = folder / f"{name}.{ending}"
        write = {
            "csv": frame.write_csv,
            "jsonl": frame.write_ndjson,
            "parquet": frame.write_parquet,
        }[ending]
        write(path)
    return [f"events.{ending}", f"labels.{ending}", *arguments]


def until_it_answers(folder, url, *command):
    """Start a command, wait until the address answers, stop it by its pid, and give what it
    printed.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "headwater", *command],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
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
@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(shape, marks=() if n % 8 == 1 else pytest.mark.long)
        for n, shape in enumerate(SHAPES)
    ],
)
def test_the_project_runs_unchanged(tmp_path, run, shape):
    (tmp_path / "features.py").unlink(missing_ok=True)
    for call in (["init", *shaped(shape, tmp_path)], ["plan"], ["apply"], ["train"]):
        done = run(*call)
        assert done.returncode == 0, (call, done.stderr)
    for verb, path in (("ingest", "/v1/health"), ("serve", "/v1/health")):
        port = free_port()
        printed = until_it_answers(
            tmp_path, f"http://127.0.0.1:{port}{path}", verb, "--listen", f"127.0.0.1:{port}"
        )
        assert "error" not in printed.lower(), printed


def test_defaults_answer_every_question_that_has_one(tmp_path, run):
    events, labels = tables(rows=600, users=20)
    events.with_columns(pl.col("at").dt.replace_time_zone(None)).write_parquet(
        tmp_path / "events.parquet"
    )
    labels.with_columns(pl.col("asked", "settled").dt.replace_time_zone(None)).write_parquet(
        tmp_path / "labels.parquet"
    )
    done = run("init", "events.parquet", "labels.parquet", "--yes")
    assert done.returncode == 0, done.stderr
    assert (
        "--yes took --request-time asked, --known-at settled, --timezone UTC: check each"
        in done.stderr
    )
    mixed = labels.drop("settled")
    mixed.write_parquet(tmp_path / "labels.parquet")
    done = run("init", "events.parquet", "labels.parquet", "--yes", "--force")
    assert done.returncode == 2
    assert "--known-after" in done.stderr  # nothing in the table says when the outcome is known
    assert "--timezone" in done.stderr  # local times next to times with a zone


def test_dates_of_either_order_are_asked_about(tmp_path, run):
    """Where no day is above 12, 03/04/2026 has two meanings; a wrong one moves events by months."""
    at = pl.Series(
        [
            f"{month:02}/{day:02}/2026 10:00:00"
            for month in (1, 2)
            for day in range(1, 13)
            for _ in range(30)
        ]
    )
    frame = pl.DataFrame(
        {
            "user_id": [f"u{i % 7}" for i in range(len(at))],
            "at": at,
            "late": [i % 3 == 0 for i in range(len(at))],
        }
    )
    frame.write_csv(tmp_path / "events.csv")
    call = [
        "init",
        "events.csv",
        "--label",
        "late",
        "--request-time",
        "at",
        "--known-after",
        "1d",
        "--timezone",
        "UTC",
    ]
    done = run(*call)
    assert (
        done.returncode,
        "such as 01/02/2026 10:00:00 in at, which may be both: --dates day-first" in done.stderr,
    ) == (2, True)
    for order, last in (
        ("month-first", "2026-01-01 to 2026-02-12"),
        ("day-first", "2026-01-01 to 2026-12-02"),
    ):
        done = run(*call, "--dates", order, "--force")
        assert done.returncode == 0, done.stderr
        assert last in (tmp_path / "features.py").read_text(encoding="utf-8")


@pytest.mark.slow
def test_events_without_outcomes_give_sources_and_views(tmp_path, run):
    events, _ = tables(rows=600, users=20)
    events.drop("event_id").write_parquet(tmp_path / "events.parquet")
    done = run("init", "events.parquet")
    assert (done.returncode, "--label none for sources and views only" in done.stderr) == (2, True)
    done = run("init", "events.parquet", "--label", "none")
    assert done.returncode == 0, done.stderr
    assert "next: headwater init events.parquet LABELS --force" in done.stderr
    text = (tmp_path / "features.py").read_text(encoding="utf-8")
    code = (
        "import polars as pl\nfrom datetime import UTC, datetime\nimport headwater as hw\nfrom "
        "features import service\n"
    )
    code += (
        "rows = pl.DataFrame({'user_id': ['u01'], 'country': ['no'], 'asked_at': [datetime(2024, "
        "2, 1, tzinfo=UTC)]})\n"
    )
    code += "print(hw.get_historical_features(service, rows, timestamp_field='asked_at').height)"
    assert "hw.Model" not in text
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.stdout.strip() == "1", ran.stderr


def test_a_folder_of_several_tables_names_them(tmp_path, run):
    events, labels = tables(rows=600, users=20)
    events.head(300).write_parquet(tmp_path / "a.parquet")
    events.tail(300).write_parquet(tmp_path / "b.parquet")
    labels.write_parquet(tmp_path / "c.parquet")
    done = run("init", ".")
    assert done.returncode == 2
    assert (
        "a.parquet (event_id, user_id, amount, country, at); c.parquet (user_id, asked, settled, "
        "churned)"
    ) in done.stderr


@pytest.mark.parametrize(
    "order", ["day-first", pytest.param("month-first", marks=pytest.mark.slow)]
)
def test_the_order_of_dates_stands_in_the_file_that_is_written(tmp_path, run, order):
    """Also where they lie in a folder of CSV files; the file reads them as answered, after any
    move.
    """
    (tmp_path / "events").mkdir()
    for name, day in (("a", 1), ("b", 9)):
        rows = [f"u{n % 7},{n % 3},{1 + n % 5:02}/{day:02}/2026 10:00" for n in range(200)]
        (tmp_path / "events" / f"{name}.csv").write_text(
            "\n".join(["user_id,amount,at", *rows]) + "\n", encoding="utf-8"
        )
    done = run("init", "events", "--label", "none", "--timezone", "UTC", "--dates", order)
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "features.py").read_text(encoding="utf-8")
    assert f'hw.csv("events", dates="{order}")' in text
    assert (
        "2026-01-01 to 2026-09-05" if order == "day-first" else "2026-01-01 to 2026-05-09"
    ) in text
    code = (
        "import polars as pl\nfrom datetime import UTC, datetime\nimport headwater as hw\nfrom "
        "features import service\n"
    )
    code += "rows = pl.DataFrame({'user_id': ['u1'], 'at': [datetime(2026, 1, 20, tzinfo=UTC)]})\n"
    code += "frame = hw.get_historical_features(service, rows, timestamp_field='at')\n"
    code += "print(*frame[next(name for name in frame.columns if name.endswith('__count_30d'))])"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.stdout.strip() == ("29" if order == "day-first" else "12"), (ran.stdout, ran.stderr)
