"""`headwater init`: a project file from two tables, which then backtests; and what it asks instead
of guessing.
"""

import io
import json
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from headwater.cli import main
from headwater.errors import DataError, UsageError
from headwater.init.guess import InitAnswers, guess
from headwater.init.tables import TableProfile


def start(folder):
    (folder / "features.py").unlink(missing_ok=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_what_init_writes_backtests(folder, run, ending):
    start(folder)
    for name in ("events", "labels"):
        frame = pl.read_parquet(folder / f"{name}.parquet")
        if ending == "csv":
            frame.write_csv(folder / f"{name}.csv", datetime_format="%Y-%m-%dT%H:%M:%S%.6fZ")
    done = run(
        "init",
        f"events.{ending}",
        f"labels.{ending}",
        "--request-time",
        "asked",
        "--known-at",
        "settled",
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.endswith("next: headwater backtest --project features.py\n")
    text = (folder / "features.py").read_text(encoding="utf-8")
    for evidence in (
        "user_id joins 9",
        "% of labels",
        "0 or 1",
        "days, 2024-01-01 to",
        "2.0 hours after the request in the median",
        'id_field="event_id"',
    ):
        assert evidence in text
    found = run("backtest", "--json", "--levels", "request only,daily,instant")
    assert found.returncode == 0, found.stderr
    levels = {
        level["name"]: level["metrics"]["auc"]["value"]
        for level in json.loads(found.stdout)["levels"]
    }
    assert levels["instant"] > levels["request only"] + 0.03


@pytest.mark.slow
def test_one_table_for_both_leaves_out_what_tells_the_label(tmp_path, run):
    rows = 2000
    at = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=20 * i) for i in range(rows)]
    delay = pl.Series([(i * 37) % 61 for i in range(rows)])
    frame = pl.DataFrame(
        {
            "line": [f"l{i % 7}" for i in range(rows)],
            "seats": [i % 50 for i in range(rows)],
            "due_at": at,
            "delay": delay,
            "late": delay > 30,
            "arrived_at": [t + timedelta(minutes=60 + d) for t, d in zip(at, delay, strict=True)],
        }
    )
    frame.write_parquet(tmp_path / "trips.parquet")
    done = run(
        "init",
        "trips.parquet",
        "trips.parquet",
        "--request-time",
        "due_at-60m",
        "--known-at",
        "arrived_at",
    )
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "features.py").read_text(encoding="utf-8")
    source = text[text.index("events = hw.Source") : text.index("daily =")]
    assert 'timestamp_field="arrived_at"' in source  # the whole row is known by then
    assert 'select=["line", "seats"]' in source
    assert "# Left out (it determines the label): delay, late" in source
    assert 'pl.col("due_at") - pl.duration(hours=1)' in text
    assert '    # hw.RequestField("seats", float),' in text  # offered, not taken
    assert run("backtest", "--json", "--levels", "instant").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], ["--request-time", "asked-60m", "leak"]),
        (
            ["--request-time", "asked"],
            ["--known-at COLUMN (asked, settled)", "--known-after", "leak"],
        ),
        (
            ["--request-time", "askd", "--known-after", "1d"],
            ["'askd' is not a column", "did you mean 'asked'?"],
        ),
        (
            ["--request-time", "asked", "--known-after", "1d", "--request", "churned"],
            ["cannot be a request field"],
        ),
    ],
)
def test_what_would_leak_is_asked_and_not_guessed(folder, run, arguments, said):
    start(folder)
    done = run("init", "events.parquet", "labels.parquet", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    for text in said:
        assert text in done.stderr
    assert not (folder / "features.py").exists()


def test_a_file_that_is_there_is_kept(folder, run):
    before = (folder / "features.py").read_text(encoding="utf-8")
    call = [
        "init",
        "events.parquet",
        "labels.parquet",
        "--request-time",
        "asked",
        "--known-after",
        "1d",
    ]
    done = run(*call)
    assert (done.returncode, "--force" in done.stderr) == (2, True)
    assert (folder / "features.py").read_text(encoding="utf-8") == before
    assert run(*call, "--force").returncode == 0
    assert (folder / "features.py").read_text(encoding="utf-8") != before


def called(folder, monkeypatch, capsys, *arguments):
    """What `headwater init` prints to standard error, and its exit code, in this process; no one is
    at a terminal.
    """
    monkeypatch.chdir(start(folder))
    monkeypatch.setattr("sys.stdin", io.StringIO())
    code = main(["init", "events.parquet", "labels.parquet", *arguments])
    return code, capsys.readouterr().err


def test_an_id_that_repeats_in_other_rows_is_no_id(folder, monkeypatch, capsys):
    events = pl.read_parquet(folder / "events.parquet")
    again = events.head(30).with_columns(amount=pl.col("amount") + 1)
    pl.concat([events, again]).write_parquet(folder / "events.parquet")
    code, said = called(
        folder, monkeypatch, capsys, "--request-time", "asked", "--known-at", "settled"
    )
    assert (code, "event_id repeats in 30 rows that differ otherwise" in said) == (0, True)
    assert "id_field" not in (folder / "features.py").read_text(encoding="utf-8")


def test_a_time_known_before_the_request_is_refused(folder):
    events, labels = (
        TableProfile(str(folder / f"{name}.parquet")) for name in ("events", "labels")
    )
    with pytest.raises(DataError, match="before the prediction is asked for"):
        guess(events, labels, InitAnswers("settled", known_at="asked"))


def test_tables_that_share_no_key_are_refused(folder):
    events, labels = (folder / f"{name}.parquet" for name in ("events", "labels"))
    pl.read_parquet(labels).with_columns(user_id="x" + pl.col("user_id")).write_parquet(labels)
    with pytest.raises(UsageError, match=r"user_id joins 0\.0% of labels"):
        guess(
            TableProfile(str(events)),
            TableProfile(str(labels)),
            InitAnswers("asked", known_after="1d"),
        )
