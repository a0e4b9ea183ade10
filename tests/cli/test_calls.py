"""How the command line answers calls, right and wrong: exit codes, one paragraph, no traceback."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime

import polars as pl
import pytest

from headwater.cli import main
from headwater.cli.parser import VERBS

HELP_SECONDS = 0.3  # of processor time, the interpreter's own included; 0.08 on an idle machine


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


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], *([verb, "--help"] for verb in VERBS)]
)
def test_help_is_printed(run, arguments):
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert "headwater" in done.stdout
    assert done.stderr == ""


def test_help_loads_no_heavy_library():
    code = (
        "import sys, headwater.cli as c; c.main(['--help']); print('LOADED', "
        "*{n.partition('.')[0] for n in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.rpartition("LOADED")[2].split())
    assert not loaded & {
        "polars",
        "numpy",
        "numba",
        "lightgbm",
        "sklearn",
        "plotly",
        "rich",
        "scipy",
        "pandas",
    }


def test_help_is_quick():
    timed = (
        "import time, headwater.cli as c; c.main(['--help']); print(f'\\n{time.process_time()}')"
    )
    took = [
        float(
            subprocess.run(
                [sys.executable, "-c", timed], capture_output=True, text=True, check=True
            ).stdout.rsplit("\n", 2)[1]
        )
        for _ in range(3)
    ]
    assert min(took) < HELP_SECONDS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["backtst"], ["no command 'backtst'", "did you mean 'backtest'?"]),
        (["backtest", "--splt", "2024-02-01"], ["no option --splt", "did you mean '--split'?"]),
        (["backtest", "--min-lift", "much"], ["--min-lift", "'much'", "headwater backtest --help"]),
        (
            ["backtest", "--acknowledge", "own outcome"],
            ["--acknowledge", "CHECK | SUBJECT | REASON | AUTHOR"],
        ),
        (["backtest", "stray"], ["does not take 'stray'"]),
        (
            ["backtest", "--project", "featurs.py"],
            ["no project file at featurs.py", "did you mean 'features.py'?", "headwater init"],
        ),
        (["backtest", "--model", "chrun"], ["no model 'chrun'", "did you mean 'churn'?"]),
        (["backtest", "--levels", "dayly"], ["unknown level 'dayly'", "did you mean 'daily'?"]),
        (["backtest", "--slices", "part"], ["no dict of that name", "did you mean 'parts'?"]),
        (["backtest", "--split", "2024-02-01"], ["has no time zone", "+00:00"]),
        (["backtest", "--split", "soon"], ["ISO 8601"]),
        (["backtest", "--folds", "3"], ["--folds and --every need --split"]),
        (
            ["backtest", "--split", "2030-01-01T00:00Z"],
            ["leaves no row to test on", "the request times are from"],
        ),
        (["dataset"], ["--output"]),
        (["dataset", "--output", "rows.xlsx"], [".parquet"]),
        (["dataset", "--output", "rows.csv", "--level", "minutely"], ["unknown level 'minutely'"]),
        (
            ["dataset", "--output", "rows.csv", "--memory", "4 gigs"],
            ["memory is '4 gigs'", "'4GB'"],
        ),
        (
            ["train", "--output", "m", "--no-promote"],
            ["--output writes a folder", "leave out --no-promote"],
        ),
        (["train", "--holdout", "2024-02-01"], ["--holdout", "no time zone"]),
        (["train", "--output", "m", "--models", "n"], ["--models or --output"]),
        (["models", "promote"], ["Missing argument 'VERSION', as in: headwater models promote"]),
        (["models", "promote", "one"], ["VERSION is 'one'", "an integer"]),
        (["models", "rollback", "3"], ["does not take '3'"]),
        (["train", "--output", "m", "--as-of", "2024-02-01"], ["--as-of", "no time zone"]),
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
            "import headwater as hw\n\nhw.batch('1d', at='25:00')\n",
            ["features.py:3", "batch(): at is '25:00'"],
        ),
        (
            "import headwater as hw\nprojet = 3\n",
            ["defines no `project`", "did you mean 'projet'?"],
        ),
        ("project = 3\n", ["`project` is int", "hw.Project"]),
        ("import sys\nsys.exit('gone')\n", ["features.py:2", "SystemExit", "gone"]),
        ("import nothing_of_that_name\n", ["features.py:1", "nothing_of_that_name"]),
    ],
)
def test_a_broken_project_file_is_named_with_its_line(tmp_path, run, text, said):
    (tmp_path / "features.py").write_text(text, encoding="utf-8")
    assert fails(run("backtest"), 1, *said)


def test_a_project_under_another_name_is_found(folder, run):
    project = folder / "features.py"
    project.write_text(
        project.read_text(encoding="utf-8").replace("project =", "shop ="), encoding="utf-8"
    )
    assert fails(run("backtest"), 1, "rename 'shop'")


def test_a_missing_table_is_an_error_of_the_data(folder, run):
    (folder / "events.parquet").rename(folder / "event.parquet")
    assert fails(
        run("dataset", "--output", "rows.parquet"),
        1,
        "no file at events.parquet",
        "did you mean 'event.parquet'?",
    )


def test_wrong_data_are_told_with_the_nearest_column(folder, run):
    frame = pl.read_parquet(folder / "events.parquet")
    frame.rename({"amount": "amuont"}).write_parquet(folder / "events.parquet")
    assert fails(
        run("dataset", "--output", "rows.parquet"), 1, "'amount'", "did you mean 'amuont'?"
    )


def test_labels_of_one_class_are_refused(folder, run):
    frame = pl.read_parquet(folder / "labels.parquet")
    frame.with_columns(churned=pl.lit(0)).write_parquet(folder / "labels.parquet")
    assert fails(run("backtest"), 1, "both outcomes are needed")


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


def test_dataset_ends_with_the_next_command(folder, run):
    done = run("dataset", "--output", "rows.csv")
    assert done.returncode == 0, done.stderr
    assert "user" in done.stdout
    assert (
        done.stderr
        == "manifest: rows.manifest.json\nnext: headwater backtest --project features.py\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("memory", ["1MB", "64GB"])
def test_memory_changes_no_value(folder, run, memory):
    for options in (["--no-cache"], ["--no-cache", "--memory", memory]):
        done = run("dataset", "--output", f"rows{len(options)}.parquet", *options)
        assert done.returncode == 0, done.stderr
        assert ("may not be held" in done.stderr) == ("1MB" in options)
    assert pl.read_parquet(folder / "rows1.parquet").equals(
        pl.read_parquet(folder / "rows3.parquet")
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [["train", "--output", "m"], ["backtest"]], ids=["train", "backtest"]
)
def test_every_command_that_reads_history_takes_memory(run, command, folder):
    done = run(*command, "--memory", "64GB")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_backtest_prints_json_and_writes_the_report(folder, run):
    done = run("backtest", "--slices", "parts", "--output", "out/report.html", "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert [level["name"] for level in found["levels"]] == ["daily", "instant"]
    assert found["slices"][0]["name"] == "small users"
    assert "plotly" in (folder / "out/report.html").read_text(encoding="utf-8")


EVALUATION = """hw.Evaluation(
    split="2024-02-10T00:00Z", slices=parts, metrics=["recall@10%", "auc"], costs={"false_positive": 1, "false_negative": pl.col("asked").dt.day()},
    min_lift=0.2, refits=3, cold_start=(view, 3), blocks="2d", resamples=50, seed=7, tune=2)"""


@pytest.mark.slow
def test_what_python_says_of_an_evaluation_the_project_says_to_the_command(folder, run):
    text = (folder / "features.py").read_text(encoding="utf-8")
    text = text.replace(
        '"instant": hw.Level(hw.on_request())}',
        f'"instant": hw.on_request()}}, evaluation={EVALUATION}',
    )
    (folder / "features.py").write_text(text, encoding="utf-8")
    done = run("backtest", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["split"]["split"] == "2024-02-10T00:00:00+00:00"
    assert [part["name"] for part in found["slices"]] == ["small users", "cold start"]
    assert "fewer than 3 events" in found["slices"][1]["describes"]
    assert list(found["levels"][0]["metrics"]) == ["recall@10%", "auc", "cost"]
    assert found["money"]["describes"].keys() == {"false_positive", "false_negative"}
    assert found["min_lift"]["auc"] == 0.2
    assert "50 resamples of" in found["intervals"]
    assert "blocks of 2d" in found["intervals"]
    assert "3 refits on random halves of the training days" in found["intervals"]
    assert "tuned by 2 trials" in found["estimator"]
    given = run(
        "backtest", "--json", "--split", "2024-02-15T00:00Z", "--refits", "0", "--min-lift", "0.1"
    )
    changed = json.loads(given.stdout)
    assert (changed["split"]["split"], changed["min_lift"]["auc"]) == (
        "2024-02-15T00:00:00+00:00",
        0.1,
    )
    assert "trained once" in changed["intervals"]
    # what no option names stays the project's
    assert list(changed["levels"][0]["metrics"]) == ["recall@10%", "auc", "cost"]


@pytest.mark.slow
def test_backtest_says_which_views_earn_from_freshness(folder, run):
    """The only view is all of the plan, or nothing is; its step is that of the levels, which the
    backtest judged too.
    """
    done = run("backtest", "--attribution", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["attribution"]["stale"], found["attribution"]["fresh"]) == ("daily", "instant")
    assert [unit["name"] for unit in found["attribution"]["units"]] == ["user"]
    step = next(one for one in found["comparisons"] if one["metric"] == found["headline"])
    assert found["attribution"]["whole"]["delta"] == step["delta"]
    assert 'id="attribution"' in (folder / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_backtest_refuses_an_attribution_between_other_than_two_levels(folder, run):
    assert fails(run("backtest", "--attribution", "daily"), 2, "give two levels", "daily, instant")
    assert fails(
        run("backtest", "--levels", "daily", "--attribution"), 2, "needs two levels", "found daily"
    )


@pytest.mark.slow
def test_backtest_trains_anew_at_each_fold_and_with_each_seed(folder, run):
    folds = ("--split", "2024-02-01T00:00Z", "--folds", "2", "--every", "5d")
    done = run("backtest", "--levels", "instant", *folds, "--refits", "0", "--seeds", "2", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [fold["split"][:10] for fold in found["folds"]] == ["2024-02-01", "2024-02-06"]
    assert "2 fits with other seeds" in found["intervals"]


@pytest.mark.slow
def test_backtest_prints_a_table_and_the_next_command(folder, run):
    done = run("backtest", "--levels", "instant")
    assert done.returncode == 0, done.stderr
    assert "instant" in done.stdout
    assert "daily" not in done.stdout
    *steps, report, summary, after = done.stderr.splitlines()
    assert [step.partition(" (")[0] for step in steps] == [
        "step 1 of 3: features",
        "step 2 of 3: training",
        "step 3 of 3: judging",
    ]
    assert (report, summary) == ("report: report.html", "to forward: report-summary.html")
    assert after == "next: headwater train --project features.py"
    assert (
        (folder / "report-summary.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    )
    told = run("backtest", "--levels", "instant", "--summary")
    assert told.stdout.startswith("Cannot decide: only one level was tested")
    assert "Who checked: headwater's audit for leaks ran" in told.stdout


@pytest.mark.slow
def test_train_keeps_a_model_of_what_was_known(folder, run):
    done = run(
        "train", "--as-of", "2024-02-01T00:00Z", "--level", "instant", "--output", "models/churn"
    )
    assert done.returncode == 0, done.stderr
    manifest = json.loads((folder / "models/churn/manifest.json").read_text(encoding="utf-8"))
    labels = pl.read_parquet(folder / "labels.parquet")
    known = labels.filter(
        pl.col("asked") + pl.duration(days=1) <= datetime(2024, 2, 1, tzinfo=UTC)
    ).height
    assert manifest["rows"] == known
    assert f"trained on {known:,} rows" in done.stderr
    assert f"left out: {labels.height - known:,} outcome not known by then" in done.stderr
    assert done.stderr.endswith("next: headwater backtest --project features.py\n")


@pytest.mark.slow
def test_dataset_makes_an_earlier_training_set_again(folder, run):
    first = run("dataset", "--output", "rows.parquet", "--level", "daily", "--json")
    assert first.returncode == 0, first.stderr
    # the level comes from the manifest
    done = run("dataset", "--output", "again.parquet", "--reproduce", "rows.manifest.json")
    assert done.returncode == 0, done.stderr
    assert "the same to the bit" in done.stdout
    again = run(
        "dataset", "--output", "again.parquet", "--reproduce", "rows.manifest.json", "--json"
    )
    assert json.loads(again.stdout)["digest"] == json.loads(first.stdout)["digest"]
    assert pl.read_parquet(folder / "again.parquet").equals(
        pl.read_parquet(folder / "rows.parquet")
    )
    assert fails(
        run(
            "dataset",
            "--output",
            "x.parquet",
            "--reproduce",
            "rows.manifest.json",
            "--level",
            "instant",
        ),
        1,
        "another level",
    )
    assert fails(
        run(
            "dataset",
            "--output",
            "x.parquet",
            "--reproduce",
            "rows.manifest.json",
            "--as-of",
            "2024-02-01T00:00Z",
        ),
        2,
        "--as-of",
    )
    assert (folder / ".headwater" / "cache").is_dir()


def test_threads_of_openmp_wait_without_spinning_unless_the_environment_says_otherwise(monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert main(["help"]) == 0
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    assert main(["help"]) == 0
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
