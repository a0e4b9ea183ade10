"""Sentences and tables in streams of any width and encoding."""

import io

import pytest

from headwater.terminal.console import StreamConsole
from headwater.terminal.layout import Group, Shown, ShownTable

TABLE = ShownTable(
    "Views of a project",
    ["view", "state\nas of now", "what to do"],
    [
        ["user_by_day", "current", ""],
        [
            "a/very/long/path/of/a/file.parquet",
            (Shown("stale"), Shown("[0.1, 0.2]")),
            "run `headwater materialize --project a.py` again",
        ],
    ],
)


def printed(part, columns=None, encoding="utf-8"):
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = StreamConsole(out, terminal=False)
    if columns:
        console.width = columns
    console.write(part)
    out.flush()
    return out.buffer.getvalue().decode(encoding)


def test_where_there_is_room_a_table_has_columns():
    assert printed(TABLE).split("\n") == [
        "Views of a project",
        "view                                state       what to do",
        "                                    as of now",
        "─" * 96,
        "user_by_day                         current",
        (
            "a/very/long/path/of/a/file.parquet  stale       run `headwater materialize --project "
            "a.py` again"
        ),
        "                                    [0.1, 0.2]",
        "",
    ]


def test_where_there_is_less_cells_break_between_words_and_commands_stay_whole():
    lines = printed(TABLE, 90).split("\n")
    assert (
        "a/very/long/path/of/a/file.parquet  stale       run `headwater materialize --project a.py`"
        in lines
    )
    assert "                                    [0.1, 0.2]  again" in lines
    assert max(map(len, lines)) <= 90


def test_where_there_is_too_little_rows_are_blocks_without_empty_cells():
    assert printed(TABLE, 50) == (
        "Views of a project\n"
        "view: user_by_day\n"
        "state as of now: current\n"
        "\n"
        "view: a/very/long/path/of/a/file.parquet\n"
        "state as of now: stale\n"
        "  [0.1, 0.2]\n"
        "what to do: run\n"
        "  `headwater materialize --project a.py` again\n"
    )


@pytest.mark.parametrize("columns", [10, 20, 40, 80])
def test_a_sentence_breaks_between_words(columns):
    text = "one two-three `four five` six/seven/eight nine [0.1, 0.2] ten"
    lines = printed(Shown(text), columns).rstrip("\n").split("\n")
    assert " ".join(lines) == text
    assert all(
        len(line) <= columns or " " not in line.replace("`four five`", "x") for line in lines
    )


def test_items_and_indents_are_kept():
    assert (
        printed(Shown("- one two three\n  four five six"), 11)
        == "- one two\n  three\n  four five\n  six\n"
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
