"""Exposures: each is read once, no matter which process dies, and none is served without room for
it.
"""

from pathlib import Path

import pytest

from headwater.errors import StoreError
from headwater.journal.exposure_log import (
    ExposureLog,
    read_exposures,
    read_interleaved,
    segments_of,
)
from headwater.journal.exposure_rows import LOGGED_SCHEMA, NO_ROOM, Exposure
from tests.journal.disks import full_disk, stuck_disk
from tests.waiting import until

T = 1_714_521_600_000_000
ROWS = [
    Exposure(f"u{n}", ("daily", "streaming")[n % 2], T + n, f"r{n}", 0.5, 1.5, 60.0, score=n / 7)
    for n in range(300)
]


def test_all_columns_are_read_as_they_were_put(tmp_path):
    row = Exposure(
        "ü",
        "a",
        T,
        "r",
        0.25,
        3.0,
        2.0,
        True,
        True,
        "oslo",
        7,
        "churn",
        "nightly",
        "3",
        0.5,
        "washout",
        "other",
    )
    with ExposureLog(tmp_path) as log:
        log.put("checkout", 2, [row])
    frame = read_exposures(tmp_path, "checkout")
    assert dict(frame.schema) == LOGGED_SCHEMA
    (read,) = frame.rows()
    assert read[0:2] + read[3:] == row[0:2] + row[3:17]
    assert int(read[2].timestamp() * 1e6) == T
    assert (
        read_exposures(tmp_path, "checkout", 1).height
        == read_exposures(tmp_path, "nothing").height
        == 0
    )
    assert dict(read_exposures(tmp_path, "nothing").schema) == LOGGED_SCHEMA


def test_versions_and_experiments_have_files_of_their_own(tmp_path):
    with ExposureLog(tmp_path) as log:
        log.put("one", 1, ROWS[:3])
        log.put("one", 2, ROWS[:2])
        log.add("two", 1, ROWS[:1])
    assert [
        read_exposures(tmp_path, *of).height for of in (("one", 1), ("one", 2), ("one",), ("two",))
    ] == [3, 2, 2, 1]


def test_a_batch_is_read_while_the_log_is_open(tmp_path):
    with ExposureLog(tmp_path) as log:
        log.put("one", 1, ROWS[:5])
        until(lambda: read_exposures(tmp_path, "one").height == 5)
        assert log.room
        log.add("one", 1, ROWS[5:7])
        assert read_exposures(tmp_path, "one").height == 7


def test_interleaved_lists(tmp_path):
    with ExposureLog(tmp_path) as log:
        log.put("one", 1, [Exposure("u", "interleaved", T, "r", 0.5, items=[7, "b"], teams=[1, 0])])
    assert [row[3:] for row in read_interleaved(tmp_path, "one").rows()] == [
        (0, "7", 1),
        (1, "b", 0),
    ]


def test_other_files_are_refused(tmp_path):
    with ExposureLog(tmp_path) as log:
        log.put("one", 1, ROWS[:1])
    (path,) = segments_of(tmp_path, "one")
    path.write_bytes(b"PAR1....")
    with pytest.raises(
        StoreError,
        match="does not begin as a file of exposures does: use the headwater that wrote it",
    ):
        read_exposures(tmp_path, "one")


@pytest.mark.parametrize("disk", [full_disk, stuck_disk])
def test_a_disk_that_does_not_keep_up_leaves_no_room(tmp_path, disk):
    with ExposureLog(tmp_path, memory="1MB") as log:
        log.put("one", 1, ROWS[:1])
        log.flush()
        with disk():
            log.put("one", 1, ROWS[:64])
            until(lambda: not log.room)
            for _ in range(150):
                log.put("one", 1, [row._replace(flag=NO_ROOM) for row in ROWS])
            assert log.unlogged > 0  # the memory is full
        until(lambda: log.room)
        logged = log.logged
    assert read_exposures(tmp_path, "one").height == logged


def test_what_cannot_be_written_is_refused_and_not_kept(tmp_path):
    with ExposureLog(tmp_path) as log:
        log.add("one", 1, ROWS[:1])
        with (
            full_disk(),
            pytest.raises(StoreError, match="exposures of experiment 'one' cannot be written"),
        ):
            log.add("one", 1, ROWS[1:2])
        log.add("one", 1, ROWS[2:3])
        assert sorted(read_exposures(tmp_path, "one")["unit"]) == ["u0", "u2"]


def test_a_log_that_nobody_closes_is_written(tmp_path):
    log = ExposureLog(tmp_path)
    log.put("one", 1, ROWS[:3])
    del log
    until(
        lambda: not list(tmp_path.rglob("*.open")) and read_exposures(tmp_path, "one").height == 3
    )


def test_the_folder_is_private(tmp_path):
    with ExposureLog(tmp_path) as log:
        log.put("one", 1, ROWS[:1])
    assert (Path(tmp_path) / "exposures").stat().st_mode & 0o077 == 0
