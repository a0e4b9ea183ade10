"""Daily statistics count what the serving log has, each file once."""

import polars as pl

import headwater as hw
from headwater.journal.conversion import convert
from headwater.journal.serving_log_files import segments
from headwater.monitoring.daily_statistics import (
    STATISTICS,
    daily_statistics,
    prune_statistics,
    quantiles,
    uncovered,
    update,
)
from tests.journal.conftest import about, as_of, one

DAY = 86_400


def log_of(folder, entries):
    with hw.operations.ServedLog(folder) as log:
        for entry in entries:
            log.put(entry)
    convert(folder)


def requests(count, start=0, *, statuses=("present", "empty")):
    of = about(["user__visits", "user__top"], stages=("read",))
    shared = {"statuses": statuses, "seconds": 0.001, "stages": {"read": 0.0005}}
    return [
        one(of, start + n, (n % 4, "web"), moments=[as_of(start + n, age=2.0)], **shared)
        for n in range(count)
    ]


def counts(folder, measure):
    rows = (
        daily_statistics(folder, measures=[measure])
        .group_by("subject", "label")
        .agg(pl.col("count").sum())
    )
    return {(subject, label): n for subject, label, n in rows.iter_rows()}


def test_counts_of_files_add_up_and_a_file_counts_once(tmp_path):
    log_of(tmp_path, requests(120))
    assert (uncovered(tmp_path), update(tmp_path), update(tmp_path), uncovered(tmp_path)) == (
        1,
        1,
        0,
        0,
    )
    log_of(tmp_path, requests(19, 500))
    assert update(tmp_path) == 1
    assert counts(tmp_path, "rows") == {("", None): 139}
    assert counts(tmp_path, "how") == {("", "on_request"): 139}
    assert counts(tmp_path, "status") == {
        ("user__visits", "present"): 139,
        ("user__top", "empty"): 139,
    }
    assert counts(tmp_path, "null") == {}
    assert counts(tmp_path, "text") == {("user__top", "web"): 120}, "19 rows of a text are too few"
    assert counts(tmp_path, "latency") == {("", None): 139, ("read", None): 139}
    value = daily_statistics(tmp_path, measures=["value"], subjects=["user__visits"])
    assert quantiles(value["bucket"].to_list(), value["count"].to_list(), [0.1, 0.5, 1.0]) == [
        0.0,
        1.0,
        3.0,
    ]
    age = daily_statistics(tmp_path, measures=["age"])
    assert quantiles(age["bucket"].to_list(), age["count"].to_list(), [0.5]) == [2.0]
    assert daily_statistics(tmp_path)["day"].unique().dt.to_string().to_list() == ["2024-05-01"]


def test_a_file_that_is_rewritten_is_counted_again_and_a_deleted_day_is_forgotten(tmp_path):
    log_of(tmp_path, [*requests(10), *requests(5, DAY)])
    assert update(tmp_path) == 2
    first = segments(tmp_path)[0]
    pl.read_parquet(first, hive_partitioning=False).head(4).write_parquet(first)
    assert update(tmp_path) == 1
    assert counts(tmp_path, "rows") == {("", None): 9}
    first.unlink()
    first.parent.rmdir()
    first.parent.parent.rmdir()
    prune_statistics(tmp_path)
    assert [path.name for path in (tmp_path / STATISTICS).glob("*.parquet")] == [
        "2024-05-02.parquet"
    ]
