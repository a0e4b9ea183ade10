"""Responses of third parties become the history that training reads, whatever ends the process or
damages the file.
"""

import datetime as dt
import shutil
import time

import polars as pl
import pytest

import headwater as hw
from headwater.serving.third_party.response_log import AnswerLog
from tests.journal.conftest import at, micros

HTTP = hw.HttpFeatures(
    "ip",
    url="https://ip.example",
    request={"address": str},
    response={"score": float, "at": dt.datetime},
)


@pytest.fixture
def killed(tmp_path):
    """A data directory as a process leaves it that was killed after five responses, and the file
    that it wrote.
    """
    log = AnswerLog(tmp_path / "living")
    for n in range(5):
        log.add(HTTP, (f"address-{n}",), (n / 2, at(n)), micros(10 + n))
        written = time.monotonic() + 20
        while log.written <= n and time.monotonic() < written:
            time.sleep(0.005)
    shutil.copytree(tmp_path / "living", tmp_path / "killed")
    log.close()
    (path,) = (tmp_path / "killed").rglob("*.open")
    return tmp_path / "killed", path


def history(folder, run):
    """What is there after logs were converted."""
    answer = run("logs", "ship", f"file://{folder}-shared", "--data-dir", folder)
    assert answer.returncode == 0, answer.stderr
    return pl.read_parquet(folder / "answers" / "ip" / "*.parquet").sort("fetched_at")


def test_what_a_killed_process_left_is_converted(killed, run):
    folder, _ = killed
    frame = history(folder, run)
    assert frame["address"].to_list() == [f"address-{n}" for n in range(5)]
    assert frame["at"].to_list() == [at(n) for n in range(5)]
    assert frame["fetched_at"].to_list() == [
        at(10 + n) - dt.timedelta(microseconds=1) for n in range(5)
    ]
    assert not list(folder.rglob("*.open")) + list(folder.rglob("*.segment"))
    assert history(folder, run).height == 5


@pytest.mark.parametrize("damage", ["torn", "middle"])
def test_damage_costs_the_responses_that_it_hits(damage, killed, run):
    folder, path = killed
    data = bytearray(path.read_bytes())
    if damage == "torn":
        del data[data.index(b"address-4") + 3 :]
    else:
        data[data.index(b"address-2") + 1] ^= 0xFF
    path.write_bytes(data)
    left = {"torn": [0, 1, 2, 3], "middle": [0, 1, 3, 4]}[damage]
    assert history(folder, run)["address"].to_list() == [f"address-{n}" for n in left]


def test_another_format_is_refused_and_stays(killed, run):
    folder, path = killed
    data = bytearray(path.read_bytes())
    data[6:8] = b"\x09\x00"
    path.write_bytes(data)
    answer = run("logs", "ship", f"file://{folder}-shared", "--data-dir", folder)
    assert answer.returncode == 1
    assert (
        "is of version 9 of the journal's format; this headwater reads 1: use the headwater that "
        "wrote it"
    ) in answer.stderr
    assert len(list(folder.rglob(f"{path.stem}.*"))) == 1


def test_a_file_whose_header_is_damaged_is_kept(killed, run):
    folder, path = killed
    data = bytearray(path.read_bytes())
    data[data.index(b'"name"')] ^= 0xFF
    path.write_bytes(data)
    answer = run("logs", "ship", f"file://{folder}-shared", "--data-dir", folder)
    assert "its header is damaged, so its 5 entries cannot be read; it is kept as" in answer.stderr
    assert path.with_suffix(".damaged").read_bytes() == data
