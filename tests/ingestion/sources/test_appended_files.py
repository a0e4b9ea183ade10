"""Files that are being appended to: complete lines, by byte, and no file that was changed behind
one's back.
"""

import gzip

import pytest

import headwater as hw
from headwater.errors import DataError, RetentionError
from headwater.ingestion.sources.appended_files import FilePosition
from headwater.ingestion.sources.stream_reader import decoder, open_feed


def source(path, **given):
    given = {"schema": {"n": int, "s": str, "at": hw.definitions.connectors.datetime}} | given
    return hw.Source("lines", timestamp_field="at", stream=hw.appended(path, **given))


def opened(path, store=None, **given):
    """A feed that goes on from the positions in `store`."""
    store = {} if store is None else store
    return open_feed(
        source(path, **given), lambda ps: {p: store[p] for p in ps if p in store}, lambda _: None
    )


def read(feed, most=100, store=None, polls=100):
    """What comes; where it was read to is put into `store`."""
    found = []
    while polls and (records := feed.poll(most, 0)) is not None:
        polls -= 1
        found += [
            (records.partitions[p], o, v)
            for p, o, v in zip(records.partition, records.offset, records.payloads, strict=True)
        ]
        for name, (before, after) in records.positions.items():
            assert store is None or store.get(name, before) == before
            if store is not None:
                store[name] = after
    return found


def append(path, text):
    with path.open("ab") as file:
        file.write(text)


def test_only_complete_lines_are_read_and_offsets_are_bytes(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_bytes(b'{"n":1}\n\n{"n":2}\n{"n"')
    feed = opened(path)
    name = str(path)
    records = feed.poll(100, 0)
    assert list(zip(records.offset.tolist(), records.payloads, strict=True)) == [
        (0, b'{"n":1}'),
        (9, b'{"n":2}'),
    ]
    assert {
        name: [FilePosition.decoded(at).offset for at in both]
        for name, both in records.positions.items()
    } == {name: [0, 17]}
    assert feed.lag() == {name: 4}
    assert feed.poll(100, 0.05) is None
    assert feed.lag() == {name: 0}, "what follows the last newline is not a record yet"
    append(path, b":3}\r\n")
    assert read(feed) == [(name, 17, b'{"n":3}\r')]
    assert feed.lag() == {name: 0}
    assert decoder(source(path))([b'{"n":3}\r']).frame["n"].to_list() == [3]


def test_it_reads_on_where_it_was_told(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_bytes(b"one\ntwo\nthree\n")
    store = {}
    read(opened(path), most=1, store=store, polls=1)
    assert [v for _, _, v in read(opened(path, store), store=store)] == [b"two", b"three"]
    assert read(opened(path, store)) == []
    assert [len(r) for r in [read(opened(path), most=1)]] == [3]


def test_new_files_of_a_glob_are_taken_up_and_files_take_turns(tmp_path):
    first, second = tmp_path / "a.ndjson", tmp_path / "b.ndjson"
    first.write_bytes(b"a1\na2\na3\n")
    asked = []
    feed = open_feed(
        source(tmp_path / "*.ndjson"), lambda ps: asked.append(list(ps)) or {}, lambda _: None
    )
    assert feed.poll(1, 0).payloads == [b"a1"]
    second.write_bytes(b"b1\n")
    assert [feed.poll(1, 0).payloads for _ in range(3)] == [[b"a2"], [b"b1"], [b"a3"]]
    assert asked == [[str(first)], [str(second)]]


def truncated(path):
    path.write_bytes(b"x\n")


def rotated(path):
    path.rename(path.with_name("old"))
    path.write_bytes(b"six\nten\nthree\n")


def rewritten(path):
    with path.open("r+b") as file:
        file.write(b"six\nten\nthree\n")


def changed_before(path):
    """Only the first byte differs."""
    with path.open("r+b") as file:
        file.write(b"O")


def copied_and_truncated(path):
    path.with_name("old").write_bytes(path.read_bytes())
    with path.open("r+b") as file:
        file.truncate()
        file.write(b"six\nten\nthree\n")


@pytest.mark.parametrize("again", [False, True], ids=["followed", "opened again"])
@pytest.mark.parametrize(
    "change", [truncated, rotated, rewritten, changed_before, copied_and_truncated]
)
def test_a_file_that_is_not_what_was_read_is_an_error(tmp_path, change, again):
    path, store = tmp_path / "a.ndjson", {}
    path.write_bytes(b"one\ntwo\n")
    feed = opened(path)
    read(feed, store=store)
    change(path)
    if change is changed_before and not again:
        append(path, b"more\n")  # a file is looked at when it grows
    with pytest.raises(
        RetentionError,
        match="replaced, truncated or rewritten: up to byte 8 it is no longer what was read",
    ) as raised:
        (opened(path, store) if again else feed).poll(10, 0)
    after = opened(path, store | {str(path): raised.value.position})
    offsets = [offset for _, offset, _ in read(after)]
    assert offsets[0] == 8, "offsets go on, so a record of the new file is none of the old one"


def test_a_file_that_is_gone_is_an_error(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_bytes(b"one\ntwo\n")
    feed = opened(path)
    read(feed)
    path.unlink()
    with pytest.raises(DataError, match="gone, and had been read up to byte 8"):
        feed.poll(10, 0)


@pytest.mark.parametrize("again", [False, True], ids=["followed", "opened again"])
@pytest.mark.parametrize("size", [1, 3000], ids=["short", "longer than what is compared"])
def test_a_file_with_another_inode_and_what_was_read_is_read_on(tmp_path, again, size):
    """As programs do that write a whole new file and rename it."""
    path, store = tmp_path / "a.ndjson", {}
    path.write_bytes(b"one\ntwo\n" * size)
    feed = opened(path)
    read(feed, most=10_000, store=store)
    new = tmp_path / "new"
    new.write_bytes(path.read_bytes() + b"three\n")
    new.rename(path)
    assert [v for _, _, v in read(opened(path, store) if again else feed)] == [b"three"]


@pytest.mark.parametrize("size", [1, 3000], ids=["short", "longer than what is compared"])
def test_renamed_files_of_the_path_are_followed(tmp_path, size):
    """As logrotate renames them, three times, while lines are unread; and the next file of a name
    is read from its beginning.
    """
    path, store, expected, seen = tmp_path / "a.ndjson", {}, [], []
    feed = opened(tmp_path / "a.ndjson*")
    for turn in range(4):
        lines = [b"%d.%d" % (turn, n) for n in range(3 * size)]
        for old in sorted(tmp_path.glob("a.ndjson*"), reverse=True):
            number = int(old.suffix[1:]) + 1 if old.suffix != ".ndjson" else 1
            old.rename(tmp_path / f"a.ndjson.{number}")
        if turn % 2:  # the path is empty for a while
            seen += read(feed, store=store, most=10_000)
        append(path, b"".join(line + b"\n" for line in lines[:-1]))
        seen += read(feed, store=store, most=size, polls=1)
        append(path, lines[-1] + b"\n")
        expected += lines
    seen += read(feed, store=store, most=10_000)
    assert sorted(v for _, _, v in seen) == sorted(expected)
    assert len({(name, offset) for name, offset, _ in seen}) == len(seen), (
        "a record has a place of its own"
    )


def test_a_compressed_file_is_an_error(tmp_path):
    (tmp_path / "a.ndjson.gz").write_bytes(gzip.compress(b"one\n"))
    with pytest.raises(
        DataError, match=r"a.ndjson.gz is compressed \(gzip\).*a path that leaves such files out"
    ):
        opened(tmp_path / "a.ndjson*")


def test_csv_lines_are_rows_under_the_header(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(
        b'n,s,at,other\n1,"a,""b",2024-05-01T10:00:00Z,x\n,,,\nx,a,,\n1,2\n5,null,,\n"6,open,,\n'
    )
    feed = opened(path, format="csv")
    payloads = [v for _, _, v in read(feed)]
    found = decoder(source(path, format="csv"))(payloads)
    assert found.frame.select("n", "s").rows() == [(1, 'a,"b'), (None, None), (5, "null")]
    assert found.frame["at"].null_count() == 2
    assert [n for n, _ in found.refused] == [2, 3, 5]
    assert "2 fields under a header of 4" in found.refused[1][1]
    append(path, b"7,late,,\n")
    store = {}
    read(opened(path, format="csv"), store=store)
    assert decoder(source(path, format="csv"))([v for _, _, v in read(feed)]).frame[
        "n"
    ].to_list() == [7]
    append(path, b"8,later,,\n")
    again = opened(path, store, format="csv")  # the header is read again, the lines are not
    assert decoder(source(path, format="csv"))([v for _, _, v in read(again)]).frame[
        "n"
    ].to_list() == [8]


def test_a_header_that_is_not_complete_yet_is_waited_for(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"n,s")
    feed = opened(path, format="csv")
    assert read(feed) == []
    append(path, b",at\n1,a,\n")
    assert decoder(source(path, format="csv"))([v for _, _, v in read(feed)]).frame[
        "s"
    ].to_list() == ["a"]


def test_numbers_since_1970_in_csv(tmp_path):
    made = decoder(source("x", format="csv", timestamps="s"))([b"at,n\n1.5,2", b"at,n\nsoon,2"])
    assert made.frame["at"].dt.timestamp("us").to_list() == [1_500_000]
    assert len(made.refused) == 1


def test_a_line_longer_than_a_chunk(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_bytes(b"x" * 9_000_000 + b"\nshort\n")
    assert [len(v) for _, _, v in read(opened(path))] == [9_000_000, 5]


def test_a_file_that_was_rotated_away_is_said_wherever_it_is_met(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_bytes(b"one\n")
    feed = opened(tmp_path / "*.ndjson")
    assert len(read(feed)) == 1
    path.rename(tmp_path / "a.ndjson.1")
    for look in (feed.lag, lambda: feed.poll(10, 0)):
        with pytest.raises(DataError, match=r"a.ndjson is gone, and had been read up to byte 4"):
            look()


@pytest.mark.parametrize("tail", [b'{"n":2}', b'{"n', b"\xff"])
def test_a_last_line_without_a_newline_is_left_and_said(tmp_path, tail, caplog):
    path = tmp_path / "a.ndjson"
    path.write_bytes(b'{"n":1}\n' + tail)
    feed, name = opened(path), str(path)
    assert [value for _, _, value in read(feed)] == [b'{"n":1}']
    assert feed.lag() == {name: 0}
    feed.close()
    assert f"a.ndjson ends with {len(tail)} bytes without a newline" in caplog.text


def test_a_csv_file_of_half_a_header_is_no_lag(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"n,s,a")
    feed = opened(path, format="csv")
    assert read(feed) == []
    assert feed.lag() == {str(path): 0}
