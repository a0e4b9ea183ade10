"""How the command line answers calls, right and wrong: exit codes, one paragraph, no traceback."""

import json

import polars as pl
import pytest


def fails(done, code, *said):
    """One red paragraph on standard error, nothing on standard output, and no traceback."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    for text in said:
        assert text in done.stderr
    return True


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["backtst"], ["no command 'backtst'", "did you mean 'backtest'?"]),
        (
            ["backtest", "--project", "featurs.py"],
            ["no project file at featurs.py", "did you mean 'features.py'?", "headwater init"],
        ),
        (["backtest", "--model", "chrun"], ["no model 'chrun'", "did you mean 'churn'?"]),
        (["backtest", "--levels", "dayly"], ["unknown level 'dayly'", "did you mean 'daily'?"]),
        (["backtest", "--split", "2024-02-01"], ["has no time zone", "+00:00"]),
        (["backtest", "--split", "soon"], ["ISO 8601"]),
        (["dataset"], ["--output"]),
        (["dataset", "--output", "rows.xlsx"], [".parquet"]),
        (
            ["dataset", "--output", "rows.csv", "--memory", "4 gigs"],
            ["memory is '4 gigs'", "'4GB'"],
        ),
        (
            ["train", "--output", "m", "--no-promote"],
            ["--output writes a folder", "leave out --no-promote"],
        ),
        (["models", "promote", "one"], ["VERSION is 'one'", "an integer"]),
    ],
)
def test_a_wrong_call_is_told_what_is_allowed(folder, run, arguments, said):
    assert fails(run(*arguments), 2, *said)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import headwater as hw\nx = 1\ny = x / 0\n", ["features.py:3", "ZeroDivisionError"]),
        ("import headwater as hw\nproject = hw.Project(\n", ["features.py:2", "SyntaxError"]),
        (
            "import headwater as hw\nprojet = 3\n",
            ["defines no `project`", "did you mean 'projet'?"],
        ),
        ("project = 3\n", ["`project` is int", "hw.Project"]),
        ("import sys\nsys.exit('gone')\n", ["features.py:2", "SystemExit", "gone"]),
    ],
)
def test_a_broken_project_file_is_named_with_its_line(tmp_path, run, text, said):
    (tmp_path / "features.py").write_text(text, encoding="utf-8")
    assert fails(run("backtest"), 1, *said)


def test_a_missing_table_is_an_error_of_the_data(folder, run):
    (folder / "events.parquet").rename(folder / "event.parquet")
    assert fails(
        run("dataset", "--output", "rows.parquet"),
        1,
        "no file at events.parquet",
        "did you mean 'event.parquet'?",
    )


@pytest.mark.slow
def test_an_unexpected_error_is_short_without_debug(folder, run):
    own = (
        "from sklearn.base import BaseEstimator\nclass Bad(BaseEstimator):\n    def fit(self, X, "
        "y): return 1 / 0\n    predict = fit\n"
    )
    text = (
        (folder / "features.py")
        .read_text(encoding="utf-8")
        .replace("labels=labels)", "labels=labels, estimator=Bad())")
    )
    (folder / "features.py").write_text(own + text, encoding="utf-8")
    assert fails(run("train"), 1, "ZeroDivisionError", "--debug")
    done = run("train", "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_dataset_writes_a_row_for_each_label(folder, run):
    done = run("dataset", "--output", "out/rows.parquet", "--level", "instant", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    summary = json.loads(done.stdout)
    rows = pl.read_parquet(folder / "out/rows.parquet")
    assert summary["rows"] == rows.height == pl.read_parquet(folder / "labels.parquet").height
    assert {"user__count_1d", "user__mean_amount_7d", "churned"} <= set(rows.columns)
    assert summary["features"][0]["of"] == "user"
