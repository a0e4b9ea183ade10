"""`headwater init`: a project file from two tables, which then backtests; and what it asks instead
of guessing.
"""

import io
import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from headwater.cli import main
from headwater.errors import DataError, UsageError
from headwater.init.guess import InitAnswers, guess, parse_asked
from headwater.init.tables import TableProfile
from headwater.init.write import plain


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
def test_times_without_a_zone_need_one(folder, run):
    start(folder)
    for name, columns in (("events", ["at"]), ("labels", ["asked", "settled"])):
        frame = pl.read_parquet(folder / f"{name}.parquet")
        frame.with_columns(pl.col(columns).dt.to_string("%Y-%m-%d %H:%M:%S")).write_parquet(
            folder / f"{name}.parquet"
        )
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
    assert (done.returncode, "--timezone" in done.stderr, done.stderr.count("\n")) == (2, True, 1)
    assert not (folder / "features.py").exists()
    done = run(*call, "--timezone", "Europe/Oslo")
    assert done.returncode == 0, done.stderr
    found = run("backtest", "--json", "--levels", "daily")
    assert found.returncode == 0, found.stderr


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
        (["--request-time", "churned", "--known-after", "1d"], ["'churned' is not a time"]),
        (["--request-time", "asked", "--known-after", "soon"], ["--known-after", "10m"]),
        (
            ["--request-time", "asked", "--known-at", "settled", "--known-after", "1d"],
            ["--known-at or --known-after"],
        ),
        (
            ["--request-time", "asked", "--known-after", "1d", "--label", "chruned"],
            ["did you mean 'churned'?"],
        ),
        (
            ["--request-time", "asked", "--known-after", "1d", "--keys", "user"],
            ["did you mean 'user_id'?"],
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


def test_a_terminal_is_asked(folder):
    start(folder)
    mine, theirs = pty.openpty()
    command = [sys.executable, "-m", "headwater.cli", "init", "events.parquet", "labels.parquet"]
    started = subprocess.Popen(
        command,
        cwd=folder,
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    # a wrong answer is asked for again, and Enter takes the proposal
    os.write(mine, b"ordered\n\nsoon\n2h\n")
    _, said = started.communicate(timeout=60)
    os.close(mine)
    os.close(theirs)
    assert started.returncode == 0, said
    assert said.count("When is a prediction requested?") == 2
    assert "'ordered' is not a column of labels.parquet" in said
    assert said.count("When is its outcome known?") == 2
    assert "--known-after is 'soon'" in said
    text = (folder / "features.py").read_text(encoding="utf-8")
    assert 'known_after="2h"' in text
    assert "init events.parquet labels.parquet --request-time asked --known-after 2h" in text


def naive(folder):
    for name, columns in (("events", ["at"]), ("labels", ["asked", "settled"])):
        frame = pl.read_parquet(folder / f"{name}.parquet")
        frame.with_columns(pl.col(columns).dt.replace_time_zone(None)).write_parquet(
            folder / f"{name}.parquet"
        )


def called(folder, monkeypatch, capsys, *arguments):
    """What `headwater init` prints to standard error, and its exit code, in this process; no one is
    at a terminal.
    """
    monkeypatch.chdir(start(folder))
    monkeypatch.setattr("sys.stdin", io.StringIO())
    code = main(["init", "events.parquet", "labels.parquet", *arguments])
    return code, capsys.readouterr().err


def test_everything_that_is_missing_is_named_at_once(folder, monkeypatch, capsys):
    naive(folder)
    code, said = called(folder, monkeypatch, capsys)
    assert code == 2
    assert all(
        option in said for option in ("--request-time", "--known-at", "--known-after", "--timezone")
    )


@pytest.mark.parametrize(
    ("zone", "near"),
    [("Berlin", "Europe/Berlin"), ("new york", "America/New_York"), ("Europe/Olso", "Europe/Oslo")],
)
def test_a_zone_that_is_misspelt_gets_the_nearest(folder, monkeypatch, capsys, zone, near):
    naive(folder)
    code, said = called(
        folder,
        monkeypatch,
        capsys,
        "--request-time",
        "asked",
        "--known-at",
        "settled",
        "--timezone",
        zone,
    )
    assert (code, f"did you mean '{near}'?" in said) == (2, True)


def test_a_stream_is_one_word(folder, monkeypatch, capsys):
    """The zone is the source's, not something that `select` makes of the history alone."""
    naive(folder)
    code, _ = called(
        folder,
        monkeypatch,
        capsys,
        "--request-time",
        "asked",
        "--known-at",
        "settled",
        "--timezone",
        "Europe/Oslo",
    )
    assert code == 0
    text = (folder / "features.py").read_text(encoding="utf-8")
    source = text[text.index("hw.Source(") : text.index("daily =")]
    assert 'timezone="Europe/Oslo"' in source
    assert "replace_time_zone" not in source


def test_copies_and_nulls_are_reported(folder, monkeypatch, capsys):
    events = pl.read_parquet(folder / "events.parquet")
    events = pl.concat([events, events.head(30)]).with_columns(
        user_id=pl.when(pl.int_range(pl.len()) % 100 == 50).then(None).otherwise("user_id")
    )
    events.write_parquet(folder / "events.parquet")
    code, said = called(
        folder, monkeypatch, capsys, "--request-time", "asked", "--known-at", "settled"
    )
    assert code == 0, said
    assert "30 rows are duplicates by event_id, and count once" in said
    assert "user_id is null in 30 of 3,030 rows (1.0%)" in said
    assert 'id_field="event_id",  # 30 rows are duplicates' in (folder / "features.py").read_text(
        encoding="utf-8"
    )


def test_an_id_that_repeats_in_other_rows_is_no_id(folder, monkeypatch, capsys):
    events = pl.read_parquet(folder / "events.parquet")
    again = events.head(30).with_columns(amount=pl.col("amount") + 1)
    pl.concat([events, again]).write_parquet(folder / "events.parquet")
    code, said = called(
        folder, monkeypatch, capsys, "--request-time", "asked", "--known-at", "settled"
    )
    assert (code, "event_id repeats in 30 rows that differ otherwise" in said) == (0, True)
    assert "id_field" not in (folder / "features.py").read_text(encoding="utf-8")


def test_an_id_whose_copies_differ_now_and_then_is_an_id(folder, monkeypatch, capsys):
    events = pl.read_parquet(folder / "events.parquet")
    again = events.head(30).with_columns(
        amount=pl.when(pl.int_range(pl.len()) < 2).then(pl.col("amount") + 1).otherwise("amount")
    )
    pl.concat([events, again]).write_parquet(folder / "events.parquet")
    code, said = called(
        folder, monkeypatch, capsys, "--request-time", "asked", "--known-at", "settled"
    )
    assert (
        code,
        (
            "30 rows are duplicates by event_id, and count once; 2 of them differ otherwise, and "
            "the first counts"
        )
        in said,
    ) == (
        0,
        True,
    )
    assert 'id_field="event_id",  # 30 rows' in (folder / "features.py").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("rows", "prefix", "expected"),
    [(300, "p", "parcel"), (50, "p", None), (300, "a long remark " * 5, None)],
)
def test_a_code_that_differs_in_every_row_is_an_id_whatever_its_name(
    tmp_path, rows, prefix, expected
):
    frame = pl.DataFrame(
        {
            "parcel": [f"{prefix}{i:05}" for i in range(rows)],
            "courier": [f"c{i % 9}" for i in range(rows)],
            "weight": [1.5 + i for i in range(rows)],
            "at": [
                datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=7 * i) for i in range(rows)
            ],
            "asked": [
                datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=7 * i + 3) for i in range(rows)
            ],
            "late": [i % 3 == 0 for i in range(rows)],
        }
    )
    frame.drop("asked", "late").write_parquet(tmp_path / "events.parquet")
    frame.select("courier", "asked", "late").write_parquet(tmp_path / "labels.parquet")
    profiles = [TableProfile(str(tmp_path / f"{name}.parquet")) for name in ("events", "labels")]
    found = guess(*profiles, InitAnswers(request_time="asked", known_after="1d"))
    assert (found.ident and found.ident[0]) == expected


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


@pytest.mark.parametrize(
    ("values", "naive", "code"),
    [
        (["2024-01-01T10:00:00Z", "2024-01-01T10:00:00+02:00"], False, "str.to_datetime"),
        (["2024-01-01 10:00:00", "2024-01-02 10:00:00.5"], True, "str.to_datetime"),
        (["31/12/2024 10:00", "01/01/2025 11:00"], True, "%d/%m/%Y"),
        ([1_704_100_000, 1_704_200_000], False, 'time_unit="s"'),
        ([1_704_100_000_000, 1_704_200_000_000], False, 'time_unit="ms"'),
    ],
)
def test_times_are_read_in_many_spellings(tmp_path, values, naive, code):
    pl.DataFrame({"at": values, "n": [1, 2]}).write_parquet(tmp_path / "t.parquet")
    moment = TableProfile(str(tmp_path / "t.parquet")).time_columns["at"]
    assert (moment.naive, moment.values.null_count()) == (naive, 0)
    assert code in moment.code


@pytest.mark.parametrize("values", [["a1", "b2"], [12, 13], ["20", "30"], [1.5, 2.5]])
def test_other_columns_are_no_times(tmp_path, values):
    pl.DataFrame({"at": values}).write_parquet(tmp_path / "t.parquet")
    assert TableProfile(str(tmp_path / "t.parquet")).time_columns == {}


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        ("at", ["at"], ("at", 0)),
        ("at-60m", ["at"], ("at", -3_600_000_000)),
        ("at + 1h", ["at"], ("at", 3_600_000_000)),
        ("at-60m", ["at-60m"], ("at-60m", 0)),
    ],
)
def test_an_offset_is_read_after_a_column(text, columns, expected):
    assert parse_asked(text, columns) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("user_id", "user_id"), ("2nd  user-id_", "x2nd_user_id"), ("a__b", "a_b"), ("ø", "x")],
)
def test_any_column_gives_a_name_that_definitions_take(name, expected):
    assert plain(name) == expected
