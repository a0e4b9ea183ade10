"""Outcomes that are answered for are on disk; the same again is one; another is a correction, and a bad row harms no good one."""

import gc
import json
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

import headwater as hw
from headwater import clock
from headwater.errors import DataError, StoreError, UsageError
from headwater.journal import outcome_journal as module
from tests.figures import figure
from tests.ingestion.world import wait_until
from tests.journal.conftest import at, model

ROW = {"request_id": "r1", "outcome": True}


@pytest.fixture
def posted(tmp_path):
    made = hw.operations.Outcomes(tmp_path, model().labels, keys=["user"])
    yield made
    made.close()


def said(posted, tmp_path):
    """What is read: request, key and outcome of each, in order."""
    frame = hw.operations.outcomes(tmp_path, posted.labels)
    keys = frame["user"].to_list() if "user" in frame.columns else [None] * frame.height
    return list(zip(frame["headwater_request"], keys, frame["headwater_outcome"], strict=True))


def test_a_row_is_kept_with_when_it_was_known(posted, tmp_path):
    row = {"request_id": "r1", "user": 7, "timestamp": at(10).isoformat(), "outcome": False, "known_at": "2024-05-02T02:00:00+02:00"}
    assert posted.add([row]).accepted == 1
    (found,) = hw.operations.outcomes(tmp_path, posted.labels).to_dicts()
    assert clock.now() - found.pop("headwater_posted_at") < timedelta(minutes=1)
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
    assert abs(clock.now() - known) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"outcome": True}, "it has no request_id and no 'user'"),
        ({"request_id": "r1"}, "it has no 'outcome'"),
        ({"request_id": "r1", "outcome": None}, "it has no 'outcome'"),
        ({"request_id": "", "outcome": True}, "its request_id is ''"),
        ({"request_id": 5, "outcome": True}, "its request_id is 5"),
        ({"request_id": "r1", "outcome": "yes"}, "its outcome is 'yes', and the label 'left' is Boolean"),
        ({"request_id": "r1", "outcome": 2}, "its outcome is 2, and the label 'left' is a boolean"),
        ({"request_id": "r1", "outcome": float("nan")}, "its outcome is nan"),
        ({"request_id": "r1", "outcom": True}, "it has 'outcom'; did you mean 'outcome'?"),
        ({"user": "seven", "outcome": True}, "its 'user' is 'seven', and in the labels it is Int64"),
        ({"user": True, "outcome": True}, "its 'user' is True"),
        ({"user": 1.5, "outcome": True}, "its 'user' is 1.5"),
        ({"request_id": "r1", "outcome": True, "known_at": "yesterday"}, "its known_at is 'yesterday'"),
        ({"request_id": "r1", "outcome": True, "known_at": "2024-05-01T00:00:00"}, "has no time zone"),
        ({"request_id": "r1", "outcome": True, "known_at": 5}, "its known_at is 5"),
        ({"request_id": "r1", "outcome": True, "known_at": "2999-01-01T00:00Z"}, "its known_at lies in the future"),
        (ROW | {"timestamp": "2024-05-02T00:00Z", "known_at": "2024-05-01T00:00Z"}, "before its timestamp"),
        (["r1", True], "it is list; send an object"),
    ],
)
def test_a_bad_row_is_refused_with_its_reason_and_the_good_are_kept(posted, tmp_path, row, reason):
    added = posted.add([ROW, row, {"user": 2, "outcome": 0}])
    assert (added.accepted, added.copies) == (2, 0)
    ((place, why),) = added.refused
    assert place == 1
    assert reason in why
    assert said(posted, tmp_path) == [("r1", None, True), (None, 2, False)]


def test_the_same_again_is_one(posted, tmp_path):
    assert posted.add([ROW, ROW]).copies == 1
    assert posted.add([ROW | {"outcome": 1}]) == module.Added(0, 1, 0, ())
    posted.roll()
    assert posted.add([ROW]).copies == 1
    assert said(posted, tmp_path) == [("r1", None, True)]


def test_another_outcome_is_a_correction_known_later(posted, tmp_path):
    posted.add([ROW | {"known_at": at(10)}])
    assert posted.add([ROW | {"outcome": False, "known_at": at(20)}]) == module.Added(1, 0, 1, ())
    assert posted.add([ROW | {"known_at": at(10)}]).copies == 1, "the first one again"
    assert posted.add([ROW]).accepted == 0, "as does one that does not say when"
    assert posted.add([ROW | {"known_at": at(30)}]).corrections == 1, "back to what was said first"
    frame = hw.operations.outcomes(tmp_path, posted.labels)
    assert frame.select("headwater_outcome", "headwater_known_at").rows() == [(True, at(10)), (False, at(20)), (True, at(30))]


def test_an_id_and_keys_name_a_row_of_a_request_each(posted, tmp_path):
    rows = [{"request_id": "r1", "user": user, "outcome": user == 2} for user in (1, 2, 3)]
    assert posted.add(rows).accepted == 3
    assert posted.add(rows).copies == 3


def test_rolling_moves_rows_into_files_and_reads_each_once(posted, tmp_path):
    posted.add([{"request_id": f"r{i}", "outcome": i % 2 == 0} for i in range(5)])
    assert posted.roll(least=6) is None
    path = posted.roll()
    assert path.name == "all-000000000001-000000000005.parquet"
    posted.add([{"user": 5, "outcome": True}])
    assert [row[0] for row in said(posted, tmp_path)] == ["r0", "r1", "r2", "r3", "r4", None]
    lost, replacing = (path.with_name(f"all-00000000000{n}.draft") for n in ("1-000000000002", "1-000000000005"))
    lost.touch()
    replacing.touch()
    assert posted.roll().name == "all-000000000006-000000000006.parquet"
    assert (lost.exists(), replacing.exists()) == (False, True)  # of a killed process; of one that replaces a file
    assert posted.roll() is None
    assert said(posted, tmp_path)[-1] == (None, 5, True)


def test_what_was_rolled_is_forgotten_after_its_time(tmp_path):
    posted = hw.operations.Outcomes(tmp_path, model().labels, keys=["user"], remember="0s")
    posted.add([ROW])
    posted.roll()
    assert posted.add([ROW]).accepted == 1
    assert posted.roll().name == "all-000000000002-000000000002.parquet", "no number is given twice"


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
    assert hw.operations.Outcomes.of(tmp_path, project, "leaving").add([{"user": 1, "outcome": True}]).accepted == 1
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


@pytest.mark.slow
@pytest.mark.parametrize("broken", [False, True])
def test_no_connection_is_left_open(tmp_path, broken):
    """Python 3.13 warns of each that is collected while it is open; so does this interpreter's count of open files."""
    place = tmp_path / "outcomes" / "leaving"
    if broken:
        place.mkdir(parents=True)
        (place / "journal.sqlite").write_bytes(b"no database" * 1000)
        with pytest.raises(StoreError, match="cannot be used"):
            hw.operations.Outcomes(tmp_path, model().labels, keys=["user"])
    else:
        assert hw.operations.Outcomes(tmp_path, model().labels, keys=["user"]).add([ROW]).accepted == 1  # nobody closes it
    gc.collect()
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    open_files = [os.readlink(link) for link in links if link.is_symlink()]  # noqa: PTH115 (a pipe is no path)
    assert not [name for name in open_files if name.startswith(str(place))]


def test_none_was_posted(tmp_path):
    with pytest.raises(DataError, match="no outcome of labels 'leaving' was posted"):
        hw.operations.outcomes(tmp_path, model().labels)


def test_a_journal_that_cannot_be_written_says_so_and_takes_nothing(posted, tmp_path, monkeypatch):
    class Full:
        in_transaction = False

        def execute(self, sql, *more):
            if sql.startswith("INSERT"):
                raise sqlite3.OperationalError("database or disk is full")
            return real.execute(sql, *more)

        def close(self):
            real.close()

    real, posted._journal = posted._journal, Full()
    with pytest.raises(StoreError, match=r"disk is full; nothing of this call was taken"):
        posted.add([ROW])
    real.execute("ROLLBACK")
    posted._journal = real
    assert posted.add([ROW]).accepted == 1


def test_half_a_batch_is_never_kept(posted, tmp_path, monkeypatch):
    calls, real = [], hw.operations.Outcomes._add

    def add(self, row, now):
        calls.append(row)
        if len(calls) == 3:
            raise sqlite3.OperationalError("disk I/O error")
        return real(self, row, now)

    monkeypatch.setattr(hw.operations.Outcomes, "_add", add)
    rows = [{"request_id": f"r{i}", "outcome": True} for i in range(5)]
    with pytest.raises(StoreError):
        posted.add(rows)
    with pytest.raises(DataError):
        hw.operations.outcomes(tmp_path, posted.labels)
    assert posted.add(rows).accepted == 5


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
    assert again.add([{"request_id": f"r{n}-0", "outcome": True} for n in range(answered + 1)]).copies == answered + 1
    figure(f"killed after {answered + 1} answers of 3 rows, {len(found)} rows are there")


def _add(folder, number, results):
    posted = hw.operations.Outcomes(folder, model().labels, keys=["user"])
    accepted = copies = 0
    for n in range(40):
        added = posted.add([{"request_id": f"r{n}", "outcome": True}, {"request_id": f"own{number}-{n}", "outcome": False}])
        accepted, copies = accepted + added.accepted, copies + added.copies
        if n % 10 == number:
            posted.roll()
    results.put((accepted, copies))


@pytest.mark.slow
def test_processes_add_side_by_side_and_tell_copies_of_each_other(tmp_path):
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    children = [context.Process(target=_add, args=(tmp_path, number, results)) for number in range(3)]
    for child in children:
        child.start()
    counts = [results.get(timeout=120) for _ in children]
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert sum(accepted for accepted, _ in counts) == 40 + 3 * 40
    assert sum(copies for _, copies in counts) == 2 * 40
    found = hw.operations.outcomes(tmp_path, model().labels)
    assert found.height == found["headwater_request"].n_unique() == 160
    assert found["headwater_sequence"].to_list() == list(range(1, 161))


def test_threads_add_side_by_side(posted, tmp_path):
    def work(number):
        for n in range(30):
            posted.add([{"request_id": f"r{n}", "outcome": True}, {"request_id": f"{number}-{n}", "outcome": True}])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert hw.operations.outcomes(tmp_path, posted.labels).height == 30 + 4 * 30


def test_threads_that_wait_share_a_commit(posted, tmp_path):
    said, results = [], {}
    posted._journal.set_trace_callback(said.append)

    def work(number):
        results[number] = posted.add([{"request_id": f"{number}", "outcome": True}, {"request_id": "all", "outcome": True}, {"outcome": 1}])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    with posted._lock:
        for thread in threads:
            thread.start()
        end = time.monotonic() + 20
        while len(posted._waiting) < 8 and time.monotonic() < end:
            time.sleep(0.001)
    for thread in threads:
        thread.join(60)
    assert said.count("COMMIT") == 1
    assert sorted((added.accepted, added.copies, len(added.refused)) for added in results.values()) == [(1, 1, 1)] * 7 + [(2, 0, 1)]
    assert hw.operations.outcomes(tmp_path, posted.labels).height == 9


def test_a_failed_commit_fails_for_all_that_share_it(posted, monkeypatch):
    def add(self, row, now):
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(hw.operations.Outcomes, "_add", add)
    failed = []

    def work(number):
        try:
            posted.add([{"request_id": f"{number}", "outcome": True}])
        except StoreError as error:
            failed.append(str(error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    with posted._lock:
        for thread in threads:
            thread.start()
    for thread in threads:
        thread.join(60)
    assert len(failed) == 4


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt, OverflowError, ZeroDivisionError])
def test_whatever_ends_a_commit_fails_for_all_that_share_it(posted, tmp_path, monkeypatch, error):
    """Nobody is told that his outcomes were known already, and the same again is taken."""
    plain = hw.operations.Outcomes._add

    def add(self, row, now):
        if '"bad"' in row.identity:
            raise error
        return plain(self, row, now)

    monkeypatch.setattr(hw.operations.Outcomes, "_add", add)
    ends = {}

    def work(name):
        try:
            ends[name] = posted.add([{"request_id": name, "outcome": True}])
        except BaseException as raised:  # noqa: BLE001 (compared)
            ends[name] = raised

    names = ["a", "bad", "b"]
    threads = [threading.Thread(target=work, args=(name,)) for name in names]
    with posted._lock:
        for number, thread in enumerate(threads, 1):
            thread.start()
            wait_until(lambda number=number: len(posted._waiting) == number, "its batch")
    for thread in threads:
        thread.join(60)
    assert all(isinstance(end, StoreError | error) for end in ends.values()), ends
    assert sum(type(end) is error for end in ends.values()) == 1
    with pytest.raises(DataError, match="no outcome"):
        hw.operations.outcomes(tmp_path, posted.labels)
    assert posted.add([{"request_id": "a", "outcome": True}]).accepted == 1


def test_reading_while_rows_are_rolled_misses_and_doubles_none(posted, tmp_path, monkeypatch):
    posted.add([{"request_id": f"r{i}", "outcome": True} for i in range(5)])
    real = module.rolled

    def rolled(place):
        monkeypatch.setattr(module, "rolled", real)
        posted.roll()  # between the journal and the files
        return real(place)

    monkeypatch.setattr(module, "rolled", rolled)
    assert len(said(posted, tmp_path)) == 5


def test_identities_are_json(posted):
    posted.add([{"request_id": 'a"b', "user": 3, "outcome": True}])
    ((identity,),) = posted._journal.execute("SELECT identity FROM outcomes").fetchall()
    assert json.loads(identity) == ['a"b', None, [["user", 3]]]
