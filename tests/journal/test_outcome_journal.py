"""Outcomes that are answered for are on disk; the same again is one; another is a correction, and a
bad row harms no good one.
"""

import errno
import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError, StoreError, UsageError
from tests.journal.conftest import at, model
from tests.journal.disks import full_disk, stuck_disk, writing
from tests.waiting import until

ROW = {"request_id": "r1", "outcome": True}


@pytest.fixture
def posted(tmp_path):
    made = hw.operations.Outcomes(tmp_path, model().labels, keys=["user"])
    yield made
    made.close()


def said(posted, tmp_path):
    """The read rows: request, key and outcome of each, in order."""
    frame = hw.operations.outcomes(tmp_path, posted.labels)
    keys = frame["user"].to_list() if "user" in frame.columns else [None] * frame.height
    return list(zip(frame["headwater_request"], keys, frame["headwater_outcome"], strict=True))


def test_a_row_is_kept_with_when_it_was_known(posted, tmp_path):
    row = {
        "request_id": "r1",
        "user": 7,
        "timestamp": at(10).isoformat(),
        "outcome": False,
        "known_at": "2024-05-02T02:00:00+02:00",
    }
    assert posted.add([row]).accepted == 1
    (found,) = hw.operations.outcomes(tmp_path, posted.labels).to_dicts()
    assert datetime.now(UTC) - found.pop("headwater_posted_at") < timedelta(minutes=1)
    assert found == {
        "headwater_request": "r1",
        "headwater_timestamp": at(10),
        "user": 7,
        "headwater_outcome": False,
        "headwater_known_at": at(86_400),
        "headwater_sequence": 1,
    }


def test_without_a_known_at_it_is_known_now(posted, tmp_path):
    posted.add([ROW])
    (known,) = hw.operations.outcomes(tmp_path, posted.labels)["headwater_known_at"]
    assert abs(datetime.now(UTC) - known) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"outcome": True}, "it has no request_id and no 'user'"),
        ({"request_id": "r1"}, "it has no 'outcome'"),
        ({"request_id": "r1", "outcome": None}, "it has no 'outcome'"),
        ({"request_id": "", "outcome": True}, "its request_id is ''"),
        ({"request_id": 5, "outcome": True}, "its request_id is 5"),
        (
            {"request_id": "r1", "outcome": "yes"},
            "its outcome is 'yes', and the label 'left' is Boolean",
        ),
        ({"request_id": "r1", "outcome": 2}, "its outcome is 2, and the label 'left' is a boolean"),
        ({"request_id": "r1", "outcome": float("nan")}, "its outcome is nan"),
        ({"request_id": "r1", "outcom": True}, "it has 'outcom'; did you mean 'outcome'?"),
        (
            {"user": "seven", "outcome": True},
            "its 'user' is 'seven', and in the labels it is Int64",
        ),
        ({"user": True, "outcome": True}, "its 'user' is True"),
        ({"user": 1.5, "outcome": True}, "its 'user' is 1.5"),
        (
            {"request_id": "r1", "outcome": True, "known_at": "yesterday"},
            "its known_at is 'yesterday'",
        ),
        (
            {"request_id": "r1", "outcome": True, "known_at": "2024-05-01T00:00:00"},
            "has no time zone",
        ),
        ({"request_id": "r1", "outcome": True, "known_at": 5}, "its known_at is 5"),
        (
            {"request_id": "r1", "outcome": True, "known_at": "2999-01-01T00:00Z"},
            "its known_at lies in the future",
        ),
        (
            ROW | {"timestamp": "2024-05-02T00:00Z", "known_at": "2024-05-01T00:00Z"},
            "before its timestamp",
        ),
        (["r1", True], "it is list; send an object"),
    ],
)
def test_a_bad_row_is_refused_with_its_reason_and_the_good_are_kept(posted, tmp_path, row, reason):
    added = posted.add([ROW, row, {"user": 2, "outcome": 0}])
    assert added.accepted == 2
    ((place, why),) = added.refused
    assert place == 1
    assert reason in why
    assert said(posted, tmp_path) == [("r1", None, True), (None, 2, False)]


def test_the_same_again_is_one(posted, tmp_path):
    assert posted.add([ROW, ROW]).accepted == 2
    posted.add([ROW | {"outcome": 1}])
    posted.roll()
    posted.add([ROW])
    assert said(posted, tmp_path) == [("r1", None, True)]


def test_another_outcome_is_a_correction_known_later(posted, tmp_path):
    posted.add([ROW | {"known_at": at(10)}])
    posted.add([ROW | {"outcome": False, "known_at": at(20)}])
    posted.add([ROW | {"known_at": at(10)}])  # the first one again
    posted.add([ROW])  # as is one that does not say when
    posted.add([ROW | {"known_at": at(30)}])  # back to what was said first
    frame = hw.operations.outcomes(tmp_path, posted.labels)
    assert frame.select("headwater_outcome", "headwater_known_at").rows() == [
        (True, at(10)),
        (False, at(20)),
        (True, at(30)),
    ]
    assert frame["headwater_sequence"].to_list() == [1, 2, 3]


def test_an_id_and_keys_name_a_row_of_a_request_each(posted, tmp_path):
    rows = [{"request_id": "r1", "user": user, "outcome": user == 2} for user in (1, 2, 3)]
    posted.add(rows)
    posted.add(rows)
    assert [row[1] for row in said(posted, tmp_path)] == [1, 2, 3]


def test_rolling_closes_files_and_reads_each_row_once(posted, tmp_path):
    posted.add([{"request_id": f"r{i}", "outcome": i % 2 == 0} for i in range(5)])
    (path,) = posted.roll()
    before = path.read_bytes()
    posted.add([{"user": 5, "outcome": True}])
    assert [row[0] for row in said(posted, tmp_path)] == ["r0", "r1", "r2", "r3", "r4", None]
    assert len(posted.roll()) == len(posted.roll()) == 2
    assert path.read_bytes() == before
    assert hw.operations.outcomes(tmp_path, posted.labels, files=[path]).height == 5


def test_labels_made_of_events_take_none(tmp_path):
    clicks = hw.Source("clicks", timestamp_field="at", select=["user"])
    labels = hw.Labels(
        "clicked",
        table=pl.DataFrame({"user": [1], "at": [at(0)]}),
        timestamp_field="at",
        label=hw.outcome(clicks, hw.count(), keys=["user"], within="1h"),
    )
    with pytest.raises(UsageError, match="post those to /v1/events/clicks"):
        hw.operations.Outcomes(tmp_path, labels)


def test_of_a_project_by_the_keys_of_its_models(tmp_path):
    project = hw.Project("shop", [model()])
    assert (
        hw.operations.Outcomes.of(tmp_path, project, "leaving")
        .add([{"user": 1, "outcome": True}])
        .accepted
        == 1
    )
    with pytest.raises(UsageError, match="no labels 'leavin'; did you mean 'leaving'"):
        hw.operations.Outcomes.of(tmp_path, project, "leavin")


def test_where_the_table_is_elsewhere_types_are_taken_as_they_come(tmp_path):
    made = model(table=hw.parquet(tmp_path / "elsewhere.parquet"))
    posted = hw.operations.Outcomes(tmp_path, made.labels, keys=["user"])
    assert posted.add([{"user": "x", "outcome": True}, {"user": 3, "outcome": 0.5}]).accepted == 2


def test_texts_where_the_label_is_a_text(tmp_path):
    made = model(table=pl.DataFrame({"user": [1], "at": [at(0)], "left": ["yes"]}))
    posted = hw.operations.Outcomes(tmp_path, made.labels)
    added = posted.add([{"request_id": "a", "outcome": "no"}, {"request_id": "b", "outcome": 1}])
    assert (added.accepted, [place for place, _ in added.refused]) == (1, [1])
    assert hw.operations.outcomes(tmp_path, made.labels)["headwater_outcome"].to_list() == ["no"]


def test_a_journal_that_nobody_closes_leaves_no_file_open(tmp_path):
    posted = hw.operations.Outcomes(tmp_path, model().labels, keys=["user"])
    posted.add([ROW])
    del posted
    gc.collect()
    until(lambda: not list(tmp_path.rglob("*.open")), "the file is closed")


def test_none_was_posted(tmp_path):
    with pytest.raises(DataError, match="no outcome of labels 'leaving' was posted"):
        hw.operations.outcomes(tmp_path, model().labels)


def test_a_journal_that_cannot_be_written_says_so_and_takes_nothing(posted, tmp_path):
    with (
        full_disk(),
        pytest.raises(StoreError, match=r"No space left on device; nothing of this call was taken"),
    ):
        posted.add([ROW, ROW | {"request_id": "r2"}])
    with pytest.raises(DataError):
        hw.operations.outcomes(tmp_path, posted.labels)
    assert posted.add([ROW]).accepted == 1
    assert len(said(posted, tmp_path)) == 1


# ---------------------------------------------------------------- kills, threads, processes

CHILD = """
import json, sys
from headwater.journal.outcome_journal import Outcomes
from tests.journal.conftest import model
posted = Outcomes(sys.argv[1], model().labels, keys=["user"])
n = 0
while True:
    posted.add([{"request_id": f"r{n}-{i}", "outcome": True} for i in range(3)])
    print(n, flush=True)  # it is answered
    if n % 7 == 3:
        posted.roll()
    n += 1
"""


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 4, 25])
def test_a_killed_process_loses_nothing_that_was_answered(tmp_path, after):
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path.cwd(),
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    last = -1
    try:
        for line in child.stdout:
            last = int(line)
            if last >= after:
                break
    finally:
        child.send_signal(signal.SIGKILL)
        rest, _ = child.communicate()
    answered = max([last, *(int(line) for line in rest.split("\n")[:-1])])
    found = hw.operations.outcomes(tmp_path, model().labels)["headwater_request"].to_list()
    assert answered >= after
    assert set(found) >= {f"r{n}-{i}" for n in range(answered + 1) for i in range(3)}
    assert len(found) == len(set(found))
    assert len(found) % 3 == 0, "a batch is whole or not there"
    again = hw.operations.Outcomes(tmp_path, model().labels, keys=["user"])
    again.add([{"request_id": f"r{n}-0", "outcome": True} for n in range(answered + 1)])
    assert hw.operations.outcomes(tmp_path, model().labels).height == len(found)


def _add(folder, number, results):
    posted = hw.operations.Outcomes(folder, model().labels, keys=["user"])
    for n in range(40):
        posted.add(
            [
                {"request_id": f"r{n}", "outcome": True},
                {"request_id": f"own{number}-{n}", "outcome": False},
            ]
        )
        if n % 10 == number:
            posted.roll()
    results.put(number)


@pytest.mark.slow
def test_processes_add_side_by_side_and_what_all_say_counts_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    children = [
        context.Process(target=_add, args=(tmp_path, number, results)) for number in range(3)
    ]
    for child in children:
        child.start()
    assert sorted(results.get(timeout=120) for _ in children) == [0, 1, 2]
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    found = hw.operations.outcomes(tmp_path, model().labels)
    assert found.height == found["headwater_request"].n_unique() == 160
    assert found["headwater_sequence"].to_list() == list(range(1, 161))


def test_threads_add_side_by_side(posted, tmp_path):
    def work(number):
        for n in range(30):
            posted.add(
                [
                    {"request_id": f"r{n}", "outcome": True},
                    {"request_id": f"{number}-{n}", "outcome": True},
                ]
            )

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert hw.operations.outcomes(tmp_path, posted.labels).height == 30 + 4 * 30


def test_threads_that_wait_share_a_sync(posted, tmp_path, monkeypatch):
    posted.add([ROW])
    syncs, results, real = [], {}, os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: syncs.append(number) or real(number))

    def work(number):
        results[number] = posted.add(
            [
                {"request_id": f"{number}", "outcome": True},
                {"request_id": "all", "outcome": True},
                {"outcome": 1},
            ]
        )

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    with stuck_disk() as stuck:
        threads[0].start()
        assert stuck.wait(60)
        for thread in threads[1:]:
            thread.start()
        until(lambda: len(posted._group.appended) == 7, "all wait")
    for thread in threads:
        thread.join(60)
    assert len(syncs) == 2  # of the first one, and of those that came while the disk was stuck
    assert [(added.accepted, len(added.refused)) for added in results.values()] == [(2, 1)] * 8
    assert hw.operations.outcomes(tmp_path, posted.labels).height == 10


def test_a_failed_sync_fails_for_all_that_share_it(posted, tmp_path, monkeypatch):
    """And for nobody after it."""
    real = os.fsync

    def fsync(number):
        raise OSError(errno.EIO, "Input/output error")

    failed = []

    def work(number):
        try:
            posted.add([{"request_id": f"{number}", "outcome": True}])
        except StoreError as error:
            failed.append(str(error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    monkeypatch.setattr(os, "fsync", fsync)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    monkeypatch.setattr(os, "fsync", real)
    assert len(failed) == 4
    with pytest.raises(DataError, match="no outcome"):
        hw.operations.outcomes(tmp_path, posted.labels)
    assert posted.add([ROW]).accepted == 1


def test_whatever_ends_a_write_fails_for_all_that_share_it(posted, tmp_path, monkeypatch):
    """Nobody waits for ever, and the same again is taken."""
    with (
        writing(lambda *_: (_ for _ in ()).throw(MemoryError())),
        pytest.raises(StoreError, match="MemoryError"),
    ):
        posted.add([ROW])
    assert posted.add([ROW]).accepted == 1


def test_a_row_that_names_its_request_with_any_text(posted, tmp_path):
    posted.add([{"request_id": 'a"b', "user": 3, "outcome": True}])
    assert said(posted, tmp_path) == [('a"b', 3, True)]
