"""Exposures: each is read once, whatever dies, and none is served without room for it."""

import os
import signal
import time
from pathlib import Path

import pytest

from headwater.errors import StoreError
from headwater.journal.exposure_log import BATCH, ExposureLog, read_exposures, read_interleaved, segments_of
from headwater.journal.exposure_rows import LOGGED_SCHEMA, NO_ROOM, Exposure, header_of, read_segment, record_of
from headwater.journal.segment_pipe import SegmentPipe

T = 1_714_521_600_000_000
ROWS = [Exposure(f"u{n}", ("daily", "streaming")[n % 2], T + n, f"r{n}", 0.5, 1.5, 60.0, score=n / 7) for n in range(300)]


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def writer(log: ExposureLog) -> int:
    return log._pipe._process.pid


def test_all_columns_are_read_as_they_were_put(tmp_path):
    row = Exposure("ü", "a", T, "r", 0.25, 3.0, 2.0, True, True, "oslo", 7, "churn", "nightly", "3", 0.5, "washout", "other")
    with ExposureLog(tmp_path) as log:
        log.put("checkout", 2, [row])
    frame = read_exposures(tmp_path, "checkout")
    assert dict(frame.schema) == LOGGED_SCHEMA
    (read,) = frame.rows()
    assert read[0:2] + read[3:] == row[0:2] + row[3:17]
    assert int(read[2].timestamp() * 1e6) == T
    assert read_exposures(tmp_path, "checkout", 1).height == read_exposures(tmp_path, "nothing").height == 0
    assert dict(read_exposures(tmp_path, "nothing").schema) == LOGGED_SCHEMA


def test_versions_and_experiments_have_files_of_their_own(tmp_path):
    with ExposureLog(tmp_path) as log:
        log.put("one", 1, ROWS[:3])
        log.put("one", 2, ROWS[:2])
        log.put("two", 1, ROWS[:1])
    assert [read_exposures(tmp_path, *of).height for of in (("one", 1), ("one", 2), ("one",), ("two",))] == [3, 2, 2, 1]


def test_a_batch_is_read_while_the_log_is_open(tmp_path):
    with ExposureLog(tmp_path) as log:
        log.put("one", 1, ROWS[:5])
        until(lambda: read_exposures(tmp_path, "one").height == 5)
        assert log.room


def test_interleaved_lists(tmp_path):
    with ExposureLog(tmp_path) as log:
        log.put("one", 1, [Exposure("u", "interleaved", T, "r", 0.5, items=[7, "b"], teams=[1, 0])])
    assert [row[3:] for row in read_interleaved(tmp_path, "one").rows()] == [(0, "7", 1), (1, "b", 0)]


@pytest.mark.parametrize("cut", ["end", "middle", "header"])
def test_damage_costs_the_damaged_records_only(cut):
    head = header_of("one", 1, "w")
    records = [record_of([(n, *row)]) for n, row in enumerate(ROWS[:10])]
    data = bytearray(head + b"".join(records))
    at = {"end": len(data) - 3, "middle": len(head) + len(b"".join(records[:4])) + 20, "header": 20}[cut]
    data[at] ^= 0xFF
    read = read_segment(bytes(data[: len(data) - 1] if cut == "end" else data), "a")
    lost = {"end": {9}, "middle": {4}, "header": set()}[cut]
    assert set(range(10)) - set(read.exposures) == lost
    assert (read.header is None) == (cut == "header")
    assert read.damaged > 0


def test_other_files_are_refused():
    with pytest.raises(StoreError, match="is of version 9"):
        read_segment(b"HWEXPO" + (9).to_bytes(2, "little"), "a")
    with pytest.raises(StoreError, match="does not begin as one does"):
        read_segment(b"PAR1....", "a")


def test_a_killed_writer_loses_and_doubles_nothing(tmp_path):
    with ExposureLog(tmp_path) as log:
        for n, row in enumerate(ROWS):
            log.put("one", 1, [row])
            if n % 100 == 50:
                assert log.flush()
                killed = writer(log)
                os.kill(killed, signal.SIGKILL)
                until(lambda killed=killed: log.write() or writer(log) != killed)  # a log with nothing to write does not look
    frame = read_exposures(tmp_path, "one")
    assert frame["request"].sort().to_list() == sorted(row.request for row in ROWS)
    assert len(segments_of(tmp_path, "one")) > 1


def test_a_writer_that_dies_with_a_full_pipe(tmp_path):
    """What it had not written, and what it had written and not confirmed, is sent again and read once."""
    with ExposureLog(tmp_path) as log:
        log.put("one", 1, ROWS[:1])
        log.flush()
        os.kill(writer(log), signal.SIGSTOP)
        log.put("one", 1, ROWS[1:])
        log.write()
        os.kill(killed := writer(log), signal.SIGKILL)
        until(lambda: writer(log) != killed)
        until(lambda: log.room)
    assert read_exposures(tmp_path, "one").height == len(ROWS)


def test_a_stopped_writer_leaves_no_room(tmp_path):
    with ExposureLog(tmp_path, memory="1MB") as log:
        log.put("one", 1, ROWS[:1])
        log.flush()
        os.kill(writer(log), signal.SIGSTOP)
        try:
            log.put("one", 1, ROWS[:BATCH])
            until(lambda: not log.room, seconds=5)  # although the pipe is not full
            begun = time.monotonic()
            for _ in range(150):
                log.put("one", 1, [row._replace(flag=NO_ROOM) for row in ROWS])
            assert time.monotonic() - begun < 5  # nothing waits
            assert log.unlogged > 0  # the pipe and the memory are full
        finally:
            os.kill(writer(log), signal.SIGCONT)
        until(lambda: log.room)
        logged = log.logged
    assert read_exposures(tmp_path, "one").height == logged


def test_without_the_option_nothing_is_sent_twice(tmp_path):
    pipe = SegmentPipe([str(tmp_path), "w", "1000000", "60"])
    assert not pipe._kept
    assert pipe.close(5)


def test_the_folder_is_private(tmp_path):
    with ExposureLog(tmp_path) as log:
        log.put("one", 1, ROWS[:1])
    assert (Path(tmp_path) / "exposures").stat().st_mode & 0o077 == 0
