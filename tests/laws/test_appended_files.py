"""Files that are appended to: each complete line counts once, and what can no longer be what was
read is an error that says what to do.
"""

import gzip
import json
import threading
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import headwater as hw
from headwater.errors import DataError, RetentionError
from tests.laws.streams import TIME, project

SCHEMA = {"at": TIME, "user": pl.String, "n": pl.Int64}
AT = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5)


class Lines:
    """A file, and a view of its events."""

    def __init__(self, folder, name="a.jsonl", pattern=None, **given):
        self.folder, self.path = folder, folder / name
        self.url = f"lmdb:{folder}/store?size=100MB"
        stream = hw.appended(folder / (pattern or name), **({"schema": SCHEMA} | given))
        source = hw.Source("lines", stream=stream, timestamp_field="at", select=["user", "n"])
        self.view = hw.FeatureView(
            "v",
            source=source,
            keys=["user"],
            features=[hw.count(), hw.sum("n")],
            windows=["1d"],
            freshness=hw.streaming("2s"),
            on_incomplete="value",
        )

    def append(self, content):
        with self.path.open("ab") as file:
            file.write(content)

    def ingest(self, on_commit=None, stop=None, **limits):
        hw.ingest(
            project([self.view]),
            self.url,
            data_dir=self.folder / "home",
            once=stop is None,
            stop=stop,
            listen=None,
            limits=hw.operations.IngestLimits(**limits),
            options=hw.operations.IngestOptions(allow_unapplied=True, on_commit=on_commit),
        )

    def read(self):
        """How many events of a user count, and their sum."""
        found = hw.get_online_features(self.view, [{"user": "a"}], store=self.url, details=True)
        return found.select(self.view.feature_names).row(0)

    def refused(self):
        found = hw.operations.dead_letters(
            project([self.view]), "lines", store=self.url, data_dir=self.folder / "home"
        )
        return found["reason"].to_list() if found.height else []


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_HOME", str(tmp_path / "home"))


def line(n, **more):
    return json.dumps({"at": AT.isoformat(), "user": "a", "n": n, **more}).encode() + b"\n"


def truncated(path):
    path.write_bytes(b"{}\n")


def rotated(path):
    path.rename(path.with_name("old"))
    path.write_bytes(line(4) + line(8) + line(16))


def rewritten(path):
    with path.open("r+b") as file:
        file.write(line(4) + line(8) + line(16))


def changed_in_its_first_byte(path):
    with path.open("r+b") as file:
        file.write(b" ")


def copied_and_truncated(path):
    path.with_name("old").write_bytes(path.read_bytes())
    with path.open("r+b") as file:
        file.truncate()
        file.write(line(4) + line(8) + line(16))


@pytest.mark.parametrize(
    "change",
    [truncated, rotated, rewritten, changed_in_its_first_byte, copied_and_truncated],
)
def test_a_file_that_is_not_what_was_read_is_refused(tmp_path, change):
    """With `accept_loss` it is read from its beginning."""
    lines = Lines(tmp_path)
    lines.append(line(1) + line(2))
    lines.ingest()
    size = lines.path.stat().st_size
    change(lines.path)
    with pytest.raises(
        RetentionError,
        match=rf"replaced, truncated or rewritten: up to byte {size} it is no longer what was read",
    ):
        lines.ingest()
    assert lines.read() == (2, 3)
    lines.ingest(accept_loss=True)
    more = {truncated: (0, 0), changed_in_its_first_byte: (1, 2)}.get(change, (3, 28))
    assert lines.read() == (2 + more[0], 3 + more[1])


@pytest.mark.parametrize("pattern", ["a.jsonl", "*.jsonl"])
def test_a_file_that_is_rotated_away_between_two_reads_is_an_error(tmp_path, pattern):
    lines = Lines(tmp_path, pattern=pattern)
    lines.append(line(1) + line(2))

    size, stop = lines.path.stat().st_size, threading.Event()
    timer = threading.Timer(60, stop.set)
    timer.start()

    def rotate_away(*_):
        if lines.path.exists():
            lines.path.rename(tmp_path / "a.jsonl.1")

    with pytest.raises(DataError, match=rf"a.jsonl is gone, and had been read up to byte {size}"):
        lines.ingest(on_commit=rotate_away, stop=stop)
    timer.cancel()
    assert lines.read() == (2, 3)


@pytest.mark.parametrize("size", [1, 300], ids=["short", "longer than what is compared"])
def test_a_file_with_another_inode_and_what_was_read_is_read_on(tmp_path, size):
    """As programs do that write a whole new file and rename it."""
    lines = Lines(tmp_path)
    lines.append(line(1) * size)
    lines.ingest()
    new = tmp_path / "new"
    new.write_bytes(lines.path.read_bytes() + line(2))
    new.rename(lines.path)
    lines.ingest()
    assert lines.read() == (size + 1, size + 2)


def test_a_compressed_file_is_an_error(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(line(1)))
    with pytest.raises(
        DataError, match=r"a.jsonl.gz is compressed \(gzip\).*a path that leaves such files out"
    ):
        Lines(tmp_path, pattern="a.jsonl*").ingest()


@pytest.mark.parametrize("part", [1, 20, -1])
def test_a_last_line_without_a_newline_is_left_and_said_and_counts_once(tmp_path, part, caplog):
    lines, last = Lines(tmp_path), line(2)
    lines.append(line(1) + last[:part])
    for _ in range(2):
        lines.ingest()
        assert lines.read() == (1, 1)
    assert f"a.jsonl ends with {len(last[:part])} bytes without a newline" in caplog.text
    lines.append(last[part:])
    for _ in range(2):
        lines.ingest()
        assert lines.read() == (2, 3)


def test_a_line_may_be_longer_than_what_is_read_at_once(tmp_path):
    lines = Lines(tmp_path)
    lines.append(line(1, pad="x" * 9_000_000) + line(2))
    lines.ingest()
    assert lines.read() == (2, 3)


# ---------------------------------------------------------------- CSV


def row(n, user="a", more=b""):
    return f"{AT.isoformat()},{user},{n}".encode() + more + b"\n"


def test_lines_of_csv_are_rows_under_the_header(tmp_path):
    """The header is read again after a restart, the lines are not; a header that is not complete is
    waited for.
    """
    lines = Lines(tmp_path, "a.csv", format="csv")
    lines.append(b"at,us")
    lines.append(b"er,n,other\n" + row(1, '"a"', b",x") + row(2, more=b",") + b"1,2\n")
    lines.append(row("x", more=b",") + b'"' + row(5, more=b","))
    lines.ingest()
    assert lines.read() == (2, 3)
    refused = lines.refused()
    assert len(refused) == 3
    assert any("2 fields under a header of 4" in reason for reason in refused)
    lines.append(row(4, more=b","))
    lines.ingest()
    assert lines.read() == (3, 7)


def test_half_a_header_of_csv_is_waited_for(tmp_path):
    lines = Lines(tmp_path, "a.csv", format="csv")
    lines.append(b"at,us")
    lines.ingest()
    lines.append(b"er,n\n" + row(1))
    lines.ingest()
    assert lines.read() == (1, 1)


def test_numbers_since_1970_in_csv(tmp_path):
    lines = Lines(tmp_path, "a.csv", format="csv", timestamps="s")
    lines.append(f"at,user,n\n{AT.timestamp()},a,1\nsoon,a,2\n".encode())
    lines.ingest()
    assert lines.read() == (1, 1)
    assert len(lines.refused()) == 1
