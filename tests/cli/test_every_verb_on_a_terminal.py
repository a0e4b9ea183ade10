"""Every verb in a terminal of 40 and of 80 columns, and in ASCII: nothing is cut, broken or hidden,
and no error is raw."""

import re
import subprocess
import sys

import pytest

from headwater.cli.parser import VERBS
from tests.pseudo_terminal import Terminal, rendered

COMMANDS = {
    # a file: the demo itself runs in a terminal of its own, in .ci/run
    "demo --output features.py": 2,
    (
        "init events.parquet labels.parquet --output new.py --request-time asked --known-at "
        "settled --yes"
    ): 0,
    "dataset --output rows2.parquet": 0,
    "train": 0,
    "models": 0,
    "models promote 1": 0,
    "models rollback": 0,
    "backtest --refits 0 --yes": 0,
    "backtest --refits 0 --yes --verbose": 0,
    "assess --yes --no-attribution --backtest backtest.json": 0,
    "assess readiness": 0,
    "assess cost": 0,
    "plan": 0,
    "plan --check --catalog new.sqlite": 1,
    "apply": 0,
    "materialize": 0,
    "ingest --once": 0,
    "experiment plan fresher_features": 0,
    "experiment start fresher_features": 2,
    "experiment status": 0,
    "watch": 1,
    "replay 2024-02-20": 1,
    "status": 0,
    "explain user_recent__count_1d user_id=u03": 0,
    "explain user_recent__cont_1d user_id=u03": 2,
    "parity": 0,
    "runs": 0,
    "runs show latest": 0,
    "runs compare latest latest": 2,
    "runs compare latest OTHER": 0,
    "doctor": 0,
    "logs ship": 2,
    "store compact --dry-run": 0,
    "store backup saved": 0,
    "deadletters list clicks": 0,
    "deadletters replay clicks --dry-run": 0,
    "erase --key user_id=u03": 0,
    "token new --name checkout --scope predict": 0,
    "token list": 0,
    "help": 0,
    "help store": 0,
    "completion bash": 0,
    "": 2,
    "statsu": 2,
}
"""Command lines, with their exit codes; every question gets a yes."""
SERVING = {
    "serve --listen 127.0.0.1:0": "serving shop at",
    "console --listen 127.0.0.1:0": "console of shop at",
    "mcp --listen 127.0.0.1:0": "MCP at",
    "ingest": "to predict, in another terminal",
}
"""Commands that stay, with what they say when they are ready; two signals end them."""
FORMS = [(80, None), (40, "ascii")]  # a wide one in UTF-8, and a narrow one in ASCII
SHORT = [
    ("status", 40, "ascii"),  # tables
    ("deadletters list clicks", 80, None),  # records of others
    ("plan", 40, "ascii"),  # a list
    ("models rollback", 80, None),  # a question
    ("help store", 40, None),  # a help page
]
"""One of each kind that is quick."""
CASES = [
    *SHORT,
    *(
        pytest.param(command, *FORMS[place % 2], marks=pytest.mark.slow)
        for place, command in enumerate(COMMANDS)
        if (command, *FORMS[place % 2]) not in SHORT
    ),
]
RAW = re.compile(
    r"\b(Traceback|KeyError|TypeError|ValueError|AttributeError|OSError|Unicode\w+Error|AssertionError|RuntimeError|panicked)\b"
)
WHOLE = re.compile(r"^\s*(- |[\w ]+: )?(\S|`[^`]+`)+$|^(next: |curl )|^\s*headwater ")
"""A line that may be wider than the terminal: a command, a script, or one word, such as a path or a
hash, with its heading.
"""


def other_run(place):
    """The name of the run before the latest."""
    return sorted(path.name for path in (place / ".headwater" / "runs").iterdir())[-2]


def checked(text, shown, columns):
    """Fail on what no terminal should show; `shown` is without the line that moves."""
    assert not RAW.search(text), text[-3000:]
    lines = shown.split("\n")
    assert not [
        line
        for line in lines
        if re.search(r"\w(\.\.\.|…)(\s|$)", line)
        and "ACTION ..." not in line
        and "COMMAND ..." not in line
    ]
    wide = [line for line in lines if len(line) > columns and not WHOLE.search(line)]
    assert not wide, wide


def written(shown):
    """The lines of a command as it has written them, each as long as it is; without what was drawn
    and erased.
    """
    return "\n".join(rendered(shown.text, 1_000_000)).strip("\n")


@pytest.mark.parametrize(("command", "columns", "encoding"), CASES)
def test_it_shows_everything_whole(shop, command, columns, encoding):
    environment = {"PYTHONIOENCODING": encoding} if encoding else {}
    words = [other_run(shop) if word == "OTHER" else word for word in command.split()]
    terminal = Terminal(shop, "-m", "headwater", *words, columns=columns, environment=environment)
    if command.startswith(("erase", "models rollback")):
        terminal.until("> ")
        terminal.type("yes\n")
    shown = terminal.result()
    assert shown.code == COMMANDS[command], shown.text[-3000:]
    assert shown.cursor
    # a script
    checked(shown.text, written(shown), 200 if command.startswith("completion") else columns)
    assert encoding is None or shown.text.isascii()
    if command == "backtest --refits 0 --yes" and columns == 80:
        assert len(written(shown).split("\n")) <= 25


@pytest.mark.parametrize(
    "command", ["models", *(pytest.param(c, marks=pytest.mark.slow) for c in ("status", "plan"))]
)
def test_no_word_is_broken(shop, command):
    """Each word of a terminal, also of a heading, is one of those that a pipe gets; numbers and
    times differ.
    """
    piped = subprocess.run(
        [sys.executable, "-m", "headwater", *command.split()],
        cwd=shop,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    known = {word.rstrip(":") for word in (piped.stdout + piped.stderr).split()}
    shown = Terminal(shop, "-m", "headwater", *command.split(), columns=40).result()
    assert [
        word
        for word in written(shown).split()
        if word.rstrip(":") not in known and not re.search(r"\d|─", word)
    ] == []


def test_every_verb_is_here():
    assert {command.split()[0] for command in (*COMMANDS, *SERVING) if command} - {"statsu"} == set(
        VERBS
    )


@pytest.mark.parametrize(
    "command",
    [pytest.param(c, marks=() if c == "ingest" else pytest.mark.slow) for c in SERVING],
)
def test_two_signals_leave_a_usable_terminal(shop, command):
    terminal = Terminal(shop, "-m", "headwater", *command.split(), columns=80)
    terminal.until(SERVING[command])
    terminal.type("\x03")
    terminal.type("\x03")
    shown = terminal.result(60)
    assert shown.cursor
    # so that no end of the process, not even a kill, can leave it hidden
    assert "\x1b[?25l" not in shown.text
    checked(shown.text, "", 80)
