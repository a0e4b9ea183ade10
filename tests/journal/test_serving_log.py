"""The serving log says what was answered, and costs those who answer nothing: not time, not memory,
not a disk that is full or stuck.
"""

import gc
import json
import multiprocessing
import os
import threading
import time
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError, UsageError
from headwater.journal.serving_log import CLOSED, FULL, MALFORMED, UNWRITABLE
from headwater.journal.serving_log_files import prune, segments
from headwater.journal.serving_log_rows import sequences
from headwater.state.read_plan import WordLayout
from tests.journal.conftest import about, as_of, at, many, micros, one
from tests.journal.disks import full_disk, stuck_disk
from tests.waiting import until

DAY = 86_400


def written(folder, *entries, **more):
    with hw.operations.ServedLog(folder, **more) as log:
        for entry in entries:
            log.put(entry)
    assert log.counts().waiting == 0
    return log.counts()


# ---------------------------------------------------------------- what it says


def test_a_row_says_all_that_was_answered(tmp_path):
    of = about(
        ["user__visits", "user__mean"],
        arm="stream",
        level="fast",
        stages=("read", "model"),
        request=("user", "amount"),
    )
    moments = [as_of(10, age=3.5, cut=1, commits={"0": 4, "1": 9}, stale=True, incomplete=True)]
    entry = one(
        of,
        10,
        (3, None),
        request={"user": 7, "amount": 1.5, "secret": "x"},
        statuses=["present", "empty"],
        moments=moments,
        age=3.5,
        seconds=150e-6,
        stages={"read": 90e-6, "other": 1.0},
    )
    assert written(tmp_path, entry).written == 1
    (row,) = hw.operations.served(tmp_path, model="churn").collect().to_dicts()
    assert json.loads(row.pop("headwater_views")) == {"user": "f"}
    assert sequences(row.pop("user__sequence")) == {"0": 4, "1": 9}
    assert row == {
        "headwater_request": "r10",
        "headwater_row": 0,
        "headwater_at": at(10),
        "user": 7,
        "amount": 1.5,
        "user__visits": 3,
        "user__visits__status": "present",
        "user__mean": None,
        "user__mean__status": "empty",
        "user__T": at(9),
        "user__K": at(6.5),
        "user__age": timedelta(seconds=3.5),
        "user__stale": True,
        "user__incomplete": True,
        "headwater_prediction": 0.25,
        "headwater_how": "on_request",
        "headwater_latency_us": 150,
        "headwater_latency_us__read": 90,
        "headwater_latency_us__model": None,
        "headwater_prediction_age": timedelta(seconds=3.5),
        "headwater_kind": "predict",
        "headwater_project": "shop",
        "headwater_service": "user_v1",
        "headwater_model": "churn",
        "headwater_version": "1",
        "headwater_arm": "stream",
        "headwater_level": "fast",
    }


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, None, 2**62], pl.Int64),
        ([0.1, None, 1e300], pl.Float64),
        ([True, None, False], pl.Boolean),
        (["a", None, "é,="], pl.String),
        ([[1, 2], None, []], pl.List(pl.Int64)),
        ([["a"], [], None], pl.List(pl.String)),
        (
            [[{"key": "a", "value": 1.5}], None, []],
            pl.List(pl.Struct({"key": pl.String, "value": pl.Float64})),
        ),
        ([at(1), None, at(2)], pl.Datetime("us", "UTC")),
        ([None, None, None], pl.Null),
        ([1, 2.5, None], pl.Float64),
        ([float("nan"), -0.0, None], pl.Float64),
    ],
    ids=[
        "ints",
        "floats",
        "booleans",
        "strings",
        "lists",
        "lists of strings",
        "maps",
        "times",
        "nulls",
        "ints and floats",
        "nan and -0",
    ],
)
@pytest.mark.parametrize("apart", [False, True], ids=["together", "apart"])
def test_values_keep_their_types_and_bits(tmp_path, values, dtype, apart):
    of = about(["user__value"])
    with hw.operations.ServedLog(tmp_path) as log:
        for number, value in enumerate(values):
            log.put(one(of, number, (value,)))
            if apart:
                assert log.flush()
    found = hw.operations.served(tmp_path).sort("headwater_at").collect()["user__value"]
    assert found.dtype == dtype
    plain = str if dtype.is_temporal() else repr  # a zone of another name is not another time
    values = [float(v) if dtype == pl.Float64 and v is not None else v for v in values]
    assert list(map(plain, found)) == list(map(plain, pl.Series(values, dtype=dtype)))


def test_a_declared_dtype_is_kept_where_nothing_was_there(tmp_path):
    written(
        tmp_path,
        one(
            about(["user__value"], schema={"user__value": pl.List(pl.String), "user": pl.Int32}),
            1,
            (None,),
        ),
    )
    frame = hw.operations.served(tmp_path).collect()
    assert (frame.schema["user__value"], frame.schema["user"]) == (pl.List(pl.String), pl.Int32)


def test_values_of_no_one_type_become_text(tmp_path):
    of = about()
    written(
        tmp_path,
        one(of, 1, request={"user": 5}),
        one(of, 2, request={"user": "x"}),
        one(of, 3, request={"user": None}),
    )
    assert hw.operations.served(tmp_path).sort("headwater_at").collect()["user"].to_list() == [
        "5",
        "x",
        None,
    ]


def test_a_ranking_is_a_row_for_each_candidate(tmp_path):
    of = about(
        ["item__seen", "user__visits"],
        kind="rank",
        views=("user", "item"),
        request=("user", "item"),
    )
    entry = many(
        of,
        1,
        [[1, 2, None], [9, 9, 9]],
        request={"user": [4, 4, 4], "item": ["a", "b", "c"]},
        prediction=[0.3, 0.2, 0.1],
    )
    counts = written(tmp_path, entry)
    assert (counts.taken, counts.written) == (1, 1)
    frame = hw.operations.served(tmp_path).collect()
    names = ["headwater_row", "user", "item", "item__seen", "user__visits", "headwater_prediction"]
    assert frame.select(names).rows() == [
        (0, 4, "a", 1, 9, 0.3),
        (1, 4, "b", 2, 9, 0.2),
        (2, 4, "c", None, 9, 0.1),
    ]


def test_a_field_that_is_a_feature_too_is_kept_as_both(tmp_path):
    of = about(["distance"], views=(), request=("distance",))
    written(tmp_path, one(of, 1, (3.0,), request={"distance": 3}))
    assert hw.operations.served(tmp_path).select(
        "distance", "headwater_given_distance"
    ).collect().rows() == [(3.0, 3)]


def test_versions_with_other_features_are_read_together(tmp_path):
    written(
        tmp_path,
        one(about(["user__visits"]), 1, (3,)),
        one(about(["user__visits", "user__mean"], version="2"), 2, (4, 1.5)),
    )
    frame = hw.operations.served(tmp_path).sort("headwater_at").collect()
    assert frame.select(
        "user__visits", "user__mean", "user__mean__status", "headwater_version"
    ).rows() == [
        (3, None, None, "1"),
        (4, 1.5, "present", "2"),
    ]


def test_days_models_and_services_lie_apart(tmp_path):
    of, features = about(), about(kind="features", model=None)
    written(
        tmp_path,
        one(of, 1),
        one(of, 2, second=DAY + 2),
        one(features, 3, prediction=None, how=None),
        one(about(model="other"), 4),
    )
    assert {str(path.parent.relative_to(tmp_path)) for path in segments(tmp_path)} == {
        "served/headwater_date=2024-05-01/model=churn",
        "served/headwater_date=2024-05-02/model=churn",
        "served/headwater_date=2024-05-01/service=user_v1",
        "served/headwater_date=2024-05-01/model=other",
    }
    ids = lambda **which: sorted(  # noqa: E731
        hw.operations.served(tmp_path, **which).collect()["headwater_request"]
    )
    assert ids(model="churn") == ["r1", "r2"]
    assert ids(service="user_v1") == ["r3"]
    assert ids(model="churn", since=at(2)) == ["r2"]
    assert ids(until=at(3)) == ["r1"]
    assert ids(since=at(1), until=at(DAY)) == ["r1", "r3", "r4"]


def test_what_is_not_there_is_said(tmp_path):
    with pytest.raises(DataError, match="no serving log at"):
        hw.operations.served(tmp_path)
    written(tmp_path, one(about(), 1))
    with pytest.raises(DataError, match="no rows of model chrun; did you mean 'churn'"):
        hw.operations.served(tmp_path, model="chrun")
    with pytest.raises(DataError, match="no rows of model churn from 2025-01-01 to"):
        hw.operations.served(tmp_path, model="churn", since="2025-01-01T00:00Z")


# ---------------------------------------------------------------- the sample


def test_the_sample_is_the_same_everywhere_and_of_its_size(tmp_path):
    logs = [hw.operations.ServedLog(tmp_path, sample=0.3) for _ in range(2)]
    ids = [f"{i:06x}" for i in range(20_000)]
    kept = [[id_ for id_ in ids if log.wants(id_)] for log in logs]
    assert kept[0] == kept[1]
    assert abs(len(kept[0]) - 6000) < 250
    of = about()
    for number in range(100):
        logs[0].put(one(of, number))
    for log in logs:
        log.close()
    assert sorted(hw.operations.served(tmp_path).collect()["headwater_request"]) == sorted(
        f"r{n}" for n in range(100) if logs[0].wants(f"r{n}")
    )
    assert logs[0].counts().taken == hw.operations.served(tmp_path).collect().height


@pytest.mark.parametrize("sample", [-0.1, 1.1, "half", True])
def test_a_sample_that_is_no_share(tmp_path, sample):
    with pytest.raises(UsageError, match="give the share of requests to keep"):
        hw.operations.ServedLog(tmp_path, sample=sample)


# ---------------------------------------------------------------- a disk that does not keep up


@pytest.mark.slow
def test_a_stuck_disk_costs_no_request_time_and_no_memory_beyond_the_limit(tmp_path):
    of, log, slowest, most = (
        about([f"user__f{i}" for i in range(20)]),
        hw.operations.ServedLog(tmp_path, memory="1MB"),
        [],
        0,
    )
    log.put(one(of, 0, tuple(range(20))))
    assert log.flush()
    with stuck_disk():
        entry = one(of, 1, tuple(range(20)))
        for _ in range(20_000):
            start = time.perf_counter()
            log.put(entry)
            slowest.append(time.perf_counter() - start)
            most = max(most, log.counts().memory)
        counts = log.counts()
    assert most <= 1_000_000
    # the machine may have other things to do, but not for each of them
    assert sorted(slowest)[-20] < 0.005
    assert set(counts.dropped) == {FULL}
    assert counts.dropped[FULL] > 5_000
    assert (counts.taken, counts.waiting) == (20_001, 20_000 - counts.dropped[FULL])
    log.close()
    counts = log.counts()
    assert (
        counts.written
        == 20_001 - counts.dropped[FULL]
        == hw.operations.served(tmp_path).collect().height
    )
    assert counts.memory == 0


def test_what_a_stuck_disk_never_took_is_counted_when_the_log_closes(tmp_path):
    log = hw.operations.ServedLog(tmp_path)
    with stuck_disk():
        for number in range(10):
            log.put(one(about(), number))
        log.close(timeout=0.3)
        assert log.counts().dropped == {FULL: 10}


def test_a_full_disk_keeps_what_waits_and_goes_on_when_there_is_room(tmp_path):
    log = hw.operations.ServedLog(tmp_path)
    log.put(one(about(), 1))
    assert log.flush()
    with full_disk():
        log.put(one(about(), 2))
        assert not log.flush()
        assert "No space left" in log.counts().error
        assert log.counts().waiting == 1
        assert hw.operations.served(tmp_path).collect()["headwater_request"].to_list() == ["r1"], (
            "what was half written is taken back"
        )
    log.put(one(about(), 3))
    until(lambda: log.counts().error is None)
    assert log.flush()
    log.close()
    assert log.counts().dropped == {}
    assert sorted(hw.operations.served(tmp_path).collect()["headwater_request"]) == [
        "r1",
        "r2",
        "r3",
    ]


def test_a_disk_that_stays_full_is_told_apart(tmp_path):
    log = hw.operations.ServedLog(tmp_path, memory="1MB")
    with full_disk():
        for number in range(5_000):
            log.put(one(about(), number, request={"user": "x" * 1_000}))
        until(lambda: log.counts().error)
        before = log.counts().dropped.get(UNWRITABLE, 0)
        log.put(one(about(), 0, request={"user": "x" * 1_000_000}))
        assert log.counts().dropped[UNWRITABLE] == before + 1
        log.close()
    counts = log.counts()
    assert (counts.written, sum(counts.dropped.values())) == (0, 5_001)


def test_a_folder_that_cannot_be_made_stops_nobody(tmp_path):
    (tmp_path / "served").write_text("a file")
    log = hw.operations.ServedLog(tmp_path)
    log.put(one(about(), 1))
    log.close()
    assert log.counts().dropped == {UNWRITABLE: 1}


def test_a_malformed_entry_costs_the_others_nothing(tmp_path):
    of = about()
    with hw.operations.ServedLog(tmp_path) as log:
        log.put(one(of, 1))
        log.put(one(of, 2)._replace(statuses=b""))
        log.put(one(of, 3)._replace(values=[1, 2, 3]))
        log.put(one(of, 4))
        log.put(one(of, 5)._replace(how="by chance"))
        log.put(
            one(of, 6)._replace(
                words=(WordLayout(["user__visits"], ["int"]), np.zeros(1, np.int64))
            )
        )
    assert log.counts().dropped == {MALFORMED: 4}
    assert sorted(hw.operations.served(tmp_path).collect()["headwater_request"]) == ["r1", "r4"]


def test_what_comes_after_the_end_is_counted(tmp_path):
    log = hw.operations.ServedLog(tmp_path)
    log.close()
    log.put(one(about(), 1))
    assert log.counts().dropped == {CLOSED: 1}


def test_a_log_that_nobody_closes_is_written_and_leaves_no_thread(tmp_path):
    before = set(threading.enumerate())
    log = hw.operations.ServedLog(tmp_path)
    log.put(one(about(), 1))
    del log
    gc.collect()
    until(lambda: set(threading.enumerate()) <= before)
    assert hw.operations.served(tmp_path).collect().height == 1


def test_a_segment_is_closed_by_size_and_by_time(tmp_path):
    of = about([f"user__f{i}" for i in range(200)])
    closed = lambda folder: list(folder.rglob("*.segment"))  # noqa: E731
    with hw.operations.ServedLog(tmp_path, segment="1MB", every="1h") as log:
        for number in range(2_000):
            log.put(one(of, number, (1.5,) * 200))
        assert log.flush()
        assert len(closed(tmp_path)) >= 2
        assert all(path.stat().st_size < 2_500_000 for path in tmp_path.rglob("*.segment"))
    with hw.operations.ServedLog(tmp_path / "soon", every="10ms") as log:
        log.put(one(about(), 1))
        until(lambda: closed(tmp_path / "soon"))


def test_half_a_file_is_never_seen(tmp_path, monkeypatch):
    real, seen = pl.DataFrame.write_parquet, []

    def write(self, file, **more):
        real(self, file, **more)
        seen.append(list(tmp_path.rglob("*.parquet")))

    monkeypatch.setattr(pl.DataFrame, "write_parquet", write)
    written(tmp_path, one(about(), 1))
    assert seen == [[]]
    assert len(list(tmp_path.rglob("*.parquet"))) == 1


# ---------------------------------------------------------------- several processes, and time


def _worker(folder, number):
    with hw.operations.ServedLog(folder, every="20ms") as log:
        for i in range(300):
            log.put(one(about(), number * 1000 + i, second=i))
            if i % 60 == 0:
                log.flush()


@pytest.mark.slow
def test_processes_write_side_by_side(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_worker, args=(tmp_path, number)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    ids = hw.operations.served(tmp_path).collect()["headwater_request"]
    assert sorted(ids) == sorted(f"r{number * 1000 + i}" for number in range(3) for i in range(300))


def test_old_days_go(tmp_path):
    of = about()
    written(tmp_path, *(one(of, n, second=n * DAY) for n in range(4)), keep=None)
    now = micros(3 * DAY + 5)
    assert prune(tmp_path / "served", 2 * DAY * 1_000_000, now) == [], (
        "of days long past, as a replay asks for, all was written just now"
    )
    for path in (tmp_path / "served").rglob("*"):
        os.utime(path, (at(0).timestamp(),) * 2)
    assert [p.name for p in prune(tmp_path / "served", 2 * DAY * 1_000_000, now)] == [
        "headwater_date=2024-05-01"
    ]
    assert [p.parent.parent.name[-2:] for p in segments(tmp_path)] == ["02", "03", "04"]
    with hw.operations.ServedLog(tmp_path, keep="90d"):
        until(lambda: not list((tmp_path / "served").glob("headwater_date=*")))
