"""Sentences and tables in streams of any width and encoding."""

import io

import pytest

from headwater.terminal.console import StreamConsole
from headwater.terminal.layout import Group, Shown, ShownTable


def printed(part, columns=None, encoding="utf-8"):
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = StreamConsole(out, terminal=False)
    if columns:
        console.width = columns
    console.write(part)
    out.flush()
    return out.buffer.getvalue().decode(encoding)


@pytest.mark.parametrize("columns", [10, 20, 40, 80])
def test_a_sentence_breaks_between_words(columns):
    text = "one two-three `four five` six/seven/eight nine [0.1, 0.2] ten"
    lines = printed(Shown(text), columns).rstrip("\n").split("\n")
    assert " ".join(lines) == text
    assert all(
        len(line) <= columns or " " not in line.replace("`four five`", "x") for line in lines
    )


def test_a_whole_line_is_never_broken():
    assert (
        printed(Shown("next: headwater train --project a.py", whole=True), 10)
        == "next: headwater train --project a.py\n"
    )


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("utf-8", "ø → 数 −1"), ("latin-1", "ø -> \\u6570 -1"), ("ascii", "\\xf8 -> \\u6570 -1")],
)
def test_the_encoding_of_the_stream_is_kept_and_columns_line_up(encoding, shown):
    table = ShownTable("", ["a", "b"], [["ø → 数 −1", "x"], ["longer than the others", "y"]])
    lines = printed(Group(table), encoding=encoding).split("\n")
    assert lines[2].startswith(shown)
    assert lines[2].rstrip().endswith("x")
    assert lines[3] == "longer than the others  y"
