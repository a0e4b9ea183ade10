"""Standard streams that are closed, full, a pipe, or of another encoding: a command does its work,
and no error is raw.
"""

import os
import re
import shlex
import subprocess
import sys
import textwrap

import pytest

from tests.effort import FULL, LONG
from tests.pseudo_terminal import Terminal

RAW = re.compile(r"\b(Traceback|\w+Error|Exception ignored)\b")
HEADWATER = f"{shlex.quote(sys.executable)} -m headwater"


def in_shell(folder, line, **environment):
    """A line of a shell, in which `headwater` is this one."""
    line = line.replace("headwater ", f"{HEADWATER} ", 1)
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in {"PYTHONUTF8", "PYTHONIOENCODING"}
    } | environment
    return subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env=env,
        check=False,
    )


CLOSED = {
    "headwater backtest --refits 0 <&-": 0,
    "headwater erase --key user_id=u03 <&-": 2,
    "headwater init events.parquet labels.parquet --output new.py <&-": 2,
    "headwater assess --scratch <&-": 2,
    "headwater assess interview <&-": 2,
    "headwater experiment advise <&-": 0,
    "headwater models rollback <&-": 0,
    "headwater mcp <&-": 0,
    "headwater status >&-": 0,
    "headwater train >&-": 0,
    "headwater backtest --refits 0 --json >&-": 0,
    "headwater --help >&-": 0,
    "headwater --version >&-": 0,
    "headwater completion bash >&-": 0,
    "headwater token new --scope read >&-": 2,
    "headwater status 2>&-": 0,
    "headwater statsu 2>&-": 2,
    "headwater status <&- >&- 2>&-": 0,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    list(CLOSED)
    if LONG
    else [
        "headwater erase --key user_id=u03 <&-",
        "headwater status >&-",
        "headwater status <&- >&- 2>&-",
    ],
)
def test_a_stream_that_is_closed(shop, line):
    done = in_shell(shop, line)
    assert done.returncode == CLOSED[line], done.stderr
    assert not RAW.search(done.stderr.decode()), done.stderr


@pytest.mark.slow
def test_nothing_is_printed_into_a_file_that_got_the_number_of_a_closed_stream(shop):
    """The store's database is opened after the start: without care it would be file 1, and hold the
    output.
    """
    (shop / "prints.py").write_text(
        "import os, sys\nos.write(1, b'printed')\nsys.stdout.write('printed')\n", encoding="utf-8"
    )
    (shop / "features.py").write_text(
        "import prints\n" + (shop / "features.py").read_text(encoding="utf-8"), encoding="utf-8"
    )
    assert in_shell(shop, "headwater materialize >&- 2>&-").returncode == 0
    done = in_shell(shop, "headwater status")
    assert done.returncode == 0, done.stderr
    assert not [
        path
        for path in shop.rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc"} and b"printed" in path.read_bytes()
    ]


@pytest.mark.parametrize(
    "command",
    ["status", "status --json", "--help", "completion bash", "token list", "train"]
    if LONG
    else ["status", "--help"]
    if FULL
    else ["--help"],
)
def test_a_full_device(shop, command):
    done = in_shell(shop, f"headwater {command} >/dev/full")
    text = done.stderr.decode()
    if command == "train":  # which says nothing on standard output
        assert done.returncode == 0
    else:
        assert done.returncode == 2
        assert "error: standard output cannot be written: No space left on device" in text
    assert not RAW.search(text)


@pytest.mark.slow
def test_a_full_standard_error_ends_nothing(shop):
    done = in_shell(shop, "headwater status 2>/dev/full")
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"user_recent" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"] if LONG else ["ascii"])
@pytest.mark.parametrize(
    "command",
    [
        "status",
        "models",
        "assess readiness",
        "assess cost",
        "deadletters list clicks",
        "parity",
        "plan",
        "runs",
        "doctor",
        "--help",
    ]
    if LONG
    else ["status", "models", "deadletters list clicks"],
)
def test_another_encoding(shop, command, encoding):
    """The characters that it has stay, typographic ones become ASCII, and others are written
    out.
    """
    done = in_shell(shop, f"headwater {command}", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode(encoding)
    assert "\N{RIGHTWARDS ARROW}" not in text
    if command.startswith("deadletters"):
        assert ("n\\xf8 \\u6570" if encoding == "ascii" else "nø \\u6570") in text


@pytest.mark.slow
def test_a_pipe_gets_every_cell_in_one_line(shop):
    for command, whole in {
        "deadletters list clicks": [
            "headwater_partition",
            (
                "no json at all, of a sender that writes sentences: an error was caught while the "
                "record was written"
            ),
        ],
        "status": [
            "user_by_day_of_the_local_calendar",
            "every 1d at 00:00 UTC, published 0s later",
        ],
        "runs": ["what came of it"],
        "models": ["average_precision", "80 trees of 48 leaves"],
    }.items():
        done = in_shell(shop, f"headwater {command}")
        lines = done.stdout.decode().split("\n")
        assert "…" not in done.stdout.decode()
        assert not [line for line in lines if line != line.rstrip()], lines
        for text in whole:
            assert [line for line in lines if text in line], (text, lines)


def test_words_and_commands_stay_whole(shop):
    """The remarks of `init` and the next command of `train`, at 40 columns."""
    init = [
        "init",
        "events.parquet",
        "labels.parquet",
        "--output",
        "new.py",
        "--request-time",
        "asked",
        "--known-at",
        "settled",
        "--yes",
    ]
    text = Terminal(shop, "-m", "headwater", *init, columns=40).result().text.replace("\r\n", "\n")
    assert "next: headwater backtest --project new.py\n" in text
    assert not [
        line for line in text.split("\n") if len(line) > 40 and not line.startswith("next: ")
    ]
    assert "Its comments give the evidence of each guess" in " ".join(text.split())


@pytest.mark.slow
@pytest.mark.parametrize(
    "level", ["dai\x1b[2Jly\u202e", "dai\rly"] if LONG else ["dai\x1b[2Jly\u202e"]
)
def test_control_characters_of_names_are_written_out(shop, level):
    text = (
        (shop / "features.py")
        .read_text(encoding="utf-8")
        .replace('levels = {"daily"', f"levels = {{{level!a}")
        .replace('levels["daily"]', f"levels[{level!a}]")
    )
    (shop / "features.py").write_text(text, encoding="utf-8")
    if LONG:
        done = in_shell(shop, "headwater backtest --refits 0 --verbose")
        assert done.returncode == 0, done.stderr
        shown = (done.stdout + done.stderr).decode()
        assert not [mark for mark in level if not mark.isprintable() and mark in shown]
    code = f"""
        import headwater as hw, runpy
        project = runpy.run_path("features.py")["project"]
        result = hw.backtest(project.models[0], project.levels, hw.Evaluation(refits=hw.evaluation.Refits(0)), resources=hw.Resources(progress=False))
        for shown in (str(result), repr(result), repr(result.table()), result.summary(), repr(project)):
            assert not set({level!a}) & set(shown) - set("daily[2J"), shown
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=shop,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_no_command(shop):
    done = in_shell(shop, "headwater ")
    assert done.returncode == 2
    assert done.stderr.decode() == "error: no command was given; name one of those above\n"
    assert b"backtest" in done.stdout
