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
    "headwater erase --key user_id=u03 <&-": 2,
    "headwater mcp <&-": 0,
    "headwater status >&-": 0,
    "headwater token new --scope read >&-": 2,
    "headwater status <&- >&- 2>&-": 0,
}


@pytest.mark.slow
@pytest.mark.parametrize("line", CLOSED)
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
    ["--help", pytest.param("status", marks=pytest.mark.slow)],
)
def test_a_full_device(shop, command):
    done = in_shell(shop, f"headwater {command} >/dev/full")
    text = done.stderr.decode()
    assert done.returncode == 2
    assert "error: standard output cannot be written: No space left on device" in text
    assert not RAW.search(text)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("command", ["status", "deadletters list clicks"])
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
def test_control_characters_of_names_are_written_out(shop):
    level = "dai\x1b[2Jly\u202e"
    text = (
        (shop / "features.py")
        .read_text(encoding="utf-8")
        .replace('levels = {"daily"', f"levels = {{{level!a}")
        .replace('levels["daily"]', f"levels[{level!a}]")
    )
    (shop / "features.py").write_text(text, encoding="utf-8")
    code = f"""
        import headwater as hw, runpy
        project = runpy.run_path("features.py")["project"]
        result = hw.backtest(project.models[0], project.levels, hw.Evaluation(refits=hw.evaluation.Refits(0)), resources=hw.Resources(progress=False))
        for shown in (str(result), repr(result), repr(result.table()), result.to_markdown(), repr(project)):
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
