"""Segments of the serving log: what they hold, how they are read, and that no request is lost or
doubled on their way to parquet.
"""

import contextlib
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import time
import zlib
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import headwater as hw
from headwater.errors import HeadwaterError, StoreError
from headwater.events.columns import STATUSES
from headwater.journal import conversion
from headwater.journal.conversion import convert
from headwater.journal.format import PREFIX, SERVED_ROWS
from headwater.journal.serving_log_files import prune, raw_segments, read, segments
from headwater.journal.serving_log_frames import rows_of
from headwater.journal.serving_log_segment import SegmentEncoder, records
from headwater.monitoring import convert_segments
from headwater.state.read_plan import WordLayout, words_of
from tests.journal.conftest import about, as_of, at, many, one
from tests.waiting import until

DAY = 86_400
NAMES = ["user__a", "user__b", "user__c", "user__d"]
LAYOUT = WordLayout(
    ["user__c", "user__a", "user__hidden", "user__b"], ["bool", "int", "float", "float"]
)


def unconverted(folder, *entries, **more):
    """A log whose entries are in segments: their files."""
    log = hw.operations.ServedLog(folder, **more)
    log.write(entries)
    assert log.flush()
    log._writer.close(10)
    assert log.counts().waiting == 0
    return raw_segments(folder / "served")


def words(values, statuses, n=1):
    """The words of a read: a list of values for each feature of `LAYOUT`."""
    out = np.zeros(words_of(len(values), n), np.int64)
    for place, column in enumerate(values):
        for row, value in enumerate(column):
            kind = np.float64 if LAYOUT.meanings[place] == "float" else np.int64
            out[place * n + row] = np.array([0 if value is None else value], kind).view(np.int64)[0]
            out[len(values) * n :].view(np.uint8)[len(values) * n + place * n + row] = value is None
    out[len(values) * n :].view(np.uint8)[: len(values) * n] = [
        STATUSES.index(word) for word in itertools.chain(*statuses)
    ]
    return LAYOUT, out


def rows(folder, **which):
    return (
        hw.operations.served(folder, **which)
        .sort("headwater_at", "headwater_request", "headwater_row")
        .collect()
    )


# ---------------------------------------------------------------- what they hold


def entries_of_each_kind(*, with_words):
    """A request of one row and one of three, with the words of their read or without."""
    of = about(NAMES, stages=("read",), request=("user",))
    said = ["present", "empty", "missing", "present"]
    single = one(
        of,
        1,
        (5, None, True, ["x", "y"]),
        statuses=said,
        age=2.5,
        seconds=1e-3,
        stages={"read": 1e-4},
    )
    columns = [[1, None, 2**62], [0.5, float("inf"), None], [True, False, None], [["a"], None, []]]
    batch = many(of, 2, columns, request={"user": [1, 2, None]}, prediction=[0.1, None, 0.3])
    codes = [[0, 1, 0], [0, 5, 1], [0, 0, 2], [0, 1, 0]]
    batch = batch._replace(
        statuses=[bytes(column) for column in codes],
        how=["precomputed", "on_request", "default"],
        age=[1.5, None, 0.25],
    )
    if with_words:
        single = single._replace(
            words=words(
                [[True], [5], [7.5], [None]], [[said[2]], [said[0]], ["present"], [said[1]]]
            )
        )
        of_words = [[STATUSES[code] for code in codes[place]] for place in (2, 0, 3, 1)]
        batch = batch._replace(
            words=words([columns[2], columns[0], [9.0] * 3, columns[1]], of_words, 3)
        )
    return [single, batch]


def test_words_are_read_as_the_values_that_were_made_of_them(tmp_path):
    for name, with_words in (("values", False), ("words", True)):
        assert len(unconverted(tmp_path / name, *entries_of_each_kind(with_words=with_words))) == 1
    assert_frame_equal(rows(tmp_path / "words"), rows(tmp_path / "values"))
    frame = rows(tmp_path / "words")
    assert frame["user__a"].to_list() == [5, 1, None, 2**62]
    assert frame["user__b"].to_list() == [None, 0.5, float("inf"), None]
    assert frame["user__c"].to_list() == [True, True, False, None]
    assert frame["user__d"].to_list() == [["x", "y"], ["a"], None, []]
    assert frame["user__b__status"].to_list() == ["empty", "present", "overflow", "empty"]
    assert frame["headwater_how"].to_list() == [
        "on_request",
        "precomputed",
        "on_request",
        "default",
    ]
    assert frame["headwater_prediction"].to_list() == [0.25, 0.1, None, 0.3]
    assert frame["headwater_prediction_age"].to_list() == [
        timedelta(seconds=s) if s else None for s in (2.5, 1.5, None, 0.25)
    ]
    assert frame["headwater_latency_us__read"].to_list() == [100, None, None, None]


@pytest.mark.parametrize(
    "value",
    [
        date(2024, 5, 1),
        time_of_day(12, 30, 1, 5),
        timedelta(days=-1, microseconds=7),
        datetime(2024, 5, 1, 1, 2, 3, 4),  # noqa: DTZ001 (a time of no zone)
        datetime(2024, 5, 1, 1, 2, 3, 4, tzinfo=UTC),
        datetime(2024, 5, 1, 1, 2, 3, 4, tzinfo=ZoneInfo("Europe/Paris")),
        Decimal("1.50"),
        [date(2024, 5, 1), None],
        [{"key": "a", "value": date(2024, 5, 1)}],
        b"bytes",
        2**63 + 5,
        np.int32(7),
        [2**63 - 1, -(2**63)],
    ],
    ids=repr,
)
def test_values_of_every_type_are_what_they_were(tmp_path, value):
    unconverted(tmp_path, one(about(["user__value"]), 1, (value,), request={"user": value}))
    frame = rows(tmp_path)
    plain = value.item() if isinstance(value, np.generic) else value
    expected = pl.Series("user__value", [plain])
    for name in ("user__value", "user"):
        assert frame.schema[name] == expected.dtype
        assert frame[name].to_list() == expected.to_list()


def test_integers_of_more_than_64_bits_are_kept(tmp_path):
    unconverted(tmp_path, one(about(), 1, (2**70,)), one(about(), 2, (1,)))
    assert rows(tmp_path)["user__visits"].to_list() == [2**70, 1]


def test_commits_of_several_partitions_are_texts(tmp_path):
    of = about(["user__a"], views=("user", "item", "day"))
    moments = [
        as_of(1, commits={"0": 4, "1": 9}),
        as_of(1, commits={None: 7}, stale=True),
        as_of(1, commits={}, incomplete=True),
    ]
    unconverted(tmp_path, one(of, 1, moments=moments), one(of, 2, moments=[as_of(2)] * 3))
    frame = rows(tmp_path)
    assert [json.loads(text) if text else None for text in frame["user__sequence"]] == [
        {"0": 4, "1": 9},
        7,
    ]
    assert frame["item__sequence"].to_list() == ["7", "7"]
    assert frame["day__sequence"].to_list() == [None, "7"]
    assert frame.select("user__stale", "item__stale", "item__incomplete", "day__incomplete").row(
        0
    ) == (False, True, False, True)


def test_equal_contexts_share_their_segment(tmp_path):
    assert (
        len(unconverted(tmp_path, one(about(), 1), one(about(), 2), one(about(version="2"), 3)))
        == 2
    )


# ---------------------------------------------------------------- damage


def segment_of(*entries):
    encoder = SegmentEncoder(entries[0].about, None)
    return encoder.begin, [encoder.row(entry) for entry in entries]


def test_a_segment_that_ends_anywhere_has_what_is_whole():
    header, parts = segment_of(*(one(about(), number) for number in range(3)))
    data = header + b"".join(parts)
    ends = [len(header) + sum(map(len, parts[:n])) for n in range(4)]
    for end in range(len(data) + 1):
        whole = sum(end >= at for at in ends[1:])
        found = rows_of(data[:end], "torn")
        assert found.requests == whole
        assert sum(frame.height for frame in found.days.values()) == whole
        assert found.damaged == (
            end - ends[whole] if end >= ends[0] else max(0, end - len(SERVED_ROWS.magic))
        )


def test_a_changed_byte_costs_its_entry_alone():
    header, parts = segment_of(*(one(about(), number) for number in range(3)))
    for at_byte in range(len(parts[1])):
        for bit in (1, 128):
            changed = bytearray(parts[1])
            changed[at_byte] ^= bit
            found = rows_of(header + parts[0] + bytes(changed) + parts[2], "changed")
            (frame,) = found.days.values()
            assert frame["headwater_request"].to_list() == ["r0", "r2"]
            assert found.damaged == len(parts[1])
    assert rows_of(header + parts[0] + bytes(4096), "zeros").requests == 1


def test_bytes_that_are_gone_or_put_in_cost_their_entries_alone():
    header, parts = segment_of(*(one(about(), number) for number in range(6)))
    data = header + b"".join(parts)
    begin, end = (len(header) + sum(map(len, parts[:n])) + 5 for n in (1, 3))
    for changed in (
        data[:begin] + data[end:],
        data[:begin] + bytes(4096) + data[begin:],
        data[:begin] + b"\xff" * 999 + data[end:],
    ):
        (frame,) = rows_of(changed, "changed").days.values()
        ids = frame["headwater_request"].to_list()
        assert ids[0] == "r0"
        assert ids[-2:] == ["r4", "r5"]
        assert len(ids) >= 3


def test_a_segment_with_a_damaged_header_is_kept(tmp_path, caplog):
    (path,) = unconverted(tmp_path, *(one(about(), number) for number in range(3)))
    data = bytearray(path.read_bytes())
    data[len(SERVED_ROWS.magic) + PREFIX.size] ^= 1
    path.write_bytes(data)
    convert(tmp_path)
    assert (
        f"{path}: its header is damaged, so its 3 entries cannot be read; it is kept as "
        f"{path.stem}.damaged"
    ) in caplog.text
    assert path.with_suffix(".damaged").read_bytes() == data
    assert raw_segments(tmp_path / "served") == []


def test_a_later_version_is_refused_by_name(tmp_path):
    (path,) = unconverted(tmp_path, one(about(), 1))
    later = path.with_name("later.segment")
    later.write_bytes(
        path.read_bytes().replace(SERVED_ROWS.magic, SERVED_ROWS.magic[:-2] + b"\x02\x00", 1)
    )
    for call in (lambda: hw.operations.served(tmp_path), lambda: convert(tmp_path)):
        with pytest.raises(
            StoreError,
            match=r"later\.segment is of version 2 of the journal's format; this headwater reads 1",
        ):
            call()
    assert raw_segments(tmp_path / "served") == [later], "the other one is converted"
    assert len(list(tmp_path.rglob("*.parquet"))) == 1
    later.write_bytes(b"PAR1 and so on")
    with pytest.raises(StoreError, match="does not begin as a file of the serving log does"):
        hw.operations.served(tmp_path)


def test_a_record_is_its_length_and_checksum(tmp_path):
    (path,) = unconverted(tmp_path, one(about(), 1))
    data = path.read_bytes()
    (span,) = records(data, "").spans
    _, length, checksum = PREFIX.unpack_from(data, span[0] - PREFIX.size)
    assert (length, checksum) == (span[1] - span[0], zlib.crc32(data[slice(*span)]))


# ---------------------------------------------------------------- to parquet


class Killed(BaseException):
    pass


def stopping(real, count, stop, before):
    """A step that is the last one, before it is done or after, if it is the one to stop at."""

    def step(*args, **more):
        now = next(count)
        if now == stop and before:
            raise Killed
        real(*args, **more)
        if now == stop:
            raise Killed

    return step


@pytest.mark.slow
def test_a_conversion_killed_between_any_two_steps_loses_and_doubles_nothing(tmp_path, monkeypatch):
    expected = [f"r{n}" for n in range(6)]
    steps = [(conversion, "durable"), (Path, "replace"), (Path, "unlink"), (conversion, "sync")]
    for number, (stop, before) in enumerate(itertools.product(range(6), (True, False))):
        folder = tmp_path / str(number)
        assert (
            len(unconverted(folder, *(one(about(), n, second=n // 2 * DAY) for n in range(6)))) == 1
        )
        count = itertools.count()
        with monkeypatch.context() as patched:
            for owner, name in steps:
                patched.setattr(owner, name, stopping(getattr(owner, name), count, stop, before))
            with pytest.raises(Killed):
                convert(folder)
        assert rows(folder)["headwater_request"].to_list() == expected, (
            "a reader finds each request once"
        )
        assert convert(folder) == []
        assert raw_segments(folder / "served") == []
        assert rows(folder)["headwater_request"].to_list() == expected
        assert len(list(folder.rglob("*.parquet"))) == 3


KILLED = """
import os, signal, sys
from pathlib import Path
from headwater.journal import conversion
left, real = iter(range(int(sys.argv[2]))), conversion.durable
def durable(*args):
    if next(left, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
    real(*args)
conversion.durable = durable
conversion.convert(Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_a_killed_converter_leaves_its_lock_and_the_next_one_goes_on(tmp_path):
    unconverted(tmp_path, *(one(about(), n, second=n * DAY) for n in range(3)))
    process = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), "1"], check=False)
    assert process.returncode == -signal.SIGKILL
    assert len(list(tmp_path.rglob("*.parquet"))) == 1
    assert rows(tmp_path)["headwater_request"].to_list() == ["r0", "r1", "r2"]
    assert convert(tmp_path) == []
    assert rows(tmp_path)["headwater_request"].to_list() == ["r0", "r1", "r2"]


@pytest.mark.slow
def test_the_process_that_converts_has_the_lowest_priority(tmp_path):
    code = (
        "import os; from headwater.monitoring.convert_segments import run_idle; run_idle(); "
        "print(os.sched_getscheduler(0), os.nice(0))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert said == [str(os.SCHED_IDLE), "19"] if hasattr(os, "SCHED_IDLE") else said[1] == "19"
    unconverted(tmp_path, one(about(), 1))
    subprocess.run(conversion.command("idle", tmp_path, None), check=True)
    assert raw_segments(tmp_path / "served") == []
    assert convert_segments.__doc__


def test_a_segment_that_is_written_is_left_alone_unless_it_is_asked_for(tmp_path):
    with hw.operations.ServedLog(tmp_path) as log:
        log.put(one(about(), 1))
        assert log.flush()
        (path,) = convert(tmp_path)
        assert path.suffix == ".open"
        assert convert(tmp_path, close=True, wait=5) == []
        assert len(list(tmp_path.rglob("*.parquet"))) == 1
        log.put(one(about(), 2))
        assert log.flush()
        assert rows(tmp_path)["headwater_request"].to_list() == ["r1", "r2"]
    assert rows(tmp_path)["headwater_request"].to_list() == ["r1", "r2"]


def test_files_that_were_listed_are_read_after_they_were_converted(tmp_path):
    of = about()
    unconverted(tmp_path, *(one(of, n, second=n * DAY) for n in range(2)))
    listed = segments(tmp_path)
    assert [path.suffix for path in listed] == [".segment"]
    convert(tmp_path)
    assert sorted(read(listed).collect()["headwater_request"]) == ["r0", "r1"]
    assert [path.suffix for path in segments(tmp_path, since=at(DAY))] == [".parquet"]


def test_days_of_segments_are_chosen_as_those_of_files(tmp_path):
    unconverted(tmp_path, *(one(about(), n, second=n * DAY) for n in range(3)))
    assert rows(tmp_path, since=at(DAY), until=at(2 * DAY))["headwater_request"].to_list() == ["r1"]
    with pytest.raises(HeadwaterError, match="no rows of model churn from 2025-01-01"):
        hw.operations.served(tmp_path, model="churn", since="2025-01-01T00:00Z")
    with pytest.raises(HeadwaterError, match="did you mean 'churn'"):
        hw.operations.served(tmp_path, model="chrun")


def test_old_segments_go(tmp_path):
    unconverted(tmp_path, one(about(), 1))
    (path,) = raw_segments(tmp_path / "served")
    prune(tmp_path / "served", DAY * 1_000_000, time.time_ns() // 1000)
    assert path.exists()
    os.utime(path, (at(0).timestamp(),) * 2)
    prune(tmp_path / "served", DAY * 1_000_000, time.time_ns() // 1000)
    assert not path.exists()


# ---------------------------------------------------------------- killed, full, stuck

WORKER = """
import sys, time
import headwater as hw
from tests.journal.conftest import about, one
log, of = hw.operations.ServedLog(sys.argv[1]), about()
for number in range(10_000_000):
    log.put(one(of, number))
    if number % 64 == 63:
        print(log.counts().written, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 0.05])
def test_a_killed_worker_loses_nothing_that_it_has_written(tmp_path, seconds):
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    while worker.stdout.readline() == "0\n":  # nothing is written yet
        pass
    time.sleep(seconds)
    worker.kill()
    numbers = [int(line) for line in worker.stdout.read().splitlines() if line.isdecimal()]
    worker.wait()
    worker.stdout.close()
    least = max(numbers, default=0)
    found = rows(tmp_path)["headwater_request"].to_list()
    assert sorted(int(text[1:]) for text in found) == list(range(len(found)))
    assert len(found) >= least
    convert(tmp_path)
    assert sorted(rows(tmp_path)["headwater_request"].to_list()) == sorted(found)


@contextlib.contextmanager
def mounted(folder, *arguments):
    """A file system in a folder, where this user may mount one."""
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", *arguments, folder], check=False, capture_output=True
        ).returncode
    ):
        pytest.skip("file systems can only be mounted by root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.slow
def test_a_disk_without_room(tmp_path):
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=256k", "tmpfs") as disk:
        log = hw.operations.ServedLog(disk, memory="1MB")
        for number in range(10_000):
            log.put(one(about(), number, request={"user": "x" * 500}))
            if number % 500 == 0:
                log.flush(0.5)
        counts = log.counts()
        assert "No space left" in counts.error
        assert counts.memory <= 1_000_000
        assert sum(counts.dropped.values()) > 1_000
        kept = hw.operations.served(disk).collect().height
        assert kept == counts.written
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        until(log.flush)  # it says so immediately where the last write failed
        log.close()
        counts = log.counts()
        assert (
            counts.written
            == 10_000 - sum(counts.dropped.values())
            == hw.operations.served(disk).collect().height
            > kept
        )


def test_a_limit_of_the_size_of_files_makes_more_segments(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_000_000, limits[1]))
    try:
        log = hw.operations.ServedLog(tmp_path)
        for number in range(3_000):
            log.put(one(about(), number, request={"user": "x" * 4_000}))
        assert log.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    sizes = [path.stat().st_size for path in raw_segments(tmp_path / "served")]
    assert len(sizes) > 2
    assert max(sizes) <= 4_000_000
    assert hw.operations.served(tmp_path).collect().height == log.counts().written == 3_000
    log.close()
    assert hw.operations.served(tmp_path).collect().height == 3_000


@pytest.mark.slow
def test_a_frozen_file_system_holds_up_no_request(tmp_path):
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    if subprocess.run(["mkfs.ext4", "-q", image], check=False, capture_output=True).returncode:
        pytest.skip("there is no mkfs.ext4")
    with mounted(tmp_path / "disk", "-o", "loop", image) as disk:
        log, of, slowest = hw.operations.ServedLog(disk, memory="1MB"), about(), 0.0
        log.put(one(of, 0))
        assert log.flush()
        subprocess.run(["fsfreeze", "-f", disk], check=True)
        try:
            for number in range(1, 30_000):
                start = time.perf_counter()
                log.put(one(of, number))
                slowest = max(slowest, time.perf_counter() - start)
            counts = log.counts()
            assert not log.flush(0.2)
        finally:
            subprocess.run(["fsfreeze", "-u", disk], check=True)
        assert slowest < 0.5
        assert counts.memory <= 1_000_000
        assert sum(counts.dropped.values()) > 1_000
        assert log.flush()
        log.close()
        assert log.counts().dropped == counts.dropped
        assert (
            log.counts().written
            == 30_000 - sum(counts.dropped.values())
            == hw.operations.served(disk).collect().height
        )
