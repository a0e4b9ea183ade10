"""Which columns `headwater init` makes features of, and that each other one is named with its
reason.
"""

import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError
from tests.cli.conftest import START, tables

ASKED = ["--request-time", "asked", "--known-at", "settled"]


def written(folder):
    return (folder / "features.py").read_text(encoding="utf-8")


def selected(text):
    """The columns that the source of events selects, and those that its views average."""
    source = text[text.index("events = hw.Source") :]
    return re.findall(r'"([^"]+)"', re.search(r"select=\[(.*?)\],\n", source)[1]), re.findall(
        r"^values = .*hw\.mean\((.*?)\)", text, re.MULTILINE
    )


def init(folder, run, events, labels=None, *arguments):
    (folder / "features.py").unlink(missing_ok=True)
    events.write_parquet(folder / "events.parquet")
    if labels is not None:
        labels.write_parquet(folder / "labels.parquet")
    done = run(
        "init", "events.parquet", *([] if labels is None else ["labels.parquet"]), *arguments
    )
    return done, (written(folder) if (folder / "features.py").exists() else "")


NUMBERS = {
    "in the order of the rows": lambda n: pl.int_range(n, eager=True),
    "from one": lambda n: pl.int_range(1, n + 1, eager=True),
    "falling": lambda n: pl.int_range(n, 0, -1, eager=True),
    "with gaps": lambda n: pl.int_range(0, 7 * n, 7, eager=True),
    "as floats": lambda n: pl.int_range(n, eager=True).cast(pl.Float64),
    "shuffled": lambda n: pl.int_range(n, eager=True).shuffle(seed=1),
    "nearly in the order of time": lambda n: (
        pl.int_range(n, eager=True) * 10 + pl.Series(np.random.default_rng(0).integers(0, 300, n))
    ),
    "of 64 unsigned bits": lambda n: pl.int_range(n, eager=True).cast(pl.UInt64),
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_a_row_number_is_never_a_feature(tmp_path, run, kind):
    """It tells times apart: in a test on later rows it cost .13 of AUC, and the level that lacked
    it seemed worse.
    """
    events, labels = tables(rows=600, users=20)
    events = events.with_columns(NUMBERS[kind](events.height).alias("lfd"))
    labels = labels.with_columns(NUMBERS[kind](labels.height).alias("zeile"))
    done, text = init(tmp_path, run, events, labels, *ASKED)
    assert done.returncode == 0, done.stderr
    names, means = selected(text)
    assert "lfd" not in names
    assert means == ['"amount"']
    assert 'hw.RequestField("zeile"' not in text
    assert "# Left out (a row number, which only says when): lfd" in text
    assert "# Left out (a row number, which only says when): zeile" in text
    assert "events.parquet: left out lfd (a row number, which only says when)" in done.stderr
    assert "labels.parquet: left out zeile" in done.stderr


def test_numbers_that_differ_in_every_row_are_features_where_they_are_no_row_numbers(tmp_path, run):
    events, _ = tables(rows=600, users=20)
    random = np.random.default_rng(3)
    events = events.with_columns(
        pl.Series("price", random.permutation(600) * 3 + 1),
        pl.Series("weight", random.normal(size=600)),
    )
    _, text = init(tmp_path, run, events, None, "--label", "none")
    assert selected(text)[1] == ['"amount", "price", "weight"']


def test_each_column_that_is_left_out_is_named_with_the_reason(tmp_path, run):
    events, labels = tables(rows=600, users=20)
    n = events.height
    events = events.with_columns(
        *(pl.Series(f"s{i:02}", np.random.default_rng(i).normal(size=n)) for i in range(20)),
        page=pl.struct(path=pl.lit("/"), depth=pl.int_range(pl.len()) % 3),
        tags=pl.concat_list(pl.lit("a"), pl.lit("b")),
        flag=pl.lit(value=True),
        nothing=pl.lit(None, pl.Float64),
        raw=pl.lit(b"x"),
        zip=pl.int_range(pl.len()) * 37 % 80_000 + 10_000,
        note=pl.format("note {} {}", pl.int_range(pl.len()), "user_id"),
        seen_at=pl.col("at") - pl.duration(hours=1),
        **{
            "Betrag (€)": pl.col("amount") * 2,
            "a\nimport os; raise SystemExit(3)": pl.col("amount") * 3,
        },
    )
    done, text = init(tmp_path, run, events, labels, *ASKED)
    assert done.returncode == 0, done.stderr
    comments = {}
    for line in text.splitlines():
        if (found := re.match(r"    # Left out \((.*?)\): (.*)", line)) is not None:
            reason, names = found[1], found[2]
            comments[reason] = names
        elif line.startswith("    #     ") and comments:
            comments[reason] += f" {line.strip(' #')}"
    named = " ".join(comments.values())
    names, _ = selected(text)
    for column in events.columns:
        shown = " ".join(column.split())
        assert column in names or column in ("at", "event_id") or shown in named, column
    assert comments["one value"] == "flag"
    assert comments["no value"] == "nothing"
    assert (
        "s05, s06"
        in comments[
            (
                "more numbers than fit a first file: add those that matter to select and to the "
                "features"
            )
        ]
    )
    assert 'pl.col("page").struct.field("path").alias("page_path")' in comments["nested"]
    assert done.stderr.count("left out") == 1
    assert "features.py names each" in done.stderr
    code = "import features; print(features.project.name)"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.stdout.strip() == "churned", ran.stderr


def test_fields_that_are_not_offered_one_by_one_are_named(tmp_path, run):
    events, labels = tables(rows=600, users=20)
    labels = labels.with_columns(
        pl.Series(f"f{i:02}", np.random.default_rng(i).normal(size=labels.height))
        for i in range(40)
    )
    _, text = init(tmp_path, run, events, labels, *ASKED)
    assert "# and 10 more columns of labels.parquet: f30, f31" in text
    assert "f39" in text


# ---------------------------------------------------------------- times


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_a_time_with_empty_strings_is_a_time(tmp_path, run, ending):
    events, labels = tables(rows=600, users=20)
    text = pl.col("settled").dt.to_string("%Y-%m-%d %H:%M:%S")
    labels = labels.with_columns(
        settled=pl.when(pl.int_range(pl.len()) % 3 == 0).then(pl.lit("")).otherwise(text),
        asked=pl.col("asked").dt.to_string("iso"),
    )
    events.write_parquet(tmp_path / "events.parquet")
    labels.write_parquet(
        tmp_path / "labels.parquet"
    ) if ending == "parquet" else labels.write_ndjson(tmp_path / "labels.jsonl")
    done = run("init", "events.parquet", f"labels.{ending}", *ASKED, "--timezone", "UTC")
    assert done.returncode == 0, done.stderr
    assert (
        "settled is null in 100 of 300 rows (33.3%), which neither train nor are tested: their "
        "outcome is never known"
    ) in done.stderr
    assert (
        'pl.col("settled").str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False)'
        in written(tmp_path)
    )


def test_strings_that_are_no_times_are_counted_and_shown(tmp_path, run):
    """Such as the serial days of a spreadsheet among dates."""
    events, _ = tables(rows=600, users=20)
    text = pl.col("at").dt.to_string("%Y-%m-%d %H:%M:%S")
    events = events.with_columns(
        at=pl.when(pl.int_range(pl.len()) % 30 == 7).then(pl.lit("45321.5")).otherwise(text)
    )
    done, _ = init(tmp_path, run, events, None, "--label", "none", "--timezone", "UTC")
    assert (
        "at: 20 values are no times of its format, such as '45321.5'; their rows no feature counts"
        in done.stderr
    )


# ---------------------------------------------------------------- labels


def test_labels_without_an_outcome_are_counted_and_named_as_the_cause(tmp_path, run):
    """All that are not returned have no time at which that is known, so the labels that are left
    are all 1.
    """
    events, labels = tables(rows=600, users=20)
    labels = labels.with_columns(settled=pl.when(pl.col("churned") == 1).then(pl.col("settled")))
    zeros = labels["settled"].null_count()
    done, _ = init(tmp_path, run, events, labels, *ASKED)
    assert done.returncode == 0, done.stderr
    assert f"settled is null in {zeros} of 300 rows" in done.stderr
    assert (
        f"all {300 - zeros} labels that are left are 1, and a model needs two outcomes"
        in done.stderr
    )
    done = run("backtest")
    assert done.returncode == 1
    assert "labels are 1; both outcomes are needed" in done.stderr
    assert f"{zeros} labels: no settled, so never known" in done.stderr
    done = run("train")
    assert f"{zeros} labels: no settled, so never known" in done.stderr
    labels = labels.with_columns(
        churned=pl.when(pl.int_range(pl.len()) % 4 > 0).then(pl.col("churned")),
        settled=pl.col("asked") + timedelta(hours=2),
    )
    done, text = init(tmp_path, run, events, labels, *ASKED)
    assert (
        "churned is null in 75 of 300 rows (25.0%), which neither train nor are tested: they have "
        "no outcome"
    ) in done.stderr
    assert "75 rows have none and are left out" in text


# ---------------------------------------------------------------- keys


def machines(mine, theirs, name="machine", other="machine_id"):
    n = 800
    random = np.random.default_rng(1)
    at = [START + timedelta(minutes=30 * i) for i in range(n)]
    events = pl.DataFrame(
        {
            other: pl.Series(random.integers(0, 40, n), dtype=theirs),
            "at": at,
            "heat": random.normal(size=n),
        }
    )
    asked = at[100::4]
    labels = {
        name: pl.Series(random.integers(0, 40, len(asked)), dtype=mine),
        "asked": asked,
        "failed": random.integers(0, 2, len(asked)),
    }
    return events, pl.DataFrame(labels).with_columns(settled=pl.col("asked") + pl.duration(hours=2))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mine", "theirs"),
    [(pl.Int16, pl.Int64), (pl.Int64, pl.Int16), (pl.UInt8, pl.Int64), (pl.Int64, pl.UInt64)],
)
def test_integers_of_different_widths_are_one_key(tmp_path, run, mine, theirs):
    done, text = init(tmp_path, run, *machines(mine, theirs), *ASKED)
    assert done.returncode == 0, done.stderr
    assert 'pl.col("machine_id").alias("machine")' in text
    assert (
        "machine of labels.parquet is machine_id of events.parquet, by their values: it joins "
        "100.0% of labels"
    ) in done.stderr
    code = "import features, polars as pl, headwater as hw\nfrom datetime import UTC, datetime\n"
    code += (
        "rows = pl.DataFrame({'machine': range(40), 'asked': [datetime(2024, 1, 10, tzinfo=UTC)] "
        "* 40})\n"
    )
    code += (
        "print(hw.get_historical_features(features.views[1], rows, "
        "timestamp_field='asked').to_series(3).sum() >= 40)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.stdout.strip() == "True", ran.stderr


def test_integers_of_unlike_names_are_named_rather_than_denied(tmp_path, run):
    done, _ = init(tmp_path, run, *machines(pl.Int16, pl.Int64, other="rig"), *ASKED)
    assert done.returncode == 2
    assert "no two columns share their values" not in done.stderr
    assert "of machine and rig the values are alike, but not the names" in done.stderr
    done, text = init(
        tmp_path, run, *machines(pl.Int16, pl.Int64, other="rig"), *ASKED, "--keys", "machine=rig"
    )
    assert done.returncode == 0, done.stderr
    assert "machine is rig of the events, and joins 100.0% of labels" in text


# ---------------------------------------------------------------- other files


def test_nested_keys_have_a_remedy_that_works(tmp_path, run):
    events, labels = tables(rows=600, users=20)
    nested = events.with_columns(user=pl.struct(id="user_id", country="country")).drop(
        "user_id", "country"
    )
    nested.with_columns(pl.col("at").dt.to_string("%Y-%m-%dT%H:%M:%S%.fZ")).write_ndjson(
        tmp_path / "clicks.jsonl"
    )
    labels.write_parquet(tmp_path / "labels.parquet")
    (tmp_path / "features.py").unlink(missing_ok=True)
    done = run("init", "clicks.jsonl", "labels.parquet", *ASKED, "--keys", "user_id=user.id")
    assert done.returncode == 2
    remedy = re.search(r"user hold nested values: (pl\.read_.*?\.parquet\"\))", done.stderr)[1]
    subprocess.run(
        [sys.executable, "-c", f"import polars as pl; {remedy}"], cwd=tmp_path, check=True
    )
    done = run("init", "flat.parquet", "labels.parquet", *ASKED, "--keys", "user_id")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_the_separator_of_a_csv_is_found_and_written(tmp_path, run, mark):
    events, labels = tables(rows=600, users=20)
    events.write_csv(
        tmp_path / "events.csv", separator=mark, datetime_format="%Y-%m-%dT%H:%M:%S%.6fZ"
    )
    labels.write_parquet(tmp_path / "labels.parquet")
    (tmp_path / "features.py").unlink(missing_ok=True)
    done = run("init", "events.csv", "labels.parquet", *ASKED)
    assert done.returncode == 0, done.stderr
    assert f'hw.csv("events.csv", separator={mark!r})' in written(tmp_path)
    assert run("plan").returncode == 0


def test_a_file_that_is_not_utf_8_has_a_remedy(tmp_path, run):
    (tmp_path / "orders.csv").write_bytes(
        "kunde,at\nMüller,2026-01-01T00:00:00Z\n".encode("cp1252")
    )
    (tmp_path / "features.py").unlink(missing_ok=True)
    done = run("init", "orders.csv", "--label", "none", "--yes")
    assert done.returncode == 1
    assert "orders.csv" in done.stderr
    assert "Write the file again in UTF-8, such as iconv -f latin1 -t utf8 FILE" in done.stderr


@pytest.mark.slow
def test_the_work_grows_with_the_columns_and_not_with_their_square(tmp_path):
    """Counted in calls of Python: of four times the columns less than six times as many."""
    code = """
import cProfile, pstats, sys
from headwater.cli import main
profile = cProfile.Profile()
profile.enable()
done = main(["init", "wide.csv", "--label", "none", "--yes"])
profile.disable()
print(done, pstats.Stats(profile).total_calls)
"""
    calls = []
    for count in (100, 400):
        rows = [
            ",".join(
                [
                    str(i % 30),
                    f"2026-01-{1 + i % 28:02}T00:00:00Z",
                    *(str(i * k % 11) for k in range(count)),
                ]
            )
            for i in range(100)
        ]
        names = ",".join(["user_id", "at", *(f"c{k}" for k in range(count))])
        (tmp_path / "wide.csv").write_text("\n".join([names, *rows]) + "\n", encoding="utf-8")
        (tmp_path / "features.py").unlink(missing_ok=True)
        ran = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        done, made = ran.stdout.split()[-2:]
        assert done == "0"
        calls.append(int(made))
    assert calls[1] / calls[0] < 6


def test_errors_name_the_python_call_of_headwater(tmp_path):
    """As init writes it, a table is read again by the project."""
    (tmp_path / "a.csv").write_text("user;at\nx;2026-01-01T00:00:00Z\n")
    view = hw.FeatureView(
        "v",
        source=hw.Source("p", history=tmp_path / "a.csv", timestamp_field="at"),
        keys=["user"],
        features=[hw.count()],
        freshness=hw.on_request(),
    )
    with pytest.raises(DataError, match=r"Give hw\.csv\(path, separator=';'\)"):
        hw.get_historical_features(
            view, pl.DataFrame({"user": ["x"], "timestamp": [datetime(2026, 2, 1, tzinfo=UTC)]})
        )
