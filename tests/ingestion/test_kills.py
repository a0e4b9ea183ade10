"""Ingestion is killed at random times, again and again: every event counts once, and the control
shows that the test would see it.
"""

import signal
import statistics
from pathlib import Path

import pytest

SMALL_FILES = Path(__file__).with_name("small_files.py")
SPLIT = Path(__file__).with_name("split_commits.py")


@pytest.mark.long  # tests/laws/test_events.py kills, too
def test_lines_of_a_file_count_once(world, tmp_path, kills, report):
    here = world('hw.appended("log-*.ndjson", schema=schema)')
    writers = [
        here.appender(tmp_path / f"log-{n}.ndjson", rate=200 if kills > 20 else 2000)
        for n in range(2)
    ]  # what waits grows while processes start
    for writer in writers:
        writer.start()
    starts = here.killed(kills)
    for writer in writers:
        writer.end()
    here.once()
    here.check()
    report(
        f"{kills} kills, {len(here.good):,} lines and {here.refused:,} bad ones: exact; "
        f"{begun(starts)}"
    )


@pytest.mark.long
@pytest.mark.slow
def test_killed_while_the_archive_is_rolled_into_files(world, tmp_path, kills, report):
    here = world('hw.appended("log-*.ndjson", schema=schema)', script=SMALL_FILES)
    writer = here.appender(tmp_path / "log-0.ndjson", rate=2000)
    writer.start()
    here.killed(kills // 2, pause=0.5)
    writer.end()
    here.once()
    here.check()
    files = len(list(tmp_path.glob(".headwater/archive/**/*.parquet")))
    report(f"{kills // 2} kills, {files:,} files of an archive, {len(here.good):,} rows: exact")


@pytest.mark.long
@pytest.mark.slow
def test_rows_that_the_filter_leaves_out_are_kept_once(world, tmp_path, kills, report):
    """As the archive is; and nothing of them is in the archive or counted."""
    here = world(
        'hw.appended("log-*.ndjson", schema=schema)',
        ", filter=pl.col('n') % 10 != 3",
        script=SMALL_FILES,
    )
    writer = here.appender(tmp_path / "log-0.ndjson", rate=2000)
    writer.start()
    here.killed(kills // 4, pause=0.5)
    writer.end()
    here.once()
    left_out = sorted(n for n in here.good if n % 10 == 3)
    here.good = [n for n in here.good if n % 10 != 3]
    here.check()
    assert sorted(here.rows("filtered")["n"]) == left_out
    report(f"{kills // 4} kills, {len(left_out):,} rows that the filter leaves out: kept once each")


@pytest.mark.long  # tests/laws/test_events.py kills, too
def test_pushed_events_count_once(world, kills, report):
    here = world("hw.push(schema=schema)")
    senders = [here.sender(number) for number in range(4)]
    for sender in senders:
        sender.start()
    starts = here.killed(kills)
    last = here.start()
    here.begun(last)
    for sender in senders:
        sender.over.set()
    for sender in senders:
        sender.join(60)
    assert not any(sender.is_alive() for sender in senders)
    assert [sender.problem for sender in senders if sender.problem] == []
    last.send_signal(signal.SIGTERM)
    assert last.wait(30) == 0, last.log.read_text()
    here.check()
    tries, batches, hung_up = (
        sum(getattr(s, name) for s in senders) for name in ("tries", "batches", "hung_up")
    )
    sent = f"{batches:,} batches sent {tries:,} times, {hung_up:,} answers not heard"
    report(
        f"{kills} kills, {len(here.good):,} pushed events and {here.refused:,} bad ones, {sent}: "
        f"exact; {begun(starts)}"
    )


@pytest.mark.long
def test_offsets_in_another_transaction_are_found_out(tmp_path, kills, report, world_at):
    here = world_at(
        f"lmdb:{tmp_path / 'online'}", 'hw.appended("log.ndjson", schema=schema)', script=SPLIT
    )
    for done in range(1, kills + 1):
        writer = here.appender(tmp_path / "log.ndjson")
        writer.start()
        here.killed(1, seed=done)
        writer.end()
        here.once()
        if here.found() != here.expected():
            break
    counted = sum(count for count, _ in here.found().values())
    assert counted > len(here.good), f"{kills} kills, and nothing was counted twice"
    report(
        f"the control, offsets in a transaction of their own: {counted - len(here.good):,} events "
        f"counted twice after {done} kills"
    )


def begun(starts):
    return f"{statistics.median(starts):.2f} s from start to first commit"
