"""Which columns `headwater init` makes features of, and that each other one is named with its
reason.
"""

import re
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from tests.cli.conftest import tables

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
    "with gaps": lambda n: pl.int_range(0, 7 * n, 7, eager=True),
    "shuffled": lambda n: pl.int_range(n, eager=True).shuffle(seed=1),
    "nearly in the order of time": lambda n: (
        pl.int_range(n, eager=True) * 10 + pl.Series(np.random.default_rng(0).integers(0, 300, n))
    ),
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
